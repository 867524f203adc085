//! The byte stream under a client connection: plain TCP, or something that only one task can write to (TLS, WebSocket).

use super::outbound::Outbound;
use super::websocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection before it is split into its reading and writing side.
pub(super) enum Transport {
    /// Plain TCP, which any publisher may write to.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<dyn ByteStream>),
    /// WebSocket over either.
    WebSocket(Box<websocket::Stream>),
}

/// The reading side.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;

impl Transport {
    /// Splits into the reader, the outbound buffer, and the task that writes it.
    pub fn split(self, max_pending: usize, write_deadline: Duration) -> (Reader, Arc<Outbound>, JoinHandle<()>) {
        match self {
            Transport::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                let out = Outbound::direct(writer, max_pending, write_deadline);
                let task = tokio::spawn(out.clone().write_socket());
                (Box::new(reader), out, task)
            }
            Transport::Tls(stream) => {
                let out = Outbound::indirect(max_pending, write_deadline);
                let (reader, writer) = tokio::io::split(stream);
                let task = tokio::spawn(out.clone().write_stream(writer));
                (Box::new(reader), out, task)
            }
            Transport::WebSocket(mut stream) => {
                let out = Outbound::indirect(max_pending, write_deadline);
                stream.set_farewell(websocket::farewell(out.clone()));
                let (reader, writer) = tokio::io::split(stream);
                let task = tokio::spawn(out.clone().write_stream(writer));
                (Box::new(reader), out, task)
            }
        }
    }
}
