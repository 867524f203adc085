//! The client protocol, byte for byte beside nats-server: each case is said to both, and what comes back is compared.

mod common;

use common::hub::read_port;
use common::{LIMIT, Leafd, wait_blocking};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is said, line by line: on connection `A` or `B`. `{CRLF}`-free: `\r\n` is written out.
struct Case {
    name: &'static str,
    said: &'static [(char, &'static str)],
}

/// After this time a server is taken to have nothing more to say.
const SILENCE: Duration = Duration::from_secs(5);

const HELLO: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}\r\n";

/// Every step ends with a PING of the test's own; what the server says until the PONG, or until it closes, counts.
const CASES: &[Case] = &[
    Case { name: "ping before connect", said: &[('A', "PING\r\n")] },
    Case {
        name: "verbose by default",
        said: &[('A', "CONNECT {}\r\nSUB a 1\r\nPUB a 1\r\nx\r\nUNSUB 1\r\nPING\r\nPONG\r\n")],
    },
    Case { name: "publish before connect", said: &[('A', "SUB a 1\r\nPUB a 1\r\nx\r\n")] },
    Case { name: "quiet", said: &[('A', HELLO), ('A', "SUB a 1\r\nPUB a 2\r\nhi\r\n")] },
    Case { name: "lower case", said: &[('A', "connect {\"verbose\":false}\r\nsub a 1\r\npub a 2\r\nhi\r\nping\r\n")] },
    Case {
        name: "no carriage return",
        said: &[('A', "CONNECT {\"verbose\":false}\nSUB a 1\nPUB a 2\r\nhi\r\nPING\n")],
    },
    Case { name: "tabs and blanks", said: &[('A', HELLO), ('A', "SUB\ta \t 1  \r\nPUB  a\t2 \r\nhi\r\n")] },
    Case { name: "reply", said: &[('A', HELLO), ('A', "SUB a 1\r\nPUB a r.x 2\r\nhi\r\n")] },
    Case { name: "empty payload", said: &[('A', HELLO), ('A', "SUB a 1\r\nPUB a 0\r\n\r\n")] },
    Case {
        name: "headers",
        said: &[('A', HELLO), ('A', "SUB a 1\r\nHPUB a r 21 23\r\nNATS/1.0\r\nName: V\r\n\r\nhi\r\n")],
    },
    Case {
        name: "headers to a client without",
        said: &[
            ('A', HELLO),
            ('B', "CONNECT {\"verbose\":false}\r\nSUB a 1\r\n"),
            ('A', "HPUB a 21 23\r\nNATS/1.0\r\nName: V\r\n\r\nhi\r\n"),
            ('B', ""),
        ],
    },
    Case {
        name: "headers without having said so",
        said: &[('A', "CONNECT {\"verbose\":false}\r\nSUB a 1\r\nHPUB a 21 23\r\nNATS/1.0\r\nName: V\r\n\r\nhi\r\n")],
    },
    Case {
        name: "header sizes that do not fit",
        said: &[('A', HELLO), ('A', "HPUB a 23 21\r\nNATS/1.0\r\nName: V\r\n\r\nhi\r\n")],
    },
    Case { name: "no responders", said: &[('A', HELLO), ('A', "SUB r.* 7\r\nPUB nobody r.1 0\r\n\r\n")] },
    Case {
        name: "no responders without a reply subscription",
        said: &[('A', HELLO), ('A', "PUB nobody r.1 0\r\n\r\n")],
    },
    Case {
        name: "no responders not wanted",
        said: &[
            ('A', "CONNECT {\"verbose\":false,\"headers\":true}\r\n"),
            ('A', "SUB r.* 7\r\nPUB nobody r.1 0\r\n\r\n"),
        ],
    },
    Case {
        name: "no responders without headers",
        said: &[('A', "CONNECT {\"verbose\":false,\"no_responders\":true}\r\n")],
    },
    Case {
        name: "no echo",
        said: &[
            ('A', "CONNECT {\"verbose\":false,\"echo\":false,\"protocol\":1}\r\n"),
            ('A', "SUB a 1\r\nPUB a 1\r\nx\r\n"),
        ],
    },
    Case {
        name: "no echo and no responders",
        said: &[
            ('A', "CONNECT {\"verbose\":false,\"echo\":false,\"headers\":true,\"no_responders\":true}\r\n"),
            ('A', "SUB a 1\r\nSUB r 2\r\nPUB a r 1\r\nx\r\n"),
        ],
    },
    Case {
        name: "unsubscribe after a number",
        said: &[('A', HELLO), ('A', "SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\nx\r\nPUB a 1\r\ny\r\nPUB a 1\r\nz\r\n")],
    },
    Case {
        name: "unsubscribe after a number that has passed",
        said: &[('A', HELLO), ('A', "SUB a 1\r\nPUB a 1\r\nx\r\nPUB a 1\r\ny\r\nUNSUB 1 1\r\nPUB a 1\r\nz\r\n")],
    },
    Case { name: "unsubscribe what is not there", said: &[('A', HELLO), ('A', "UNSUB 5\r\nUNSUB 5 3\r\n")] },
    Case {
        name: "the same sid twice",
        said: &[('A', HELLO), ('A', "SUB a 1\r\nSUB b 1\r\nPUB a 1\r\nx\r\nPUB b 1\r\ny\r\n")],
    },
    Case {
        name: "wildcards",
        said: &[
            ('A', HELLO),
            ('A', "SUB a.* 1\r\nSUB a.> 2\r\nPUB a.b 1\r\nx\r\n"),
            ('A', "PUB a.b.c 1\r\ny\r\nPUB a 1\r\nz\r\n"),
        ],
    },
    Case {
        name: "wildcards within tokens",
        said: &[
            ('A', HELLO),
            ('A', "SUB a*.b 1\r\nPUB a*.b 1\r\nx\r\nPUB ax.b 1\r\ny\r\n"),
            ('A', "SUB a>.c 2\r\nPUB a>.c 1\r\nx\r\n"),
        ],
    },
    Case {
        name: "subjects that are none",
        said: &[
            ('A', HELLO),
            ('A', "SUB a..b 1\r\n"),
            ('A', "SUB .a 2\r\n"),
            ('A', "SUB a. 3\r\n"),
            ('A', "SUB a.>.b 4\r\n"),
            ('A', "SUB > 5\r\n"),
        ],
    },
    Case {
        name: "publishing to what is no subject",
        said: &[('A', HELLO), ('A', "SUB > 1\r\nPUB a..b 1\r\nx\r\nPUB a.* 1\r\ny\r\nPUB a. 1\r\nz\r\n")],
    },
    Case {
        name: "pedantic publishing",
        said: &[
            ('A', "CONNECT {\"verbose\":false,\"pedantic\":true}\r\n"),
            ('A', "SUB > 1\r\nPUB a..b 1\r\nx\r\n"),
            ('A', "PUB a.* 1\r\ny\r\n"),
        ],
    },
    Case {
        name: "pedantic subscribing",
        said: &[
            ('A', "CONNECT {\"verbose\":false,\"pedantic\":true}\r\n"),
            ('A', "SUB a..b 1\r\n"),
            ('A', "SUB a.* 2\r\nPUB a.b 1\r\nx\r\n"),
        ],
    },
    Case { name: "a queue group", said: &[('A', HELLO), ('A', "SUB a q 1\r\nSUB a q 1\r\nPUB a 1\r\nx\r\n")] },
    Case {
        name: "queue group with a plain one",
        said: &[('A', HELLO), ('A', "SUB a q 2\r\nSUB a 1\r\nPUB a 1\r\nx\r\n")],
    },
    Case { name: "unknown operation", said: &[('A', "HELO\r\n")] },
    Case { name: "unknown operation after connect", said: &[('A', HELLO), ('A', "GET / HTTP/1.1\r\n")] },
    Case { name: "sub without arguments", said: &[('A', HELLO), ('A', "SUB\r\n")] },
    Case { name: "sub with one argument", said: &[('A', HELLO), ('A', "SUB a\r\n")] },
    Case { name: "sub with four arguments", said: &[('A', HELLO), ('A', "SUB a b c d\r\n")] },
    Case { name: "unsub without arguments", said: &[('A', HELLO), ('A', "UNSUB\r\n")] },
    Case { name: "unsub with three arguments", said: &[('A', HELLO), ('A', "UNSUB 1 2 3\r\n")] },
    Case {
        name: "unsub with a wrong number",
        said: &[('A', HELLO), ('A', "SUB a 1\r\nUNSUB 1 x\r\n"), ('A', "PUB a 1\r\nx\r\n")],
    },
    Case { name: "pub with one argument", said: &[('A', HELLO), ('A', "PUB a\r\n")] },
    Case { name: "pub with four arguments", said: &[('A', HELLO), ('A', "PUB a b c 1\r\nx\r\n")] },
    Case { name: "pub with a negative size", said: &[('A', HELLO), ('A', "PUB a -1\r\n")] },
    Case { name: "pub with a size that is none", said: &[('A', HELLO), ('A', "PUB a x\r\n")] },
    Case { name: "pub with a huge size", said: &[('A', HELLO), ('A', "PUB a 99999999999999999999\r\n")] },
    Case { name: "pub above the limit", said: &[('A', HELLO), ('A', "PUB a 2000000\r\n")] },
    Case { name: "pub whose payload is longer than said", said: &[('A', HELLO), ('A', "PUB a 1\r\nxyz\r\n")] },
    Case { name: "hpub without headers", said: &[('A', HELLO), ('A', "SUB a 1\r\nHPUB a 0 2\r\nhi\r\n")] },
    Case {
        name: "hpub with a wrong version",
        said: &[('A', HELLO), ('A', "SUB a 1\r\nHPUB a 12 14\r\nNOTS/1.0\r\n\r\nhi\r\n")],
    },
    Case { name: "connect that is no JSON", said: &[('A', "CONNECT {nonsense\r\n")] },
    Case { name: "connect with wrong types", said: &[('A', "CONNECT {\"verbose\":\"no\"}\r\n")] },
    Case { name: "connect twice", said: &[('A', HELLO), ('A', "CONNECT {\"verbose\":true}\r\nPING\r\nSUB a 1\r\n")] },
    Case { name: "connect with a future protocol", said: &[('A', "CONNECT {\"verbose\":false,\"protocol\":7}\r\n")] },
    Case {
        name: "connect with credentials nobody asked for",
        said: &[('A', "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"b\",\"jwt\":\"x\"}\r\n")],
    },
    Case {
        name: "a server's line from a client",
        said: &[('A', HELLO), ('A', "INFO {}\r\n"), ('A', "+OK\r\n"), ('A', "-ERR 'x'\r\n")],
    },
    Case { name: "more behind PONG", said: &[('A', HELLO), ('A', "PONG x\r\nPONGX\r\n")] },
    Case { name: "an error without a text", said: &[('A', HELLO), ('A', "-ERR\r\n")] },
    Case { name: "INFO without anything", said: &[('A', HELLO), ('A', "INFO\r\n")] },
    Case { name: "INFO that is no JSON", said: &[('A', HELLO), ('A', "INFO x\r\n")] },
    Case { name: "connect with nothing", said: &[('A', "CONNECT null\r\n")] },
    Case { name: "connect with a list", said: &[('A', "CONNECT []\r\n")] },
    Case {
        name: "connect in other letters",
        said: &[('A', "CONNECT {\"Verbose\":false,\"PEDANTIC\":null}\r\nSUB a 1\r\n")],
    },
    Case { name: "a carriage return between arguments", said: &[('A', HELLO), ('A', "SUB a\r1\r\nPUB a\r1\r\nx\r\n")] },
    Case { name: "message from a client", said: &[('A', HELLO), ('A', "MSG a 1 1\r\nx\r\n")] },
    Case { name: "leaf's line from a client", said: &[('A', HELLO), ('A', "LS+ a\r\n")] },
    Case {
        name: "reserved subjects",
        said: &[('A', HELLO), ('A', "SUB $SYS.> 1\r\nSUB _INBOX.x 2\r\nPUB _INBOX.x 1\r\nx\r\n")],
    },
    Case {
        name: "a subject of other alphabets",
        said: &[('A', HELLO), ('A', "SUB größe.温度 1\r\nPUB größe.温度 1\r\nx\r\n")],
    },
    Case {
        name: "request and answer",
        said: &[
            ('A', HELLO),
            ('B', HELLO),
            ('B', "SUB s 1\r\n"),
            ('A', "SUB i.* 2\r\nPUB s i.1 2\r\nhi\r\n"),
            ('B', ""),
            ('B', "PUB i.1 2\r\nok\r\n"),
            ('A', ""),
        ],
    },
];

