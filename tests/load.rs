//! Load that must harm nobody: a subscriber that stops reading, clients that send garbage, many that come and go, and many that do
//! nothing.

mod common;

use common::{LIMIT, Leafd, seed, wait_blocking, wait_for};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"protocol\":1}\r\n";

fn started(dir: &tempfile::TempDir, config: &str) -> Leafd {
    let mut leafd = Leafd::new(dir.path(), config);
    leafd.start();
    leafd
}

fn address(leafd: &Leafd) -> SocketAddr {
    leafd.clients.expect("it listens")
}

/// Resident memory, bytes.
fn rss(leafd: &Leafd) -> u64 {
    leafd.status().and_then(|status| status["process"]["rss"].as_u64()).expect("the status tells of the process")
}

fn clients(leafd: &Leafd) -> serde_json::Value {
    leafd.status().map(|status| status["clients"].clone()).unwrap_or_default()
}

/// A connection that has said `text`, and heard the answer to its PING.
fn open(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    stream.write_all(format!("{CONNECT}{text}PING\r\n").as_bytes()).expect("sent");
    let mut got = Vec::new();
    while !got.windows(6).any(|window| window == b"PONG\r\n") {
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).expect("it answers");
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&buffer[..n]);
    }
    stream
}

/// Lets this process, and those it starts, have as many open files as the system allows; how many that is.
fn raise_open_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stops_reading_is_cut_and_a_thousand_others_get_everything() {
    const READERS: usize = 1000;
    const MESSAGES: usize = 100;
    raise_open_files();
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = started(&dir, "[limits]\nmax_pending = \"4MB\"\nmax_payload = \"64KB\"\n");
    let small = TcpSocket::new_v4().expect("a socket");
    small.set_recv_buffer_size(4096).expect("set");
    let mut stalled = small.connect(address(&leafd)).await.expect("it listens");
    stalled.write_all(format!("{CONNECT}SUB all 1\r\nSUB bulk 2\r\nPING\r\n").as_bytes()).await.expect("sent");
    wait_blocking("the stalled one has subscribed", LIMIT, || (clients(&leafd)["connections"] == 1).then_some(()));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let mut stream = tokio::net::TcpStream::connect(address(&leafd)).await.expect("it listens");
        stream.write_all(format!("{CONNECT}SUB all 1\r\nPING\r\n").as_bytes()).await.expect("sent");
        let mut got = Vec::new();
        // An INFO follows, now or later.
        while !got.windows(6).any(|window| window == b"PONG\r\n") {
            assert!(stream.read_buf(&mut got).await.expect("it answers") > 0, "closed");
        }
        readers.spawn(async move {
            let mut rest = Vec::new();
            while rest.windows(5).filter(|window| window == b"MSG a").count() < MESSAGES || !rest.ends_with(b"99\r\n") {
                if stream.read_buf(&mut rest).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            rest.windows(5).filter(|window| window == b"MSG a").count()
        });
    }
    let before = rss(&leafd);
    let mut publisher = tokio::net::TcpStream::connect(address(&leafd)).await.expect("it listens");
    publisher.write_all(CONNECT.as_bytes()).await.expect("sent");
    let bulk = vec![b'x'; 60_000];
    let mut most = before;
    for n in 0..MESSAGES {
        // The kernel's buffers hold several megabytes before leafd's own begin to fill.
        for _ in 0..5 {
            publisher.write_all(b"PUB bulk 60000\r\n").await.expect("sent");
            publisher.write_all(&bulk).await.expect("sent");
            publisher.write_all(b"\r\n").await.expect("sent");
        }
        publisher.write_all(format!("PUB all 64\r\n{n:064}\r\n").as_bytes()).await.expect("sent");
        if n % 20 == 19 {
            most = most.max(rss(&leafd));
        }
    }
    let got = tokio::time::timeout(Duration::from_secs(60), readers.join_all()).await.expect("the others go on");
    assert!(got.iter().all(|count| *count == MESSAGES), "{got:?}");
    let status = wait_blocking("the stalled one is cut", LIMIT, || {
        Some(clients(&leafd)).filter(|clients| clients["slow_consumers"] != 0)
    });
    assert_eq!(status["slow_consumers"], 1, "{status}");
    assert!(leafd.log().contains("Slow Consumer"), "the log tells");
    most = most.max(rss(&leafd));
    eprintln!("RSS with {READERS} subscribers: {} MB before, at most {} MB", before >> 20, most >> 20);
    assert!(most - before < 48 << 20, "{before} bytes became {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_takes_nothing_for_the_write_deadline_is_cut() {
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = started(&dir, "[limits]\nmax_pending = \"64MB\"\nwrite_deadline = \"300ms\"\n");
    let small = TcpSocket::new_v4().expect("a socket");
    small.set_recv_buffer_size(4096).expect("set");
    let mut stalled = small.connect(address(&leafd)).await.expect("it listens");
    stalled.write_all(format!("{CONNECT}SUB bulk 1\r\nPING\r\n").as_bytes()).await.expect("sent");
    wait_blocking("it has subscribed", LIMIT, || (clients(&leafd)["connections"] == 1).then_some(()));
    let mut publisher = open(address(&leafd), "");
    // More than the kernel's buffers hold, and far less than may wait.
    let message = format!("PUB bulk 500000\r\n{}\r\n", "x".repeat(500_000));
    for _ in 0..30 {
        publisher.write_all(message.as_bytes()).expect("sent");
    }
    let status =
        wait_blocking("it is cut", LIMIT, || Some(clients(&leafd)).filter(|clients| clients["slow_consumers"] != 0));
    assert_eq!((&status["slow_consumers"], &status["connections"]), (&1.into(), &1.into()), "{status}");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(LIMIT, stalled.read_to_end(&mut rest)).await.expect("it ends");
    assert!(end.is_err() || rest.len() < 30 * message.len(), "it was not cut");
}

/// Something that is no protocol.
fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    let bytes = |random: &mut fastrand::Rng, most: usize| -> Vec<u8> {
        let count = random.usize(1..most);
        std::iter::repeat_with(|| random.u8(..)).take(count).collect()
    };
    match random.u8(..6) {
        0 => bytes(random, 20_000),
        1 => vec![b'x'; 200_000],
        2 => format!("{CONNECT}PUB a").into_bytes(),
        3 => [format!("{CONNECT}PUB a 10\r\n").into_bytes(), bytes(random, 40)].concat(),
        4 => format!("{CONNECT}SUB {} 1\r\n", "a.".repeat(random.usize(1..4000))).into_bytes(),
        _ => [b"CONNECT {".to_vec(), bytes(random, 2000), b"}\r\n".to_vec()].concat(),
    }
}

