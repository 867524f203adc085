//! How mirrors and sources stand, as the operator of the hub sees it: in a bucket there.

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::proxy::{Link, Proxy};
use crate::common::wait_for;
use crate::rig;
use crate::streams::{api, bodies, external, numbers, publish};
use async_nats::jetstream::{self, kv};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const CROSSING: &str = r#"["$JS.*.API.>", "$JS.M.>", "$JS.S.>", "$JS.FC.>", "_INBOX.>"]"#;

async fn state_at_hub(bucket: &kv::Store, key: &str) -> Option<Value> {
    serde_json::from_slice(&bucket.get(key).await.ok()??).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_is_told_how_mirrors_and_sources_stand() {
    let dir = tempfile::tempdir().expect("a folder");
    let jetstream = format!("jetstream {{ store_dir: {:?}, domain: hub }}\n", dir.path().join("hub"));
    let hub: NatsServer = rig::nats_hub("", &jetstream).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await))).await;
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.configure_raw(&format!(
        "server_name = \"gw1\"\ndata_dir = {:?}\n[listen]\nport = 0\n[[leaf.remote]]\nname = \"hub\"\n\
         urls = [\"nats://{}\"]\nping_interval = \"500ms\"\nreconnect = {{ min = \"20ms\", max = \"500ms\" }}\n\
         status_bucket = \"gateways\"\nstatus_interval = \"1s\"\nexport = {CROSSING}\nimport = {CROSSING}\n",
        leafd.data(),
        proxy.address
    ));
    leafd.start();
    let (here, there) = (leafd.client().await, hub.client().await);
    let context = jetstream::new(there.clone());
    let config = kv::Config { bucket: "gateways".into(), history: 64, ..Default::default() };
    let bucket = context.create_key_value(config).await.expect("a bucket");
    let mut events = here.subscribe("$LEAFD.EVENT.ORIGIN.>").await.expect("subscribed");
    api(&there, "STREAM.CREATE.DOWN", json!({"name": "DOWN", "subjects": ["down"]})).await;
    publish(&there, "down", 1, 10).await;
    api(&here, "STREAM.CREATE.M", json!({"name": "M", "mirror": external("DOWN", "hub")})).await;
    api(&here, "STREAM.CREATE.S", json!({"name": "S", "sources": [external("DOWN", "hub")]})).await;
    for stream in ["M", "S"] {
        assert_eq!(bodies(&here, stream, "down", 10).await, numbers(10));
    }
    for key in ["gw1.mirror.M.DOWN", "gw1.source.S.DOWN"] {
        let state = wait_for(&format!("{key} in the bucket"), PATIENCE, || async {
            state_at_hub(&bucket, key).await.filter(|state| state["last_seq"] == 10 && state["backlog_messages"] == 0)
        })
        .await;
        assert_eq!((&state["up"], &state["state"]), (&true.into(), &"up to date".into()), "{state}");
        assert!(state["time"].is_string() && state["error"].is_null(), "{state}");
    }
    // What changed while the link was down is known when it is back.
    proxy.set(Link::Cut);
    publish(&there, "down", 11, 30).await;
    let down = async {
        loop {
            let event: Value = serde_json::from_slice(&events.next().await.expect("an event").payload).expect("JSON");
            if event["stream"] == "M" && event["up"] == false && event["changed"].to_string().contains("up") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, down).await.expect("it is told here that the origin is not heard");
    proxy.set(Link::Open);
    for key in ["gw1.mirror.M.DOWN", "gw1.source.S.DOWN"] {
        wait_for(&format!("the new state of {key} in the bucket"), PATIENCE, || async {
            state_at_hub(&bucket, key).await.filter(|state| state["last_seq"] == 30)
        })
        .await;
    }
    // Nothing changes, and so nothing is told.
    let told = || async { bucket.status().await.expect("a status").values() };
    let before = told().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(told().await, before);
}
