//! What the limits drop: the oldest records of the log, and of each subject.

use super::Log;
use super::front::Rule;
use super::options::Limits;
use super::state::State;
use std::ops::ControlFlow;

impl Log {
    /// From now on records are compressed, or not; those there are stay as they are.
    pub fn set_compression(&self, compress: bool) {
        self.0.state().compress = compress;
    }

    /// Changes the limits, and holds what is committed to them. May read from disk.
    pub fn set_limits(&self, limits: Limits) {
        let before = {
            let mut state = self.0.state();
            // The commit thread is woken, so that it notices whether the log needs ticks.
            self.queue(&mut state);
            std::mem::replace(&mut state.limits, limits)
        };
        let lower = |max: &u64| before.max_msgs_per_subject.is_none_or(|before| *max < before);
        if let Some(max) = limits.max_msgs_per_subject.filter(lower) {
            self.limit_subjects(&self.subjects_above(max), max);
        }
        self.expire();
    }

    /// Applies the limits now, but for the one of each subject; the commit thread does so after each commit, and for `max_age` every second.
    pub fn expire(&self) {
        let now = self.0.shared.now();
        let (limits, (msgs, bytes), ages, first_time) = {
            let state = self.0.state();
            let ages = state.limits.max_age.map(|_| state.ages.clone());
            let first_time = (state.first_time.0 == state.first).then_some(state.first_time.1);
            (state.limits, state.committed_size(), ages, first_time)
        };
        let oldest = limits.max_age.map_or(i64::MAX, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let too_old = |time: i64| ages.as_ref().is_some_and(|ages| ages.age(time, now) > oldest);
        let over = |msgs: u64, bytes: u64| {
            limits.max_msgs.is_some_and(|max| msgs > max) || limits.max_bytes.is_some_and(|max| bytes > max)
        };
        // The time of the first record is known when it was not too old before.
        let expires = ages.is_some() && first_time.is_none_or(too_old);
        if !over(msgs, bytes) && !expires {
            return;
        }
        let by_number = self.drop_front(Rule {
            // By what is there now, as others remove records meanwhile.
            accept: &mut |c| over(c.left.0, c.left.1),
            by_table: &|_| true,
        });
        let mut kept = None;
        let by_age = match ages.is_some() {
            true => self.drop_front(Rule {
                accept: &mut |c| {
                    kept = (!too_old(c.time)).then_some((c.seq, c.time));
                    kept.is_none()
                },
                by_table: &too_old,
            }),
            false => Ok(0),
        };
        if let Some(first) = kept {
            self.0.state().first_time = first;
        }
        if let Err(error) = by_number.and(by_age) {
            tracing::warn!("{}: cannot apply the limits: {error}", self.0.id);
        }
    }

    /// Subjects with more than `max` records.
    pub(in crate::store) fn subjects_above(&self, max: u64) -> Vec<Box<str>> {
        let mut above = Vec::new();
        let passed = self.each_subject::<()>(">", |subject, info| {
            above.extend((info.count > max).then(|| Box::from(subject)));
            ControlFlow::Continue(())
        });
        if let Err(error) = passed {
            tracing::warn!("{}: not all subjects are held to their limit: {error}", self.0.id);
        }
        above
    }

    /// Removes the oldest of each just committed subject that has more than `max_msgs_per_subject`.
    pub(in crate::store) fn limit_subjects(&self, subjects: &[Box<str>], max: u64) {
        for subject in subjects {
            let above = |state: &mut State| state.committed_of(subject).ok().flatten().filter(|i| i.count > max);
            loop {
                let Some(info) = above(&mut self.0.state()) else { break };
                let Ok(Some(first)) = self.first_of(subject, info.first) else { break };
                let (seq, size) = first;
                // A purge may have come in between, and what is the first now be the only one.
                if !matches!(self.strike(seq, subject, size, |state| above(state).is_some()), Ok(true)) {
                    break;
                }
                if max > 1
                    && let Ok(Some((next, _))) = self.first_of(subject, seq + 1)
                {
                    // If not, it is looked for when it is asked for.
                    let _ = self.0.state().subjects.set_first(subject, next);
                }
            }
        }
    }
}
