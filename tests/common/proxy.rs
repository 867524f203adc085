//! A TCP proxy between leafd and its hub that breaks the link as a WAN does: cut (connections closed and new ones refused),
//! stalled (bytes stop, nothing is closed), reset in the middle of a message, half open (one end gone, the other not told).

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
    /// Closes the side of what is connected that this does not name; the named one is kept and hears nothing more. New ones pass.
    HalfOpen(Side),
}

/// An end of a connection through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// That which dialled the proxy.
    Near,
    /// That which the proxy has dialled.
    Far,
}

/// How a connection through the proxy ends.
enum End {
    Closed,
    Reset,
    HalfOpen(Side),
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
    let end = tokio::select! {
        end = up.run() => end,
        end = down.run() => end,
    };
    match end {
        End::Closed => {}
        // Both ends learn of it by RST, with what was on its way thrown away.
        End::Reset => {
            let _ = up.to.as_ref().set_zero_linger();
            let _ = down.to.as_ref().set_zero_linger();
        }
        End::HalfOpen(Side::Near) => {
            let (mut kept, _open) = (up.from, down.to);
            drop((up.to, down.from));
            swallow(&mut kept).await;
        }
        End::HalfOpen(Side::Far) => {
            let (mut kept, _open) = (down.from, up.to);
            drop((down.to, up.from));
            swallow(&mut kept).await;
        }
    }
}

/// Reads to the end what nobody will get.
async fn swallow(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; 16 << 10];
    while from.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

struct Direction {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    /// Change that was last seen when the connection began.
    began: u64,
}

impl Direction {
    /// Passes bytes until the end; how the connection shall end then.
    async fn run(&mut self) -> End {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let state = *self.state.borrow_and_update();
            match state.link {
                Link::Cut => return End::Closed,
                Link::HalfOpen(side) if state.change > self.began => return End::HalfOpen(side),
                Link::Stalled => {
                    if self.state.changed().await.is_err() {
                        return End::Closed;
                    }
                    continue;
                }
                Link::Open | Link::Reset(_) | Link::HalfOpen(_) => {}
            }
            let read = tokio::select! {
                changed = self.state.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return End::Closed,
                },
                read = self.from.read(&mut buffer) => read,
            };
            let Ok(length @ 1..) = read else { return End::Closed };
            let passed = match state.link {
                Link::Reset(bytes) if state.change > self.began => Some(bytes.min(length)),
                _ => None,
            };
            if self.to.write_all(&buffer[..passed.unwrap_or(length)]).await.is_err() {
                return End::Closed;
            }
            if passed.is_some() {
                return End::Reset;
            }
        }
    }
}