struct NatsServer {
    child: Child,
    _dir: tempfile::TempDir,
    address: SocketAddr,
}

impl NatsServer {
    fn start() -> NatsServer {
        Self::with("")
    }

    fn with(config: &str) -> NatsServer {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("nats.conf");
        std::fs::write(&file, config).expect("written");
        let child = Command::new(common::hub::binary())
            .args(["-a", "127.0.0.1", "-p", "-1", "-n", "gw1", "--ports_file_dir"])
            .arg(dir.path())
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        let address = wait_blocking("nats-server listens", LIMIT, || {
            let files = std::fs::read_dir(dir.path()).ok()?;
            files.flatten().find_map(|file| read_port(&file.path()))
        });
        NatsServer { child, _dir: dir, address }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection, after INFO.
struct Peer {
    stream: TcpStream,
    info: Value,
    closed: bool,
}

impl Peer {
    fn connect(address: SocketAddr) -> Peer {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(SILENCE)).expect("set");
        let line = read_line(&mut stream);
        let info = serde_json::from_str(line.strip_prefix("INFO ").expect("INFO comes first")).expect("JSON");
        Peer { stream, info, closed: false }
    }

    /// Says it and a PING; what comes back until the PONG or the end.
    fn say(&mut self, text: &str) -> String {
        if self.closed {
            return "(closed)".to_owned();
        }
        // A server that has closed already does not get it; its answer is read all the same.
        let _ = self.stream.write_all(format!("{text}PING\r\n").as_bytes());
        let mut heard = Vec::new();
        let pongs = 1 + text.to_ascii_uppercase().matches("PING\r\n").count() + text.matches("PING\n").count();
        loop {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(read @ 1..) => heard.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    heard.extend_from_slice(b"(silence)");
                    break;
                }
                Ok(0) | Err(_) => {
                    self.closed = true;
                    heard.extend_from_slice(b"(closes)");
                    break;
                }
            }
            let text = String::from_utf8_lossy(&heard);
            if text.matches("PONG\r\n").count() == pongs && text.ends_with("\r\n") {
                break;
            }
        }
        String::from_utf8_lossy(&heard).split_inclusive("\r\n").filter(|line| !is_unasked(line)).collect()
    }
}

