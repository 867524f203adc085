//! What services are told of who asks, where the import shares it.

use super::play::{Both, Raw, connect};
use super::{accounts, of};
use serde_json::Value;
use std::net::SocketAddr;

const NAME: &str = "\"user\":\"c\",\"pass\":\"p\",\"name\":\"app\",\"lang\":\"rust\",\"version\":\"1.2\"";

/// The header that `service` sees when somebody who says `client` asks on `subject`.
async fn told(address: SocketAddr, service: (&str, &str), client: &str, subject: &str) -> Value {
    let (mut server, mut asks) = (Raw::connect(address).await, Raw::connect(address).await);
    server.say(&format!("{}SUB {} 1\r\n", of(service.0), service.1)).await;
    // The first round trip is measured before the request: it is told too.
    asks.say(client).await;
    asks.say(&format!("SUB inbox 1\r\nPUB {subject} inbox 2\r\nhi\r\n")).await;
    let request = server.say("").await;
    let line = request.lines().find_map(|line| line.strip_prefix("Nats-Request-Info: ")).expect(&request);
    serde_json::from_str(line).expect("JSON")
}

/// What does not differ between two servers; which there is besides, by name.
fn plain(mut info: Value) -> (Value, Vec<String>) {
    let object = info.as_object_mut().expect("an object");
    // Measured, or not yet.
    object.remove("rtt");
    let keys = object.keys().cloned().collect();
    for own in ["id", "start", "server"] {
        object.remove(own);
    }
    (info, keys)
}

#[tokio::test]
async fn services_are_told_who_asks() {
    let (toml, conf) = accounts(&[
        (
            "S",
            "exports = [{ service = \"one\" }, { service = \"two\" }, { service = \"far\" }, { service = \"wide\" }]",
        ),
        (
            "T",
            r#"exports = [{ service = "step" }, { service = "told" }]
            imports = [{ service = { account = "S", subject = "far" }, to = "step", share = true },
                { service = { account = "S", subject = "wide" }, to = "told" }]"#,
        ),
        (
            "C",
            r#"imports = [{ service = { account = "S", subject = "one" }, share = true },
                { service = { account = "S", subject = "two" }, share = false },
                { service = { account = "T", subject = "step" } },
                { service = { account = "T", subject = "told" }, share = true }]"#,
        ),
    ]);
    let Some(both) = Both::start(&toml, &conf).await else { return };
    for (subscription, subject) in [("one", "one"), ("two", "two"), ("far", "step"), ("wide", "told")] {
        let mut sides = Vec::new();
        for address in both.addresses() {
            sides.push(plain(told(address, ("s", subscription), &connect(NAME), subject).await));
        }
        assert_eq!(sides[0], sides[1], "{subject}: first ours, then nats-server's");
        assert_eq!(sides[0].0["acc"], "C", "{subject}");
        assert_eq!(sides[0].0["user"] == "c", ["one", "told"].contains(&subject), "{subject}: {sides:?}");
    }
}
