//! What the uplink needs of the link to the hub.

use crate::account::Message;
use crate::leaf::Volume;
use std::sync::Arc;
use tokio::sync::watch;

/// A connection to the hub that comes and goes. Implemented by the leaf link, and by tests.
pub trait HubLink: Send + Sync + 'static {
    /// Hands a message to the connection, past the local router.
    fn publish(&self, message: &Message<'_>) -> Result<(), SendError>;
    /// Bytes that wait to be written to the connection.
    fn backlog_bytes(&self) -> usize;
    /// What the present connection has sent and received, if it is compressed.
    fn volumes(&self) -> Option<(Volume, Volume)> {
        None
    }
    /// The session as it changes.
    fn sessions(&self) -> watch::Receiver<Session>;
    /// Whether the hub and the configuration allow publishing to `subject`.
    fn permits_publish(&self, subject: &str) -> bool;
    /// Gives the present connection up, as one that is up but of no use; another one is dialled.
    fn redial(&self);
    /// Whether the hub's stream survives that it refuses a message for its `Nats-Expected-Last-Msg-Id`.
    fn takes_chains(&self) -> bool {
        true
    }
    /// The JetStream domain of the hub, if it has one and has told.
    fn hub_domain(&self) -> Option<String>;
}

/// The state of the link, as far as the uplink is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Grows with each connection; `None` while there is none.
    pub number: Option<u64>,
    /// In the operator's words, for the status.
    pub text: Arc<str>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no connection.
    #[error("the link is down")]
    Down,
    /// Too much is waiting to be written.
    #[error("the link is busy")]
    Full,
    /// It will never be taken.
    #[error("the message is larger than the hub's max_payload")]
    TooLarge,
    /// The hub's permissions do not allow the subject.
    #[error("the hub does not let us publish it; add it to the publish permissions of its user")]
    NotAllowed,
}
