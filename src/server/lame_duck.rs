//! Lame duck mode (nats-server `server.go`, `lameDuckMode`): nobody is let in any more, those who are there are told, and
//! after a grace period they are let go one after the other, so that they do not all knock at the next server at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Longest time between two clients.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// When each client has to go.
#[derive(Clone, Debug)]
pub struct LameDuck {
    grace: Duration,
    pause: Duration,
    gone: Arc<AtomicU32>,
}

impl LameDuck {
    /// `clients` go after `grace` and within `duration`, or within a second of it where that is no longer than `grace`.
    pub fn new(duration: Duration, grace: Duration, clients: usize) -> LameDuck {
        let spread = match duration.saturating_sub(grace) {
            Duration::ZERO => LONGEST_PAUSE,
            spread => spread,
        };
        let clients = u32::try_from(clients).unwrap_or(u32::MAX).max(1);
        LameDuck { grace, pause: (spread / clients).min(LONGEST_PAUSE), gone: Arc::default() }
    }

    /// How long the next client may stay; half of each pause is drawn at random.
    pub(super) fn turn(&self) -> Duration {
        match self.gone.fetch_add(1, Ordering::Relaxed) {
            0 => self.grace,
            before => self.grace + self.pause * before - self.pause.mul_f64(fastrand::f64() / 2.0),
        }
    }
}

/// Waits for lame duck mode.
pub(super) async fn begun(mode: &mut watch::Receiver<Option<LameDuck>>) -> LameDuck {
    let duck = mode.wait_for(Option::is_some).await.ok().and_then(|duck| duck.clone());
    match duck {
        Some(duck) => duck,
        // Nobody can begin it any more.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_go_one_after_the_other_within_the_duration() {
        let (duration, grace) = (Duration::from_secs(30), Duration::from_secs(10));
        let duck = LameDuck::new(duration, grace, 100);
        let turns: Vec<_> = (0..100).map(|_| duck.turn()).collect();
        assert_eq!(turns[0], grace);
        assert!(turns.is_sorted() && turns[99] <= duration, "{turns:?}");
        let few = LameDuck::new(duration, grace, 2);
        few.turn();
        assert!(few.turn() <= grace + LONGEST_PAUSE);
        assert!(LameDuck::new(grace, grace, 5).turn() == grace);
    }
}
