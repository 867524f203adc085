//! The socket under a leaf connection, plain or TLS, and the first operations on it, before either side trusts the other.

use super::compression::{Agreed, S2Stream};
use crate::protocol::Limits;
use crate::protocol::leaf::{LeafOp, LeafParser};
use crate::server::outbound::Outbound;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longest line of a peer: an INFO with many permissions.
const CONTROL_LINE: usize = 1 << 20;
/// Largest message that we take from a peer, whatever it says of itself.
const MAX_PAYLOAD: usize = 64 << 20;
/// Taken whatever the peer says, as it is nats-server's default.
const MIN_PAYLOAD: usize = 1 << 20;
/// How long a step of the handshake may take.
pub const STEP_LIMIT: Duration = Duration::from_secs(5);
/// More than any burst of interest; above it the connection is closed as a slow consumer.
const MAX_PENDING: usize = 64 << 20;
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Limits of the parser towards a peer that says it takes (and hence sends) messages of `max_payload` bytes.
pub fn limits(max_payload: usize) -> Limits {
    Limits { control_line: CONTROL_LINE, payload: max_payload.clamp(MIN_PAYLOAD, MAX_PAYLOAD) }
}

/// A byte stream, plain or TLS.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection before it is split into its reading and writing side.
pub enum Socket {
    /// Plain TCP, which any publisher may write to.
    Plain(TcpStream),
    /// TLS, or compressed, which only one task can write to.
    Stream(Box<dyn Wire>),
}

/// The reading side.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// What a peer says before the session begins.
#[derive(Debug)]
pub enum Greeting {
    /// `INFO`, its JSON.
    Info(Vec<u8>),
    /// `CONNECT`, its JSON.
    Connect(Vec<u8>),
    /// `-ERR`
    Error(String),
    /// `PING`
    Ping,
    /// Anything else.
    Other,
}

/// Why a handshake went no further.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Nothing came in time.
    #[error("no answer within {} s", STEP_LIMIT.as_secs())]
    TimedOut,
    /// The other side closed.
    #[error("the other side closed the connection")]
    Closed,
    /// Not the leaf node protocol.
    #[error("it does not speak the leaf node protocol ({0}); is this the leafnode port?")]
    Protocol(#[from] crate::protocol::ProtocolError),
}

impl Socket {
    /// Compressed from here on; `buffer` holds what was read already.
    pub fn compressed(self, agreed: Agreed, buffer: &mut Vec<u8>) -> Socket {
        let raw = std::mem::take(buffer);
        Socket::Stream(match self {
            Socket::Plain(stream) => Box::new(S2Stream::new(stream, agreed, raw)),
            Socket::Stream(stream) => Box::new(S2Stream::new(stream, agreed, raw)),
        })
    }

    fn stream(&mut self) -> &mut dyn Wire {
        match self {
            Socket::Plain(stream) => stream,
            Socket::Stream(stream) => &mut **stream,
        }
    }

    /// Writes during the handshake.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let write = async {
            let stream = self.stream();
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        tokio::time::timeout(STEP_LIMIT, write).await.map_err(|_| WireError::TimedOut)?.map_err(WireError::Io)
    }

    /// Reads one operation; `buffer` keeps what came beyond it.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<Greeting, WireError> {
        tokio::time::timeout(STEP_LIMIT, self.receive_unlimited(buffer)).await.map_err(|_| WireError::TimedOut)?
    }

    async fn receive_unlimited(&mut self, buffer: &mut Vec<u8>) -> Result<Greeting, WireError> {
        let mut parser = LeafParser::default();
        loop {
            if let Some((op, used)) = parser.next(buffer, &limits(0))? {
                let greeting = match op {
                    LeafOp::Info(json) => Greeting::Info(json.to_vec()),
                    LeafOp::Connect(json) => Greeting::Connect(json.to_vec()),
                    LeafOp::Error(text) => Greeting::Error(text.to_owned()),
                    LeafOp::Ping => Greeting::Ping,
                    _ => Greeting::Other,
                };
                buffer.drain(..used);
                return Ok(greeting);
            }
            if self.stream().read_buf(buffer).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    /// Splits into the reader, the outbound buffer, and the task that writes it.
    pub fn split(self) -> (Reader, Arc<Outbound>, JoinHandle<()>) {
        match self {
            Socket::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                let out = Outbound::direct(writer, MAX_PENDING, WRITE_DEADLINE);
                let task = tokio::spawn(out.clone().write_socket());
                (Box::new(reader), out, task)
            }
            Socket::Stream(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                let out = Outbound::indirect(MAX_PENDING, WRITE_DEADLINE);
                let task = tokio::spawn(out.clone().write_stream(writer));
                (Box::new(reader), out, task)
            }
        }
    }
}
