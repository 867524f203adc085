//! Which rounds of the thread that makes acks durable are under way, and who waits for them: a request that counts messages
//! must not count those whose acks came before it.

use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Resolves when the round that was asked for has ended.
pub type Ended = oneshot::Receiver<()>;

/// The rounds, numbered as they begin.
#[derive(Default)]
pub struct Rounds {
    begun: u64,
    /// Those that have not ended, ascending, each with how many of its parts are left.
    open: VecDeque<(u64, u32)>,
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// There will be no more.
    over: bool,
}

impl Rounds {
    /// A round of so many parts begins; its number.
    pub fn begin(&mut self, parts: u32) -> u64 {
        self.begun += 1;
        self.open.push_back((self.begun, parts));
        self.begun
    }

    /// A part of the round is done.
    pub fn done(&mut self, round: u64) {
        if let Some((_, parts)) = self.open.iter_mut().find(|(number, _)| *number == round) {
            *parts -= 1;
        }
        self.open.retain(|(_, parts)| *parts > 0);
        let oldest = self.open.front().map_or(u64::MAX, |(number, _)| *number);
        for (_, waits) in self.waiting.extract_if(.., |(round, _)| *round < oldest && *round <= self.begun) {
            // Whoever asked may have gone.
            let _ = waits.send(());
        }
    }

    /// The end of what is under way, and of the `next` round too where there is one to come; `None` if nothing is.
    pub fn ended(&mut self, next: bool) -> Option<Ended> {
        if self.over || !next && self.open.is_empty() {
            return None;
        }
        let (sender, ended) = oneshot::channel();
        self.waiting.push((self.begun + u64::from(next), sender));
        Some(ended)
    }

    /// No round is looked after any more: whoever waits is let go.
    pub fn finish(&mut self) {
        self.over = true;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_waits_for_all_parts_of_all_rounds_until_then_and_no_later_one() {
        let mut rounds = Rounds::default();
        assert!(rounds.ended(false).is_none(), "nothing is under way");
        let (first, second) = (rounds.begin(2), rounds.begin(1));
        let mut ended = rounds.ended(false).expect("two are under way");
        let third = rounds.begin(1);
        rounds.done(second);
        rounds.done(first);
        assert!(ended.try_recv().is_err(), "the first has another part");
        rounds.done(first);
        assert!(ended.try_recv().is_ok(), "the third does not matter");
        let mut next = rounds.ended(true).expect("one is to come");
        rounds.done(third);
        assert!(next.try_recv().is_err(), "the fourth has not begun");
        let fourth = rounds.begin(1);
        rounds.done(fourth);
        assert!(next.try_recv().is_ok());
    }

    #[test]
    fn nobody_waits_when_there_are_no_more() {
        let mut rounds = Rounds::default();
        rounds.begin(2);
        let mut ended = rounds.ended(true).expect("one is under way");
        rounds.finish();
        assert!(matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(rounds.ended(true).is_none());
    }
}
