//! The upgrade to WebSocket at the hub's websocket port (nats-server `leafNodeSolicitWSConnection`).

use super::http::Answer;
use super::url::Url;
use crate::config::leaf::RemoteWebSocket;
use crate::leaf::wire::{MAX_PAYLOAD, Wire};
use crate::server::websocket::{Agreement, DEFLATE_OFFER, NO_MASKING, WebSocketStream, accept_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::io::AsyncWriteExt;

/// By this the hub tells a leaf node from a client.
const PATH: &str = "/leafnode";

/// What the hub has granted.
pub struct Upgraded {
    /// What is inside the frames.
    pub stream: WebSocketStream<Box<dyn Wire>>,
    /// Messages are compressed, so that the link need not be.
    pub compressed: bool,
}

/// Asks the hub at the other end of `stream` for a WebSocket.
pub async fn upgrade(mut stream: Box<dyn Wire>, url: &Url, config: &RemoteWebSocket) -> Result<Upgraded, String> {
    let key = STANDARD.encode(std::array::from_fn::<u8, 16, _>(|_| fastrand::u8(..)));
    let mut request = format!(
        "GET {}{PATH} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n",
        url.path,
        url.authority()
    );
    if config.compression {
        request.push_str(&format!("Sec-WebSocket-Extensions: {DEFLATE_OFFER}\r\n"));
    }
    if config.no_masking {
        request.push_str(&format!("{NO_MASKING}: true\r\n"));
    }
    request.push_str("\r\n");
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let answer = Answer::read(&mut *stream).await?;
    let is = |name: &str, value: &str| answer.header(name).is_some_and(|v| v.trim().eq_ignore_ascii_case(value));
    if answer.status != 101 {
        return Err(format!("it answers {} {}", answer.status, answer.reason));
    }
    if !is("Upgrade", "websocket") || !is("Connection", "upgrade") {
        return Err("its answer is no upgrade".into());
    }
    if answer.header("Sec-WebSocket-Accept") != Some(&*accept_key(&key)) {
        return Err("its answer does not fit our key".into());
    }
    let extensions = answer.header("Sec-WebSocket-Extensions").filter(|e| e.contains("permessage-deflate"));
    let compressed = config.compression && extensions.is_some();
    let alone = |e: &str| e.contains("server_no_context_takeover") && e.contains("client_no_context_takeover");
    if compressed && !extensions.is_some_and(alone) {
        return Err("it compresses across messages, which was not offered".into());
    }
    let unmasked = config.no_masking && is(NO_MASKING, "true");
    let agreement = Agreement {
        masked: false,
        masks: !unmasked,
        compression: compressed,
        browser: false,
        max_payload: Arc::new(AtomicUsize::new(MAX_PAYLOAD)),
    };
    Ok(Upgraded { stream: WebSocketStream::new(stream, agreement), compressed })
}
