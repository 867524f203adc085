//! Gateway to hub on real parts: a captured subject, the local stream, the leaf link and a real nats-server with
//! JetStream, whose user may do nothing but publish the gateway's subjects, ask where it stands, and be answered.

mod common;

use common::{Hub, have, hub, wait_for};
use leafd::account::{Account, LocalClient, Message};
use leafd::config::leaf::RemoteConfig;
use leafd::config::traffic::TimeZone;
use leafd::config::uplink::UplinkConfig;
use leafd::jetstream::{Domain, JetStream, Options, ServerLimits};
use leafd::leaf::{Identity, Link};
use leafd::store::{Store, StoreOptions};
use leafd::uplink::traffic::{Limits, Traffic};
use leafd::uplink::{Surroundings, Uplink};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);
/// What the gateway's user may publish at the hub, and the hub's stream takes.
const SUBJECTS: &str = "plant1.gw1.telemetry.>";

/// Publishes numbered readings, each acknowledged by the local stream.
async fn publish(client: &LocalClient, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let (subject, payload) = (format!("plant1.gw1.telemetry.{}", number % 3), number.to_string());
        let answer = client.request(&subject, b"", payload.as_bytes(), Duration::from_secs(10)).await.expect("an ack");
        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(answer.contains("UPLINK_t"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_reach_the_hub_once_and_in_order_over_the_leaf_link() {
    if !have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut hub = Hub::start().await;
    hub.stream().await;

    let (end, shutdown) = watch::channel(false);
    let account = Account::new("$G");
    let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
    let options = Options {
        domain: Domain::new("gw1".into(), true),
        server_name: "gw1".into(),
        max_file: 8 << 30,
        max_memory: 1 << 20,
        sync_interval: Duration::from_secs(10),
        limits: ServerLimits::default(),
    };
    let jetstream = JetStream::start(account.clone(), store.clone(), options).expect("JetStream");
    let remote = format!(
        "name = \"hub\"\nurls = [\"tls://localhost:{}\"]\nuser = \"gw1\"\npassword = \"secret\"\n\
         tls = {{ ca_file = {:?} }}\nreconnect = {{ min = \"20ms\", max = \"200ms\" }}\n",
        hub.leafs.port(),
        hub.ca_file()
    );
    let remote: RemoteConfig = toml::from_str(&remote).expect("a remote");
    let identity =
        Identity { server_name: "gw1".into(), server_id: "N".repeat(56), domain: Some("gw1".into()), jetstream: true };
    let link = Link::start(account.clone(), remote, identity, vec![SUBJECTS.into()], shutdown.clone());
    let text = format!("name = \"t\"\nsubjects = [{SUBJECTS:?}]\nack_timeout = \"1s\"\n");
    let config: UplinkConfig = toml::from_str(&text).expect("an uplink");
    let around = Surroundings {
        gateway: "gw1".into(),
        account: account.clone(),
        jetstream: jetstream.clone(),
        store: store.clone(),
        traffic: Traffic::new(Limits::default(), TimeZone::Utc),
    };
    let uplink = Uplink::start(&config, &around, "hub", link.clone(), shutdown).expect("an uplink");

    let client = LocalClient::new(account);
    let mut next = 0;
    for _ in 0..4 {
        publish(&client, next..next + 150).await;
        next += 150;
        let target = u64::from(next) - 100;
        wait_for("some progress", PATIENCE, || async { (uplink.status().last_ack_seq >= target).then_some(()) }).await;
        hub.stop(false);
        publish(&client, next..next + 50).await;
        next += 50;
        hub.restart().await;
    }
    client.publish(&Message { subject: "other", reply: "", headers: b"", payload: b"stays here" });
    let status = wait_for("the backlog has drained", PATIENCE, || async {
        Some(uplink.status()).filter(|status| status.backlog_messages == 0 && status.in_flight == 0)
    })
    .await;
    println!("{status:?}");
    assert_eq!(status.exactly_once, "yes");
    assert_eq!(status.hub_stream.as_deref(), Some(hub::STREAM));

    let mut stream = hub.stream().await;
    let last = stream.info().await.expect("its state").state.last_sequence;
    let mut payloads = Vec::new();
    for seq in 1..=last {
        payloads.push(String::from_utf8_lossy(&stream.get_raw_message(seq).await.expect("there").payload).into_owned());
    }
    assert_eq!(payloads, (0..next).map(|number| number.to_string()).collect::<Vec<_>>());
    end.send_replace(true);
    uplink.stopped().await;
    link.stopped().await;
    jetstream.shutdown();
    store.close();
    drop::<Arc<JetStream>>(jetstream);
}
