//! One client connection from accept to end: read, parse, route, flush.

use super::client::Client;
use super::greeting::{Door, Greeted};
use super::lame_duck;
use super::limits::ClientLimits;
use super::listener::{Ending, Shared};
use super::login::Login;
use super::message_trace;
use super::outbound::CloseReason;
use super::snapshot::About;
use super::trace;
use crate::account::{Batch, Message, Origin, RouteCache, TargetId};
use crate::auth::{PublishGate, Session};
use crate::protocol::{Connect, Info, Limits, Op, Parser, ProtocolError};
use crate::subject;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// How long a publisher waits for congested subscribers after each read buffer, as nats-server's `stallTotalAllowed`.
const STALL_LIMIT: Duration = Duration::from_millis(10);
/// How long a client that does not read may hold up the daemon's end.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Serves `socket` until it ends; returns why it did.
pub(super) async fn serve(
    shared: Arc<Shared>,
    door: Door,
    socket: TcpStream,
    peer: SocketAddr,
    mut ending: Ending,
) -> CloseReason {
    let _ = socket.set_nodelay(true);
    let limits = shared.limits.now();
    let id = TargetId::next();
    let mut login = Login::new(&shared, door.kind(), peer.ip());
    let required = login.required;
    let mut info = shared.info(id.get(), peer, &login.nonce, required);
    let greeted = tokio::select! {
        greeted = door.greet(&shared, socket, peer, &mut info) => greeted,
        _ = ending.intake.wait_for(|end| *end) => Err(CloseReason::ServerShutdown),
    };
    let Greeted { transport, tls, visitor } = match greeted {
        Ok(greeted) => greeted,
        Err(reason) => {
            tracing::debug!("{peer} - Client connection closed: {reason}");
            return reason;
        }
    };
    let (mut reader, out, write) = transport.split(limits.max_pending, limits.write_deadline);
    let about = About::new(peer, visitor.as_ref());
    let client = Client::new(id, out.clone(), login.session.clone(), tls, about);
    tracing::debug!("{} - Client connection created", client.label());
    if let Some(tls) = &client.tls {
        let label = client.label();
        tracing::debug!("{label} - TLS version {}, cipher suite {}", tls.version, tls.cipher_suite);
    }
    login.begin(visitor);
    shared.registry.add(&client);
    let mut connection = Connection::new(shared.clone(), client.clone(), login, info);
    let mut idle = Liveness::new(limits.ping_interval);
    let mut leave = None;
    let reason = {
        let read = connection.read(&mut reader);
        tokio::pin!(read);
        loop {
            tokio::select! {
                reason = &mut read => break reason,
                reason = out.wait_closed() => break reason,
                _ = ending.intake.wait_for(|end| *end) => break CloseReason::ServerShutdown,
                duck = lame_duck::begun(&mut ending.lame_duck), if leave.is_none() => {
                    client.tell(&shared.farewell(&client).line());
                    leave = Some(tokio::time::Instant::now() + duck.turn());
                }
                () = until(leave) => break CloseReason::LameDuck,
                _ = tokio::time::sleep_until(idle.next) => {
                    let limits = shared.limits.now();
                    idle.interval = limits.ping_interval;
                    if idle.tick(client.in_msgs.load(Ordering::Relaxed) + client.pongs.load(Ordering::Relaxed)) > limits.ping_max {
                        client.tell(b"-ERR 'Stale Connection'\r\n");
                        break CloseReason::Stale;
                    }
                    if idle.unanswered > 0 {
                        client.about.pinged();
                        client.tell(b"PING\r\n");
                        out.trim();
                    }
                }
            }
        }
    };
    if reason == CloseReason::ServerShutdown {
        let _ = ending.connections.wait_for(|end| *end).await;
    }
    if matches!(reason, CloseReason::ServerShutdown | CloseReason::LameDuck) {
        out.drained(DRAIN_LIMIT).await;
    }
    shared.registry.remove(&client, &reason);
    connection.leave();
    shared.tell_disconnected(&client, &reason);
    log_end(&client, &reason);
    client.close();
    out.close(reason.clone());
    let _ = write.await;
    if matches!(
        reason,
        CloseReason::ProtocolViolation
            | CloseReason::MaxPayload
            | CloseReason::ReadError
            | CloseReason::AuthenticationFailure
    ) {
        discard(&mut reader).await;
    }
    reason
}

