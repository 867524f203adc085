//! Outages of the hub: a link that is dead without a word, many gateways that lose one hub, a node of a cluster that is killed.

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::proxy::{Link, Proxy};
use crate::common::{LIMIT, Port, http, wait_for};
use crate::rig;
use crate::streams::{api, bodies, external, gateway, numbers, publish};
use futures_util::StreamExt;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// By default, with all its intervals as they come.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_link_is_found_dead_within_fifteen_seconds() {
    let hub = rig::nats_hub("", "").await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), &rig::remote(&format!("\"nats://{}\"", proxy.address), ""));
    rig::joined(&hub.client().await, &leafd.client().await).await;
    proxy.set(Link::Stalled);
    let stalled = Instant::now();
    rig::link_says(&leafd, "nothing came for").await;
    let took = stalled.elapsed();
    assert!(took < Duration::from_millis(15_500), "{took:?}");
    assert!(took > Duration::from_secs(9), "{took:?}: a round trip of some seconds is no death");
    proxy.set(Link::Open);
    rig::joined(&hub.client().await, &leafd.client().await).await;
}

/// `LEAFD_LEAFS` says how many; 200 take about 2 GB.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_gone_is_logged_once_for_each_of_its_urls() {
    let nodes = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
    let nodes = nodes.map(|node| node.expect("bound"));
    let urls = nodes.each_ref().map(|node| format!("\"nats://{}\"", node.local_addr().expect("an address")));
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), &rig::remote(&urls.join(", "), "no_randomize = true"));
    // In turn; each closes at once.
    for _ in 0..5 {
        for node in &nodes {
            drop(tokio::time::timeout(LIMIT, node.accept()).await.expect("dialled").expect("accepted"));
        }
    }
    let log = leafd.log();
    assert_eq!(log.matches("dialling goes on").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_gateways_come_back_to_their_hub_one_after_the_other() {
    let many: usize = std::env::var("LEAFD_LEAFS").map_or(12, |text| text.parse().expect("a number"));
    let hub = rig::nats_hub("", "").await;
    let target = SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await));
    let mut proxy = Some(Proxy::start(target).await);
    let address = proxy.as_ref().expect("just started").address;
    let dir = tempfile::tempdir().expect("a folder");
    let mut gateways = rig::gateways(dir.path(), many, address, |_| String::new());
    gateways.iter_mut().for_each(Leafd::start);
    let monitoring = hub.port("monitoring");
    let connected = || async {
        let answer = http::get(&format!("{monitoring}/leafz"), "", None).await.json();
        (answer["leafnodes"] == many).then_some(())
    };
    let patience = LIMIT * 3;
    wait_for("all gateways at the hub", patience, connected).await;

    // The hub is gone, and whoever dials is noted and sent away.
    drop(proxy.take());
    let listener = wait_for("the hub's port", LIMIT, || async { TcpListener::bind(address).await.ok() }).await;
    let (gone, mut dials) = (Instant::now(), Vec::new());
    while let Ok(dialled) = tokio::time::timeout_at((gone + Duration::from_secs(12)).into(), listener.accept()).await {
        drop(dialled.expect("accepted"));
        dials.push(gone.elapsed());
    }
    drop(listener);
    let back = Instant::now();
    // The same port again, once nobody holds it.
    let listener = wait_for("the hub's port again", LIMIT, || async { TcpListener::bind(address).await.ok() }).await;
    let (mut first, mut passed) = (Vec::new(), Vec::new());
    while first.len() < many {
        let (mut near, _) =
            tokio::time::timeout(patience, listener.accept()).await.expect("in time").expect("accepted");
        first.push(back.elapsed());
        let mut far = tokio::net::TcpStream::connect(target).await.expect("the hub");
        passed.push(tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await }));
    }
    wait_for("all gateways at the hub again", patience, connected).await;

    // After the first second the pauses are long: no quarter of one has more than a third of all that came later.
    let late: Vec<_> = dials.iter().filter(|at| **at > Duration::from_secs(2)).collect();
    let fullest = (0..48).map(|n| late.iter().filter(|at| at.as_millis() / 250 == n).count()).max().unwrap_or_default();
    let spread = first.last().expect("there are some").saturating_sub(first[0]);
    eprintln!(
        "{many} gateways: {} dials in 12 s of outage, at most {fullest} of {} late ones in 250 ms; back over {spread:?}",
        dials.len(),
        late.len()
    );
    assert!(late.len() < 6 || fullest * 3 <= late.len() + 3, "{late:?}");
    assert!(dials.len() < many * 12, "pauses do not grow: {} dials", dials.len());
    assert!(spread > Duration::from_millis(500), "all at once: {first:?}");

    // Each of them hears the hub.
    let mut heard = Vec::new();
    for leafd in &gateways {
        let mut subscriber = leafd.client().await.subscribe("all.x").await.expect("subscribed");
        heard.push(tokio::spawn(async move { subscriber.next().await.is_some() }));
    }
    let app = hub.client().await;
    wait_for("the hub's word at each gateway", patience, || async {
        app.publish("all.x", "".into()).await.expect("published");
        app.flush().await.expect("flushed");
        heard.iter().all(|heard| heard.is_finished()).then_some(())
    })
    .await;
}

