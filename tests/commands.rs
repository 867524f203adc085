//! The other way: what is published at the hub on an imported subject reaches local subscribers and the serial device.

mod common;

use common::{Gateway, Hub, LIMIT, Proxy, Pty};
use futures_util::StreamExt;
use std::io::Read;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_at_the_hub_reaches_a_local_subscriber_and_the_device() {
    if !common::have(&common::hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    let _stream = hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let pty = Pty::new(&dir.path().join("scale1"));
    let mut leafd = Gateway::default().linked(&hub, proxy.address).serial("scale1", &pty.path).leafd(dir.path());
    leafd.start();
    let local = leafd.client().await;
    let mut commands = local.subscribe("plant1.gw1.cmd.>").await.expect("subscribed");
    local.flush().await.expect("flushed");
    let app = hub.client().await;
    let until = Instant::now() + LIMIT;
    let first = loop {
        // Until the interest has crossed, nobody hears it.
        app.publish("plant1.gw1.cmd.scale1", "tare".into()).await.expect("published");
        app.flush().await.expect("flushed");
        if let Ok(Some(message)) = tokio::time::timeout(common::LOOK * 10, commands.next()).await {
            break message;
        }
        assert!(Instant::now() < until, "the command does not reach the local subscriber");
    };
    assert_eq!((first.subject.as_str(), &first.payload[..]), ("plant1.gw1.cmd.scale1", &b"tare"[..]));
    let mut device = pty.device.try_clone().expect("a copy");
    let read = tokio::task::spawn_blocking(move || {
        let mut text = [0; 5];
        device.read_exact(&mut text).map(|()| text)
    });
    let text = tokio::time::timeout(LIMIT, read).await.expect("the device gets it").expect("no panic").expect("read");
    assert_eq!(&text, b"tare\n");

    // What the configuration does not import stays at the hub.
    let mut other = local.subscribe("plant1.gw1.>").await.expect("subscribed");
    local.flush().await.expect("flushed");
    let until = Instant::now() + LIMIT;
    let heard = loop {
        // Until leafd knows of the subscription, nobody hears them.
        app.publish("plant1.gw1.config.x", "secret".into()).await.expect("published");
        app.publish("plant1.gw1.cmd.last", "last".into()).await.expect("published");
        app.flush().await.expect("flushed");
        let Ok(message) = tokio::time::timeout(common::LOOK * 10, other.next()).await else {
            assert!(Instant::now() < until, "nothing is heard");
            continue;
        };
        let message = message.expect("a message");
        assert_ne!(message.subject.as_str(), "plant1.gw1.config.x", "not imported");
        if message.subject.as_str() == "plant1.gw1.cmd.last" {
            break message;
        }
    };
    assert_eq!(&heard.payload[..], b"last");
    assert!(!hub.log().contains("iolation"), "{}", hub.log());
}