#[test]
fn clients_that_send_garbage_harm_nobody() {
    const ROUNDS: usize = 400;
    let seed = seed();
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = started(&dir, "");
    let address = address(&leafd);
    let mut service = open(address, "SUB ask 1\r\n");
    let mut asker = open(address, "SUB answer 1\r\n");
    let before = rss(&leafd);
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..8)
        .map(|thread| {
            let (over, mut random) = (over.clone(), fastrand::Rng::with_seed(seed + thread));
            std::thread::spawn(move || {
                let mut held = Vec::new();
                let mut connections = 0;
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    connections += 1;
                    // It may be closed before all is sent.
                    let _ = stream.write_all(&garbage(&mut random));
                    held.push(stream);
                    if held.len() > 20 {
                        held.clear();
                    }
                }
                connections
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for n in 0..ROUNDS {
        let begun = Instant::now();
        asker.write_all(format!("PUB ask 6\r\n{n:06}\r\n").as_bytes()).expect("sent");
        wait_text(&mut service, &format!("{n:06}\r\n"));
        service.write_all(format!("PUB answer 6\r\n{n:06}\r\n").as_bytes()).expect("sent");
        wait_text(&mut asker, &format!("{n:06}\r\n"));
        slowest = slowest.max(begun.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    let connections: usize = flood.into_iter().map(|thread| thread.join().expect("it ended")).sum();
    wait_blocking("all who sent garbage are gone", LIMIT, || (clients(&leafd)["connections"] == 2).then_some(()));
    let after = rss(&leafd);
    eprintln!(
        "{connections} connections of garbage; slowest of {ROUNDS} requests {slowest:?}; RSS {before} to {after}"
    );
    assert!(connections > 50, "there was a flood: {connections}");
    assert!(after < before + (32 << 20), "RSS {before} became {after}");
    assert!(!leafd.log().contains("panicked"), "nothing panics");
}

/// Reads until what came ends with `text`.
fn wait_text(stream: &mut TcpStream, text: &str) {
    let mut got = Vec::new();
    while !got.ends_with(text.as_bytes()) {
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).expect("it goes on");
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&buffer[..n]);
    }
}

/// A client that does something and goes, in order or not.
fn visit(address: SocketAddr, random: &mut fastrand::Rng) {
    let n = random.u32(..);
    match random.u8(..6) {
        0 => drop(open(address, &format!("SUB visit.{n} 1\r\nSUB visit.*.{n} work 2\r\nPUB visit.{n} 2\r\nhi\r\n"))),
        1 => drop(open(
            address,
            &format!("SUB visit.> 1\r\nUNSUB 1 1\r\nSUB more.{n} 2\r\nUNSUB 2\r\nPUB visit.a 0\r\n\r\n"),
        )),
        // In the middle of a message.
        2 => drop(open(address, "SUB visit.a 1\r\n").write_all(b"PUB visit.a 100\r\nnot all of it")),
        // A question whose answer nobody waits for.
        3 => drop(open(address, &format!("SUB _INBOX.{n} 1\r\nPUB $JS.API.INFO _INBOX.{n} 0\r\n\r\n"))),
        4 => {
            let consumer = r#"{"stream_name":"S","config":{"ack_policy":"explicit","inactive_threshold":1000000000}}"#;
            let request = format!("PUB $JS.API.CONSUMER.CREATE.S _INBOX.{n} {}\r\n{consumer}\r\n", consumer.len());
            let mut client = open(address, &format!("SUB _INBOX.{n} 1\r\n"));
            client.write_all(request.as_bytes()).expect("sent");
            wait_text(&mut client, "}\r\n");
        }
        _ => {
            let mut stream = TcpStream::connect(address).expect("it listens");
            let _ = stream.write_all(&garbage(random));
        }
    }
}

/// What it may not keep of those who are gone.
#[derive(Debug, PartialEq)]
struct Held {
    connections: serde_json::Value,
    subscriptions: serde_json::Value,
    consumers: serde_json::Value,
    files: usize,
}

async fn held(leafd: &Leafd) -> Held {
    let page =
        async |name: &str| common::http::get(&format!("{}/{name}", leafd.port("monitoring")), "", None).await.json();
    let (varz, jsz) = (page("varz").await, page("jsz").await);
    let files = std::fs::read_dir(format!("/proc/{}/fd", leafd.pid())).expect("a process").count();
    Held {
        connections: varz["connections"].clone(),
        subscriptions: varz["subscriptions"].clone(),
        consumers: jsz["consumers"].clone(),
        files,
    }
}

/// `LEAFD_MINUTES` says for how long they come and go (else some seconds).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_and_go_leave_nothing_behind() {
    let lasts = std::env::var("LEAFD_MINUTES").map_or(0.1, |text| text.parse().expect("a number"));
    let seed = seed();
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = started(&dir, "[http]\nport = 0\n");
    let address = address(&leafd);
    let stream = r#"{"name":"S","subjects":["s.*"]}"#;
    open(address, "")
        .write_all(format!("PUB $JS.API.STREAM.CREATE.S {}\r\n{stream}\r\n", stream.len()).as_bytes())
        .expect("sent");
    wait_for("a stream", LIMIT, || async {
        (held(&leafd).await.connections == 0 && leafd.status().is_some()).then_some(())
    })
    .await;
    let before = held(&leafd).await;
    let (mut visits, mut warm) = (0, 0);
    // What the first few thousand leave is memory that is kept for the next.
    for seconds in [4.0, lasts * 60.0] {
        let threads = (0..4).map(|thread| {
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + thread);
                let (until, mut visits) = (Instant::now() + Duration::from_secs_f64(seconds), 0);
                while Instant::now() < until {
                    visit(address, &mut random);
                    visits += 1;
                }
                visits
            })
        });
        let threads: Vec<_> = threads.collect();
        visits += tokio::task::spawn_blocking(|| {
            threads.into_iter().map(|thread| thread.join().expect("no visit fails")).sum::<u64>()
        })
        .await
        .expect("ends");
        wait_for("all are gone, and what they held", LIMIT, || async { (held(&leafd).await == before).then_some(()) })
            .await;
        let now = rss(&leafd);
        eprintln!("{visits} visits, RSS {} kB", now >> 10);
        warm = if warm == 0 { now } else { warm };
        assert!(now < warm + (8 << 20), "RSS {warm} became {now} with {visits} visits");
    }
    assert!(!leafd.log().contains("panicked"), "nothing panics");
}

