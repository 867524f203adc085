//! What `$G` shares with another account also reaches through a leaf connection, both ways.

use super::common::{LIMIT, LOOK, Leafd, NatsServer, have, hub};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use tokio::time::timeout;

const TOML: &str = r#"
[leaf.listen]
port = 0
users = [{ user = "leaf", password = "p" }]
[accounts."$G"]
exports = [{ service = "svc.>" }, { stream = "news.>" }]
imports = [{ stream = { account = "A", subject = "up.>" }, prefix = "a" }, { service = { account = "A", subject = "own" } }]
[accounts.A]
users = [{ user = "a", password = "p" }]
exports = [{ service = "own" }, { stream = "up.>" }]
imports = [{ service = { account = "$G", subject = "svc.>" } }, { stream = { account = "$G", subject = "news.>" }, prefix = "g" }]
"#;

/// A client of account A here, and one of the leaf's only account.
async fn linked() -> Option<(tempfile::TempDir, Leafd, NatsServer, Client, Client)> {
    if !have(&hub::binary()) {
        return None;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), TOML);
    leafd.start();
    let ports = std::fs::read_to_string(leafd.data().join("leafd.ports")).expect("a ports file");
    let ports: serde_json::Value = serde_json::from_str(&ports).expect("JSON");
    let address = ports["leafnodes"][0].as_str().expect("a leaf port").replacen("://", "://leaf:p@", 1);
    let leaf = NatsServer::start(&format!("leafnodes {{ remotes: [{{ url: {address:?} }}] }}\n")).await;
    let here = ConnectOptions::with_user_and_password("a".into(), "p".into()).connect(leafd.url()).await;
    let (here, there) = (here.expect("leafd takes clients"), leaf.client().await);
    Some((dir, leafd, leaf, here, there))
}

/// Serves `subject` with what it is asked.
async fn serve(client: &Client, subject: &str) {
    let mut requests = client.subscribe(subject.to_owned()).await.expect("subscribed");
    client.flush().await.expect("flushed");
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                let _ = client.publish(reply, request.subject.as_str().to_owned().into()).await;
            }
        }
    });
}

/// Asks until interest has spread and there is an answer.
async fn ask(client: &Client, subject: &str) -> String {
    let asked = timeout(LIMIT, async {
        loop {
            match client.request(subject.to_owned(), "".into()).await {
                Ok(answer) => return String::from_utf8_lossy(&answer.payload).into_owned(),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    });
    asked.await.expect("an answer in time")
}

/// Publishes until interest has spread and a message arrives; its subject.
async fn arrives(from: &Client, subject: &str, to: &Client, filter: &str) -> String {
    let mut inbox = to.subscribe(filter.to_owned()).await.expect("subscribed");
    to.flush().await.expect("flushed");
    let arrived = timeout(LIMIT, async {
        loop {
            from.publish(subject.to_owned(), "".into()).await.expect("published");
            if let Ok(Some(message)) = timeout(LOOK, inbox.next()).await {
                return message.subject.to_string();
            }
        }
    });
    arrived.await.expect("a message in time")
}

#[tokio::test]
async fn services_on_either_side_of_a_leaf_connection_answer() {
    let Some((_dir, _leafd, _leaf, here, there)) = linked().await else { return };
    serve(&there, "svc.x").await;
    serve(&here, "own").await;
    assert_eq!(ask(&here, "svc.x").await, "svc.x");
    assert_eq!(ask(&there, "own").await, "own");
}

#[tokio::test]
async fn streams_cross_a_leaf_connection() {
    let Some((_dir, _leafd, _leaf, here, there)) = linked().await else { return };
    assert_eq!(arrives(&there, "news.1", &here, "g.>").await, "g.news.1");
    assert_eq!(arrives(&here, "up.1", &there, "a.up.*").await, "a.up.1");
}
