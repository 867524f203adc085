//! A hub of three nodes: its further nodes are found by what one of them says, and taken when that one goes.

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, Port, wait_for};
use crate::rig;
use rustix::process::Signal;

/// Three nodes of one cluster.
async fn cluster() -> Vec<NatsServer> {
    let ports = [(); 3].map(|()| Port::free());
    let routes = ports.each_ref().map(|port| format!("\"nats-route://{}\"", port.at));
    let mut nodes = Vec::new();
    for (n, port) in ports.iter().enumerate() {
        nodes.push(
            NatsServer::start(&format!(
                "server_name: n{n}\nlame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\n\
                 leafnodes {{ listen: \"127.0.0.1:-1\" }}\n\
                 cluster {{ name: hub, listen: \"{}\", routes: [{}] }}\n",
                port.at,
                routes.join(", ")
            ))
            .await,
        );
    }
    for node in &nodes {
        wait_for("the cluster", LIMIT, || async {
            (node.log().matches("Route connection created").count() >= 2).then_some(())
        })
        .await;
    }
    nodes
}

/// Waits until the link is up, with a node other than `not`; its name.
async fn node(leafd: &Leafd, not: &str) -> String {
    wait_for("another node", LIMIT, || async {
        let status = leafd.status()?;
        let link = &status["links"][0];
        let name = link["hub_name"].as_str()?.to_owned();
        (link["up"] == true && name != not).then_some(name)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_announced_take_over() {
    let mut nodes = cluster().await;
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&nodes[0]).await);
    let leafd = rig::leafd(dir.path(), &rig::remote(&url, "discover = true"));
    assert_eq!(node(&leafd, "").await, "n0");
    let app = nodes[2].client().await;
    rig::joined(&app, &leafd.client().await).await;
    drop(nodes.remove(0));
    let second = node(&leafd, "n0").await;
    rig::joined(&app, &leafd.client().await).await;
    // One in lame duck mode ends as well, if not at once.
    let at = if second == "n1" { 0 } else { 1 };
    nodes[at].signal(Signal::USR2);
    let third = node(&leafd, &second).await;
    assert_ne!(third, second);
    let app = nodes[1 - at].client().await;
    rig::joined(&app, &leafd.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_discovery_only_what_is_configured_is_dialled() {
    let mut nodes = cluster().await;
    let dir = tempfile::tempdir().expect("a folder");
    let mut urls = Vec::new();
    for node in &nodes[..2] {
        urls.push(format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(node).await));
    }
    let leafd = rig::leafd(dir.path(), &rig::remote(&urls.join(", "), "no_randomize = true"));
    assert_eq!(node(&leafd, "").await, "n0");
    drop(nodes.remove(0));
    assert_eq!(node(&leafd, "n0").await, "n1");
    drop(nodes.remove(0));
    rig::link_says(&leafd, "cannot connect").await;
    let log = leafd.log().len();
    // It goes on with the two that it knows.
    wait_for("more dials", LIMIT, || async {
        let status = leafd.status()?;
        (status["links"][0]["up"] == false && leafd.log().len() >= log).then_some(())
    })
    .await;
    assert!(!leafd.log().contains("(n2 "), "{}", leafd.log());
}
