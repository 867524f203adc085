//! What the tests of leaf connections share: hubs, leafs, and a message that proves that both ways are open.

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, http, wait_for};
use futures_util::StreamExt;
use serde_json::Value;
use std::time::Duration;

/// A nats-server that leaf nodes connect to; `leafnodes` is what stands in that block beside the address.
pub async fn nats_hub(leafnodes: &str, rest: &str) -> NatsServer {
    NatsServer::start(&format!(
        "server_name: hub\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ listen: \"127.0.0.1:-1\"\n{leafnodes} }}\n{rest}"
    ))
    .await
}

/// Where a nats-server takes leaf nodes: its ports file does not tell.
pub async fn leaf_port(server: &NatsServer) -> u16 {
    wait_for("the leaf port in nats-server's log", LIMIT, || async {
        let log = server.log();
        let (_, address) = log.split_once("Listening for leafnode connections on ")?;
        address.split_once('\n')?.0.rsplit_once(':')?.1.trim().parse().ok()
    })
    .await
}

/// The configuration of a leafd with one remote that lets everything cross; `remote` is what else stands there.
pub fn remote(urls: &str, remote: &str) -> String {
    format!(
        "[http]\nport = 0\n[[leaf.remote]]\nname = \"hub\"\nurls = [{urls}]\nexport = [\">\"]\nimport = [\">\"]\n\
         reconnect = {{ min = \"20ms\", max = \"200ms\" }}\n{remote}\n"
    )
}

/// The first leaf connection that `/leafz` of a server shows, once there is one.
pub async fn leafz(url: &str) -> Value {
    wait_for("a leaf connection", LIMIT, || async {
        let answer = http::get(&format!("{url}/leafz"), "", None).await.json();
        answer["leafs"].as_array().and_then(|leafs| leafs.first().cloned())
    })
    .await
}

/// Waits until a request on `subject` from `here` is answered by `there`; both ways are open then.
pub async fn answered(here: &async_nats::Client, there: &async_nats::Client, subject: &str) {
    let mut service = there.subscribe(subject.to_owned()).await.expect("subscribed");
    there.flush().await.expect("flushed");
    let responder = there.clone();
    let serving = tokio::spawn(async move {
        while let Some(request) = service.next().await {
            if let Some(reply) = request.reply {
                let _ = responder.publish(reply, request.payload).await;
            }
        }
    });
    wait_for("an answer from the other side of the leaf connection", LIMIT, || async {
        let request = async_nats::Request::new().payload("ping".into()).timeout(Some(Duration::from_millis(500)));
        here.send_request(subject.to_owned(), request).await.ok().filter(|answer| &answer.payload[..] == b"ping")
    })
    .await;
    serving.abort();
}

/// As [`answered`], in both directions.
pub async fn joined(hub: &async_nats::Client, leaf: &async_nats::Client) {
    answered(leaf, hub, "rig.at.hub").await;
    answered(hub, leaf, "rig.at.leaf").await;
}

/// A leafd in `dir` that has started.
pub fn leafd(dir: &std::path::Path, config: &str) -> Leafd {
    let mut leafd = Leafd::new(dir, config);
    leafd.start();
    leafd
}

/// The client ports of the two sides are known to the ports files; so is that of monitoring.
pub fn monitoring(leafd: &Leafd) -> String {
    leafd.port("monitoring")
}
