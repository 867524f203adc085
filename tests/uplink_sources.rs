//! What an uplink forwards besides readings, and what it does when the link is up and nothing goes on.

mod common;

use async_nats::jetstream::{self, object_store};
use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Proxy, have, hub, wait_for};
use serde_json::Value;
use tokio::io::AsyncReadExt;

fn uplink(status: &Value, name: &str) -> Value {
    let uplinks = status["uplinks"].as_array().expect("uplinks");
    uplinks.iter().find(|uplink| uplink["name"] == name).expect("the uplink").clone()
}

async fn object(store: &object_store::ObjectStore, name: &str) -> Option<Vec<u8>> {
    let mut object = store.get(name).await.ok()?;
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).await.ok()?;
    Some(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_put_here_while_the_hub_is_away_is_whole_at_the_hub() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start_with(&["$O.files.>", "$JS.API.STREAM.MSG.GET.OBJ_files"]).await;
    hub.stream().await;
    let config = object_store::Config { bucket: "files".into(), ..Default::default() };
    let at_hub = jetstream::new(hub.client().await).create_object_store(config).await.expect("a bucket");
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let table = "[[uplink]]\nname = \"files\"\nobject = \"files\"\nhub_stream = \"OBJ_files\"\nack_timeout = \"1s\"\n";
    let mut leafd = Gateway::default().linked(&hub, proxy.address).text(table).leafd(dir.path());
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let here = context.get_object_store("files").await.expect("made by the uplink");
    proxy.set(Link::Cut);
    // More than a chunk, which is 128 KB.
    let image: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(700_000).collect();
    here.put("firmware.bin", &mut image.as_slice()).await.expect("put");
    here.put("notes.txt", &mut b"first".as_slice()).await.expect("put");
    proxy.set(Link::Open);
    wait_for("the object at the hub", LIMIT, || async {
        (object(&at_hub, "firmware.bin").await? == image).then_some(())
    })
    .await;
    here.put("notes.txt", &mut b"second".as_slice()).await.expect("put again");
    wait_for("its new content", LIMIT, || async { (object(&at_hub, "notes.txt").await? == b"second").then_some(()) })
        .await;
    let status = uplink(&leafd.status().expect("answers"), "files");
    assert_eq!((&status["dead_letters"], &status["gaps"]), (&0.into(), &0.into()), "{status}");
    assert_eq!(object(&here, "firmware.bin").await.map(|bytes| bytes.len()), Some(image.len()), "it stays here too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_up_and_answers_nothing_is_dialled_anew_and_that_is_counted() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    // Pings are so rare that only the uplink can notice.
    let mut leafd = Gateway::default().linked(&hub, proxy.address).patient().leafd(dir.path());
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let publish = |n: u32| {
        let context = context.clone();
        async move {
            let ack = context.publish("plant1.gw1.telemetry.t", n.to_string().into()).await.expect("sent");
            ack.await.expect("stored")
        }
    };
    publish(0).await;
    wait_for("the link carries", LIMIT, || async {
        (uplink(&leafd.status()?, "telemetry")["delivered"] == 1).then_some(())
    })
    .await;
    proxy.set(Link::Stalled);
    for n in 1..20 {
        publish(n).await;
    }
    let connections = proxy.connections();
    let status = wait_for("the watchdog has acted", LIMIT * 3, || async {
        let status = uplink(&leafd.status()?, "telemetry");
        (status["watchdog"].as_u64()? > 0).then_some(status)
    })
    .await;
    assert_eq!(status["backlog_messages"], 19, "{status}");
    wait_for("another dial", LIMIT * 3, || async { (proxy.connections() > connections).then_some(()) }).await;
    proxy.set(Link::Open);
    wait_for("all is at the hub", LIMIT, || async {
        (hub.stream().await.cached_info().state.messages == 20).then_some(())
    })
    .await;
}
