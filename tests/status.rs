//! What the operator sees while the hub is away, and when it is back.

mod common;

use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Proxy, wait_for};
use serde_json::Value;

const READINGS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backlog_is_shown_while_the_hub_is_away_and_drains_when_it_returns() {
    if !common::have(&common::hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    let stream = hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    proxy.set(Link::Cut);
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Gateway::default().linked(&hub, proxy.address).leafd(dir.path());
    leafd.start();
    let local = async_nats::jetstream::new(leafd.client().await);
    for n in 0..READINGS {
        let ack = local.publish("plant1.gw1.telemetry.t", n.to_string().into()).await.expect("sent");
        ack.await.expect("stored");
    }
    let status = leafd.status().expect("answers");
    let (link, uplink) = (&status["links"][0], &status["uplinks"][0]);
    assert_eq!(link["up"], false, "{link}");
    assert!(link["reason"].as_str().is_some_and(|r| !r.is_empty()), "{link}");
    assert_eq!(uplink["backlog_messages"], READINGS, "{uplink}");
    assert!(uplink["backlog_bytes"].as_u64().is_some_and(|b| b > READINGS), "{uplink}");
    assert!(uplink["oldest_age"].as_f64().is_some_and(|age| age > 0.0), "{uplink}");
    assert_eq!(uplink["last_ack_time"], Value::Null, "{uplink}");
    let shown = text(&leafd);
    for want in ["DOWN", "backlog 500 messages", "last hub ack never"] {
        assert!(shown.contains(want), "{want:?} is not in\n{shown}");
    }

    proxy.set(Link::Open);
    wait_for("the backlog has drained", LIMIT, || async {
        let status = leafd.status()?;
        let uplink = &status["uplinks"][0];
        (uplink["backlog_messages"] == 0 && uplink["last_ack_time"].is_string()).then_some(())
    })
    .await;
    let mut stream = stream;
    assert_eq!(stream.info().await.expect("the hub answers").state.messages, READINGS);
    let shown = text(&leafd);
    for want in ["hub: up, to ", "backlog 0 messages", "500 delivered", "exactly once: yes"] {
        assert!(shown.contains(want), "{want:?} is not in\n{shown}");
    }
}

#[test]
fn a_configuration_that_is_being_edited_does_not_hide_the_running_daemon() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = common::Leafd::new(dir.path(), "");
    leafd.start();
    leafd.configure("[[leaf.remote]]\nname = \"hub\"\npassword = { file = \"/nowhere\" }\n");
    let run = |command| {
        let mut leafd_command = std::process::Command::new(env!("CARGO_BIN_EXE_leafd"));
        let run = leafd_command.arg(command).arg("-c").arg(leafd.config_file()).output().expect("runs");
        (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
    };
    let (code, text) = run("status");
    assert!(code == Some(0) && text.contains("gw1"), "{text}");
    let (code, text) = run("reload");
    assert!(code == Some(1) && text.contains("urls"), "the daemon names what is wrong: {text}");
}

/// `leafd status` as people read it.
fn text(leafd: &common::Leafd) -> String {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_leafd"))
        .args(["status", "--data-dir"])
        .arg(leafd.data())
        .output()
        .expect("runs");
    String::from_utf8_lossy(&run.stdout).into_owned()
}
