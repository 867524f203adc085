//! Subject mappings: leafd beside nats-server with the same mappings, as clients see them.

mod common;

use common::{LIMIT, Leafd, NatsServer, have, hub};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use tokio::time::timeout;

const TOML: &str = r#"
[mappings]
"orders.*" = "by.{{partition(3,1)}}.$1"
"plain" = "moved.here"
"tail.>" = "to.>"
"canary.*" = [{ destination = "v2.$1", weight = 50 }]
"lossy" = [{ destination = "lossy", weight = 0 }]
"elsewhere" = [{ destination = "other", cluster = "west" }]
"#;

const CONF: &str = r#"
mappings {
  "orders.*": "by.{{partition(3,1)}}.$1"
  "plain": "moved.here"
  "tail.>": "to.>"
  "canary.*": [{ destination: "v2.$1", weight: 50% }]
  "lossy": [{ destination: "lossy", weight: 0% }]
  "elsewhere": [{ destination: "other", weight: 100%, cluster: "west" }]
}
"#;

/// The subjects on which what is published to `subject` arrives, in `times` messages; an end mark tells when it is over.
async fn arrives(client: &async_nats::Client, subject: &str, times: usize) -> BTreeSet<String> {
    let mut all = client.subscribe(">").await.expect("subscribed");
    for _ in 0..times {
        client.publish(subject.to_owned(), "".into()).await.expect("published");
    }
    client.publish("end", "".into()).await.expect("published");
    let mut seen = BTreeSet::new();
    loop {
        let message = timeout(LIMIT, all.next()).await.expect("in time").expect("a message");
        if message.subject.as_str() == "end" {
            return seen;
        }
        seen.insert(message.subject.to_string());
    }
}

#[tokio::test]
async fn clients_see_the_same_as_with_nats_server() {
    if !have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), TOML);
    leafd.start();
    let nats = NatsServer::start(CONF).await;
    let (ours, theirs) = (leafd.client().await, nats.client().await);
    for (subject, times, want) in [
        ("orders.a1", 3, &["by.1.a1"][..]),
        ("orders.b2", 3, &["by.0.b2"]),
        ("plain", 3, &["moved.here"]),
        ("tail.a.b", 3, &["to.a.b"]),
        ("unmapped", 3, &["unmapped"]),
        ("canary.x", 200, &["canary.x", "v2.x"]),
        ("lossy", 20, &[]),
        ("elsewhere", 20, &["elsewhere"]),
    ] {
        let (have, expect) = (arrives(&ours, subject, times).await, arrives(&theirs, subject, times).await);
        assert_eq!(have, expect, "{subject}");
        assert!(have.iter().eq(want), "{subject}: {have:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_mapped_is_answered_or_refused_by_where_it_went() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), TOML);
    leafd.start();
    let client = leafd.client().await;
    let mut service = client.subscribe("moved.here").await.expect("subscribed");
    let responder = client.clone();
    tokio::spawn(async move {
        while let Some(request) = service.next().await {
            let reply = request.reply.expect("a reply subject");
            responder.publish(reply, request.subject.as_str().to_owned().into()).await.expect("published");
        }
    });
    client.flush().await.expect("flushed");
    assert_eq!(&client.request("plain", "".into()).await.expect("an answer").payload[..], b"moved.here");
    let refused = client.request("orders.a", "".into()).await.expect_err("nobody listens there");
    assert_eq!(refused.kind(), async_nats::RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn a_leaf_sends_what_is_mapped_here_and_it_is() {
    if !have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), &format!("{TOML}\n[leaf.listen]\nport = 0\n"));
    leafd.start();
    let ports = std::fs::read_to_string(leafd.data().join("leafd.ports")).expect("a ports file");
    let ports: serde_json::Value = serde_json::from_str(&ports).expect("JSON");
    let address = ports["leafnodes"][0].as_str().expect("a leaf port");
    let leaf = NatsServer::start(&format!("leafnodes {{ remotes: [{{ url: {address:?} }}] }}\n")).await;
    let (here, there) = (leafd.client().await, leaf.client().await);
    let mut moved = here.subscribe("moved.here").await.expect("subscribed");
    here.flush().await.expect("flushed");
    // Until the leaf knows that `plain` is wanted here it drops what is published there.
    let arrived = timeout(LIMIT, async {
        loop {
            there.publish("plain", "from the leaf".into()).await.expect("published");
            if let Ok(message) = timeout(common::LOOK, moved.next()).await {
                return message;
            }
        }
    });
    let arrived = arrived.await.expect("in time").expect("a message");
    assert_eq!(&arrived.payload[..], b"from the leaf");
}
