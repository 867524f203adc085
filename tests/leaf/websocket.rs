//! The hub's websocket port: plain, by TLS, compressed, without masks, below a path of a reverse proxy.

use crate::common::certificates::Authority;
use crate::common::nats_server::NatsServer;
use crate::rig;

const LEAFNODES: &str = "compression: accept";

#[tokio::test(flavor = "multi_thread")]
async fn a_link_by_websocket() {
    for (websocket, compression, then) in [
        ("compression: true", "", "s2_"),
        ("compression: true", "websocket = { compression = true }", "off"),
        ("", "websocket = { compression = true, no_masking = true }", "s2_"),
        ("", "compression = \"off\"", "off"),
    ] {
        let block = format!("websocket {{ listen: \"127.0.0.1:-1\", no_tls: true\n{websocket} }}\n");
        let hub = rig::nats_hub(LEAFNODES, &block).await;
        let url = hub.port("websocket");
        let dir = tempfile::tempdir().expect("a folder");
        let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"{url}\""), compression));
        let (app, local) = (hub.client().await, leafd.client().await);
        rig::joined(&app, &local).await;
        let shown = rig::leafz(&rig::monitoring(&leafd)).await;
        rig::compresses(&shown["compression"], then, &format!("{websocket:?} {compression:?}"));
        rig::burst(&local, &app).await;
        rig::burst(&app, &local).await;
        assert_eq!(leafd.status().expect("a status")["links"][0]["reconnects"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_by_secure_websocket() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let server = authority.server("hub");
    let block = format!(
        "websocket {{ listen: \"127.0.0.1:-1\", tls {{ cert_file: {:?}, key_file: {:?} }} }}\n",
        server.cert, server.key
    );
    let hub = rig::nats_hub("", &block).await;
    let url = hub.port("websocket").replace("127.0.0.1", "localhost");
    assert!(url.starts_with("wss://"), "{url}");
    let remote = format!("tls = {{ ca_file = {:?} }}", authority.file());
    let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"{url}\""), &remote));
    rig::joined(&hub.client().await, &leafd.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_no_websocket_for_leafs_is_named() {
    let monitoring_only = rig::nats_hub("", "").await;
    let port = monitoring_only.port("monitoring").replace("http://", "ws://");
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"{port}\""), ""));
    rig::link_says(&leafd, "no WebSocket for leaf nodes there: it answers 404").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_leaf_comes_by_websocket() {
    for (at_hub, at_leaf, then) in [
        ("", "", "s2_"),
        ("compression = true", "ws_compression: true", "off"),
        ("compression = true", "ws_compression: true, ws_no_masking: true", "off"),
        ("", "ws_no_masking: true, compression: off", "off"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[authorization]\nusers = [{{ user = \"a\", password = \"a\", allowed_connection_types = [\"STANDARD\", \"LEAFNODE_WS\"] }}]\n\
             [leaf.listen]\nport = 0\n[http]\nport = 0\n[websocket]\nport = 0\nno_tls = true\n{at_hub}\n"
        );
        let leafd = rig::leafd(dir.path(), &config);
        let url = leafd.port("websocket").replace("://", "://a:a@");
        let leaf =
            NatsServer::start(&format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{url}\", {at_leaf} }} ] }}\n"))
                .await;
        let options = async_nats::ConnectOptions::with_user_and_password("a".into(), "a".into());
        let app = options.connect(leafd.url()).await.expect("connected");
        let local = leaf.client().await;
        rig::joined(&app, &local).await;
        rig::compresses(
            &rig::leafz(&rig::monitoring(&leafd)).await["compression"],
            then,
            &format!("{at_hub:?} {at_leaf:?}"),
        );
        rig::burst(&local, &app).await;
        rig::burst(&app, &local).await;
    }
}
