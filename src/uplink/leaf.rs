//! The leaf link as the uplink's way to the hub.

use super::link::{HubLink, SendError, Session};
use crate::account::Message;
use crate::leaf::{Link, LinkError, LinkState, Volume};
use tokio::sync::watch;

impl HubLink for Link {
    fn publish(&self, message: &Message<'_>) -> Result<(), SendError> {
        Link::publish(self, message).map_err(|error| match error {
            LinkError::Down => SendError::Down,
            LinkError::NotAllowed => SendError::NotAllowed,
            LinkError::Full => SendError::Full,
            LinkError::TooLarge => SendError::TooLarge,
        })
    }

    fn backlog_bytes(&self) -> usize {
        Link::backlog_bytes(self)
    }

    fn volumes(&self) -> Option<(Volume, Volume)> {
        Link::volumes(self)
    }

    fn sessions(&self) -> watch::Receiver<Session> {
        let mut states = self.state();
        let (sender, receiver) = watch::channel(session(&states.borrow_and_update()));
        // Ends with the link, or at the next change after the uplink has gone.
        tokio::spawn(async move {
            while states.changed().await.is_ok() {
                let session = session(&states.borrow_and_update());
                if sender.send(session).is_err() {
                    break;
                }
            }
        });
        receiver
    }

    fn permits_publish(&self, subject: &str) -> bool {
        Link::permits_publish(self, subject)
    }

    fn redial(&self) {
        Link::redial(self);
    }

    fn takes_chains(&self) -> bool {
        Link::takes_chains(self)
    }

    fn hub_domain(&self) -> Option<String> {
        Some(Link::hub_domain(self)).filter(|domain| !domain.is_empty())
    }
}

fn session(state: &LinkState) -> Session {
    match state {
        LinkState::Up { hub_name, hub_url, session, .. } => {
            Session { number: Some(*session), text: format!("up, {hub_name} at {hub_url}").into() }
        }
        LinkState::Down { reason, .. } => Session { number: None, text: format!("down: {reason}").into() },
    }
}
