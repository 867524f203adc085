//! What waits to be written to one connection: a bounded buffer that anybody may append to.
//!
//! Publishers append under a short lock, each in a lane of its own, and mark the connection as touched. At the end of their
//! batch what has gathered in the lane joins the queue ([`Outbound::settle`]), and [`Outbound::flush`] writes that straight to
//! the socket, as far as the socket takes it without blocking. Only what would block is left to the connection's writer task.
//! No lock is held during a write: the writing side takes the whole buffer out.
//! A TLS or WebSocket connection cannot be written to by anybody, so there the writer task does all of it.

use super::lane::{LARGEST, Lane, Lanes};
use super::pending::{Pending, Writing};
use crate::account::TargetId;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// Buffers up to this size are kept for the next batch; larger ones are given back to the allocator.
const KEEP_CAPACITY: usize = 64 * 1024;

pub use super::close_reason::CloseReason;

/// The outbound side of one connection.
pub struct Outbound {
    queue: Mutex<Queue>,
    /// Made with the first message. A lane is locked while the queue is, never the other way round.
    lanes: OnceLock<Box<Lanes>>,
    max_pending: usize,
    write_deadline: Duration,
    /// Told when the writer task has something to do.
    work: Notify,
    /// Told when what waited is below the stall mark again.
    relieved: Arc<Notify>,
    /// Told when the connection is closed.
    closing: Notify,
    sent_bytes: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// What anybody may write to; gone once the connection is closed, as others may hold the `Outbound` for longer.
    socket: Option<Arc<OwnedWriteHalf>>,
    /// Not yet taken by anybody.
    pending: Pending,
    /// A buffer to swap with.
    spare: Vec<u8>,
    /// Begun, and left to the writer task.
    taken: Writing,
    /// Somebody is writing; everybody else leaves what they have in `pending`.
    busy: bool,
    /// Bytes handed to the writing side and not yet written.
    in_flight: usize,
    closed: Option<CloseReason>,
    /// Whether somebody is to call [`Outbound::flush`].
    touched: bool,
    /// Messages appended, and their bytes of headers and payload.
    messages: (u64, u64),
    /// How many of them the last flush found, and when: one look at the clock for a batch, as in nats-server.
    flushed: (u64, Option<Instant>),
}

impl Queue {
    fn note_messages(&mut self) {
        if self.flushed.0 != self.messages.0 {
            self.flushed = (self.messages.0, Some(Instant::now()));
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if (self.spare.capacity()..=KEEP_CAPACITY).contains(&buffer.capacity()) {
            self.spare = buffer;
        }
    }

    /// A buffer that is not in use.
    fn lend(&mut self) -> Vec<u8> {
        match self.pending.bytes.is_empty() && self.pending.bytes.capacity() > 0 {
            true => std::mem::take(&mut self.pending.bytes),
            false => std::mem::take(&mut self.spare),
        }
    }

    /// Appends what has gathered elsewhere, without a copy if nothing is pending.
    fn join(&mut self, mut bytes: Vec<u8>) {
        match self.pending.bytes.is_empty() {
            true => std::mem::swap(&mut self.pending.bytes, &mut bytes),
            false => self.pending.bytes.extend_from_slice(&bytes),
        }
        self.recycle(bytes);
    }

    fn take(&mut self) -> Option<Writing> {
        let spare = &mut self.spare;
        self.pending.take(spare)
    }

    fn waiting(&self) -> usize {
        self.pending.len() + self.in_flight
    }
}

impl Outbound {
    /// For a plain socket, which any publisher may write to. [`Outbound::write_socket`] must be running.
    pub fn direct(socket: OwnedWriteHalf, max_pending: usize, write_deadline: Duration) -> Arc<Self> {
        Self::build(Some(socket), max_pending, write_deadline, 0)
    }

    /// For a link that may be slow, plain or not: what is urgent waits for about `slice` bytes at most.
    /// [`Outbound::write_socket`] or [`Outbound::write_stream`] must be running, as there is a socket or not.
    pub fn sliced(
        socket: Option<OwnedWriteHalf>,
        max_pending: usize,
        write_deadline: Duration,
        slice: usize,
    ) -> Arc<Self> {
        Self::build(socket, max_pending, write_deadline, slice)
    }

    /// For a stream that only its writer task can write to. [`Outbound::write_stream`] must be running.
    pub fn indirect(max_pending: usize, write_deadline: Duration) -> Arc<Self> {
        Self::build(None, max_pending, write_deadline, 0)
    }

