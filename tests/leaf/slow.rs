//! A link of 50 kbit/s with more to send than it takes: it stays up, and answers and pings get through.

use crate::common::{LIMIT, wait_for};
use crate::rig;
use crate::streams::{api, external};
use async_nats::jetstream;
use futures_util::StreamExt;
use serde_json::json;
use std::future::IntoFuture;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes a second.
const RATE: u64 = 50_000 / 8;

/// Passes connections on to `port`; what comes from the connecting side at [`RATE`], and at most a few kilobytes ahead.
async fn narrow(port: u16) -> (u16, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    // As of a network, and not of the loopback device, whose segments of 64 kB would take ten seconds each.
    socket2::SockRef::from(&socket).set_tcp_mss(1400).expect("set");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let listener = socket.listen(8).expect("listening");
    let near = listener.local_addr().expect("an address").port();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let connections = count.clone();
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let to = TcpStream::connect(("127.0.0.1", port)).await.expect("the hub");
            let ((mut up_from, mut down_to), (mut down_from, mut up_to)) = (from.into_split(), to.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut down_from, &mut down_to).await });
            tokio::spawn(async move {
                let (mut part, begin, mut passed) = ([0; 512], Instant::now(), 0u64);
                while let Ok(n @ 1..) = up_from.read(&mut part).await {
                    passed += n as u64;
                    // The pace of the link itself, not a wait for something to happen.
                    tokio::time::sleep_until((begin + Duration::from_micros(passed * 1_000_000 / RATE)).into()).await;
                    if up_to.write_all(&part[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (near, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_slower_than_its_traffic_stays_up() {
    for compression in ["off", "s2_fast"] {
        let hub = rig::nats_hub("compression: accept", "ping_interval: \"3s\"\nping_max: 3\n").await;
        let (port, connections) = narrow(rig::leaf_port(&hub).await).await;
        let dir = tempfile::tempdir().expect("a folder");
        let remote = format!("compression = \"{compression}\"\nping_interval = \"500ms\"\nmax_pending = \"1MB\"");
        let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"nats://127.0.0.1:{port}\""), &remote));
        let (app, local) = (hub.client().await, leafd.client().await);
        rig::joined(&app, &local).await;
        let heard = app.subscribe("flood.>").await.expect("subscribed");
        app.flush().await.expect("flushed");
        // Twenty times what the link takes meanwhile.
        let (begin, mut sent) = (Instant::now(), 0u32);
        let noise: Vec<u8> = (0..1000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        while begin.elapsed() < Duration::from_secs(15) {
            for _ in 0..100 {
                let mut payload = noise.clone();
                payload.iter_mut().enumerate().for_each(|(at, b)| *b ^= (sent.wrapping_mul(at as u32 + 1) >> 7) as u8);
                local.publish("flood.x", payload.into()).await.expect("published");
                sent += 1;
            }
            local.flush().await.expect("flushed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 1, "{compression}: it was taken down");
        let status = leafd.status().expect("a status");
        let link = &status["links"][0];
        assert!(
            link["waiting_bytes"].as_u64().expect("a number") > 100_000,
            "{compression}: there is a backlog: {link}"
        );
        // Pings pass what waits: the round trip is that of the bytes that the kernels hold.
        assert!(link["rtt_ms"].as_f64().expect("measured") < 10_000.0, "{compression}: {link}");
        let answer = tokio::time::timeout(LIMIT, app.flush()).await;
        assert!(answer.is_ok());
        drop(heard);
    }
}

/// A mirror at the hub takes what it is given, for minutes; what is said meanwhile does not come behind it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_does_not_wait_for_a_mirror_that_catches_up() {
    let store = tempfile::tempdir().expect("a folder");
    let hub = rig::nats_hub("", &format!("jetstream {{ store_dir: {:?}, domain: hub }}\n", store.path())).await;
    let (port, connections) = narrow(rig::leaf_port(&hub).await).await;
    let dir = tempfile::tempdir().expect("a folder");
    let remote = rig::remote(&format!("\"nats://127.0.0.1:{port}\""), "compression = \"off\"");
    let leafd = rig::leafd(dir.path(), &format!("{remote}[jetstream]\ndomain = \"gw\"\n"));
    let (app, local) = (hub.client().await, leafd.client().await);
    rig::joined(&app, &local).await;
    api(&local, "STREAM.CREATE.ALL", json!({"name": "ALL", "subjects": ["all"]})).await;
    let context = jetstream::new(local.clone());
    for _ in 0..10 {
        let sent = (0..100).map(|_| context.publish("all", vec![b'x'; 1000].into()));
        let acks = futures_util::future::try_join_all(sent).await.expect("sent");
        futures_util::future::try_join_all(acks.into_iter().map(IntoFuture::into_future)).await.expect("stored");
    }
    let mut alarms = app.subscribe("alarm").await.expect("subscribed");
    api(&app, "STREAM.CREATE.ALL", json!({"name": "ALL", "mirror": external("ALL", "gw")})).await;
    let here = async || api(&app, "STREAM.INFO.ALL", json!({})).await["state"]["messages"].as_u64().unwrap_or(0);
    wait_for("the mirror to be busy", LIMIT, || async { (here().await > 20).then_some(()) }).await;
    for _ in 0..3 {
        let said = Instant::now();
        local.publish("alarm", "fire".into()).await.expect("published");
        tokio::time::timeout(LIMIT, alarms.next()).await.expect("in time").expect("an alarm");
        eprintln!("after {:.1?}", said.elapsed());
        assert!(said.elapsed() < Duration::from_secs(12), "{:?}", said.elapsed());
    }
    assert!(here().await < 900, "it was still catching up");
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 1, "it was taken down");
}
