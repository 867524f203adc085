//! Hub nodes that go, killed or in lame duck mode: what was subscribed and stored before goes on at another node.

use super::{Kind, Leaf, Remote, api, same};
use crate::common::cluster::Node;
use crate::common::{Cluster, LIMIT, wait_for};
use crate::rig;
use async_nats::{Client, Subscriber, jetstream};
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::json;

/// The next numbers on a subscription: those which came after the way was open again.
async fn next(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let message = tokio::time::timeout(LIMIT, subscriber.next()).await.expect("in time").expect("a message");
        seen.push(format!("{} {:?}", message.subject, message.payload));
    }
    seen
}

/// A leaf whose node is taken away by `take`; what subscribers, a queue group, and a mirror see of it.
async fn moved(cluster: &mut Cluster, kind: Kind, take: fn(&mut Node)) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let urls = vec![format!("nats://{}", cluster.nodes[0].leafs)];
    let leaf = Leaf::start(kind, dir.path(), &Remote { urls, ..Remote::default() }).await;
    let app = async_nats::connect(cluster.nodes[2].clients.to_string()).await.expect("connected");
    let local = leaf.client().await;
    rig::joined(&app, &local).await;
    // A node that has just come back is not taken for a peer at once.
    let origin = json!({"name": "O", "subjects": ["o"], "num_replicas": 3});
    wait_for("a stream of three replicas", LIMIT, || async {
        api(&app, "$JS.API.STREAM.CREATE.O", &origin).await["error"].is_null().then_some(())
    })
    .await;
    let mirror = json!({"name": "M", "mirror": {"name": "O", "external": {"api": "$JS.hub.API", "deliver": ""}}});
    api(&local, "$JS.API.STREAM.CREATE.M", &mirror).await;
    store(&app, 1, 10).await;
    let mut seen = vec![format!("at {}", leaf.node().await)];
    let mut subscribers = Vec::new();
    for (way, from, to) in [("down", &app, &local), ("up", &local, &app)] {
        let subscriber = to.subscribe(format!("{way}.x")).await.expect("subscribed");
        let group = to.queue_subscribe(format!("{way}.q"), "q".into()).await.expect("subscribed");
        rig::answered(from, to, &format!("{way}.svc")).await;
        subscribers.push((way, from, subscriber, group));
    }
    take(&mut cluster.nodes[0]);
    let elsewhere = wait_for("another node", LIMIT, || async {
        let node = leaf.node().await;
        (node != "hub-1").then_some(node)
    });
    assert!(["hub-2", "hub-3"].contains(&elsewhere.await.as_str()));
    rig::joined(&app, &local).await;
    for (way, from, subscriber, group) in &mut subscribers {
        for n in 0..5 {
            from.publish(format!("{way}.x"), n.to_string().into()).await.expect("published");
            from.publish(format!("{way}.q"), n.to_string().into()).await.expect("published");
        }
        seen.extend(next(subscriber, 5).await);
        seen.extend(next(group, 5).await);
    }
    store(&app, 11, 20).await;
    wait_for("the mirror goes on", LIMIT * 2, || async {
        let info = api(&local, "$JS.API.STREAM.INFO.M", &json!({})).await;
        (info["state"]["messages"] == 20 && info["state"]["last_seq"] == 20).then_some(())
    })
    .await;
    api(&app, "$JS.API.STREAM.DELETE.O", &json!({})).await;
    seen
}

/// Stores numbers in the hub's stream, while its leader may change: each goes where the one before is the last. By its id it would
/// not do: nats-server 2.10 answers to one that was under way when the leader went that it has it, and has it not.
async fn store(client: &Client, from: u64, to: u64) {
    let context = jetstream::new(client.clone());
    for n in from..=to {
        wait_for("a stored message", LIMIT, || async {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Expected-Last-Sequence", (n - 1).to_string().as_str());
            if let Ok(ack) = context.publish_with_headers("o", headers, n.to_string().into()).await
                && ack.await.is_ok()
            {
                return Some(());
            }
            let info = api(client, "$JS.API.STREAM.INFO.O", &json!({})).await;
            (info["state"]["last_seq"] == n).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_or_a_lame_duck_is_left() {
    let mut cluster = Cluster::start(&[("hub", 3)]).await;
    for (what, take) in
        [("killed", Node::kill as fn(&mut Node)), ("lame duck", |node: &mut Node| node.signal(Signal::USR2))]
    {
        let mut seen = Vec::new();
        for kind in [Kind::Nats, Kind::Leafd] {
            eprintln!("{what}: {kind:?}");
            seen.push(moved(&mut cluster, kind, take).await);
            let node = &mut cluster.nodes[0];
            node.kill();
            node.start();
            node.ready().await;
        }
        same(what, &seen[1], &seen[0]);
    }
}
