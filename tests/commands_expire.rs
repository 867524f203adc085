//! Commands from the hub that waited for too long, and results that wait for the hub.

mod common;

use async_nats::HeaderMap;
use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Proxy, Pty, have, hub, wait_for};
use std::io::Read;
use std::time::Duration;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    pairs.iter().for_each(|(name, value)| headers.insert(*name, *value));
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_command_is_told_so_and_a_result_waits_for_the_hub() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    let results = hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scale1");
    let pty = Pty::new(&path);
    let mut leafd = Gateway::default().linked(&hub, proxy.address).serial("scale1", &path).leafd(dir.path());
    leafd.start();
    wait_for("the device is there", LIMIT, || async {
        (leafd.status()?["adapters"][0]["state"] == "ok").then_some(())
    })
    .await;
    let client = leafd.client().await;
    let command = |pairs: &'static [(&str, &str)]| {
        let client = client.clone();
        async move {
            let request = client.request_with_headers("plant1.gw1.cmd.scale1", headers(pairs), "tare".into());
            let answer =
                tokio::time::timeout(Duration::from_secs(10), request).await.expect("in time").expect("answered");
            String::from_utf8_lossy(&answer.payload).into_owned()
        }
    };
    let late = command(&[("Leafd-Expires", "2026-01-01T00:00:00Z")]).await;
    assert!(late.starts_with("-ERR the command has expired"), "{late}");
    let nowhere = command(&[("Leafd-Result", "plant1.gw1.other")]).await;
    assert_eq!(nowhere, "-ERR Leafd-Result: no uplink stores messages on plant1.gw1.other");

    proxy.set(Link::Cut);
    assert_eq!(
        command(&[
            ("Leafd-Expires", "2999-01-01T00:00:00Z"),
            ("Nats-Msg-Id", "c7"),
            ("Leafd-Result", "plant1.gw1.telemetry.results")
        ])
        .await,
        "+OK"
    );
    let mut text = [0; 5];
    (&pty.device).read_exact(&mut text).expect("read");
    assert_eq!(&text, b"tare\n", "only the command that was not late");
    proxy.set(Link::Open);
    wait_for("the hub has the result", LIMIT, || async {
        (results.get_info().await.ok()?.state.messages == 1).then_some(())
    })
    .await;
    let message =
        hub.stream().await.get_last_raw_message_by_subject("plant1.gw1.telemetry.results").await.expect("there");
    assert_eq!(&message.payload[..], b"+OK");
    assert_eq!(message.headers.get("Leafd-Command-Id").map(|id| id.as_str()), Some("c7"));
}
