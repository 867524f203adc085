//! Answers that an exporting account owes to requesters of other accounts: for each request a reply subject of its own,
//! `_R_.ACCOUNT.RANDOM` as in nats-server, which knows where the answer has to go.

use super::ResponseType;
use crate::account::{Account, Subscription};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What all reply subjects of service imports begin with.
pub const REPLY_PREFIX: &str = "_R_.";
/// Answers that one account may owe at a time; further requests are not made.
const MAX_REPLIES: usize = 1 << 18;
/// How often those that were never answered are taken out, at most. Requests that come later pay for it, so that an account
/// without requests needs no timer; an answer is refused from its deadline on in any case.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The answers that one account owes.
pub(in crate::account) struct Replies {
    /// `_R_.ACCOUNT.`, made when it is first needed.
    prefix: OnceLock<Box<str>>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    replies: HashMap<Box<str>, Reply, RandomState>,
    /// When to look next for those that were never answered.
    sweep: Option<Instant>,
}

/// What holds for all requests of one service import.
#[derive(Debug)]
pub(super) struct Terms {
    /// Tells the export from all others of the process.
    pub export: Box<str>,
    /// How many answers there are.
    pub response: ResponseType,
    /// Time after which no answer is taken any more.
    pub threshold: Duration,
}

/// Where an answer goes.
#[derive(Clone)]
pub(super) struct Reply {
    /// The requester's account.
    pub requester: Weak<Account>,
    /// The requester's reply subject.
    pub to: Box<str>,
    pub terms: Arc<Terms>,
    /// Until when the next answer has to come.
    deadline: Instant,
}

impl Default for Replies {
    fn default() -> Self {
        Replies { prefix: OnceLock::new(), open: Mutex::default() }
    }
}

impl Replies {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prefix(&self) -> &str {
        self.prefix.get_or_init(|| format!("{REPLY_PREFIX}{}.", random::<6>()).into())
    }

    /// Stands for the interest in all answers, for leafs where a service may run.
    pub fn interest(&self) -> Subscription {
        super::service::stand_in(&format!("{}>", self.prefix()))
    }

    /// Whether `subject` may be that of an answer from this account.
    pub fn owns(&self, subject: &str) -> bool {
        subject.starts_with(REPLY_PREFIX) && self.prefix.get().is_some_and(|prefix| subject.starts_with(&**prefix))
    }

    /// A new reply subject, from which answers go to `to` in `requester`; `None` if too many are open.
    pub(super) fn expect(&self, requester: &Weak<Account>, to: &str, terms: &Arc<Terms>) -> Option<Box<str>> {
        let now = Instant::now();
        let subject: Box<str> = format!("{}{}", self.prefix(), random::<6>()).into();
        let reply = Reply {
            requester: requester.clone(),
            to: to.into(),
            terms: terms.clone(),
            deadline: now + terms.threshold,
        };
        let mut open = self.open();
        if open.sweep.is_none_or(|at| at <= now) {
            open.replies.retain(|_, reply| reply.deadline > now);
            open.sweep = Some(now + SWEEP_INTERVAL);
        }
        if open.replies.len() >= MAX_REPLIES {
            return None;
        }
        open.replies.insert(subject.clone(), reply);
        Some(subject)
    }

    /// Where the answer on `subject` goes, if one is expected still.
    pub(super) fn find(&self, subject: &str) -> Option<Reply> {
        let mut open = self.open();
        let reply = open.replies.get(subject)?;
        if reply.deadline <= Instant::now() {
            open.replies.remove(subject);
            return None;
        }
        Some(reply.clone())
    }

    /// An answer has come, and more may.
    pub(super) fn prolong(&self, subject: &str) {
        if let Some(reply) = self.open().replies.get_mut(subject) {
            reply.deadline = Instant::now() + reply.terms.threshold;
        }
    }

    /// No answer on `subject` is expected any more.
    pub(super) fn forget(&self, subject: &str) {
        self.open().replies.remove(subject);
    }

    /// Answers expected.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.open().replies.len()
    }
}

/// Random digits, as many as nats-server takes.
fn random<const N: usize>() -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..N).map(|_| char::from(DIGITS[fastrand::usize(..DIGITS.len())])).collect()
}
