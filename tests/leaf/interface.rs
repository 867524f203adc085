//! A link over a network interface that is taken down: the hub lives in a network namespace of its own, behind a pair of
//! virtual Ethernet devices. Only root may make those.

use crate::common::{have, hub, wait_for};
use crate::rig;
use async_nats::jetstream::{self, stream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    output.is_ok_and(|output| output.status.success())
}

/// A namespace with its end of the pair, and ours; both go when dropped.
struct Network {
    name: String,
    device: String,
    hub: String,
    server: Option<Child>,
}

impl Network {
    /// `None` where this may not be done.
    fn new() -> Option<Network> {
        let id = std::process::id();
        let (name, device) = (format!("leafd-{id}"), format!("lfd{id}"));
        // Of the block that is for measurements (RFC 2544).
        let [here, hub] = [1, 2].map(|host| format!("198.18.{}.{}", id % 256, host + id / 256 % 60 * 4));
        if !ip(&format!("netns add {name}")) {
            return None;
        }
        let network = Network { name, device, hub, server: None };
        let Network { name, device, hub, .. } = &network;
        let steps = [
            format!("link add {device} type veth peer name eth0 netns {name}"),
            format!("addr add {here}/30 dev {device}"),
            format!("-n {name} addr add {hub}/30 dev eth0"),
            format!("-n {name} link set eth0 up"),
            format!("link set {device} up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(network)
    }

    fn start(&mut self, dir: &Path) {
        let config = dir.join("hub.conf");
        let text = format!(
            "server_name: hub\nlisten: \"0.0.0.0:4222\"\njetstream {{ store_dir: {:?}, domain: hub }}\n\
             leafnodes {{ listen: \"0.0.0.0:7422\" }}\n",
            dir.join("hub")
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, &hub::binary(), "-c"]).arg(config);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        self.server = Some(command.spawn().expect("it starts"));
    }

    fn set(&self, state: &str) {
        assert!(ip(&format!("link set {} {state}", self.device)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        ip(&format!("link del {}", self.device));
        ip(&format!("netns del {}", self.name));
    }
}

async fn publish(context: &jetstream::Context, numbers: std::ops::Range<u32>) {
    for n in numbers {
        context.publish("reading", n.to_string().into()).await.expect("sent").await.expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_cross_once_and_in_order_when_the_interface_goes_down_and_comes_back() {
    let Some(mut network) = Network::new().filter(|_| have(&hub::binary())) else {
        eprintln!("network namespaces cannot be made here");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    network.start(dir.path());
    let address = format!("nats://{}:4222", network.hub);
    let app = wait_for("the hub", PATIENCE, || async { async_nats::connect(&address).await.ok() }).await;
    let config = stream::Config { name: "READINGS".into(), subjects: vec!["reading".into()], ..Default::default() };
    let context = jetstream::new(app.clone());
    wait_for("the hub's stream", PATIENCE, || async { context.create_stream(config.clone()).await.ok() }).await;
    let remote = "ping_interval = \"500ms\"";
    let uplink =
        "[[uplink]]\nname = \"r\"\nsubjects = [\"reading\"]\nhub_stream = \"READINGS\"\nack_timeout = \"2s\"\n";
    let leafd = rig::leafd(dir.path(), &(rig::remote(&format!("\"nats://{}:7422\"", network.hub), remote) + uplink));
    let local = jetstream::new(leafd.client().await);
    rig::link_up(&leafd).await;
    publish(&local, 0..50).await;
    for round in 1..4 {
        network.set("down");
        publish(&local, round * 50..round * 50 + 50).await;
        // No reset comes, and no end: only silence tells.
        wait_for("the link is found dead", Duration::from_secs(15), || async {
            (leafd.status()?["links"][0]["up"] == false).then_some(())
        })
        .await;
        network.set("up");
        wait_for("the backlog has crossed", PATIENCE, || async {
            let status = leafd.status()?["uplinks"][0].clone();
            (status["backlog_messages"] == 0 && status["in_flight"] == 0).then_some(())
        })
        .await;
    }
    let held =
        wait_for("the hub is reached again", PATIENCE, || async { context.get_stream("READINGS").await.ok() }).await;
    let mut bodies = Vec::new();
    for seq in 1..=held.cached_info().state.last_sequence {
        let message = held.get_raw_message(seq).await.expect("it is there");
        bodies.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    assert_eq!(bodies, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}