/// Three nodes with JetStream, in the domain `hub`; the R3 stream's leader is killed while a mirror runs each way.
#[tokio::test(flavor = "multi_thread")]
async fn mirrors_go_on_when_a_node_of_the_hub_is_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let ports = [(); 3].map(|()| Port::free());
    let routes = ports.each_ref().map(|port| format!("\"nats-route://{}\"", port.at));
    let mut nodes = Vec::new();
    for (n, port) in ports.iter().enumerate() {
        let config = format!(
            "server_name: n{n}\njetstream {{ store_dir: {:?}, domain: hub }}\nleafnodes {{ listen: \"127.0.0.1:-1\" }}\n\
             cluster {{ name: hub, listen: \"{}\", routes: [{}] }}\n",
            dir.path().join(format!("n{n}")),
            port.at,
            routes.join(", ")
        );
        nodes.push(NatsServer::start(&config).await);
    }
    let mut urls = Vec::new();
    for node in &nodes {
        urls.push(format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(node).await));
    }
    let mut leafd = gateway(&dir.path().join("gw"), "gw1", &urls.join(", "));
    leafd.start();
    let here = leafd.client().await;
    let config = json!({"name": "DOWN", "subjects": ["down"], "num_replicas": 3});
    let first = nodes[0].client().await;
    wait_for("an R3 stream", LIMIT * 2, || async {
        let body = config.to_string().into();
        let answer = first.request("$JS.API.STREAM.CREATE.DOWN", body).await.ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
        answer["error"].is_null().then_some(())
    })
    .await;
    api(&here, "STREAM.CREATE.UP", json!({"name": "UP", "subjects": ["up"]})).await;
    api(&here, "STREAM.CREATE.DOWN", json!({"name": "DOWN", "mirror": external("DOWN", "hub")})).await;
    let mirror = json!({"name": "UP", "mirror": external("UP", "gw1"), "num_replicas": 3});
    api(&first, "STREAM.CREATE.UP", mirror).await;
    publish(&first, "down", 1, 30).await;
    publish(&here, "up", 1, 30).await;
    let info = api(&first, "STREAM.INFO.DOWN", json!({})).await;
    let leader = info["cluster"]["leader"].as_str().expect("a leader").to_owned();
    let at: usize = leader.trim_start_matches('n').parse().expect("a number");
    drop(nodes.remove(at));
    let there = nodes[0].client().await;
    publish(&there, "down", 31, 60).await;
    publish(&here, "up", 31, 60).await;
    assert_eq!(bodies(&here, "DOWN", "down", 60).await, numbers(60));
    assert_eq!(bodies(&there, "UP", "up", 60).await, numbers(60));
}
