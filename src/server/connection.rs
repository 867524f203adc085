//! One client connection from accept to end: read, parse, route, flush.

use super::client::Client;
use super::listener::{Ending, Shared};
use super::outbound::CloseReason;
use super::tls;
use crate::account::{Batch, Message, Origin, RouteCache, TargetId};
use crate::protocol::{Connect, Op, Parser, ProtocolError};
use crate::subject;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// How long a publisher waits for congested subscribers after each read buffer, as nats-server's `stallTotalAllowed`.
const STALL_LIMIT: Duration = Duration::from_millis(10);
/// How long a client that does not read may hold up the daemon's end.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Serves `socket` until it ends; returns why it did.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, mut ending: Ending) -> CloseReason {
    let _ = socket.set_nodelay(true);
    let options = &shared.options;
    let id = TargetId::next();
    let policy = shared.tls.current();
    let greeted = tokio::select! {
        greeted = tls::greet(socket, policy.as_deref(), shared.info(id.get(), peer)) => greeted,
        _ = ending.intake.wait_for(|end| *end) => Err(CloseReason::ServerShutdown),
    };
    let (transport, tls) = match greeted {
        Ok(greeted) => greeted,
        Err(reason) => return reason,
    };
    let (mut reader, out, write) = transport.split(options.max_pending, options.write_deadline);
    let client = Client::new(id, out.clone(), shared.account.clone(), tls);
    if let Some(tls) = &client.tls {
        tracing::debug!("client {peer}: TLS version {}, cipher suite {}", tls.version, tls.cipher_suite);
    }
    let mut connection = Connection::new(shared.clone(), client.clone());
    let mut idle = Liveness::new(options.ping_interval, options.ping_max);
    let reason = {
        let read = connection.read(&mut reader);
        tokio::pin!(read);
        loop {
            tokio::select! {
                reason = &mut read => break reason,
                reason = out.wait_closed() => break reason,
                _ = ending.intake.wait_for(|end| *end) => break CloseReason::ServerShutdown,
                _ = tokio::time::sleep_until(idle.next) => {
                    if idle.tick(client.in_msgs.load(Ordering::Relaxed) + client.pongs.load(Ordering::Relaxed)) {
                        out.send(b"-ERR 'Stale Connection'\r\n");
                        break CloseReason::Stale;
                    }
                    if idle.unanswered > 0 {
                        out.send(b"PING\r\n");
                        out.trim();
                    }
                }
            }
        }
    };
    if reason == CloseReason::ServerShutdown {
        let _ = ending.connections.wait_for(|end| *end).await;
        out.drained(DRAIN_LIMIT).await;
    }
    client.close();
    out.close(reason.clone());
    let _ = write.await;
    if matches!(reason, CloseReason::ProtocolViolation | CloseReason::MaxPayload) {
        discard(&mut reader).await;
    }
    reason
}

