//! The socket under a leaf connection, plain or TLS, and the first operations on it, before either side trusts the other.

use super::compression::{Agreed, S2Stream};
use crate::protocol::Limits;
use crate::protocol::leaf::{LeafOp, LeafParser};
use crate::server::outbound::Outbound;
use crate::server::websocket::WebSocketStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longest line of a peer: an INFO with many permissions.
const CONTROL_LINE: usize = 1 << 20;
/// Largest message that we take from a peer, whatever it says of itself.
pub const MAX_PAYLOAD: usize = 64 << 20;
/// Taken whatever the peer says, as it is nats-server's default.
const MIN_PAYLOAD: usize = 1 << 20;
/// How long a step of the handshake may take.
pub const STEP_LIMIT: Duration = Duration::from_secs(5);
/// More than any burst of interest; above it the connection is closed as a slow consumer.
const MAX_PENDING: usize = 64 << 20;
/// A link that takes nothing for so long is closed in any case; pings find out earlier.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
/// Pings and their answers wait for about this many bytes at most.
const SLICE: usize = 16 * 1024;
/// Bytes that the kernel takes and has not sent: what it has taken cannot be overtaken any more.
const UNSENT: u32 = 16 * 1024;

/// Limits of the parser towards a peer that says it takes (and hence sends) messages of `max_payload` bytes.
pub fn limits(max_payload: usize) -> Limits {
    Limits { control_line: CONTROL_LINE, payload: max_payload.clamp(MIN_PAYLOAD, MAX_PAYLOAD) }
}

/// Sets up a TCP connection for a link that may be slow. That it may fail only costs time.
pub fn prepare(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let _ = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT);
}

pub use crate::server::ByteStream as Wire;

/// A connection before it is split into its reading and writing side.
pub enum Socket {
    /// Plain TCP, which any publisher may write to.
    Plain(TcpStream),
    /// TLS, or compressed, which only one task can write to.
    Stream(Box<dyn Wire>),
    /// WebSocket over any of them; likewise.
    Framed(Box<WebSocketStream<Box<dyn Wire>>>),
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
    #[error("no answer in time")]
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
        match self {
            Socket::Plain(stream) => Socket::Stream(Box::new(S2Stream::new(stream, agreed, std::mem::take(buffer)))),
            Socket::Stream(stream) => Socket::Stream(Box::new(S2Stream::new(stream, agreed, std::mem::take(buffer)))),
            // nats-server compresses the frames, not what is in them.
            Socket::Framed(stream) => Socket::Framed(Box::new(
                stream.layered(|inner, raw| Box::new(S2Stream::new(inner, agreed, raw)) as Box<dyn Wire>),
            )),
        }
    }

    /// To put another layer around it.
    pub fn into_wire(self) -> Box<dyn Wire> {
        match self {
            Socket::Plain(stream) => Box::new(stream),
            Socket::Stream(stream) => stream,
            Socket::Framed(stream) => stream,
        }
    }

    fn stream(&mut self) -> &mut dyn Wire {
        match self {
            Socket::Plain(stream) => stream,
            Socket::Stream(stream) => &mut **stream,
            Socket::Framed(stream) => &mut **stream,
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

    /// Reads one operation, within `limit`; `buffer` keeps what came beyond it.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>, limit: Duration) -> Result<Greeting, WireError> {
        tokio::time::timeout(limit, self.receive_unlimited(buffer)).await.map_err(|_| WireError::TimedOut)?
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
                let out = Outbound::sliced(Some(writer), MAX_PENDING, WRITE_DEADLINE, SLICE);
                let task = tokio::spawn(out.clone().write_socket());
                (Box::new(reader), out, task)
            }
            Socket::Stream(stream) => by_one_task(stream),
            Socket::Framed(stream) => by_one_task(stream),
        }
    }
}

fn by_one_task<S: Wire + 'static>(stream: S) -> (Reader, Arc<Outbound>, JoinHandle<()>) {
    let (reader, writer) = tokio::io::split(stream);
    let out = Outbound::sliced(None, MAX_PENDING, WRITE_DEADLINE, SLICE);
    let task = tokio::spawn(out.clone().write_stream(writer));
    (Box::new(reader), out, task)
}
