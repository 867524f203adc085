//! A slow link: passes TCP connections on at a rate and with a delay, and counts the bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// About what a TCP segment carries.
const SEGMENT: usize = 1400;

/// A read that takes longer than this had to wait for bytes.
const WAITED: Duration = Duration::from_millis(1);
/// How late the line's task may wake without the line having been idle.
const LATE: Duration = Duration::from_millis(500);

/// What the link is like, in each direction.
#[derive(Clone, Copy)]
pub struct Line {
    /// Bytes a second.
    pub rate: u64,
    /// From one end to the other.
    pub delay: Duration,
}

/// A slow link in front of an address; ends when dropped.
pub struct SlowLink {
    /// Where to connect.
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    bytes_up: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl SlowLink {
    /// One to `target`.
    pub async fn start(target: SocketAddr, line: Line) -> SlowLink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let [connections, bytes, bytes_up] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
        let (count, total, up) = (connections.clone(), bytes.clone(), bytes_up.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                let Ok(far) = TcpStream::connect(target).await else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_read, far_write, line, [total.clone(), up.clone()]));
                tokio::spawn(pass(far_read, near_write, line, [total.clone(), Arc::default()]));
            }
        });
        SlowLink { address, connections, bytes, bytes_up, task }
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes so far, both ways.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes so far from those who connected.
    pub fn bytes_up(&self) -> u64 {
        self.bytes_up.load(Ordering::Relaxed)
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes bytes only as fast as the line does; the rest waits with the sender, as before a modem.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line, counts: [Arc<AtomicU64>; 2]) {
    let (sender, mut segments) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let write = async {
        while let Some((at, segment)) = segments.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&segment).await.is_err() {
                break;
            }
        }
    };
    let read = async {
        let mut free = Instant::now();
        loop {
            let mut segment = vec![0; SEGMENT];
            let asked = Instant::now();
            let Ok(length @ 1..) = from.read(&mut segment).await else { break };
            segment.truncate(length);
            for count in &counts {
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
            // What was there already when the line became free had not to wait: on a loaded machine this task wakes late,
            // and the line would be slower than it is said to be.
            let waited = asked.elapsed() > WAITED || asked.duration_since(free) > LATE;
            let begins = if waited { free.max(Instant::now()) } else { free };
            free = begins + Duration::from_secs_f64(length as f64 / line.rate as f64);
            if sender.send((free + line.delay, segment)).is_err() {
                break;
            }
            tokio::time::sleep_until(free).await;
        }
        drop(sender);
    };
    tokio::join!(write, read);
}
