//! Many gateways that have gathered readings while their hub was away.

use crate::common::leafd::Leafd;
use crate::common::proxy::{Link, Proxy};
use crate::common::{LIMIT, http, wait_for};
use crate::rig;
use crate::streams::api;
use async_nats::jetstream;
use futures_util::StreamExt;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Instant;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Stores the readings `0..count` at a gateway.
async fn gather(leafd: &Leafd, name: &str, count: usize) {
    let context = jetstream::new(leafd.client().await);
    for from in (0..count).step_by(256) {
        let mut acks = Vec::new();
        for n in from..count.min(from + 256) {
            let sent = context.publish(format!("plant.{name}.t"), n.to_string().into()).await;
            acks.push(sent.expect("sent").into_future());
        }
        futures_util::future::try_join_all(acks).await.expect("stored");
    }
}

/// `LEAFD_LEAFS` says how many, `LEAFD_READINGS` how much each of them has gathered.
#[tokio::test(flavor = "multi_thread")]
async fn many_gateways_bring_what_they_have_gathered_once_and_in_order() {
    let (many, readings) = (number("LEAFD_LEAFS", 4), number("LEAFD_READINGS", 300));
    let (all, patience) = (many * readings, LIMIT * 10);
    let dir = tempfile::tempdir().expect("a folder");
    let hub = rig::nats_hub("", &format!("jetstream {{ store_dir: {:?} }}\n", dir.path().join("hub"))).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await))).await;
    let there = hub.client().await;
    api(&there, "STREAM.CREATE.ALL", json!({"name": "ALL", "subjects": ["plant.*.t"]})).await;
    let uplink = |n| format!("[[uplink]]\nname = \"readings\"\nsubjects = [\"plant.gw{n}.t\"]\nhub_stream = \"ALL\"\n");
    let mut gateways = rig::gateways(dir.path(), many, proxy.address, uplink);
    gateways.iter_mut().for_each(Leafd::start);
    let leafz = format!("{}/leafz", hub.port("monitoring"));
    let connected = async |count: usize| (http::get(&leafz, "", None).await.json()["leafnodes"] == count).then_some(());
    wait_for("all gateways at the hub", patience, || connected(many)).await;

    proxy.set(Link::Cut);
    wait_for("no gateway at the hub", patience, || connected(0)).await;
    for (n, leafd) in gateways.iter().enumerate() {
        gather(leafd, &format!("gw{n}"), readings).await;
    }
    let back = Instant::now();
    proxy.set(Link::Open);
    wait_for("all gateways at the hub again", patience, || connected(many)).await;
    let connected = back.elapsed();
    let stream = jetstream::new(there).get_stream("ALL").await.expect("it is there");
    let stored = async || Some(stream.get_info().await.ok()?.state.messages);
    wait_for("all readings at the hub", patience, || async { stored().await.filter(|count| *count >= all as u64) })
        .await;
    let took = back.elapsed();
    eprintln!(
        "{many} gateways with {readings} readings each: at the hub after {connected:?}, the readings after {took:?}"
    );

    // Nobody resends what nobody awaits: what is there once all are confirmed stays all.
    for leafd in &gateways {
        wait_for("an empty backlog", patience, || async {
            (leafd.status()?["uplinks"][0]["backlog_messages"] == 0).then_some(())
        })
        .await;
    }
    assert_eq!(stored().await, Some(all as u64));
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut stored = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    let mut next = vec![0; many];
    for _ in 0..all {
        let message =
            tokio::time::timeout(LIMIT, stored.next()).await.expect("in time").expect("one more").expect("read");
        let gateway = message.subject.split('.').nth(1).and_then(|name| name.strip_prefix("gw"));
        let n: usize = gateway.expect("a gateway").parse().expect("its number");
        assert_eq!(message.payload, next[n].to_string(), "of gateway {n}");
        next[n] += 1;
    }
}
