//! The wire between a leaf node and its hub: it counts what passes, and can be cut off at first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// A proxy in front of a hub.
pub struct Wire {
    /// Where the leaf node dials.
    pub address: SocketAddr,
    open: Arc<AtomicBool>,
    to_hub: Arc<AtomicU64>,
}

impl Wire {
    /// One that closes whatever comes, until it is opened.
    pub fn closed(hub: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let wire =
            Wire { address: listener.local_addr().expect("an address"), open: Arc::default(), to_hub: Arc::default() };
        let (open, to_hub) = (wire.open.clone(), wire.to_hub.clone());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Some(far) = open.load(Ordering::SeqCst).then(|| TcpStream::connect(("127.0.0.1", hub))) else {
                    continue;
                };
                let far = far.expect("the hub is there");
                let copies = (near.try_clone().expect("clones"), far.try_clone().expect("clones"));
                let to_hub = to_hub.clone();
                thread::spawn(move || pass(near, far, &to_hub));
                thread::spawn(move || pass(copies.1, copies.0, &AtomicU64::new(0)));
            }
        });
        wire
    }

    /// Lets connections through from now on.
    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Bytes that went to the hub so far.
    pub fn to_hub(&self) -> u64 {
        self.to_hub.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
        count.fetch_add(n as u64, Ordering::SeqCst);
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
