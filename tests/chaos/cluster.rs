//! A hub of three nodes whose stream has three replicas: its leader killed or told to step down, any node killed, all of them
//! killed at once.

use crate::common::cluster::Node;
use crate::common::hub::{self, STREAM};
use crate::common::proxy::Link;
use crate::common::{self, Cluster, LIMIT, Leafd, Proxy, have, wait_for};
use crate::line::{self, Line};
use crate::readings::{Ledger, Producer};
use async_nats::jetstream::{self, stream};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What nats-server may take to bring three replicas together again, on a loaded machine.
const MENDING: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Line(line::Blow),
    LeaderKilled,
    LeaderStepsDown,
    NodeKilled,
    AllKilled,
    /// The hub's stream is deleted and made anew.
    Recreated,
}

/// One of the hub's for each of the line's.
fn blow(random: &mut Rng) -> Blow {
    match random.u8(..20) {
        0..4 => Blow::LeaderKilled,
        4..6 => Blow::LeaderStepsDown,
        6..8 => Blow::NodeKilled,
        8 => Blow::AllKilled,
        9 => Blow::Recreated,
        _ => Blow::Line(line::blow(random)),
    }
}

/// The stream with its leader, made if it is not there; then it takes atomic batches or not, which decides how a backlog travels.
async fn replicated(client: &async_nats::Client, atomic: bool) -> stream::Stream {
    let context = jetstream::new(client.clone());
    let config = json!({
        "name": STREAM,
        "subjects": ["plant1.*.telemetry.>"],
        "duplicate_window": Duration::from_secs(1).as_nanos() as u64,
        "num_replicas": 3,
        "allow_atomic": atomic,
    });
    wait_for("the hub's stream", LIMIT, || async {
        if let Ok(stream) = context.get_stream(STREAM).await {
            return Some(stream);
        }
        let _: Value = context.request(format!("STREAM.CREATE.{STREAM}"), &config).await.ok()?;
        None
    })
    .await
}

struct World {
    line: Line,
    cluster: Cluster,
    client: async_nats::Client,
    ledger: Ledger,
    atomic: bool,
}

impl World {
    async fn leader(&self) -> String {
        let stream = replicated(&self.client, self.atomic).await;
        wait_for("a leader", LIMIT, || async { stream.get_info().await.ok()?.cluster?.leader }).await
    }

    async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Line(blow) => self.line.strike(blow).await,
            Blow::LeaderStepsDown => {
                let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}");
                // Without an answer there was no leader that could.
                let _ = self.client.request(subject, "".into()).await;
            }
            Blow::LeaderKilled | Blow::NodeKilled | Blow::AllKilled => {
                // Two of three at once only where all are meant.
                self.mended().await;
                let leader = self.leader().await;
                let any = self.line.random.usize(..3);
                for (n, node) in self.cluster.nodes.iter_mut().enumerate() {
                    if blow == Blow::AllKilled || if blow == Blow::NodeKilled { n == any } else { node.name == leader }
                    {
                        node.kill();
                    }
                }
                self.line.pause(100..4000).await;
                // What befalls the line next comes while they elect a leader.
                self.cluster.nodes.iter_mut().filter(|node| !node.runs()).for_each(Node::start);
            }
            Blow::Recreated => {
                self.mended().await;
                self.line.set(Link::Cut);
                let last = self.ledger.check(&replicated(&self.client, self.atomic).await).await;
                wait_for("the stream is deleted", LIMIT, || async {
                    jetstream::new(self.client.clone()).delete_stream(STREAM).await.ok()
                })
                .await;
                self.atomic = self.line.random.bool();
                replicated(&self.client, self.atomic).await;
                self.ledger.lost.push(1..=last);
                self.line.set(Link::Open);
            }
        }
    }

    /// Waits until the stream has its leader and both followers.
    async fn mended(&self) {
        let stream = replicated(&self.client, self.atomic).await;
        wait_for("the stream's replicas", MENDING, || async {
            let cluster = stream.get_info().await.ok()?.cluster?;
            let current = cluster.replicas.iter().filter(|replica| replica.current).count();
            (cluster.leader.is_some() && current == 2).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_of_three_nodes_holds_each_reading_once_whichever_of_them_go() {
    if !have(&hub::binary()) {
        return;
    }
    let mut random = Rng::with_seed(common::seed());
    let atomic = random.bool();
    let cluster = Cluster::start(&[("hub", 3)]).await;
    let client = cluster.client().await;
    replicated(&client, atomic).await;
    let mut proxies = Vec::new();
    for node in &cluster.nodes {
        proxies.push(Proxy::start(node.leafs).await);
    }
    let urls: Vec<String> = proxies.iter().map(|proxy| format!("\"nats://{}\"", proxy.address)).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[[leaf.remote]]\nname = \"hub\"\nurls = [{}]\ndiscover = false\nexport = [\"plant1.gw1.>\"]\nping_interval = \"1s\"\n\
         reconnect = {{ min = \"50ms\", max = \"500ms\" }}\n\
         [[uplink]]\nname = \"telemetry\"\nsubjects = [\"plant1.gw1.telemetry.>\"]\nhub_stream = {STREAM:?}\n\
         hub_domain = \"hub\"\nack_timeout = \"2s\"\n",
        urls.join(", ")
    );
    let line = Line::start(Leafd::new(dir.path(), &config), dir.path(), proxies, random);
    let producer = Producer::start(line.address());
    let mut world = World { line, cluster, client, ledger: Ledger::default(), atomic };
    let until = Instant::now() + line::length();
    let mut blows = BTreeMap::<Blow, u32>::new();
    while Instant::now() < until {
        world.line.pause(100..2000).await;
        let blow = blow(&mut world.line.random);
        *blows.entry(blow).or_default() += 1;
        world.strike(blow).await;
        assert!(world.line.leafd.runs(), "leafd has ended by itself");
    }
    world.mended().await;
    world.line.pause(2000..3000).await;
    let stored = producer.end().await;
    assert!(stored > 0, "nothing was stored");
    let status = world.line.drained().await;
    let last = world.ledger.check(&replicated(&world.client, world.atomic).await).await;
    eprintln!("{blows:?}: {stored} readings stored; {:?}; {status}", world.ledger);
    assert!(last >= stored, "all that was acknowledged is there: {last}");
}
