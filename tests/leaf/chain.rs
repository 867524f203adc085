//! A hub, a gateway and a line controller behind it, each with a JetStream domain of its own; and loops.

use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, wait_for};
use crate::rig;
use async_nats::jetstream::{self, kv};

/// A bucket in `domain`, made, written and read from elsewhere.
async fn bucket(client: &async_nats::Client, domain: &str, name: &str) {
    let context = jetstream::with_domain(client.clone(), domain);
    let config = || kv::Config { bucket: name.into(), ..Default::default() };
    let bucket = wait_for("the domain's JetStream", LIMIT, || async { context.create_key_value(config()).await.ok() });
    let bucket = bucket.await;
    bucket.put("recipe", "42".into()).await.expect("written");
    let read = bucket.get("recipe").await.expect("read");
    assert_eq!(read.as_deref(), Some(&b"42"[..]), "{name} in {domain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_domain_is_reached_from_every_place() {
    let store = tempfile::tempdir().expect("a folder");
    let jetstream =
        |domain: &str| format!("jetstream {{ domain: {domain}, store_dir: {:?} }}\n", store.path().join(domain));
    let hub = rig::nats_hub("", &jetstream("hub")).await;
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&hub).await);
    let config = format!("{}[jetstream]\ndomain = \"gw\"\n[leaf.listen]\nport = 0\n", rig::remote(&url, ""));
    let leafd = rig::leafd(dir.path(), &config);
    let line = NatsServer::start(&format!(
        "server_name: line1\n{}leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{}\" }} ] }}\n",
        jetstream("line"),
        leafd.port("leafnodes")
    ))
    .await;
    let places = [("hub", hub.client().await), ("gw", leafd.client().await), ("line", line.client().await)];
    rig::joined(&places[0].1, &places[1].1).await;
    rig::joined(&places[1].1, &places[2].1).await;
    for (here, client) in &places {
        for (domain, _) in &places {
            bucket(client, domain, &format!("B_{here}_{domain}")).await;
        }
    }
    // What is local is the local domain's, whoever else has JetStream.
    for (domain, client) in &places {
        let names: Vec<String> = {
            use futures_util::TryStreamExt;
            jetstream::new(client.clone()).stream_names().try_collect().await.expect("names")
        };
        assert_eq!(names.len(), 3, "{domain}: {names:?}");
        assert!(names.iter().all(|name| name.ends_with(&format!("_{domain}"))), "{domain}: {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_through_two_hubs_is_found_and_both_go_on_dialling() {
    let (first, port) = {
        let hub = rig::nats_hub("", "").await;
        let port = rig::leaf_port(&hub).await;
        (hub, port)
    };
    let second = NatsServer::start(&format!(
        "server_name: second\nleafnodes {{ listen: \"127.0.0.1:-1\", reconnect: 1, remotes: [ {{ url: \"nats://127.0.0.1:{port}\" }} ] }}\n"
    ))
    .await;
    rig::joined(&first.client().await, &second.client().await).await;
    let dir = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[[leaf.remote]]\nname = \"one\"\nurls = [\"nats://127.0.0.1:{port}\"]\nexport = [\">\"]\nimport = [\">\"]\n\
         [[leaf.remote]]\nname = \"two\"\nurls = [\"nats://127.0.0.1:{}\"]\nexport = [\">\"]\nimport = [\">\"]\n",
        rig::leaf_port(&second).await
    );
    let leafd = rig::leafd(dir.path(), &config);
    let said = wait_for("that the loop is found", LIMIT, || async {
        let status = leafd.status()?;
        let links = status["links"].as_array()?.clone();
        links.into_iter().find(|link| link["reason"].as_str().is_some_and(|reason| reason.contains("Loop detected")))
    })
    .await;
    assert!(said["next_dial"].as_u64().is_some(), "it is dialled again, after a while: {said}");
}
