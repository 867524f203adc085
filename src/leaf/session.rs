//! The life of a leaf connection after its handshake: read a buffer, act on every operation in it, flush once; ping what
//! is silent, and give it up when it stays so. The same for both sides.

use super::liveness::{Liveness, Verdict};
use super::peer::Peer;
use super::wire::{Reader, limits};
use crate::account::{Batch, Message, RouteCache};
use crate::protocol::leaf::{LeafOp, LeafParser};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// How long reading waits for congested subscribers after each buffer, so that a slow client slows the peer down before
/// it is cut off.
const STALL_LIMIT: Duration = Duration::from_millis(10);

/// What the two sides treat differently. An error ends the connection and is its reason.
pub trait Control: Send {
    /// `INFO`, its JSON.
    fn info(&mut self, json: &[u8]) -> Result<(), String>;
    /// `-ERR`
    fn error(&mut self, text: &str) -> Result<(), String>;
    /// A PONG came this long after its PING.
    fn round_trip(&mut self, time: Duration);
    /// A message came that the permissions do not allow.
    fn refused(&mut self, subject: &str);
}

/// What a session needs beside its socket.
pub struct Session<'a> {
    /// The connection in the account.
    pub peer: Arc<Peer>,
    /// Our loop detection subject.
    pub loop_subject: &'a str,
    /// Time of silence after which a ping goes out.
    pub ping_interval: Duration,
    /// Largest message that is taken, bytes.
    pub max_payload: usize,
    /// Ends the session.
    pub shutdown: watch::Receiver<bool>,
}

impl Session<'_> {
    /// Runs until the connection ends; returns why. `buffer` holds what the handshake read beyond its own.
    pub async fn run(mut self, mut reader: Reader, buffer: Vec<u8>, control: &mut dyn Control) -> String {
        let (peer, interval) = (self.peer.clone(), self.ping_interval);
        let life = Liveness::new(interval, Instant::now());
        let mut shutdown = self.shutdown.clone();
        let read = self.read(&mut reader, buffer, control, &life);
        tokio::pin!(read);
        let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        // The handshake's interest may be waiting already.
        peer.out.flush();
        loop {
            tokio::select! {
                reason = &mut read => return reason,
                reason = peer.out.wait_closed() => return reason.to_string(),
                _ = shutdown.wait_for(|end| *end) => return "this daemon ends".into(),
                () = peer.flush_soon.notified() => peer.out.flush(),
                _ = timer.tick() => {
                    match life.tick(Instant::now(), peer.out.sent_bytes(), peer.out.waiting()) {
                        Verdict::Ping => peer.out.send_urgent(b"PING\r\n"),
                        Verdict::Wait => {}
                        Verdict::Dead(silent) => return format!("nothing came for {:.1} s", silent.as_secs_f64()),
                    }
                }
            }
        }
    }

    async fn read(
        &mut self,
        reader: &mut Reader,
        mut buffer: Vec<u8>,
        control: &mut dyn Control,
        life: &Liveness,
    ) -> String {
        let (mut parser, mut cache) = (LeafParser::default(), RouteCache::default());
        loop {
            let filled = buffer.len() == buffer.capacity();
            let mut batch = Batch::default();
            let result = self.handle(&mut parser, &buffer, &mut cache, &mut batch, control, life);
            let congested: Vec<_> = batch.touched().iter().filter_map(|t| t.congestion()).collect();
            batch.flush();
            match result {
                Ok(used) => drop(buffer.drain(..used)),
                Err(reason) => return reason,
            }
            let until = tokio::time::Instant::now() + STALL_LIMIT;
            for relieved in congested {
                let _ = tokio::time::timeout_at(until, relieved.notified()).await;
            }
            // The buffer follows the traffic: large while it fills up, as large as the message that is coming in, and small
            // again once it is quiet. A line may be longer than the largest read; the parser bounds it.
            if buffer.is_empty() && (buffer.capacity() > LARGEST_READ || !filled) {
                buffer = Vec::new();
            }
            let grown = if filled { (buffer.capacity() * 2).clamp(FIRST_READ, LARGEST_READ) } else { FIRST_READ };
            let want = grown.max(parser.wanted()).max(buffer.len() + FIRST_READ);
            if buffer.capacity() < want {
                buffer.reserve_exact(want - buffer.len());
            }
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return "the other side closed the connection".into(),
                Ok(_) => {
                    life.heard(Instant::now());
                }
                Err(error) => return format!("reading failed: {error}"),
            }
        }
    }

    /// Acts on every whole operation in `buffer`; returns how many bytes those took.
    fn handle(
        &mut self,
        parser: &mut LeafParser,
        buffer: &[u8],
        cache: &mut RouteCache,
        batch: &mut Batch,
        control: &mut dyn Control,
        life: &Liveness,
    ) -> Result<usize, String> {
        // Pings and their answers are no activity.
        let (mut at, mut active) = (0, false);
        loop {
            let (op, used) = match parser.next(&buffer[at..], &limits(self.max_payload)) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    if active {
                        self.peer.was_active(Instant::now());
                    }
                    return Ok(at);
                }
                Err(error) => {
                    let start = String::from_utf8_lossy(&buffer[at..buffer.len().min(at + 64)]).into_owned();
                    return Err(format!("it sent what is no leaf node protocol ({error}): {start:?}"));
                }
            };
            at += used;
            active |= matches!(op, LeafOp::Message { .. } | LeafOp::Subscribe { .. } | LeafOp::Unsubscribe { .. });
            match op {
                LeafOp::Message { subject, reply, queues, headers, payload } => {
                    let message = Message { subject, reply, headers, payload };
                    if !self.peer.message(&message, &queues, cache, batch) {
                        control.refused(subject);
                    }
                }
                LeafOp::Subscribe { subject, .. } if subject == self.loop_subject => {
                    self.peer.out.send(b"-ERR 'Loop detected for leafnode account'\r\n");
                    return Err("Loop detected: this server is reached through the other side as well; remove one of the leaf connections".into());
                }
                LeafOp::Subscribe { subject, queue, weight } => self.peer.subscribe(subject, queue, weight),
                LeafOp::Unsubscribe { subject, queue } => self.peer.unsubscribe(subject, queue),
                LeafOp::Ping => self.peer.out.send_urgent(b"PONG\r\n"),
                LeafOp::Pong => {
                    if let Some(time) = life.answered(Instant::now()) {
                        control.round_trip(time);
                    }
                }
                LeafOp::Info(json) => control.info(json)?,
                LeafOp::Error(text) => control.error(text)?,
                LeafOp::Connect(_) | LeafOp::Ok => {}
            }
        }
    }
}
