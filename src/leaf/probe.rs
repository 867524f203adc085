//! A connection to a hub for asking what it accepts: `leafd check`. It takes part in nothing: no interest crosses but that in its
//! own answers, and its name is another than the daemon's, whose connection it would end otherwise.

use super::dial::{self, DialError, Dialled, Identity, Url};
use super::permissions::Filter;
use super::wire::{Reader, WireError, limits};
use crate::account::new_inbox;
use crate::auth::{SubjectPermission, bare};
use crate::config::leaf::RemoteConfig;
use crate::protocol::leaf::{LeafOp, LeafParser, push_message, push_subscribe};
use crate::server::outbound::Outbound;
use crate::subject::{is_subset, overlap};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 8 << 20;

/// A hub that has taken our credentials.
pub struct Probe {
    /// Its name.
    pub server_name: String,
    /// Its version.
    pub version: String,
    /// Its JetStream domain; empty if it has none.
    pub domain: String,
    import: SubjectPermission,
    export: SubjectPermission,
    reader: Reader,
    out: Arc<Outbound>,
    buffer: Vec<u8>,
    parser: LeafParser,
}

/// How much of a subject may cross.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// All of it.
    Whole,
    /// What these select, without what the others do.
    Partly {
        /// What may cross.
        allow: Vec<Box<str>>,
        /// What of it may not.
        deny: Vec<Box<str>>,
    },
    /// Nothing.
    Refused,
}

impl Crossing {
    /// Of `subject` by lists of what may cross (`None`: everything) and what may not.
    pub fn of(subject: &str, allow: Option<&[String]>, deny: &[String]) -> Crossing {
        let permission = SubjectPermission { allow: allow.map(<[String]>::to_vec), deny: None };
        let mut allow = Filter::new(&[subject.to_owned()], &[], &[], Some(&permission)).allow;
        let mut deny: Vec<Box<str>> = deny.iter().map(|d| Box::from(bare(d))).collect();
        allow.retain(|part| !deny.iter().any(|d| **d == **part || is_subset(part, d)));
        deny.retain(|d| allow.iter().any(|part| overlap(d, part)));
        match (&allow[..], &deny[..]) {
            ([], _) => Crossing::Refused,
            ([only], []) if **only == *subject => Crossing::Whole,
            _ => Crossing::Partly { allow, deny },
        }
    }
}

impl Probe {
    /// Dials `url`, as the link would.
    ///
    /// # Errors
    /// The link could not connect there either; why.
    pub async fn dial(url: &str, config: &RemoteConfig, identity: &Identity) -> Result<Probe, DialError> {
        let identity = Identity { server_name: format!("{}-check", identity.server_name), ..identity.clone() };
        let Dialled { socket, buffer, info, .. } =
            dial::dial(&Url::parse(url)?, config, &identity, &config.account).await?;
        let (reader, out, _) = socket.split();
        Ok(Probe {
            server_name: info.server_name,
            version: info.version,
            domain: info.domain,
            import: info.import.unwrap_or_default(),
            export: info.export.unwrap_or_default(),
            reader,
            out,
            buffer,
            parser: LeafParser::default(),
        })
    }

    /// How much of `subject` the hub lets us send.
    pub fn sends(&self, subject: &str) -> Crossing {
        let SubjectPermission { allow, deny } = &self.export;
        Crossing::of(subject, allow.as_deref(), deny.as_deref().unwrap_or_default())
    }

    /// How much of `subject` the hub lets us receive.
    pub fn receives(&self, subject: &str) -> Crossing {
        let SubjectPermission { allow, deny } = &self.import;
        Crossing::of(subject, allow.as_deref(), deny.as_deref().unwrap_or_default())
    }

    /// Sends a request that [`Probe::sends`] allows; the payload of its answer, `None` if nothing comes within `limit`.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn ask(&mut self, subject: &str, body: &[u8], limit: Duration) -> Result<Option<Vec<u8>>, WireError> {
        let reply = new_inbox();
        self.out.append(|out| {
            push_subscribe(out, &reply, None, 1);
            push_message(out, subject, &reply, &[], b"", body);
        });
        self.out.flush();
        tokio::time::timeout(limit, self.answer(&reply)).await.map_or(Ok(None), |answer| answer.map(Some))
    }

    async fn answer(&mut self, reply: &str) -> Result<Vec<u8>, WireError> {
        loop {
            while let Some((op, used)) = self.parser.next(&self.buffer, &limits(MAX_ANSWER))? {
                let answer = match op {
                    LeafOp::Message { subject, payload, .. } if subject == reply => Some(payload.to_vec()),
                    LeafOp::Ping => {
                        self.out.send_urgent(b"PONG\r\n");
                        None
                    }
                    _ => None,
                };
                self.buffer.drain(..used);
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
            self.buffer.reserve(self.parser.wanted().max(4096));
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_of_a_subject_crosses() {
        let list = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let boxes = |list: &[&str]| list.iter().map(|s| Box::from(*s)).collect::<Vec<_>>();
        let allow = list(&["p.gw1.>", "q"]);
        for (subject, allow, deny, want) in [
            ("p.gw1.a", Some(&allow[..]), list(&[]), Crossing::Whole),
            ("p.gw1.>", Some(&allow), list(&[]), Crossing::Whole),
            ("p.gw2.a", Some(&allow), list(&[]), Crossing::Refused),
            ("p.gw1.a", Some(&allow), list(&["p.*.a"]), Crossing::Refused),
            (">", None, list(&[]), Crossing::Whole),
            ("p.>", Some(&allow), list(&[]), Crossing::Partly { allow: boxes(&["p.gw1.>"]), deny: vec![] }),
            ("p.>", None, list(&["p.x q"]), Crossing::Partly { allow: boxes(&["p.>"]), deny: boxes(&["p.x"]) }),
        ] {
            assert_eq!(Crossing::of(subject, allow, &deny), want, "{subject}");
        }
    }
}
