//! The bytes inside a WebSocket connection as an ordinary byte stream, so that the connection need not know.
//!
//! The boundaries of messages mean nothing to the protocol inside. Pings are answered and the closing handshake is done
//! in here: answers go out with the next write, or during a read while no write is waiting for the socket.

use super::deflate;
use super::frame::{self, FrameError, Header, Opcode, Sequence};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Smallest and largest read from the socket; in between it follows the traffic.
const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// Most bytes of one message that we send.
const MESSAGE: usize = 64 * 1024;
/// The same towards browsers, which take smaller frames better (nats-server `wsFrameSizeForBrowsers`).
const BROWSER_MESSAGE: usize = 4 * 1024;

/// What the two sides have agreed upon.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The other side masks what it sends, as clients do.
    pub masked: bool,
    /// We mask what we send.
    pub masks: bool,
    /// Messages may be compressed.
    pub compression: bool,
    /// The client is a browser.
    pub browser: bool,
    /// Largest message of the protocol inside, bytes; may change.
    pub max_payload: Arc<AtomicUsize>,
}

/// Status and text of the close frame at the end.
pub type Farewell = Box<dyn Fn() -> (u16, String) + Send + Sync>;

/// A WebSocket connection after the upgrade.
pub struct WebSocketStream<S> {
    inner: S,
    agreement: Agreement,
    farewell: Option<Farewell>,
    input: Input,
    output: Output,
}

/// The reading side.
struct Input {
    sequence: Sequence,
    /// Read from the socket, from `at` on not yet looked at.
    raw: Vec<u8>,
    at: usize,
    read_size: usize,
    /// The frame whose payload is coming in.
    frame: Option<Frame>,
    /// A compressed message as far as it is here.
    compressed: Vec<u8>,
    /// A message that was compressed, from `plain_at` on not yet handed over.
    plain: Vec<u8>,
    plain_at: usize,
    state: State,
    /// A breach behind data that had to be handed over first.
    breach: Option<FrameError>,
}

/// How far the reading side is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A close frame came.
    Closed,
    /// A breach of the protocol: what still comes is dropped.
    Broken,
}

struct Frame {
    header: Header,
    /// Of its payload so far.
    taken: u64,
    compressed: bool,
}

/// The writing side.
#[derive(Default)]
struct Output {
    /// Frames, from `at` on not yet written.
    frames: Vec<u8>,
    at: usize,
    /// Answer to the last ping; an earlier one need not be answered any more (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    /// Payload of our close frame.
    close: Option<Vec<u8>>,
    closing: bool,
    /// A write waits for the socket; a read must not take its place.
    blocked: bool,
    /// Frames are masked.
    masks: bool,
}

impl<S> WebSocketStream<S> {
    /// After the upgrade.
    pub fn new(inner: S, agreement: Agreement) -> Self {
        WebSocketStream {
            inner,
            farewell: None,
            input: Input {
                sequence: Sequence::new(agreement.masked, agreement.compression),
                raw: Vec::new(),
                at: 0,
                read_size: FIRST_READ,
                frame: None,
                compressed: Vec::new(),
                plain: Vec::new(),
                plain_at: 0,
                state: State::Open,
                breach: None,
            },
            output: Output { masks: agreement.masks, ..Output::default() },
            agreement,
        }
    }

    /// Puts a layer between the frames and what is below them; it is given what was read from there and not looked at.
    pub fn layered<T>(mut self, layer: impl FnOnce(S, Vec<u8>) -> T) -> WebSocketStream<T> {
        let raw = self.input.raw.split_off(self.input.at);
        (self.input.raw, self.input.at) = (Vec::new(), 0);
        WebSocketStream {
            inner: layer(self.inner, raw),
            agreement: self.agreement,
            farewell: self.farewell,
            input: self.input,
            output: self.output,
        }
    }

    /// What to say at the end, unless the other side ended.
    pub fn set_farewell(&mut self, farewell: Farewell) {
        self.farewell = Some(farewell);
    }
}

