//! Ports for peers that must know each other's before they listen, or that listen on the same one again after a kill.

use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// A port of loopback that is kept for one peer while this lives, also while that peer is down. It is bound and never
/// listens: with `SO_REUSEADDR`, which nats-server, mosquitto and leafd set, the peer may listen on it, but the kernel gives
/// it to nobody else, neither as a listener's port nor as the near end of a connection.
pub struct Port {
    /// Where the peer listens.
    pub at: SocketAddr,
    _bound: Socket,
}

impl Port {
    /// One that the kernel picks.
    pub fn free() -> Port {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        bound.set_reuse_address(true).expect("set");
        bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let at = bound.local_addr().ok().and_then(|at| at.as_socket()).expect("an address");
        Port { at, _bound: bound }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.at.port()
    }
}
