//! Proxies between the gateway and its hub: HTTP CONNECT and SOCKS5, with and without a password.

use crate::common::certificates::Authority;
use crate::rig;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// `Basic` of `gw1` and `secret`.
const BASIC: &str = "Proxy-Authorization: Basic Z3cxOnNlY3JldA==";

/// A proxy, and how many connections it has passed on.
struct Proxy {
    address: String,
    passed: Arc<AtomicU32>,
}

impl Proxy {
    async fn start(socks: bool, password: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        let passed = Arc::new(AtomicU32::new(0));
        let count = passed.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut near = BufReader::new(near);
                    let to = match socks {
                        true => socks5(&mut near, password).await,
                        false => connect(&mut near, password).await,
                    };
                    let Some(to) = to else { return };
                    let mut far = TcpStream::connect(to).await.expect("the hub");
                    let answer: &[u8] = match socks {
                        true => &[5, 0, 0, 1, 127, 0, 0, 1, 0, 0],
                        false => b"HTTP/1.1 200 Connection established\r\n\r\n",
                    };
                    near.write_all(answer).await.expect("answered");
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Proxy { address, passed }
    }
}

async fn connect(near: &mut BufReader<TcpStream>, password: bool) -> Option<String> {
    let (mut to, mut known) = (String::new(), !password);
    loop {
        let mut line = String::new();
        near.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" => break,
            BASIC => known = true,
            line if line.starts_with("CONNECT ") => to = line.split(' ').nth(1)?.to_owned(),
            _ => {}
        }
    }
    if !known {
        let _ = near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
        return None;
    }
    Some(to)
}

async fn socks5(near: &mut BufReader<TcpStream>, password: bool) -> Option<String> {
    let part = |n: usize| vec![0; n];
    let mut read = part(2);
    near.read_exact(&mut read).await.ok()?;
    let mut methods = part(usize::from(read[1]));
    near.read_exact(&mut methods).await.ok()?;
    let method = if password { 2 } else { 0 };
    if !methods.contains(&method) {
        let _ = near.write_all(&[5, 0xff]).await;
        return None;
    }
    near.write_all(&[5, method]).await.ok()?;
    if password {
        let mut said = part(1 + 1 + 3 + 1 + 6);
        near.read_exact(&mut said).await.ok()?;
        let good = said == b"\x01\x03gw1\x06secret";
        near.write_all(&[1, u8::from(!good)]).await.ok()?;
        if !good {
            return None;
        }
    }
    let mut head = part(4);
    near.read_exact(&mut head).await.ok()?;
    let host = match head[3] {
        1 => {
            let mut ip = part(4);
            near.read_exact(&mut ip).await.ok()?;
            format!("{}.{}.{}.{}", ip[0], ip[1], ip[2], ip[3])
        }
        3 => {
            let mut name = part(usize::from(near.read_u8().await.ok()?));
            near.read_exact(&mut name).await.ok()?;
            String::from_utf8(name).ok()?
        }
        _ => return None,
    };
    Some(format!("{host}:{}", near.read_u16().await.ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_behind_a_proxy() {
    let hub = rig::nats_hub("", "").await;
    let port = rig::leaf_port(&hub).await;
    for (scheme, password) in [("http", false), ("http", true), ("socks5", false), ("socks5", true)] {
        let proxy = Proxy::start(scheme == "socks5", password).await;
        let login = if password { ", user = \"gw1\", password = \"secret\"" } else { "" };
        let remote = format!("proxy = {{ url = \"{scheme}://{}\"{login} }}", proxy.address);
        let dir = tempfile::tempdir().expect("a folder");
        let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"nats://localhost:{port}\""), &remote));
        rig::joined(&hub.client().await, &leafd.client().await).await;
        assert_eq!(proxy.passed.load(Ordering::Relaxed), 1, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_websocket_through_a_proxy() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let server = authority.server("hub");
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", server.cert, server.key);
    let hub = rig::nats_hub(&tls, &format!("websocket {{ listen: \"127.0.0.1:-1\", {tls} }}\n")).await;
    let leafs = format!("tls://localhost:{}", rig::leaf_port(&hub).await);
    let websocket = hub.port("websocket").replace("127.0.0.1", "localhost");
    for (n, url) in [leafs, websocket].iter().enumerate() {
        let proxy = Proxy::start(n == 1, true).await;
        let scheme = if n == 1 { "socks5" } else { "http" };
        let remote = format!(
            "proxy = {{ url = \"{scheme}://{}\", user = \"gw1\", password = \"secret\" }}\ntls = {{ ca_file = {:?} }}",
            proxy.address,
            authority.file()
        );
        let dir = tempfile::tempdir().expect("a folder");
        let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"{url}\""), &remote));
        rig::joined(&hub.client().await, &leafd.client().await).await;
        assert!(proxy.passed.load(Ordering::Relaxed) >= 1);
    }
}

