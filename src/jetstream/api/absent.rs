//! Accounts without JetStream on a server that has it: they are told so when they ask about it, and nothing else is served there
//! (nats-server `accounts.go`, `enableJetStreamInfoServiceImportOnly`).

use super::json;
use crate::account::{Account, Batch, Message, Origin, RouteCache, Subscription, Target, TargetId, TargetKind};
use crate::jetstream::error::ApiError;
use std::sync::Arc;

/// Answers `$JS.API.INFO` in an account without JetStream until it is dropped.
pub struct Absent {
    account: Arc<Account>,
    sub: Arc<Subscription>,
}

impl Absent {
    /// Answers in `account` from now on.
    pub fn start(account: Arc<Account>) -> Absent {
        let desk: Arc<dyn Target> = Arc::new(Desk { id: TargetId::next(), account: account.clone() });
        let sub = Arc::new(Subscription::new("$JS.API.INFO", None, "", desk));
        account.subscribe(sub.clone());
        Absent { account, sub }
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        self.account.unsubscribe(&self.sub);
    }
}

struct Desk {
    id: TargetId,
    account: Arc<Account>,
}

impl Target for Desk {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], message: &Message<'_>, batch: &mut Batch) {
        if message.reply.is_empty() {
            return;
        }
        let error = ApiError::new(503, 10039, "JetStream not enabled for account");
        let payload = json::envelope::<()>("account_info_response", Err(error));
        let answer = Message { subject: message.reply, reply: "", headers: &[], payload: &payload };
        let origin = Origin { id: self.id, echo: true };
        self.account.route(origin, &answer, &mut RouteCache::default(), batch);
    }
}
