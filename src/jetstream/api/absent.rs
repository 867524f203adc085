//! Accounts without JetStream on a server that has it: they are told so, whatever they ask of it (nats-server
//! `jetstream.go`, `configJetStream`; `accounts.go`, `enableAllJetStreamServiceImportsAndMappings`). An account that leaf
//! connections belong to is told nothing: the answer is that of the server at their other end. Nor is one that imports what it
//! asks for from an account with JetStream, which answers.

use super::{SUBJECTS, json};
use crate::account::{Account, Batch, Message, Origin, RouteCache, Subscription, Target, TargetId, TargetKind};
use crate::jetstream::error::ApiError;
use std::sync::Arc;

/// Answers `$JS.API` in an account without JetStream until it is dropped.
pub struct Absent {
    account: Arc<Account>,
    subs: Vec<Arc<Subscription>>,
}

impl Absent {
    /// Answers in `account` from now on, also what is asked of `domain`.
    pub fn start(account: Arc<Account>, domain: Option<&str>) -> Absent {
        let desk: Arc<dyn Target> = Arc::new(Desk { id: TargetId::next(), account: account.clone() });
        let prefixes = ["$JS.API.".to_owned()].into_iter().chain(domain.map(|domain| format!("$JS.{domain}.API.")));
        let mut subs = Vec::new();
        for prefix in prefixes {
            for subject in SUBJECTS {
                let sub = Arc::new(Subscription::new(&format!("{prefix}{subject}"), None, "", desk.clone()));
                account.subscribe(sub.clone());
                subs.push(sub);
            }
        }
        Absent { account, subs }
    }

    /// Where it answers.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        self.subs.iter().for_each(|sub| self.account.unsubscribe(sub));
    }
}

/// The type of an answer to what stands behind `$JS.API.`.
fn kind(request: &str) -> Option<String> {
    let mut tokens = request.split('.');
    Some(match (tokens.next()?, tokens.next(), tokens.next()) {
        ("INFO", ..) => "account_info_response".to_owned(),
        ("STREAM", Some("MSG"), Some(verb)) => format!("stream_msg_{}_response", verb.to_ascii_lowercase()),
        ("CONSUMER", Some("DURABLE"), _) => "consumer_create_response".to_owned(),
        // Of clusters.
        (_, Some("LEADER" | "PEER"), _) => return None,
        (what, Some(verb), _) => format!("{what}_{verb}_response").to_ascii_lowercase(),
        _ => return None,
    })
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
        if message.reply.is_empty() || self.account.has_leafs() || self.account.imports_service(message.subject) {
            return;
        }
        let request = message.subject.split_once(".API.").map(|(_, request)| request);
        let Some(kind) = request.and_then(kind) else { return };
        let payload = json::envelope::<()>(&kind, Err(ApiError::not_enabled()));
        let answer = Message { subject: message.reply, reply: "", headers: &[], payload: &payload };
        let origin = Origin { id: self.id, echo: true };
        self.account.route(origin, &answer, &mut RouteCache::default(), batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_own_type_of_answer() {
        for (request, expected) in [
            ("INFO", "account_info_response"),
            ("STREAM.CREATE.S", "stream_create_response"),
            ("STREAM.NAMES", "stream_names_response"),
            ("STREAM.MSG.GET.S", "stream_msg_get_response"),
            ("CONSUMER.CREATE.S.C.a.b", "consumer_create_response"),
            ("CONSUMER.DURABLE.CREATE.S.C", "consumer_create_response"),
            ("CONSUMER.INFO.S.C", "consumer_info_response"),
        ] {
            assert_eq!(kind(request).as_deref(), Some(expected), "{request}");
        }
        assert_eq!(kind("STREAM.LEADER.STEPDOWN.S"), None);
    }
}