/// A proxy that is spoken to by TLS, and a hub that is so inside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_https_proxy_is_checked_by_its_certificate() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let server = authority.server("hub");
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", server.cert, server.key);
    let hub = rig::nats_hub(&tls, "").await;
    let proxy = Proxy::start(false, true).await;
    let front = tls_front(&server.cert, &server.key, proxy.address.clone()).await;
    let url = format!("\"tls://localhost:{}\"", rig::leaf_port(&hub).await);
    let with = |ca: &str| {
        let tls = format!("tls = {{ ca_file = {:?} }}", authority.file());
        let login = "user = \"gw1\", password = \"secret\"";
        rig::remote(&url, &format!("proxy = {{ url = \"https://localhost:{front}\", {login}{ca} }}\n{tls}"))
    };
    let leafd =
        rig::leafd(&dir.path().join(made(dir.path(), "a")), &with(&format!(", ca_file = {:?}", authority.file())));
    rig::joined(&hub.client().await, &leafd.client().await).await;
    assert!(proxy.passed.load(Ordering::Relaxed) >= 1);
    let stranger = Authority::new(&dir.path().join(made(dir.path(), "other")));
    let leafd =
        rig::leafd(&dir.path().join(made(dir.path(), "b")), &with(&format!(", ca_file = {:?}", stranger.file())));
    rig::link_says(&leafd, "check proxy.ca_file").await;
}

fn made(dir: &std::path::Path, name: &'static str) -> &'static str {
    std::fs::create_dir_all(dir.join(name)).expect("a folder");
    name
}

/// TLS in front of `to`; the port.
async fn tls_front(cert: &std::path::Path, key: &std::path::Path, to: String) -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(cert).expect("a file").collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(key).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("they fit");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(near).await else { return };
                let mut far = TcpStream::connect(to).await.expect("the proxy");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_says_no_is_named() {
    for (scheme, socks) in [("http", false), ("socks5", true)] {
        let proxy = Proxy::start(socks, true).await;
        for (login, says) in [
            ("", "it asks for user and password"),
            (", user = \"gw1\", password = \"wrong!\"", "it does not know proxy.user"),
        ] {
            // A SOCKS5 proxy takes none of the methods offered, without saying which it would.
            let says = if socks && login.is_empty() { "asks for user and password" } else { says };
            let remote = format!("proxy = {{ url = \"{scheme}://{}\"{login} }}", proxy.address);
            let dir = tempfile::tempdir().expect("a folder");
            let leafd = rig::leafd(dir.path(), &rig::remote("\"nats://localhost:9\"", &remote));
            rig::link_says(&leafd, says).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_says_nothing_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let proxy = listener.local_addr().expect("an address");
    for scheme in ["http", "socks5"] {
        let remote = format!("proxy = {{ url = \"{scheme}://{proxy}\", timeout = \"100ms\" }}");
        let dir = tempfile::tempdir().expect("a folder");
        let leafd = rig::leafd(dir.path(), &rig::remote("\"nats://localhost:9\"", &remote));
        rig::link_says(&leafd, &format!("the proxy {proxy} does not connect to the hub within 100ms")).await;
    }
}