/// INFO and PING come when the server pleases.
fn is_unasked(line: &str) -> bool {
    line.starts_with("INFO ") || line == "PING\r\n"
}

fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        assert_eq!(stream.read(&mut byte).expect("read"), 1, "closed");
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("UTF-8")
}

fn keys(info: &Value) -> Vec<String> {
    info.as_object().expect("an object").keys().cloned().collect()
}

fn play(case: &Case, address: SocketAddr) -> String {
    let mut peers = BTreeMap::new();
    let mut heard = String::new();
    for (who, text) in case.said {
        let peer = peers.entry(who).or_insert_with(|| Peer::connect(address));
        heard += &format!("{who} says {text:?} and hears {:?}\n", peer.say(text));
    }
    heard
}

#[test]
fn what_clients_hear_is_what_nats_server_says() {
    if !common::have(&common::hub::binary()) {
        return;
    }
    let theirs = NatsServer::start();
    let dir = tempfile::tempdir().expect("a folder");
    let mut ours = Leafd::new(dir.path(), "[jetstream]\nenabled = false\n");
    ours.start();
    let ours = ours.clients.expect("it listens");
    let mut differences = Vec::new();
    for case in CASES {
        let (our, their) = (play(case, ours), play(case, theirs.address));
        if our != their {
            differences.push(format!("{}\n-- leafd\n{our}-- nats-server\n{their}", case.name));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), CASES.len(), differences.join("\n"));
}