fn log_end(client: &Client, reason: &CloseReason) {
    let label = client.label();
    match reason {
        CloseReason::ClientClosed | CloseReason::ServerShutdown | CloseReason::LameDuck => {
            tracing::debug!("{label} - Client connection closed: {reason}");
        }
        CloseReason::SlowConsumerPending | CloseReason::SlowConsumerDeadline => {
            tracing::warn!("{label} - Client connection closed: {reason}");
        }
        _ => tracing::info!("{label} - Client connection closed: {reason}"),
    }
}

/// Reads on for a moment: closing with unread bytes would reset the connection, and the client would not get to see the
/// error that tells why.
async fn discard<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut buffer = [0; 4096];
    let rest = async { while matches!(reader.read(&mut buffer).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
}

/// Waits for a moment that may never come.
async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// When to ask an idle client whether it is there, and when to give it up.
struct Liveness {
    interval: Duration,
    next: tokio::time::Instant,
    unanswered: u32,
    activity: u64,
}

impl Liveness {
    fn new(interval: Duration) -> Self {
        Liveness { interval, next: tokio::time::Instant::now() + interval, unanswered: 0, activity: 0 }
    }

    /// One interval has passed; `activity` grows with everything the client sends. Returns how many pings are unanswered, the
    /// one that is due included.
    fn tick(&mut self, activity: u64) -> u32 {
        self.next += self.interval;
        if activity != self.activity {
            self.activity = activity;
            self.unanswered = 0;
            return 0;
        }
        self.unanswered += 1;
        self.unanswered
    }
}

/// What the reading side keeps between two buffers.
pub(super) struct Connection {
    pub shared: Arc<Shared>,
    pub client: Arc<Client>,
    /// The last CONNECT that was accepted.
    pub connect: Connect,
    pub login: Login,
    pub session: Arc<Session>,
    /// Checks publishes; `None` where everything is allowed.
    pub gate: Option<PublishGate>,
    pub cache: RouteCache,
    /// The server's, narrowed by the session's.
    pub limits: Limits,
    /// The server's for subscriptions.
    pub max_subscriptions: usize,
    /// The server's, as they change.
    pub server_limits: watch::Receiver<Arc<ClientLimits>>,
    /// The INFO that the client has got, until its first PING is answered.
    pub info: Option<Box<Info>>,
    /// Whether the buffer had a message or a change of subscriptions.
    active: bool,
    /// Messages of the buffer and their bytes: counted together at its end, as in nats-server.
    received: (u64, u64),
}

impl Connection {
    fn new(shared: Arc<Shared>, client: Arc<Client>, login: Login, info: Info) -> Self {
        let session = login.session.clone();
        let server_limits = shared.limits.watch();
        let limits = server_limits.borrow().clone();
        Connection {
            shared,
            client,
            connect: Connect::default(),
            login,
            session,
            gate: None,
            cache: RouteCache::default(),
            limits: limits.protocol,
            max_subscriptions: limits.max_subscriptions,
            server_limits,
            info: Some(Box::new(info)),
            active: false,
            received: (0, 0),
        }
    }

    async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> CloseReason {
        let mut parser = Parser::default();
        let mut buffer: Vec<u8> = Vec::with_capacity(FIRST_READ);
        loop {
            if let Err(reason) = self.fill(reader, &mut buffer).await {
                return reason;
            }
            let filled = buffer.len() == buffer.capacity();
            loop {
                let mut batch = Batch::by(self.client.id);
                let result = self.handle(&mut parser, &buffer, &mut batch);
                self.note_received();
                batch.settle();
                let congested: Vec<_> = batch.touched().iter().filter_map(|t| t.congestion()).collect();
                batch.flush();
                match result {
                    Ok(used) => drop(buffer.drain(..used)),
                    Err(reason) => return reason,
                }
                if !congested.is_empty() {
                    self.client.about.stalls.fetch_add(1, Ordering::Relaxed);
                    let until = Instant::now() + STALL_LIMIT;
                    for relieved in congested {
                        let left = until.saturating_duration_since(Instant::now());
                        let _ = tokio::time::timeout(left, relieved.notified()).await;
                    }
                }
                match self.login.asked.take() {
                    None => break,
                    Some(connect) => {
                        if let Err(reason) = self.log_in(connect).await {
                            return reason;
                        }
                    }
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

    /// Reads more into `buffer`; meanwhile the client's right to be here is watched over.
    async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R, buffer: &mut Vec<u8>) -> Result<(), CloseReason> {
        loop {
            let deadline = self.login.deadline;
            let expired = until(deadline);
            tokio::select! {
                biased;
                read = reader.read_buf(buffer) => match read {
                    Ok(0) => return Err(CloseReason::ClientClosed),
                    Ok(_) => break,
                    Err(_) => return Err(CloseReason::ReadError),
                },
                Ok(()) = self.login.rules.changed() => self.renew().await?,
                () = expired => return Err(self.overdue()),
            }
        }
        self.keep_up().await
    }

    /// Counts what one buffer brought.
    fn note_received(&mut self) {
        let (messages, bytes) = std::mem::take(&mut self.received);
        if messages > 0 {
            self.client.in_msgs.fetch_add(messages, Ordering::Relaxed);
            self.client.in_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.active) {
            self.client.about.touch();
        }
    }

    /// Handles every whole operation in `buffer`; returns how many bytes those took.
    fn handle(&mut self, parser: &mut Parser, buffer: &[u8], batch: &mut Batch) -> Result<usize, CloseReason> {
        let mut at = 0;
        while self.login.asked.is_none() {
            if self.login.waiting && at < buffer.len() {
                self.first_operation(buffer[at])?;
            }
            match parser.next(&buffer[at..], &self.limits) {
                Ok(Some((op, used))) => {
                    if trace::on() {
                        trace::inbound(self.client.label(), &buffer[at..at + used]);
                    }
                    at += used;
                    self.operation(op, batch)?;
                }
                Ok(None) => return Ok(at),
                Err(error) => {
                    if error.is_told() {
                        self.refuse(&error.to_string());
                    } else {
                        tracing::debug!("{} - {error}", self.client.label());
                    }
                    return Err(match error {
                        ProtocolError::Payload => CloseReason::MaxPayload,
                        _ => CloseReason::ProtocolViolation,
                    });
                }
            }
        }
        Ok(at)
    }

    fn operation(&mut self, op: Op<'_>, batch: &mut Batch) -> Result<(), CloseReason> {
        match op {
            // Without `headers` in CONNECT there are none to publish; nats-server closes without a word.
            Op::Publish { headers: [_, ..], .. } if !self.connect.headers => {
                return Err(CloseReason::ProtocolViolation);
            }
            Op::Publish { subject, reply, headers, payload } => {
                self.active = true;
                self.publish(Message { subject, reply, headers, payload }, batch);
            }
            Op::Subscribe { subject, queue, sid } => {
                self.active = true;
                self.client.pongs.fetch_add(1, Ordering::Relaxed);
                if !self.may_subscribe(subject, queue) {
                    return Ok(());
                }
                if !self.has_room() {
                    return Ok(());
                }
                if !subject::is_valid(subject) || queue.is_some_and(|q| q.contains(' ')) {
                    self.refuse("Invalid Subject");
                    return Ok(());
                }
                self.client.subscribe(subject, queue, sid);
                self.ok();
            }
            Op::Unsubscribe { sid, max } => {
                self.active = true;
                self.client.unsubscribe(sid, max);
                self.ok();
            }
            Op::Ping => {
                // Who has the answer may rely on it that what came before is ahead of what others send from then on.
                batch.settle();
                self.client.pongs.fetch_add(1, Ordering::Relaxed);
                match self.connect_info() {
                    Some(info) => self.client.tell_at_once(&[b"PONG\r\n", &info.line()]),
                    None => self.client.tell(b"PONG\r\n"),
                }
                self.client.about.answered.store(true, Ordering::Relaxed);
            }
            Op::Pong => {
                self.client.about.ponged();
                self.client.pongs.fetch_add(1, Ordering::Relaxed);
            }
            Op::Connect(json) => self.connect(json)?,
            Op::Ignored => {}
        }
        Ok(())
    }

    fn connect(&mut self, json: &[u8]) -> Result<(), CloseReason> {
        let before = self.login.accepted.then_some(&self.connect);
        let connect = Connect::read(json, before).map_err(|error| {
            tracing::warn!("{} - CONNECT is not valid: {error}", self.client.label());
            CloseReason::ProtocolViolation
        })?;
        self.login.asked = Some(connect);
        Ok(())
    }

    /// CONNECT has been accepted.
    pub(super) fn connected(&mut self, connect: Connect) -> Result<(), CloseReason> {
        if !(0..=1).contains(&connect.protocol) {
            self.refuse("invalid client protocol");
            return Err(CloseReason::ProtocolViolation);
        }
        if connect.no_responders && !connect.headers {
            self.refuse("no responders requires headers support");
            return Err(CloseReason::ProtocolViolation);
        }
        self.client.headers.store(connect.headers, Ordering::Relaxed);
        self.login.accepted = true;
        self.connect = connect;
        self.ok();
        Ok(())
    }

    fn publish(&mut self, message: Message<'_>, batch: &mut Batch) {
        self.received.0 += 1;
        self.received.1 += message.size() as u64;
        if self.connect.pedantic && !subject::is_valid_literal(message.subject) {
            self.refuse("Invalid Publish Subject");
        }
        let mapped = self.session.account.map(message.subject, &mut self.cache);
        let to = mapped.of(message.subject);
        // Permissions are those for what a mapping has made of the subject.
        if !self.may_publish(to.unwrap_or(message.subject)) {
            return;
        }
        if !message.reply.is_empty() && message.has_reserved_reply() {
            self.refuse(&format!("Permissions Violation for Publish with Reply of {:?}", message.reply));
            return;
        }
        self.ok();
        let client = &self.client;
        let origin = Origin { id: client.id, echo: self.connect.echo };
        let came = message.subject;
        let message = Message { subject: to.unwrap_or_default(), ..message };
        if message_trace::is_asked_for(message.headers, &self.session.account) {
            return self.publish_traced(origin, came, &message, batch);
        }
        self.publish_on(origin, &message, batch);
    }

    /// Routes a message; without a subject a mapping has made it go nowhere.
    pub(super) fn publish_on(&mut self, origin: Origin, message: &Message<'_>, batch: &mut Batch) {
        let routed = !message.subject.is_empty();
        let reached = if routed { self.session.account.route(origin, message, &mut self.cache, batch) } else { 0 };
        if reached == 0 && !message.reply.is_empty() && self.connect.no_responders {
            self.client.no_responders(message.subject, message.reply);
        }
    }

    pub(super) fn may_publish(&mut self, subject: &str) -> bool {
        if let Some(gate) = &mut self.gate
            && !gate.may_publish(subject)
            && !self.client.may_answer(subject)
        {
            self.refuse(&format!("Permissions Violation for Publish to {subject:?}"));
            return false;
        }
        true
    }

    fn may_subscribe(&self, subject: &str, queue: Option<&str>) -> bool {
        let permissions = self.session.permissions.as_ref();
        if permissions.is_none_or(|p| p.may_subscribe(subject, queue)) {
            return true;
        }
        self.refuse(&match queue {
            None => format!("Permissions Violation for Subscription to {subject:?}"),
            Some(queue) => format!("Permissions Violation for Subscription to {subject:?} using queue {queue:?}"),
        });
        false
    }

    fn ok(&self) {
        if self.connect.verbose {
            self.client.tell(b"+OK\r\n");
        }
    }

    pub(super) fn refuse(&self, text: &str) {
        self.client.tell(format!("-ERR '{text}'\r\n").as_bytes());
    }
}
