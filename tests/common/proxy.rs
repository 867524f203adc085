//! A TCP proxy between leafd and its hub that breaks the link as a WAN does: cut (connections closed and new ones refused),
//! stalled (bytes stop, nothing is closed), reset in the middle of a message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the link does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Passes everything.
    Open,
    /// Passes nothing, closes nothing.
    Stalled,
    /// Closes what is connected, and whatever connects.
    Cut,
    /// Passes this many more bytes of the next buffer of each direction, then resets the connection; new ones pass.
    Reset(usize),
}

#[derive(Clone, Copy, Debug)]
struct State {
    link: Link,
    /// Grows with each change, so that a connection knows a `Reset` that came before it.
    change: u64,
}

/// The proxy; ends with its runtime or when dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Passes connections on to `target`.
    pub async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (state, watched) = watch::channel(State { link: Link::Open, change: 0 });
        let connections = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, target, watched, connections.clone()));
        Proxy { address, state, connections, task }
    }

    /// Sets what the link does.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| *state = State { link, change: state.change + 1 });
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Link::Cut);
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>, count: Arc<AtomicU64>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        if state.borrow().link == Link::Cut {
            continue;
        }
        let Ok(far) = TcpStream::connect(target).await else { continue };
        count.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(pass(near, far, state.clone()));
    }
}

async fn pass(near: TcpStream, far: TcpStream, state: watch::Receiver<State>) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let began = state.borrow().change;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut up = Direction { from: near_read, to: far_write, state: state.clone(), began };
    let mut down = Direction { from: far_read, to: near_write, state, began };
    let reset = tokio::select! {
        reset = up.run() => reset,
        reset = down.run() => reset,
    };
    if reset {
        // Both ends learn of it by RST, with what was on its way thrown away.
        let _ = up.to.as_ref().set_zero_linger();
        let _ = down.to.as_ref().set_zero_linger();
    }
}

struct Direction {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    /// Change that was last seen when the connection began.
    began: u64,
}

impl Direction {
    /// Passes bytes until the end; whether that shall be a reset.
    async fn run(&mut self) -> bool {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let state = *self.state.borrow_and_update();
            match state.link {
                Link::Cut => return false,
                Link::Stalled => {
                    if self.state.changed().await.is_err() {
                        return false;
                    }
                    continue;
                }
                Link::Open | Link::Reset(_) => {}
            }
            let read = tokio::select! {
                changed = self.state.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return false,
                },
                read = self.from.read(&mut buffer) => read,
            };
            let Ok(length @ 1..) = read else { return false };
            let passed = match state.link {
                Link::Reset(bytes) if state.change > self.began => Some(bytes.min(length)),
                _ => None,
            };
            if self.to.write_all(&buffer[..passed.unwrap_or(length)]).await.is_err() {
                return false;
            }
            if passed.is_some() {
                return true;
            }
        }
    }
}
