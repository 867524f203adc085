//! From an accepted socket to a connection that has been told INFO: by the listener it came to.

use super::listener::Shared;
use super::outbound::CloseReason;
use super::tls::{self, TlsSession};
use super::transport::Transport;
use super::websocket::{LeafVisit, Opened, Visitor, WebSocket};
use crate::config::auth::ConnectionType;
use crate::protocol::Info;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Which listener a client came to.
#[derive(Clone)]
pub(super) enum Door {
    /// The ordinary one.
    Clients,
    /// The one for browsers.
    WebSocket(Arc<WebSocket>),
}

/// A connection that can be served.
pub(super) struct Greeted {
    pub transport: Transport,
    /// Where it speaks TLS.
    pub tls: Option<TlsSession>,
    /// Where it came by WebSocket.
    pub visitor: Option<Visitor>,
}

impl Door {
    /// How those connect that come here.
    pub fn kind(&self) -> ConnectionType {
        match self {
            Door::Clients => ConnectionType::Standard,
            Door::WebSocket(_) => ConnectionType::Websocket,
        }
    }

    /// TLS, the upgrade and INFO, as far as the listener wants them. `info` becomes what the client has been told.
    pub async fn greet(
        &self,
        shared: &Shared,
        socket: TcpStream,
        peer: SocketAddr,
        info: &mut Info,
    ) -> Result<Greeted, CloseReason> {
        match self {
            Door::Clients => {
                let policy = shared.tls.current();
                let (transport, tls) = tls::greet(socket, policy.as_deref(), info).await?;
                Ok(Greeted { transport, tls, visitor: None })
            }
            Door::WebSocket(websocket) => {
                let Opened { mut stream, tls, visitor, leaf } = websocket.open(socket).await?;
                if let Some(compressed) = leaf {
                    websocket.pass_on(LeafVisit { stream, tls, compressed, from: peer });
                    // As a client it is gone.
                    return Err(CloseReason::ClientClosed);
                }
                (info.tls_required, info.tls_available) = (tls.is_some(), tls.is_some());
                (info.host, info.port) = (websocket.address().ip().to_string(), websocket.address().port());
                tls::say(&mut stream, info).await?;
                if let Some(address) = visitor.forwarded_for {
                    tracing::debug!("client {peer}: forwarded for {address}");
                }
                Ok(Greeted { transport: Transport::WebSocket(stream), tls, visitor: Some(visitor) })
            }
        }
    }
}
