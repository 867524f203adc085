//! Where connections come in, as the Go runtime has it for nats-server.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, lookup_host};

/// Connections that may wait to be accepted, as tokio's own listeners have it.
const BACKLOG: i32 = 1024;

/// Listens on `host`, a name or an address, and `port`; 0 lets the kernel choose. `0.0.0.0` stands for all addresses of the
/// machine, those of IPv6 too where there are any, and of a name that has both an address of IPv4 is taken (Go's `net`,
/// `favoriteAddrFamily` and `forResolve`). Returns the listener, and where it listens as `host` says it.
///
/// # Errors
/// The name is not known, or the address cannot be had.
pub async fn bind(host: &str, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut address = *address.ok_or_else(unknown)?;
    let listener = match address.ip().is_unspecified() {
        true => everywhere(port).or_else(|error| match error.kind() {
            // Somebody has it already.
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // A machine without IPv6.
            _ => only(address),
        })?,
        false => only(address)?,
    };
    address.set_port(listener.local_addr()?.port());
    Ok((listener, address))
}

/// The address of a peer in the family that it uses itself.
pub fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn everywhere(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    listen(socket, (Ipv6Addr::UNSPECIFIED, port).into())
}

fn only(address: SocketAddr) -> io::Result<TcpListener> {
    listen(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?, address)
}

fn listen(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // As tokio has it: the port of a server that has just ended can be had again.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let (listener, address) = bind("0.0.0.0", 0).await.expect("bound");
        assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for ip in both {
            if TcpListener::bind((ip, 0)).await.is_err() {
                continue;
            }
            let _client = TcpStream::connect((ip, address.port())).await.expect("connected");
            let (_, peer) = listener.accept().await.expect("accepted");
            assert_eq!(canonical(peer).ip(), ip);
        }
    }

    #[tokio::test]
    async fn one_address_is_that_one() {
        let (listener, address) = bind("127.0.0.1", 0).await.expect("bound");
        assert_eq!(listener.local_addr().expect("bound"), address);
        let (_listener, address) = bind("localhost", 0).await.expect("bound");
        assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(bind("127.0.0.1", address.port()).await.err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
    }
}