/// Reads on for a moment: closing with unread bytes would reset the connection, and the client would not get to see the
/// error that tells why.
async fn discard<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut buffer = [0; 4096];
    let rest = async { while matches!(reader.read(&mut buffer).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
}

/// When to ask an idle client whether it is there, and when to give it up.
struct Liveness {
    interval: Duration,
    max: u32,
    next: tokio::time::Instant,
    unanswered: u32,
    activity: u64,
}

impl Liveness {
    fn new(interval: Duration, max: u32) -> Self {
        Liveness { interval, max, next: tokio::time::Instant::now() + interval, unanswered: 0, activity: 0 }
    }

    /// One interval has passed; `activity` grows with everything the client sends. Returns whether it is stale.
    fn tick(&mut self, activity: u64) -> bool {
        self.next += self.interval;
        if activity != self.activity {
            self.activity = activity;
            self.unanswered = 0;
            return false;
        }
        self.unanswered += 1;
        self.unanswered > self.max
    }
}

/// What the reading side keeps between two buffers.
struct Connection {
    shared: Arc<Shared>,
    client: Arc<Client>,
    connect: Connect,
    cache: RouteCache,
}

impl Connection {
    fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        Connection { shared, client, connect: Connect::default(), cache: RouteCache::default() }
    }

    async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> CloseReason {
        let mut parser = Parser::default();
        let mut buffer: Vec<u8> = Vec::with_capacity(FIRST_READ);
        loop {
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return CloseReason::ClientClosed,
                Ok(_) => {}
                Err(_) => return CloseReason::ReadError,
            }
            let filled = buffer.len() == buffer.capacity();
            let mut batch = Batch::default();
            let result = self.handle(&mut parser, &buffer, &mut batch);
            let congested: Vec<_> = batch.touched().iter().filter_map(|t| t.congestion()).collect();
            batch.flush();
            match result {
                Ok(used) => drop(buffer.drain(..used)),
                Err(reason) => return reason,
            }
            if !congested.is_empty() {
                let until = Instant::now() + STALL_LIMIT;
                for relieved in congested {
                    let left = until.saturating_duration_since(Instant::now());
                    let _ = tokio::time::timeout(left, relieved.notified()).await;
                }
            }
            // The buffer follows the traffic: large while it fills up, as large as the message that is coming in, and
            // small again once it is quiet.
            if buffer.is_empty() && buffer.capacity() > LARGEST_READ {
                buffer = Vec::new();
            }
            let grown = if filled { (buffer.capacity() * 2).min(LARGEST_READ) } else { FIRST_READ };
            let want = grown.max(parser.wanted());
            if buffer.capacity() < want {
                buffer.reserve_exact(want - buffer.len());
            }
        }
    }

    /// Handles every whole operation in `buffer`; returns how many bytes those took.
    fn handle(&mut self, parser: &mut Parser, buffer: &[u8], batch: &mut Batch) -> Result<usize, CloseReason> {
        let mut at = 0;
        loop {
            match parser.next(&buffer[at..], &self.shared.options.limits) {
                Ok(Some((op, used))) => {
                    at += used;
                    self.operation(op, batch)?;
                }
                Ok(None) => return Ok(at),
                Err(error) => {
                    self.refuse(&error.to_string());
                    return Err(match error {
                        ProtocolError::Payload => CloseReason::MaxPayload,
                        _ => CloseReason::ProtocolViolation,
                    });
                }
            }
        }
    }

    fn operation(&mut self, op: Op<'_>, batch: &mut Batch) -> Result<(), CloseReason> {
        match op {
            Op::Publish { subject, reply, headers, payload } => {
                self.publish(Message { subject, reply, headers, payload }, batch);
            }
            Op::Subscribe { subject, queue, sid } => {
                self.client.pongs.fetch_add(1, Ordering::Relaxed);
                if !subject::is_valid(subject) || queue.is_some_and(|q| q.contains(' ')) {
                    self.refuse("Invalid Subject");
                    return Ok(());
                }
                self.client.subscribe(subject, queue, sid);
                self.ok();
            }
            Op::Unsubscribe { sid, max } => {
                self.client.unsubscribe(sid, max);
                self.ok();
            }
            Op::Ping => {
                self.client.pongs.fetch_add(1, Ordering::Relaxed);
                self.client.out.send(b"PONG\r\n");
            }
            Op::Pong => {
                self.client.pongs.fetch_add(1, Ordering::Relaxed);
            }
            Op::Connect(json) => self.connect(json)?,
            Op::Ignored => {}
        }
        Ok(())
    }

    fn connect(&mut self, json: &[u8]) -> Result<(), CloseReason> {
        let connect: Connect = serde_json::from_slice(json).map_err(|error| {
            tracing::warn!("client {}: CONNECT is not valid: {error}", self.client.id.get());
            self.refuse("Parser Error");
            CloseReason::ProtocolViolation
        })?;
        if !(0..=1).contains(&connect.protocol) {
            self.refuse("invalid client protocol");
            return Err(CloseReason::ProtocolViolation);
        }
        if connect.no_responders && !connect.headers {
            self.refuse("no responders requires headers support");
            return Err(CloseReason::ProtocolViolation);
        }
        self.client.headers.store(connect.headers, Ordering::Relaxed);
        self.connect = connect;
        self.ok();
        Ok(())
    }

    fn publish(&mut self, message: Message<'_>, batch: &mut Batch) {
        let client = &self.client;
        client.in_msgs.fetch_add(1, Ordering::Relaxed);
        client.in_bytes.fetch_add(message.size() as u64, Ordering::Relaxed);
        if self.connect.pedantic && !subject::is_valid_literal(message.subject) {
            self.refuse("Invalid Publish Subject");
        }
        let origin = Origin { id: client.id, echo: self.connect.echo };
        let reached = client.account.route(origin, &message, &mut self.cache, batch);
        if reached == 0 && !message.reply.is_empty() && self.connect.no_responders {
            client.no_responders(message.subject, message.reply);
        }
        self.ok();
    }

    fn ok(&self) {
        if self.connect.verbose {
            self.client.out.send(b"+OK\r\n");
        }
    }

    fn refuse(&self, text: &str) {
        self.client.out.send(format!("-ERR '{text}'\r\n").as_bytes());
    }
}