#[test]
fn info_has_what_nats_server_tells() {
    if !common::have(&common::hub::binary()) {
        return;
    }
    let theirs = NatsServer::start();
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nenabled = false\n");
    leafd.start();
    let ours = Peer::connect(leafd.clients.expect("it listens")).info;
    let theirs = Peer::connect(theirs.address).info;
    assert_eq!(keys(&ours), keys(&theirs));
    for key in ["api_lvl", "version", "proto", "headers", "max_payload", "server_name", "client_ip", "host"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
}

/// Clients are let in with the first PONG, and take an INFO that comes later as news of the server (nats.js).
#[test]
fn the_first_pong_comes_with_the_second_info() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nenabled = false\n");
    leafd.start();
    let mut peer = Peer::connect(leafd.clients.expect("it listens"));
    peer.stream.write_all(format!("{HELLO}PING\r\n").as_bytes()).expect("sent");
    let mut buffer = [0; 4096];
    let read = peer.stream.read(&mut buffer).expect("read");
    let heard = String::from_utf8_lossy(&buffer[..read]);
    assert!(heard.starts_with("PONG\r\nINFO ") && heard.contains("\"connect_info\":true"), "{heard}");
}

/// Says hello, answers no PING, and listens to the end.
fn hear_to_the_end(address: SocketAddr) -> String {
    let mut peer = Peer::connect(address);
    peer.stream.write_all(HELLO.as_bytes()).expect("sent");
    let mut heard = Vec::new();
    peer.stream.read_to_end(&mut heard).expect("it closes in time");
    String::from_utf8_lossy(&heard).split_inclusive("\r\n").filter(|line| !line.starts_with("INFO ")).collect()
}

#[test]
fn who_answers_no_ping_is_given_up_as_by_nats_server() {
    if !common::have(&common::hub::binary()) {
        return;
    }
    let theirs = NatsServer::with("ping_interval: \"200ms\", ping_max: 3\n");
    let dir = tempfile::tempdir().expect("a folder");
    let limits = "[limits]\nping_interval = \"200ms\"\nping_max = 3\n";
    let mut leafd = Leafd::new(dir.path(), &format!("[jetstream]\nenabled = false\n{limits}"));
    leafd.start();
    let ours = hear_to_the_end(leafd.clients.expect("it listens"));
    assert_eq!(ours, "PING\r\nPING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    assert_eq!(ours, hear_to_the_end(theirs.address));
}
