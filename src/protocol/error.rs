//! What a client can do wrong on the wire, in nats-server's words.

/// A breach of the protocol. All of these close the connection, as in nats-server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line that is no operation, or has the wrong arguments.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// Arguments that do not fit their operation.
    #[error("Parser Error")]
    Arguments,
    /// A control line longer than `max_control_line`.
    #[error("Maximum Control Line Exceeded")]
    ControlLine,
    /// A message larger than `max_payload`.
    #[error("Maximum Payload Violation")]
    Payload,
    /// A payload that is not followed by CRLF.
    #[error("Bad Message")]
    Unterminated,
}
