//! Accounts by JWT: what is known of them, and what the operator changes (nats-server `accounts.go`, `DirAccResolver`).

use super::answer;
use super::service::Service;
use super::site::Site;
use crate::account::OwnedMessage;
use crate::system::control;
use serde_json::json;

impl Site {
    /// Does what the operator orders; it holds when the answer leaves.
    pub(super) async fn change(&self, service: Service, message: &OwnedMessage) {
        let tokens: Vec<&str> = message.subject.split('.').collect();
        let named = match (service, tokens.len()) {
            (Service::AccountClaims, 6) => Some(tokens[3]),
            (Service::AccountClaims, _) => tokens.get(2).copied(),
            _ => None,
        };
        // The disk is asked.
        let resolver = &self.sources.resolver;
        let outcome = tokio::task::block_in_place(|| match service {
            Service::DeleteClaims => resolver.delete(&message.payload),
            _ => resolver.update(named, &message.payload),
        });
        let about = [&*outcome.account, &*outcome.message].join(" ");
        match &outcome.error {
            None => tracing::debug!("{}", about.trim()),
            Some(error) => tracing::error!("{} - {error}", about.trim()),
        }
        if outcome.changed
            && let Err(error) = self.ask(control::Request::Accounts).await
        {
            tracing::error!("accounts by JWT are not taken over: {error}");
        }
        if !message.reply.is_empty() {
            answer::outcome(&self.events, &message.reply, &outcome);
        }
    }

    /// Tells what is known.
    pub(super) fn tell_claims(&self, service: Service, message: &OwnedMessage) {
        let (resolver, reply) = (&self.sources.resolver, &*message.reply);
        if reply.is_empty() {
            return;
        }
        let say = |payload: &str| self.events.answer(reply, &[], payload.as_bytes());
        match service {
            Service::ListClaims => {
                self.events.tell(reply, &json!({ "data": resolver.list(), "server": self.events.server() }));
            }
            Service::PackClaims => {
                resolver.pack(&message.payload).iter().for_each(|part| say(part));
                say("");
            }
            _ => {
                let account = message.subject.split('.').nth(3).unwrap_or_default();
                say(&resolver.look_up(account).unwrap_or_default());
            }
        }
    }
}
