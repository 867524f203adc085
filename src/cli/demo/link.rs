//! The WAN of the demo: a TCP relay between gateway and hub that can be cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The relay; its threads end with the process.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    up: AtomicBool,
    to_hub: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// A relay to `hub`, listening on a port of the kernel's choice.
    pub fn start(hub: SocketAddr) -> io::Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let shared = Arc::new(Shared { up: AtomicBool::new(true), to_hub: AtomicU64::new(0), open: Mutex::default() });
        let link = Link { address: listener.local_addr()?, shared: shared.clone() };
        thread::spawn(move || {
            for gateway in listener.incoming().flatten() {
                if shared.up.load(Ordering::SeqCst) {
                    // A connection that cannot be relayed is closed, as a WAN would.
                    let _ = relay(gateway, hub, &shared);
                }
            }
        });
        Ok(link)
    }

    /// Where the gateway dials.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes relayed towards the hub.
    pub fn bytes_to_hub(&self) -> u64 {
        self.shared.to_hub.load(Ordering::Relaxed)
    }

    /// Cuts every connection and lets no new one through.
    pub fn cut(&self) {
        self.shared.up.store(false, Ordering::SeqCst);
        for socket in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.shared.up.store(true, Ordering::SeqCst);
    }
}

fn relay(gateway: TcpStream, hub: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let hub = TcpStream::connect(hub)?;
    {
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(gateway.try_clone()?);
        open.push(hub.try_clone()?);
    }
    let (gateway_in, hub_out, count) = (gateway.try_clone()?, hub.try_clone()?, shared.clone());
    thread::spawn(move || copy(gateway_in, hub_out, Some(&count.to_hub)));
    thread::spawn(move || copy(hub, gateway, None));
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
        if let Some(count) = count {
            count.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
