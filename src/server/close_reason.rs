//! Why connections end.

/// Why a connection was closed, in the words nats-server uses in `connz` and disconnect events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The other side closed.
    #[error("Client Closed")]
    ClientClosed,
    /// More waited to be written than `max_pending`.
    #[error("Slow Consumer (Pending Bytes)")]
    SlowConsumerPending,
    /// Nothing could be written for `write_deadline`.
    #[error("Slow Consumer (Write Deadline)")]
    SlowConsumerDeadline,
    /// A breach of the protocol.
    #[error("Protocol Violation")]
    ProtocolViolation,
    /// No PONG came.
    #[error("Stale Connection")]
    Stale,
    /// Reading failed.
    #[error("Read Error")]
    ReadError,
    /// Writing failed.
    #[error("Write Error")]
    WriteError,
    /// The daemon ends.
    #[error("Server Shutdown")]
    ServerShutdown,
    /// The daemon lets its clients go.
    #[error("Server Shutdown")]
    LameDuck,
    /// A message larger than `max_payload`.
    #[error("Maximum Message Payload Exceeded")]
    MaxPayload,
    /// Too many connections.
    #[error("Maximum Connections Exceeded")]
    MaxConnections,
    /// Wrong or missing credentials.
    #[error("Authentication Failure")]
    AuthenticationFailure,
    /// No TLS handshake came about.
    #[error("TLS Handshake Failure")]
    TlsHandshake,
    /// No CONNECT came in time.
    #[error("Authentication Timeout")]
    AuthenticationTimeout,
    /// What let the client in holds no longer.
    #[error("Authentication Expired")]
    AuthenticationExpired,
    /// The account has declared what let the client in void.
    #[error("Credentials Revoked")]
    Revocation,
    /// The account has as many clients as it may.
    #[error("Maximum Account Connections Exceeded")]
    MaxAccountConnections,
    /// An operator has sent it away.
    #[error("Kicked")]
    Kicked,
    /// More subscriptions than it may have.
    #[error("Maximum Subscriptions Exceeded")]
    MaxSubscriptions,
    /// A reload has moved the user to another account.
    #[error("Account Changed")]
    AccountChanged,
}
