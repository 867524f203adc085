//! HTTP requests, plain and by TLS.

use super::LIMIT;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, as sent.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// `GET url` by HTTP/1.0, to get the body in one piece, with further header lines, each ended by CRLF; `https` trusts the authority in the file `ca`.
pub async fn get(url: &str, headers: &str, ca: Option<&Path>) -> Answer {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n");
    let tcp = TcpStream::connect(address).await.expect("connected");
    match (scheme, ca) {
        ("https", Some(ca)) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("usable");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
            let name = ServerName::try_from("localhost").expect("a name");
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            exchange(connector.connect(name, tcp).await.expect("TLS"), &request).await
        }
        _ => exchange(tcp, &request).await,
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    // Some servers end TLS without a farewell.
    let _ = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("in time");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