/// `LEAFD_CONNECTIONS` says how many; 10,000 take some 20,000 open files in two processes.
#[test]
fn many_idle_connections() {
    let wanted = std::env::var("LEAFD_CONNECTIONS").map_or(2000, |text| text.parse().expect("a number"));
    let most = usize::try_from(raise_open_files()).unwrap_or(usize::MAX).saturating_sub(200);
    assert!(wanted <= most, "{wanted} connections need more open files than the system allows ({most})");
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = started(&dir, "");
    let before = rss(&leafd);
    let mut idle: Vec<TcpStream> = (0..wanted).map(|n| open(address(&leafd), &format!("SUB idle.{n} 1\r\n"))).collect();
    wait_blocking("all are connected", LIMIT, || (clients(&leafd)["connections"] == wanted).then_some(()));
    let after = rss(&leafd);
    let each = after.saturating_sub(before) / wanted as u64;
    eprintln!(
        "{wanted} idle connections: RSS {} KB before, {} KB with them, {each} bytes each",
        before >> 10,
        after >> 10
    );
    assert!(each < 32 << 10, "{each} bytes for each idle connection");
    // They are alive: one message for the last.
    let mut publisher = open(address(&leafd), "");
    publisher.write_all(format!("PUB idle.{} 2\r\nhi\r\n", wanted - 1).as_bytes()).expect("sent");
    wait_text(idle.last_mut().expect("there are some"), "hi\r\n");
    drop(idle);
    wait_blocking("all are gone", LIMIT, || (clients(&leafd)["connections"] == 1).then_some(()));
}
