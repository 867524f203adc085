//! Messages whose publisher asks what becomes of them, with the header `Nats-Trace-Dest` (`server/msgtrace.go`, ADR-41;
//! `nats trace`). With `Nats-Trace-Only` they reach nobody: what a command would do can be looked at without doing it.

use super::connection::Connection;
use crate::account::{Account, Arrival, Batch, DEST, DISABLED, Message, Origin, Party, Step, Trace, untraced};
use crate::events::timestamp;
use crate::protocol::headers;
use crate::subject;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::SystemTime;

const ONLY: &str = "Nats-Trace-Only";
/// Of servers before 2.11.0's release, which is not understood any more.
const ORIGIN_ACCOUNT: &str = "Nats-Trace-Origin-Account";

/// Kinds of connections as numbers (`server/client.go`).
const CLIENT: u8 = 0;
const LEAF: u8 = 4;

/// Whether the headers of a message in `account` may ask for a trace: a quick look, for the path of messages.
pub(super) fn is_asked_for(headers: &[u8], account: &Account) -> bool {
    !headers.is_empty()
        && (memchr::memmem::find(headers, DEST.as_bytes()).is_some() || account.is_sampled() && is_followed(headers))
}

/// Whether another tracing system follows the message: a `traceparent` (W3C Trace Context) whose flags say that it is sampled.
/// As in nats-server the flags are read as a signed byte.
fn is_followed(headers: &[u8]) -> bool {
    headers::iter(headers).filter(|(name, _)| name.eq_ignore_ascii_case("traceparent")).any(|(_, value)| {
        let parts: Vec<&str> = value.split('-').collect();
        matches!(parts[..], [_, _, _, flags] if flags.len() == 2
            && i8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1))
    })
}

/// What the headers ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    /// Where the trace is told.
    dest: String,
    /// Whether the message reaches nobody.
    only: bool,
}

impl Wish {
    fn of(block: &[u8]) -> Option<Self> {
        let dest = headers::get(block, DEST).filter(|dest| !dest.is_empty() && *dest != DISABLED)?;
        let only = headers::get(block, ONLY).unwrap_or_default().to_lowercase();
        Some(Wish { dest: dest.to_owned(), only: matches!(&*only, "1" | "true" | "on") })
    }
}

impl Connection {
    /// Publishes a message that has come on `came` and goes to `message.subject`, empty for nowhere, and tells its trace.
    /// One that is only traced reaches nobody, also where no trace can be told.
    pub(super) fn publish_traced(&mut self, origin: Origin, came: &str, message: &Message<'_>, batch: &mut Batch) {
        let sampled = match headers::get(message.headers, DEST) {
            None if is_followed(message.headers) => self.session.account.sampled(),
            _ => None,
        };
        let wish = match sampled {
            // nats-server takes one percent more too.
            Some(sampled) if sampled.percent >= 100 || fastrand::u8(..100) <= sampled.percent => {
                Some(Wish { dest: sampled.dest.clone(), only: false })
            }
            Some(_) => {
                let headers = untraced(message.headers);
                return self.publish_on(origin, &Message { headers: &headers, ..*message }, batch);
            }
            None => Wish::of(message.headers),
        };
        let Some(wish) = wish else {
            return self.publish_on(origin, message, batch);
        };
        if !subject::is_valid_literal(&wish.dest) || headers::get(message.headers, ORIGIN_ACCOUNT).is_some() {
            tracing::warn!("{} - a trace cannot be told on {:?}", self.client.label(), wish.dest);
            if !wish.only {
                self.publish_on(origin, message, batch);
            }
            return;
        }
        if !self.may_publish(&wish.dest) {
            return;
        }
        let mut events = vec![json!({
            "type": "in", "ts": now(), "kind": CLIENT, "cid": self.client.id.get(), "name": self.client.about.name(),
            "acc": self.session.account.name(), "subj": came,
        })];
        if came != message.subject {
            events.push(json!({ "type": "sm", "ts": now(), "to": message.subject }));
        }
        batch.trace(Trace::new(self.session.account.name(), wish.only));
        self.publish_on(origin, message, batch);
        let Some(trace) = batch.take_trace() else { return };
        events.extend(trace.steps.iter().map(told));
        self.shared.events.tell_in(&self.session.account, &wish.dest, message.headers, || {
            let mut told = json!({
                "server": self.shared.events.server(),
                "request": { "header": names(message.headers), "msgsize": message.size() },
                "events": events,
            });
            if trace.hops > 0 {
                told["hops"] = trace.hops.into();
            }
            told.to_string().into_bytes()
        });
    }
}