impl Input {
    /// Hands over what is here. `Ok(false)`: more has to be read first.
    fn take(&mut self, agreement: &Agreement, output: &mut Output, buf: &mut ReadBuf<'_>) -> Result<bool, FrameError> {
        loop {
            if self.plain_at < self.plain.len() {
                let n = buf.remaining().min(self.plain.len() - self.plain_at);
                buf.put_slice(&self.plain[self.plain_at..self.plain_at + n]);
                self.plain_at += n;
                if self.plain_at == self.plain.len() {
                    (self.plain, self.plain_at) = (Vec::new(), 0);
                }
                return Ok(true);
            }
            match self.state {
                State::Open if buf.remaining() > 0 => {}
                State::Open | State::Closed => return Ok(true),
                State::Broken => {
                    self.at = self.raw.len();
                    return Ok(false);
                }
            }
            let Some(frame) = &mut self.frame else {
                let Some((header, size)) = Header::parse(&self.raw[self.at..])? else { return Ok(false) };
                let compressed = self.sequence.take(&header)?;
                self.at += size;
                self.frame = Some(Frame { header, taken: 0, compressed });
                continue;
            };
            let left = frame.header.length - frame.taken;
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.raw.len() - self.at);
            if frame.header.opcode.is_control() {
                if (here as u64) < left {
                    return Ok(false);
                }
                let payload = &mut self.raw[self.at..self.at + here];
                frame::mask(frame.header.mask.unwrap_or_default(), 0, payload);
                match frame.header.opcode {
                    Opcode::Ping => output.pong = Some(payload.to_vec()),
                    Opcode::Close => {
                        let answer = frame::close_answer(payload)?;
                        output.end(answer);
                        self.state = State::Closed;
                    }
                    _ => {}
                }
                self.at += here;
                self.frame = None;
                continue;
            }
            let want = if frame.compressed { here } else { here.min(buf.remaining()) };
            let part = &mut self.raw[self.at..self.at + want];
            frame::mask(frame.header.mask.unwrap_or_default(), frame.taken, part);
            self.at += want;
            frame.taken += want as u64;
            let complete = frame.taken == frame.header.length;
            if frame.compressed {
                let most = agreement.max_payload.load(Ordering::Relaxed);
                if self.compressed.len() + want > deflate::max_compressed(most) {
                    return Err(FrameError::TooLarge);
                }
                self.compressed.extend_from_slice(part);
                if complete && frame.header.last {
                    self.plain = deflate::decompress(std::mem::take(&mut self.compressed), most)?;
                }
            } else {
                buf.put_slice(part);
            }
            match (complete, want) {
                (true, _) => self.frame = None,
                (false, 0) => return Ok(false),
                _ => {}
            }
        }
    }

    /// Reads once from `inner`, in a size that follows the traffic; 0 at its end.
    fn read<S: AsyncRead + Unpin>(&mut self, inner: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.raw.drain(..self.at);
        self.at = 0;
        if self.raw.is_empty() && self.raw.capacity() > self.read_size {
            self.raw = Vec::new();
        }
        self.raw.reserve(self.read_size);
        let read = ready!(pin!(inner.read_buf(&mut self.raw)).poll(cx))?;
        let filled = self.raw.len() == self.raw.capacity();
        self.read_size = if filled { (self.read_size * 2).min(LARGEST_READ) } else { FIRST_READ };
        Poll::Ready(Ok(read))
    }
}

impl Output {
    fn end(&mut self, payload: Vec<u8>) {
        if !self.closing {
            self.closing = true;
            self.close = Some(payload);
        }
    }

    /// The next frames into `frames`; `false` if there is nothing to write.
    fn fill(&mut self) -> bool {
        if self.at < self.frames.len() {
            return true;
        }
        self.frames.clear();
        self.at = 0;
        if let Some(pong) = self.pong.take() {
            self.control(Opcode::Pong, &pong);
        }
        // Without a status of theirs there is none of ours to give (RFC 6455, 7.4.1).
        if let Some(close) = self.close.take().filter(|close| !close.is_empty()) {
            self.control(Opcode::Close, &close);
        }
        !self.frames.is_empty()
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        self.frame(opcode, payload, false);
    }

    fn frame(&mut self, opcode: Opcode, body: &[u8], compressed: bool) {
        let mask = self.masks.then(|| fastrand::u32(..).to_ne_bytes());
        self.frames.reserve(body.len() + frame::MAX_HEADER);
        Header { opcode, last: true, compressed, mask, length: body.len() as u64 }.write(&mut self.frames);
        let from = self.frames.len();
        self.frames.extend_from_slice(body);
        if let Some(key) = mask {
            frame::mask(key, 0, &mut self.frames[from..]);
        }
    }

    fn message(&mut self, data: &[u8], compression: bool) {
        let compressed = (compression && data.len() > deflate::THRESHOLD).then(|| deflate::compress(data));
        let body = compressed.as_deref().unwrap_or(data);
        self.frame(Opcode::Binary, body, compressed.is_some());
    }
}

impl<S: AsyncWrite + Unpin> WebSocketStream<S> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output.fill() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.output.frames[self.output.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.at += written;
        }
        if self.output.frames.capacity() > FIRST_READ {
            self.output.frames = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Self::drain`], by the writing task.
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let drained = self.drain(cx);
        self.output.blocked = drained.is_pending();
        drained
    }

    /// Sends what the reading side has to answer, unless the writing task is at it: a socket knows one waiting writer.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if !self.output.blocked && self.output.fill() {
            // A failure shows in the next write as well.
            if let Poll::Ready(Ok(())) = self.drain(cx) {
                let _ = Pin::new(&mut self.inner).poll_flush(cx);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Some(error) = this.input.breach.take() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        loop {
            let taken = this.input.take(&this.agreement, &mut this.output, buf);
            if let Err(error) = taken {
                let status = if error == FrameError::TooLarge { frame::TOO_BIG } else { frame::PROTOCOL_ERROR };
                this.output.end(frame::close_payload(status, &error.to_string()));
                this.input.state = State::Broken;
            }
            this.answer(cx);
            match taken {
                Err(error) if buf.filled().len() > before => {
                    this.input.breach = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) if buf.filled().len() > before => return Poll::Ready(Ok(())),
                Ok(false) => {}
            }
            if ready!(this.input.read(&mut this.inner, cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WebSocketStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_out(cx))?;
        // Nothing may follow a close frame.
        if self.output.closing {
            return Poll::Ready(Ok(data.len()));
        }
        let size = data.len().min(if self.agreement.browser { BROWSER_MESSAGE } else { MESSAGE });
        let compression = self.agreement.compression;
        self.output.message(&data[..size], compression);
        match self.write_out(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(size)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(farewell) = self.farewell.take() {
            let (status, text) = farewell();
            self.output.end(frame::close_payload(status, &text));
        }
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
