//! How much of what consumers deliver may wait in a link: it has time, and what is live comes behind it. So on a slow link it is as
//! little as the link takes within a moment, and on a fast one as much as keeps it busy.

use std::time::{Duration, Instant};

/// What is live waits for what is stored for about so long.
const MOMENT: Duration = Duration::from_millis(250);
/// At least so much may wait, bytes; what the kernel takes comes on top.
const LEAST: usize = 4 * 1024;

/// The bound of one connection, which follows what the link takes.
pub struct StoredShare {
    most: usize,
    bound: usize,
    /// When it was last compared, and the bytes that had gone by then.
    at: Option<Instant>,
    sent: u64,
}

impl StoredShare {
    /// At most `most` bytes ever wait.
    pub fn new(most: usize) -> Self {
        StoredShare { most, bound: LEAST.min(most), at: None, sent: 0 }
    }

    /// Bytes that may be added at `now`, where `sent` have gone since the beginning, and `waiting` have not.
    pub fn left(&mut self, now: Instant, sent: u64, waiting: usize) -> usize {
        let Some(at) = self.at else {
            // What went before tells nothing, as it is not known in what time.
            (self.at, self.sent) = (Some(now), sent);
            return self.bound.saturating_sub(waiting);
        };
        let (passed, took) = (sent - self.sent, now.saturating_duration_since(at));
        if waiting == 0 {
            if took < MOMENT && passed >= self.bound as u64 / 2 {
                self.bound = (self.bound * 2).min(self.most);
            }
            (self.at, self.sent) = (Some(now), sent);
        } else if took >= MOMENT {
            let taken = passed as f64 * MOMENT.as_secs_f64() / took.as_secs_f64();
            self.bound = (taken as usize).max(LEAST).min(self.most);
            (self.at, self.sent) = (Some(now), sent);
        }
        self.bound.saturating_sub(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(5);

    /// Fills a link that takes `rate` bytes a second for ten seconds; what it took, and the most that waited in the last of them.
    fn fill(rate: usize) -> (usize, usize) {
        let mut share = StoredShare::new(4 << 20);
        let (mut now, mut sent, mut waiting, mut most) = (Instant::now(), 0, 0, 0);
        for step in 0..2000 {
            waiting += share.left(now, sent as u64, waiting);
            if step >= 1800 {
                most = most.max(waiting);
            }
            let takes = (rate / 200).min(waiting);
            (sent, waiting, now) = (sent + takes, waiting - takes, now + STEP);
        }
        (sent, most)
    }

    #[test]
    fn what_went_before_the_first_look_does_not_make_a_link_fast() {
        let mut share = StoredShare::new(4 << 20);
        assert!(share.left(Instant::now(), 1 << 30, 1000) <= LEAST);
    }

    #[test]
    fn a_slow_link_is_busy_with_little_waiting_and_a_fast_one_takes_all_it_can() {
        let (sent, most) = fill(6_000);
        assert!(sent >= 59_000 && most <= LEAST, "{sent} {most}");
        let (sent, most) = fill(1_000_000);
        assert!(sent >= 9_500_000 && most <= 300_000, "{sent} {most}");
        let (sent, _) = fill(100_000_000);
        assert!(sent >= 950_000_000, "{sent}");
    }
}
