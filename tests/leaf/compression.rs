//! S2 compression in nats-server's modes, with either side as the hub.

use crate::rig;

/// Mode at the hub, mode at the leaf, and what each side then says that it does.
const MODES: [(&str, &str, &str, &str); 8] = [
    // By the round trip, of which a busy machine makes what it will.
    ("s2_auto", "s2_auto", "s2_", "s2_"),
    ("s2_best", "s2_fast", "s2_best", "s2_fast"),
    ("s2_better", "s2_best", "s2_better", "s2_best"),
    ("accept", "s2_better", "s2_better", "s2_better"),
    ("s2_fast", "accept", "s2_fast", "s2_fast"),
    ("accept", "accept", "off", "off"),
    ("off", "s2_best", "off", "off"),
    ("s2_best", "off", "off", "off"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_link_compresses_as_both_sides_want() {
    for (at_hub, at_leaf, hub_does, leaf_does) in MODES {
        let hub = rig::nats_hub(&format!("compression: {at_hub}"), "").await;
        let dir = tempfile::tempdir().expect("a folder");
        let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&hub).await);
        let leafd = rig::leafd(dir.path(), &rig::remote(&url, &format!("compression = \"{at_leaf}\"")));
        let (app, local) = (hub.client().await, leafd.client().await);
        rig::joined(&app, &local).await;
        let what = format!("hub {at_hub}, leaf {at_leaf}");
        rig::compresses(&rig::leafz(&hub.port("monitoring")).await["compression"], hub_does, &what);
        rig::compresses(&rig::leafz(&rig::monitoring(&leafd)).await["compression"], leaf_does, &what);
        rig::burst(&local, &app).await;
        rig::burst(&app, &local).await;
        let status = leafd.status().expect("a status");
        assert_eq!(status["links"][0]["reconnects"], 0, "{what}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_leaf_compresses_as_both_sides_want() {
    for (at_hub, at_leaf, hub_does, leaf_does) in MODES {
        let dir = tempfile::tempdir().expect("a folder");
        let config = format!("[http]\nport = 0\n[leaf.listen]\nport = 0\ncompression = \"{at_hub}\"\n");
        let leafd = rig::leafd(dir.path(), &config);
        let leafs = leafd.port("leafnodes");
        let leaf = crate::common::nats_server::NatsServer::start(&format!(
            "server_name: leaf1\nhttp: \"127.0.0.1:-1\"\n\
             leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{leafs}\", compression: {at_leaf} }} ] }}\n"
        ))
        .await;
        let (app, local) = (leafd.client().await, leaf.client().await);
        rig::joined(&app, &local).await;
        let what = format!("hub {at_hub}, leaf {at_leaf}");
        rig::compresses(&rig::leafz(&rig::monitoring(&leafd)).await["compression"], hub_does, &what);
        rig::compresses(&rig::leafz(&leaf.port("monitoring")).await["compression"], leaf_does, &what);
        rig::burst(&local, &app).await;
        rig::burst(&app, &local).await;
    }
}