fn now() -> String {
    timestamp(SystemTime::now())
}

/// Headers by name.
fn names(block: &[u8]) -> BTreeMap<&str, Vec<&str>> {
    let mut names = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers::iter(block).filter(|(name, value)| !name.is_empty() && !value.is_empty()) {
        names.entry(name).or_default().push(value);
    }
    names
}

fn told(step: &Step) -> Value {
    match step {
        Step::Arrival(arrival) => arrived(arrival),
        Step::Import { account, from, to, time } => {
            json!({ "type": "si", "ts": timestamp(*time), "acc": account, "from": from, "to": to })
        }
        Step::Export { account, to, time } => json!({ "type": "se", "ts": timestamp(*time), "acc": account, "to": to }),
    }
}

fn arrived(arrival: &Arrival) -> Value {
    let time = timestamp(arrival.time);
    let mut event = match &arrival.party {
        Party::Stream { name } => json!({ "type": "js", "ts": time, "stream": name, "subject": arrival.subject }),
        Party::Leaf { name, .. } => {
            json!({ "type": "eg", "ts": time, "kind": LEAF, "cid": arrival.id, "name": name })
        }
        Party::Client { name } => {
            let mut event = json!({ "type": "eg", "ts": time, "kind": CLIENT, "cid": arrival.id, "name": name });
            event["sub"] = (*arrival.subscribed).into();
            if let Some(queue) = &arrival.queue {
                event["queue"] = (**queue).into();
            }
            event
        }
    };
    if let (Some(account), false) = (&arrival.account, matches!(arrival.party, Party::Stream { .. })) {
        event["acc"] = (**account).into();
    }
    if let Some(hop) = &arrival.hop {
        event["hop"] = hop.as_str().into();
    }
    if let Some(error) = &arrival.error {
        event["error"] = (**error).into();
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(headers: &[(&str, &str)]) -> Option<(String, bool)> {
        let account = Account::new("A");
        let block = headers.iter().fold(headers::HeadersBuilder::new(), |b, (name, value)| b.add(name, value)).build();
        assert!(
            headers.is_empty() || is_asked_for(&block, &account) == headers.iter().any(|(name, _)| name.contains(DEST))
        );
        Wish::of(&block).map(|wish| (wish.dest, wish.only))
    }

    #[test]
    fn a_trace_is_asked_for_by_its_destination() {
        assert_eq!(wish(&[]), None);
        assert_eq!(wish(&[(ONLY, "true")]), None, "without a destination the message is like any other");
        assert_eq!(wish(&[(DEST, "t")]), Some(("t".into(), false)));
        assert_eq!(wish(&[(DEST, DISABLED), (ONLY, "true")]), None);
        for (value, only) in [("1", true), ("TRUE", true), ("on", true), ("yes", false), ("false", false)] {
            assert_eq!(wish(&[(DEST, "t"), (ONLY, value)]), Some(("t".into(), only)), "{value}");
        }
    }

    #[test]
    fn other_systems_say_what_they_follow() {
        for (value, followed) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", false),
            ("a-b-c-7f", true),
            ("a-b-c-ff", false),
            ("a-b-c-001", false),
            ("a-b-01", false),
        ] {
            let block = headers::HeadersBuilder::new().add("TraceParent", value).build();
            assert_eq!(is_followed(&block), followed, "{value}");
        }
    }
}
