//! What the limits drop: the oldest records of the log, and of each subject.

use super::Log;
use super::front::Rule;
use super::options::Limits;

impl Log {
    /// Changes the limits; they are applied with the next commit.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.0.state();
        state.limits = limits;
        self.queue(&mut state);
    }

    /// Applies the limits now; the commit thread does so after each commit, and for `max_age` every second.
    pub fn expire(&self) {
        let (limits, mut msgs, mut bytes) = {
            let state = self.0.state();
            let staged = state.next - 1 - state.committed;
            let writing = state.writing.as_ref().map_or(0, |w| w.buffer.len()) + state.staged.buffer.len();
            (state.limits, state.msgs.saturating_sub(staged), state.bytes.saturating_sub(writing as u64))
        };
        let oldest = limits.max_age.map(|age| self.0.shared.now().saturating_sub(age.as_nanos() as i64));
        let over = |msgs: u64, bytes: u64| {
            limits.max_msgs.is_some_and(|max| msgs > max) || limits.max_bytes.is_some_and(|max| bytes > max)
        };
        if !over(msgs, bytes) && oldest.is_none() {
            return;
        }
        let by_number = self.drop_front(Rule {
            accept: &mut |c| {
                let drop = over(msgs, bytes);
                (msgs, bytes) = (msgs.saturating_sub(u64::from(drop)), bytes.saturating_sub(c.size));
                drop
            },
            by_table: &|_| true,
        });
        let by_age = match oldest {
            Some(oldest) => self.drop_front(Rule { accept: &mut |c| c.time < oldest, by_table: &|last| last < oldest }),
            None => Ok(0),
        };
        if let Err(error) = by_number.and(by_age) {
            tracing::warn!("{}: cannot apply the limits: {error}", self.0.id);
        }
    }

    /// Subjects with more than `max` records.
    pub(in crate::store) fn subjects_above(&self, max: u64) -> Vec<Box<str>> {
        let state = self.0.state();
        state.subjects.iter().filter(|(_, info)| info.count > max).map(|(subject, _)| subject.into()).collect()
    }

    /// Removes the oldest of each just committed subject that has more than `max_msgs_per_subject`.
    pub(in crate::store) fn limit_subjects(&self, subjects: &[Box<str>], max: u64) {
        for subject in subjects {
            loop {
                let Some(info) = self.0.state().committed_of(subject).filter(|i| i.count > max) else { break };
                let Ok(Some(first)) = self.first_of(subject, info.first) else { break };
                let (seq, size) = first;
                if self.strike(vec![(seq, subject.clone(), size)]) == 0 {
                    break;
                }
                if max > 1
                    && let Ok(Some((next, _))) = self.first_of(subject, seq + 1)
                {
                    self.0.state().subjects.set_first(subject, next);
                }
            }
        }
    }
}
