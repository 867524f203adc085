//! What the tests of leaf connections share: hubs, leafs, and a message that proves that both ways are open.

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, http, wait_for};
use futures_util::StreamExt;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

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
pub fn leafd(dir: &Path, config: &str) -> Leafd {
    let mut leafd = Leafd::new(dir, config);
    leafd.start();
    leafd
}

/// So many gateways whose hub is at `address`, none of them started; `tables` is what else the configuration of the n-th says.
pub fn gateways(dir: &Path, many: usize, address: SocketAddr, tables: impl Fn(usize) -> String) -> Vec<Leafd> {
    let gateway = |n: usize| {
        let dir = dir.join(n.to_string());
        std::fs::create_dir_all(&dir).expect("a folder");
        let leafd = Leafd::new(&dir, "");
        leafd.configure_raw(&format!(
            "server_name = \"gw{n}\"\ndata_dir = {:?}\n[listen]\nport = 0\n[[leaf.remote]]\nname = \"hub\"\n\
             urls = [\"nats://{address}\"]\nexport = [\"here.>\", \"plant.gw{n}.>\"]\nimport = [\"all.>\"]\n{}",
            leafd.data(),
            tables(n)
        ));
        leafd
    };
    (0..many).map(gateway).collect()
}

/// The client ports of the two sides are known to the ports files; so is that of monitoring.
pub fn monitoring(leafd: &Leafd) -> String {
    leafd.port("monitoring")
}

/// A burst of messages of many sizes from one side to the other, which arrive whole and in order.
pub async fn burst(from: &async_nats::Client, to: &async_nats::Client) {
    let mut heard = to.subscribe("burst.>").await.expect("subscribed");
    to.flush().await.expect("flushed");
    let until = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < until, "no interest on the other side");
        from.publish("burst.probe", "".into()).await.expect("published");
        from.flush().await.expect("flushed");
        if tokio::time::timeout(Duration::from_millis(50), heard.next()).await.is_ok() {
            break;
        }
    }
    let payload = |n: usize| -> Vec<u8> {
        let size = if n % 500 == 499 { 700_000 } else { n % 300 };
        (0..size).map(|at| if n.is_multiple_of(3) { b'x' } else { (at * (n + 7) / 3) as u8 }).collect()
    };
    let send = async {
        for n in 0..2_000 {
            from.publish(format!("burst.{n}"), payload(n).into()).await.expect("published");
        }
        from.flush().await.expect("flushed");
    };
    let receive = async {
        let mut next = 0;
        while next < 2_000 {
            let message = heard.next().await.expect("a message");
            if message.subject.as_str() == "burst.probe" {
                continue;
            }
            assert_eq!(message.subject.as_str(), format!("burst.{next}"));
            assert!(message.payload[..] == payload(next)[..], "message {next} is damaged");
            next += 1;
        }
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(send, receive) }).await.expect("in time");
}

/// Waits until the status of the first link gives `text` as the reason that it is down.
pub async fn link_says(leafd: &Leafd, text: &str) {
    wait_for(&format!("the link's reason: {text}"), LIMIT, || async {
        let status = leafd.status()?;
        status["links"][0]["reason"].as_str()?.contains(text).then_some(())
    })
    .await;
}

/// What a server says of the compression of a leaf connection begins with `mode`.
pub fn compresses(said: &Value, mode: &str, what: &str) {
    assert!(said.as_str().is_some_and(|said| said.starts_with(mode)), "{what}: {said} instead of {mode}");
}

/// Waits until the first link is up.
pub async fn link_up(leafd: &Leafd) {
    wait_for("the link is up", LIMIT, || async { (leafd.status()?["links"][0]["up"] == true).then_some(()) }).await;
}

/// Major and minor version of nats-server.
pub fn version() -> (u32, u32) {
    let output = std::process::Command::new(crate::common::hub::binary()).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.rsplit('v').next().unwrap_or_default().split('.').map_while(|n| n.trim().parse().ok());
    (numbers.next().expect("a version"), numbers.next().expect("a version"))
}