    fn build(socket: Option<OwnedWriteHalf>, max_pending: usize, write_deadline: Duration, slice: usize) -> Arc<Self> {
        Arc::new(Outbound {
            queue: Mutex::new(Queue { socket: socket.map(Arc::new), pending: Pending::new(slice), ..Queue::default() }),
            lanes: OnceLock::new(),
            max_pending,
            write_deadline,
            work: Notify::new(),
            relieved: Arc::default(),
            closing: Notify::new(),
            sent_bytes: AtomicU64::new(0),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `write` writes. Returns whether the caller has to see to it that [`Outbound::flush`] is called; a
    /// closed connection takes nothing. Above `max_pending` the connection is closed as a slow consumer.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append_counted((0, 0), write)
    }

    /// As [`Outbound::append`], for a message whose headers and payload have `size` bytes.
    pub fn append_message(&self, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append_counted((1, size as u64), write)
    }

    fn append_counted(&self, counted: (u64, u64), write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut queue = self.queue();
        if queue.closed.is_some() {
            return false;
        }
        queue.messages.0 += counted.0;
        queue.messages.1 += counted.1;
        write(&mut queue.pending.bytes);
        let clean = !std::mem::replace(&mut queue.touched, true);
        self.keeps_up(queue) && clean
    }

    /// Something has been appended: closes the connection if too much waits now.
    fn keeps_up(&self, mut queue: MutexGuard<'_, Queue>) -> bool {
        queue.pending.mark();
        let keeps_up = queue.waiting() <= self.max_pending;
        if !keeps_up {
            drop(queue);
            self.close(CloseReason::SlowConsumerPending);
        }
        keeps_up
    }

    /// As [`Outbound::append_message`], but what `publisher` has gathers until [`Outbound::settle`] is called, to which the
    /// caller has to see too: who delivers to the same connection meanwhile does not wait. Large messages join at once.
    pub fn append_from(&self, publisher: TargetId, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let lane = self.lanes.get_or_init(Box::default).of(publisher);
        if size > LARGEST {
            if !lane.is_empty() {
                self.enqueue(lane);
            }
            return self.append_message(size, write);
        }
        let spare = || self.queue.try_lock().map(|mut queue| queue.lend()).unwrap_or_default();
        let (new, full) = lane.append(publisher, size, spare, write);
        if full {
            self.enqueue(lane);
        }
        new
    }

    /// Has what `publisher` has gathered join what is to be written.
    pub fn settle(&self, publisher: TargetId) {
        if let Some(lanes) = self.lanes.get() {
            self.enqueue(lanes.of(publisher));
        }
    }

    /// As [`Outbound::settle`], for all publishers.
    pub fn settle_all(&self) {
        if let Some(lanes) = self.lanes.get() {
            lanes.iter().filter(|lane| !lane.is_empty()).for_each(|lane| self.enqueue(lane));
        }
    }

    fn enqueue(&self, lane: &Lane) {
        let mut queue = self.queue();
        let closed = queue.closed.is_some();
        let gathered = lane.take(closed);
        if !closed && gathered.messages.0 > 0 {
            queue.messages.0 += gathered.messages.0;
            queue.messages.1 += gathered.messages.1;
            queue.join(gathered.bytes);
            self.keeps_up(queue);
        }
    }

    /// Appends and flushes at once: for what a connection answers by itself, outside a batch.
    pub fn send(&self, bytes: &[u8]) {
        if self.append(|out| out.extend_from_slice(bytes)) {
            self.flush();
        }
    }

    /// As [`Outbound::send`], but ahead of messages that wait: for pings and their answers, by which the other side judges
    /// whether a slow link is alive.
    pub fn send_urgent(&self, bytes: &[u8]) {
        {
            let mut queue = self.queue();
            if queue.closed.is_some() {
                return;
            }
            queue.pending.urgent.extend_from_slice(bytes);
        }
        // Counts it against the bound, and sees to it that somebody writes.
        self.send(&[]);
    }

    /// Writes what has gathered, as far as that is possible without blocking.
    pub fn flush(&self) {
        let mut queue = self.queue();
        queue.touched = false;
        queue.note_messages();
        if queue.busy || queue.pending.len() == 0 {
            return;
        }
        queue.busy = true;
        let Some(socket) = queue.socket.clone() else {
            self.work.notify_one();
            return;
        };
        while let Some(mut writing) = queue.take() {
            queue.in_flight = writing.left();
            drop(queue);
            let result = self.write_some(&socket, &mut writing);
            queue = self.queue();
            queue.in_flight = writing.left();
            match result {
                Ok(()) => queue.recycle(writing.bytes),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    queue.taken = writing;
                    self.work.notify_one();
                    return;
                }
                Err(_) => {
                    queue.busy = false;
                    queue.in_flight = 0;
                    drop(queue);
                    self.close(CloseReason::WriteError);
                    return;
                }
            }
        }
        queue.busy = false;
    }

    /// Writes until done or the socket takes no more.
    fn write_some(&self, socket: &OwnedWriteHalf, writing: &mut Writing) -> io::Result<()> {
        while writing.left() > 0 {
            match socket.try_write(writing.rest()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    writing.wrote(n);
                    self.sent_bytes.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The writer task of a plain socket: writes what [`Outbound::flush`] could not. Ends when the connection is closed.
    pub async fn write_socket(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            let Some(socket) = self.queue().socket.clone() else { return };
            loop {
                let mut writing = {
                    let mut queue = self.queue();
                    if !queue.busy {
                        break;
                    }
                    std::mem::take(&mut queue.taken)
                };
                while writing.left() > 0 {
                    self.let_urgent_in(&mut writing);
                    let ready = tokio::time::timeout(self.write_deadline, socket.writable()).await;
                    if self.closed().is_some() {
                        return;
                    }
                    match ready {
                        Err(_) => return self.close(CloseReason::SlowConsumerDeadline),
                        Ok(Err(_)) => return self.close(CloseReason::WriteError),
                        Ok(Ok(())) => {}
                    }
                    match socket.try_write(writing.next()) {
                        Ok(written @ 1..) => self.wrote(written, &mut writing),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        Ok(_) | Err(_) => return self.close(CloseReason::WriteError),
                    }
                }
                if !self.take_next(writing.bytes) {
                    break;
                }
            }
        }
    }

    /// The writer task of a stream that only one can write to (TLS). Ends when the connection is closed.
    pub async fn write_stream<W: AsyncWrite + Unpin>(self: Arc<Self>, mut stream: W) {
        loop {
            self.work.notified().await;
            let mut done = Vec::new();
            while self.take_next(done) {
                let mut writing = std::mem::take(&mut self.queue().taken);
                while writing.left() > 0 {
                    self.let_urgent_in(&mut writing);
                    match tokio::time::timeout(self.write_deadline, stream.write(writing.next())).await {
                        Err(_) => return self.close(CloseReason::SlowConsumerDeadline),
                        Ok(Err(_) | Ok(0)) => return self.close(CloseReason::WriteError),
                        Ok(Ok(written)) => self.wrote(written, &mut writing),
                    }
                }
                match tokio::time::timeout(self.write_deadline, stream.flush()).await {
                    Err(_) => return self.close(CloseReason::SlowConsumerDeadline),
                    Ok(Err(_)) => return self.close(CloseReason::WriteError),
                    Ok(Ok(())) => {}
                }
                done = writing.bytes;
            }
            if self.closed().is_some() {
                let _ = tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await;
                return;
            }
        }
    }

    /// Gives `done` back and moves what is pending to `taken`; `false` (and no longer busy) if there is nothing.
    fn take_next(&self, done: Vec<u8>) -> bool {
        let mut queue = self.queue();
        queue.recycle(done);
        let Some(writing) = queue.take() else {
            queue.busy = false;
            queue.in_flight = 0;
            return false;
        };
        queue.in_flight = writing.left();
        queue.taken = writing;
        true
    }

    fn let_urgent_in(&self, writing: &mut Writing) {
        if writing.may_interrupt() {
            let mut queue = self.queue();
            writing.interrupt(std::mem::take(&mut queue.pending.urgent));
            queue.in_flight = writing.left();
        }
    }

    fn wrote(&self, written: usize, writing: &mut Writing) {
        writing.wrote(written);
        self.sent_bytes.fetch_add(written as u64, Ordering::Relaxed);
        let relieved = {
            let mut queue = self.queue();
            queue.in_flight = writing.left();
            queue.waiting() < self.stall_mark()
        };
        if relieved {
            self.relieved.notify_waiters();
        }
    }

    fn stall_mark(&self) -> usize {
        self.max_pending / 4 * 3
    }

    /// Set while three quarters of `max_pending` are waiting; told when there is room again. A publisher who heeds it does
    /// not turn a subscriber that is merely slower into a slow consumer.
    pub fn congestion(&self) -> Option<Arc<Notify>> {
        let queue = self.queue();
        (queue.waiting() >= self.stall_mark() && queue.closed.is_none()).then(|| self.relieved.clone())
    }

    /// Waits, at most `limit`, until everything is written.
    pub async fn drained(&self, limit: Duration) {
        let until = tokio::time::Instant::now() + limit;
        self.settle_all();
        while self.waiting() > 0 && self.closed().is_none() && tokio::time::Instant::now() < until {
            let _ = tokio::time::timeout(Duration::from_millis(10), self.relieved.notified()).await;
        }
    }

    /// Bytes not yet written.
    pub fn waiting(&self) -> usize {
        self.queue().waiting()
    }

    /// Messages appended by [`Outbound::append_message`], and their bytes of headers and payload.
    pub fn messages(&self) -> (u64, u64) {
        self.queue().messages
    }

    /// When a batch last had messages for it; `None` before the first.
    pub fn last_message(&self) -> Option<Instant> {
        self.queue().flushed.1
    }

    /// Bytes written so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Closes the connection; the first reason stays. What is pending goes out as far as the socket takes it at once.
    pub fn close(&self, reason: CloseReason) {
        {
            let mut queue = self.queue();
            if queue.closed.is_some() {
                return;
            }
            match queue.socket.take() {
                Some(socket) => {
                    if !queue.busy
                        && let Some(mut writing) = queue.take()
                    {
                        let _ = self.write_some(&socket, &mut writing);
                    }
                    queue.pending.clear();
                    queue.busy = true;
                }
                // The writer task sends what is pending before it ends.
                None => queue.busy = queue.pending.len() > 0,
            }
            queue.closed = Some(reason);
        }
        self.work.notify_one();
        self.closing.notify_waiters();
        self.closing.notify_one();
        self.relieved.notify_waiters();
    }

    /// The reason if the connection is closed.
    pub fn closed(&self) -> Option<CloseReason> {
        self.queue().closed.clone()
    }

    /// Waits until the connection is closed.
    pub async fn wait_closed(&self) -> CloseReason {
        loop {
            let closing = self.closing.notified();
            tokio::pin!(closing);
            closing.as_mut().enable();
            if let Some(reason) = self.closed() {
                return reason;
            }
            closing.await;
        }
    }

    /// Gives the memory of an idle connection back.
    pub fn trim(&self) {
        let mut queue = self.queue();
        queue.spare = Vec::new();
        if queue.pending.len() == 0 {
            queue.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (OwnedWriteHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connect");
        let (server, _) = listener.accept().await.expect("accept");
        (server.into_split().1, client)
    }

    #[tokio::test]
    async fn everything_arrives_in_order_also_when_the_socket_blocks() {
        let (socket, mut client) = pair().await;
        let out = Outbound::direct(socket, 64 << 20, Duration::from_secs(10));
        tokio::spawn(out.clone().write_socket());
        let total: usize = 4 << 20;
        for chunk in 0..total / 1024 {
            let byte = chunk as u8;
            if out.append(|v| v.extend_from_slice(&[byte; 1024])) {
                out.flush();
            }
        }
        let mut got = vec![0; total];
        client.read_exact(&mut got).await.expect("all of it");
        assert!(got.chunks(1024).enumerate().all(|(n, c)| c.iter().all(|b| *b == n as u8)));
        assert_eq!(out.waiting(), 0);
        assert_eq!(out.sent_bytes(), total as u64);
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_cut_at_max_pending() {
        let (socket, _client) = pair().await;
        let out = Outbound::direct(socket, 1 << 20, Duration::from_secs(10));
        tokio::spawn(out.clone().write_socket());
        let mut appended = 0usize;
        while out.closed().is_none() {
            out.send(&[0; 65536]);
            appended += 65536;
            assert!(appended < 256 << 20, "never cut");
        }
        assert_eq!(out.wait_closed().await, CloseReason::SlowConsumerPending);
        assert!(out.waiting() <= (1 << 20) + 65536);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn publishers_at_the_same_time_keep_each_its_order() {
        const EACH: u32 = 20_000;
        let (socket, mut client) = pair().await;
        let out = Outbound::direct(socket, 64 << 20, Duration::from_secs(10));
        tokio::spawn(out.clone().write_socket());
        // More than there are lanes.
        for publisher in 0..12u32 {
            let (out, id) = (out.clone(), TargetId::next());
            tokio::spawn(async move {
                for number in 0..EACH {
                    let message = [publisher.to_le_bytes(), number.to_le_bytes()].concat();
                    out.append_from(id, 1, |v| v.extend_from_slice(&message));
                    if number % 97 == 0 || number == EACH - 1 {
                        out.settle(id);
                        out.flush();
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        let mut got = vec![0; 12 * EACH as usize * 8];
        client.read_exact(&mut got).await.expect("all of it");
        let mut next = [0; 12];
        for message in got.chunks(8) {
            let [publisher, number] =
                [0, 4].map(|at| u32::from_le_bytes(message[at..at + 4].try_into().expect("four bytes")));
            assert_eq!(number, next[publisher as usize], "of {publisher}");
            next[publisher as usize] += 1;
        }
        assert_eq!(out.messages(), (12 * u64::from(EACH), 12 * u64::from(EACH)));
    }

    #[tokio::test]
    async fn each_publisher_is_told_to_settle_also_where_two_share_a_lane() {
        let (socket, _client) = pair().await;
        let out = Outbound::direct(socket, 1 << 20, Duration::from_secs(10));
        let publishers: Vec<_> = (0..20).map(|_| TargetId::next()).collect();
        let append = |publisher| out.append_from(publisher, 1, |v| v.push(0));
        assert!(publishers.iter().all(|publisher| append(*publisher) && !append(*publisher)));
        out.settle_all();
        assert_eq!((out.waiting(), append(publishers[0])), (40, true));
    }

    #[tokio::test]
    async fn what_has_gathered_goes_out_before_what_is_sent_once_it_is_settled() {
        let (socket, mut client) = pair().await;
        let out = Outbound::direct(socket, 1 << 20, Duration::from_secs(10));
        for text in [b"one ", b"two "] {
            assert!(out.append_from(TargetId::next(), 4, |v| v.extend_from_slice(text)), "the first of a publisher");
        }
        out.settle_all();
        out.send(b"PONG");
        let mut got = [0; 12];
        client.read_exact(&mut got).await.expect("all of it");
        assert!([b"one two PONG", b"two one PONG"].contains(&&got), "{got:?}");
    }

    #[tokio::test]
    async fn a_large_message_keeps_its_place() {
        let (socket, mut client) = pair().await;
        let out = Outbound::direct(socket, 1 << 20, Duration::from_secs(10));
        let publisher = TargetId::next();
        for (text, size) in [(b"one ", 4), (b"big ", 1 << 20), (b"two ", 4)] {
            assert!(out.append_from(publisher, size, |v| v.extend_from_slice(text)));
        }
        out.settle(publisher);
        out.flush();
        let mut got = [0; 12];
        client.read_exact(&mut got).await.expect("all of it");
        assert_eq!(&got, b"one big two ");
    }

    #[tokio::test]
    async fn what_gathers_is_bounded_and_a_closed_connection_keeps_none_of_it() {
        let (socket, _client) = pair().await;
        let out = Outbound::direct(socket, 1 << 20, Duration::from_secs(10));
        let publisher = TargetId::next();
        let mut appended = 0;
        while out.closed().is_none() {
            out.append_from(publisher, 1024, |v| v.extend_from_slice(&[0; 1024]));
            appended += 1024;
            assert!(appended <= 2 << 20, "never cut");
        }
        assert_eq!(out.wait_closed().await, CloseReason::SlowConsumerPending);
        out.append_from(publisher, 4, |v| v.extend_from_slice(b"late"));
        out.settle(publisher);
        assert!(!out.append_from(publisher, 4, |_| panic!("nothing is written for a closed connection")));
    }

    #[tokio::test]
    async fn a_writer_task_serves_streams() {
        let (near, mut far) = tokio::io::duplex(512);
        let out = Outbound::indirect(1 << 20, Duration::from_secs(10));
        let writer = tokio::spawn(out.clone().write_stream(near));
        for n in 0..100u8 {
            out.send(&[n; 100]);
        }
        let mut got = vec![0; 10_000];
        far.read_exact(&mut got).await.expect("all of it");
        assert!(got.chunks(100).enumerate().all(|(n, c)| c.iter().all(|b| *b == n as u8)));
        out.send(b"bye");
        out.close(CloseReason::ServerShutdown);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("closed");
        assert_eq!(rest, b"bye");
        writer.await.expect("ended");
    }
}
