//! What a client can do wrong on the wire, in nats-server's words.

/// A breach of the protocol. All of these close the connection; the peer is told why where nats-server tells it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line that is no operation, or one that does not end as it should.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// Arguments that do not fit their operation. nats-server closes without a word.
    #[error("arguments that do not fit their operation")]
    Arguments,
    /// The peer reports an error (`-ERR`). nats-server closes without a word.
    #[error("the peer reports an error")]
    PeerError,
    /// A control line longer than `max_control_line`.
    #[error("maximum control line exceeded")]
    ControlLine,
    /// A message larger than `max_payload`.
    #[error("Maximum Payload Violation")]
    Payload,
    /// A payload that is not followed by CRLF.
    #[error("Unknown Protocol Operation")]
    Unterminated,
}

impl ProtocolError {
    /// Whether the peer is told before the connection closes.
    pub fn is_told(&self) -> bool {
        !matches!(self, ProtocolError::Arguments | ProtocolError::PeerError)
    }
}
