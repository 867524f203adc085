//! Bad input: each gets a clear error, and harms nothing.

mod common;

use common::{LIMIT, Leafd, wait_blocking};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// Starts with `config`; it must end with status 1 and name each of `words`.
fn refused(config: &str, words: &[&str]) {
    let dir = tempfile::tempdir().expect("a folder");
    refuses(&mut Leafd::new(dir.path(), config), words);
}

fn refuses(leafd: &mut Leafd, words: &[&str]) {
    let Err(failure) = leafd.try_start() else { panic!("it has started; expected was an error with {words:?}") };
    assert_eq!(failure.status.code(), Some(1), "{}", failure.text);
    for word in words {
        assert!(failure.text.contains(word), "{word:?} is missing in: {}", failure.text);
    }
    assert!(!failure.text.contains("panicked"), "{}", failure.text);
}

#[test]
fn an_unknown_key_is_named() {
    refused("[jetstream]\nenabeld = true\n", &["enabeld"]);
}

#[test]
fn a_wrong_type_is_told_with_its_place() {
    refused("[limits]\nmax_payload = true\n", &["leafd.toml:6:", "boolean"]);
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    refused("[jetstream\n", &["leafd.toml:5:"]);
}

#[test]
fn an_unreadable_certificate_is_named() {
    let remote = |ca: &str| {
        format!("[[leaf.remote]]\nname = \"hub\"\nurls = [\"tls://localhost:1\"]\ntls = {{ ca_file = {ca:?} }}\n")
    };
    refused(&remote("/nonexistent/ca.pem"), &["/nonexistent/ca.pem"]);
    let dir = tempfile::tempdir().expect("a folder");
    let nonsense = dir.path().join("nonsense.pem");
    std::fs::write(&nonsense, "no certificate").expect("written");
    refused(&remote(nonsense.to_str().expect("UTF-8")), &["nonsense.pem"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.configure_raw(&format!("data_dir = {:?}\n[listen]\nport = {port}\n", leafd.data()));
    refuses(&mut leafd, &[&port.to_string()]);
}

#[test]
fn an_unusable_data_directory_is_named() {
    // A file in its place: refused for root too, unlike a directory without write permission.
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    std::fs::write(leafd.data(), "a file").expect("written");
    refuses(&mut leafd, &["gateway"]);
}

#[test]
fn a_data_directory_of_another_process_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut first = Leafd::new(dir.path(), "");
    first.start();
    let other = tempfile::tempdir().expect("a folder");
    let mut second = Leafd::new(other.path(), "");
    second.configure_raw(&format!("data_dir = {:?}\n[listen]\nport = 0\n", first.data()));
    refuses(&mut second, &["gateway"]);
    assert!(first.runs() && answers(&first));
}

#[test]
fn a_missing_device_harms_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let gateway = common::Gateway::default().serial("scale1", Path::new("/dev/nonexistent-device")).mqtt("line1", 1);
    let mut leafd = gateway.leafd(dir.path());
    leafd.start();
    leafd.wait_log("/dev/nonexistent-device", 0);
    assert!(leafd.runs() && answers(&leafd));
}

#[test]
fn clients_that_send_nonsense_are_told_and_dropped() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let long = vec![b'x'; 1 << 16];
    let oversize = format!("CONNECT {{}}\r\nPUB a {}\r\n", (1 << 20) + 1);
    let cases: [(&str, &[u8], &str); 5] = [
        ("garbage", b"\x00\xff\xfe nonsense\r\n\r\n", "-ERR"),
        ("over-long line", &[b"SUB ".as_slice(), &long, b" 1\r\n"].concat(), "-ERR"),
        ("oversize payload", oversize.as_bytes(), "Maximum Payload"),
        ("wrong end of payload", b"CONNECT {}\r\nPUB a 2\r\nabcdef\r\n", "-ERR"),
        // Dropped without a word, as by nats-server.
        ("CONNECT that is no JSON", b"CONNECT {x\r\n", ""),
    ];
    for (what, bytes, answer) in cases {
        let text = told(&leafd, bytes);
        assert!(text.contains(answer), "{what}: {text:?}");
    }
    // Half a message, and gone; random bytes of any kind.
    for bytes in [&b"PUB a 10\r\nhal"[..], b"CONNECT {\"verb", b"HPUB a 12 14\r\nNATS/1", b"+", b""] {
        connect(&leafd).write_all(bytes).expect("written");
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..random.usize(1..4000)).map(|_| random.u8(..)).collect();
        // It may have hung up already.
        let _ = connect(&leafd).write_all(&bytes);
    }
    assert!(leafd.runs() && answers(&leafd));
    assert!(!leafd.log().contains("panicked"), "{}", leafd.log());
}

#[test]
fn a_hub_that_closes_or_lies_or_speaks_nonsense_harms_nothing() {
    let lies: [&[u8]; 6] = [
        b"",
        b"\x16\x03\x01 nonsense \xff\xff\r\n\r\n",
        b"INFO {\"server_id\": 7, \"max_payload\": -5, \"nonce\": [}\r\n",
        b"INFO {\"server_id\":\"X\",\"server_name\":\"x\",\"max_payload\":1048576}\r\nLMSG a 99999999999\r\n",
        b"INFO {\"server_id\":\"X\",\"server_name\":\"x\",\"max_payload\":1048576}\r\nLS+\r\nLS- \r\nLMSG\r\nPING\r\n-ERR 'Go away'\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let dir = tempfile::tempdir().expect("a folder");
    let remote = format!(
        "[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://127.0.0.1:{port}\"]\nexport = [\">\"]\nimport = [\">\"]\n\
         reconnect = {{ min = \"10ms\", max = \"20ms\" }}\n"
    );
    let mut leafd = Leafd::new(dir.path(), &remote);
    leafd.start();
    listener.set_nonblocking(true).expect("set");
    for lie in lies {
        // Each lie twice: it comes back for more.
        for _ in 0..2 {
            let (mut hub, _) = wait_blocking("leafd dials again", LIMIT, || listener.accept().ok());
            hub.set_nonblocking(false).expect("set");
            let _ = hub.write_all(lie);
        }
        assert!(leafd.runs() && answers(&leafd), "after {:?}", String::from_utf8_lossy(lie));
    }
    assert!(!leafd.log().contains("panicked"), "{}", leafd.log());
}

fn connect(leafd: &Leafd) -> TcpStream {
    let socket = TcpStream::connect(leafd.clients.expect("it listens")).expect("connected");
    socket.set_read_timeout(Some(LIMIT)).expect("set");
    socket
}

/// All that leafd answers to `bytes` until it hangs up.
fn told(leafd: &Leafd, bytes: &[u8]) -> String {
    let mut socket = connect(leafd);
    let _ = socket.write_all(bytes);
    let mut text = Vec::new();
    // A reset ends it just as well.
    let _ = socket.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether it still serves a good client.
fn answers(leafd: &Leafd) -> bool {
    let mut socket = connect(leafd);
    socket.write_all(b"CONNECT {\"verbose\":false}\r\nSUB ok 1\r\nPUB ok 2\r\nhi\r\nPING\r\n").expect("written");
    let mut lines = BufReader::new(socket).lines();
    let mut seen = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if line == "PONG" {
            break;
        }
        seen.push(line);
    }
    seen.iter().any(|line| line == "MSG ok 1 2") && seen.iter().any(|line| line == "hi")
}
