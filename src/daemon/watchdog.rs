//! Tells systemd that we live, as long as the store answers.
//!
//! Alive is a daemon whose commit thread answers, be it that it cannot write: a full or failing disk is not mended by a
//! restart, and what is stored can still be read. Dead is one whose commit thread has ended, or does not come back from
//! the disk within two thirds of what systemd allows.

use crate::store::StoreError;
use crate::system::notify;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Asks the store by `probe`, a third of systemd's limit after another, and tells systemd of each answer.
pub(super) async fn watch(probe: impl AsyncFn() -> Result<(), StoreError>) {
    if let Some(limit) = notify::watchdog_limit() {
        probe_every(limit / 3, probe, notify::watchdog).await;
    }
}

async fn probe_every(period: Duration, probe: impl AsyncFn() -> Result<(), StoreError>, alive: impl Fn()) {
    let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
    // After a slow answer, a whole period passes before the next question.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probe().await {
            // It is gone for good; systemd will start us anew.
            Err(StoreError::Closed) => return,
            Ok(()) | Err(_) => alive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::path::Path;
    use tokio::time::Instant;

    const LIMIT: Duration = Duration::from_secs(30);

    /// When systemd is told within the first two minutes, in seconds, by a store of which each answer takes as long as
    /// `takes` says of how many there were before.
    async fn told(takes: impl Fn(u32) -> Result<u64, StoreError>) -> Vec<u64> {
        let (begin, asked, told) = (Instant::now(), Cell::new(0), RefCell::new(Vec::new()));
        let probe = async || {
            let takes = takes(asked.replace(asked.get() + 1));
            let seconds = *takes.as_ref().unwrap_or(&0);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            takes.map(drop)
        };
        let watch = probe_every(LIMIT / 3, probe, || told.borrow_mut().push(begin.elapsed().as_secs()));
        let _ = tokio::time::timeout(Duration::from_secs(120), watch).await;
        told.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_is_alive() {
        let fast = told(|_| Ok(0)).await;
        assert!(fast.len() >= 12 && fast.iter().enumerate().all(|(n, at)| *at == n as u64 * 10), "{fast:?}");
        let slow = told(|_| Ok(19)).await;
        assert!(slow.len() >= 4 && slow.windows(2).all(|two| two[1] - two[0] < LIMIT.as_secs()), "{slow:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fails_is_no_reason_to_be_killed() {
        let full = || StoreError::io("write", Path::new("/d"), std::io::ErrorKind::StorageFull.into());
        let told = told(|n| if n < 2 { Ok(0) } else { Err(full()) }).await;
        assert!(told.len() >= 12, "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_or_has_ended_is_dead() {
        assert_eq!(told(|n| Ok(if n < 2 { 0 } else { 3600 })).await, [0, 10]);
        assert_eq!(told(|n| if n < 2 { Ok(0) } else { Err(StoreError::Closed) }).await, [0, 10]);
    }
}
