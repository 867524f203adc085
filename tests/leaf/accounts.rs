//! Leaf connections bound to accounts, on both sides, with the same users as clients have.

use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, wait_for};
use crate::rig;
use futures_util::StreamExt;
use std::time::Duration;

const ACCOUNTS: &str =
    "accounts { A { users: [ { user: a, password: a } ] }, B { users: [ { user: b, password: b } ] } }\n";
const TOML_ACCOUNTS: &str = "[accounts.A]\nusers = [{ user = \"a\", password = \"a\" }]\n\
     [accounts.B]\nusers = [{ user = \"b\", password = \"b\" }]\n";

async fn client(address: &str, user: &str) -> async_nats::Client {
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), user.into());
    options.connect(address).await.expect("connected")
}

/// Whether what `from` says is heard by `to`, and not by `other`.
async fn apart(from: &async_nats::Client, to: &async_nats::Client, other: &async_nats::Client) {
    let mut overheard = other.subscribe("apart.>").await.expect("subscribed");
    other.flush().await.expect("flushed");
    rig::answered(from, to, "apart.x").await;
    let heard = tokio::time::timeout(Duration::from_millis(200), overheard.next()).await;
    assert!(heard.is_err(), "another account has heard it");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_remote_serves_its_account() {
    let hub = rig::nats_hub("", ACCOUNTS).await;
    let port = rig::leaf_port(&hub).await;
    let dir = tempfile::tempdir().expect("a folder");
    let remote = |name: &str| {
        format!(
            "[[leaf.remote]]\nname = \"{name}\"\nurls = [\"nats://127.0.0.1:{port}\"]\naccount = \"{}\"\nuser = \"{name}\"\n\
             password = \"{name}\"\nexport = [\">\"]\nimport = [\">\"]\n",
            name.to_uppercase()
        )
    };
    let leafd = rig::leafd(dir.path(), &format!("{TOML_ACCOUNTS}{}{}", remote("a"), remote("b")));
    let at_hub = [client(&hub.clients.to_string(), "a").await, client(&hub.clients.to_string(), "b").await];
    let here = [client(&leafd.url(), "a").await, client(&leafd.url(), "b").await];
    for n in 0..2 {
        apart(&here[n], &at_hub[n], &at_hub[1 - n]).await;
        apart(&at_hub[n], &here[n], &here[1 - n]).await;
    }
}

/// Which of the two is meant, another gateway or another remote, the hub does not say.
#[tokio::test(flavor = "multi_thread")]
async fn two_remotes_to_one_account_of_the_hub_are_told_as_such() {
    let hub = rig::nats_hub("", "").await;
    let port = rig::leaf_port(&hub).await;
    let dir = tempfile::tempdir().expect("a folder");
    let remote = |name: &str| format!("[[leaf.remote]]\nname = \"{name}\"\nurls = [\"nats://127.0.0.1:{port}\"]\n");
    let leafd = rig::leafd(dir.path(), &format!("{}{}", remote("a"), remote("b")));
    wait_for("the reason", LIMIT, || async {
        leafd.log().contains("or another remote here (give each its own account at the hub)").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leafs_are_let_in_as_clients_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), &format!("{TOML_ACCOUNTS}[leaf.listen]\nport = 0\n"));
    let leafs = leafd.port("leafnodes");
    let with = |user: &str| leafs.replace("://", &format!("://{user}:{user}@"));
    let leaf = NatsServer::start(&format!(
        "server_name: leaf1\n{ACCOUNTS}leafnodes {{ reconnect: 1, remotes: [\n\
         {{ url: \"{}\", account: A }}, {{ url: \"{}\", account: B }} ] }}\n",
        with("a"),
        with("b")
    ))
    .await;
    let at_leaf = [client(&leaf.clients.to_string(), "a").await, client(&leaf.clients.to_string(), "b").await];
    let here = [client(&leafd.url(), "a").await, client(&leafd.url(), "b").await];
    for n in 0..2 {
        apart(&here[n], &at_leaf[n], &at_leaf[1 - n]).await;
        apart(&at_leaf[n], &here[n], &here[1 - n]).await;
    }
    // Who is unknown stays outside, and is told.
    let wrong = NatsServer::start(&format!(
        "leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{}\" }} ] }}\n",
        leafs.replace("://", "://a:wrong@")
    ))
    .await;
    wait_for("the refusal", LIMIT, || async { wrong.log().contains("Authorization Violation").then_some(()) }).await;
}

/// The subjects that come, up to `end`, without those of the requests that opened the way.
async fn heard(subscription: &mut async_nats::Subscriber, end: &str) -> Vec<String> {
    let mut subjects = Vec::new();
    while subjects.last().is_none_or(|last| last != end) {
        let message = tokio::time::timeout(LIMIT, subscription.next()).await.expect("in time").expect("a message");
        if !message.subject.ends_with(".svc") {
            subjects.push(message.subject.to_string());
        }
    }
    subjects
}

/// Permissions of a user for leaf nodes, at a nats-server and at a leafd as hub: what a leaf's clients notice is the same.
#[tokio::test(flavor = "multi_thread")]
async fn permissions_bound_a_leaf_as_at_a_nats_server() {
    let hub = rig::nats_hub(
        "",
        "accounts { A { users: [ { user: a, password: a }, { user: gw, password: gw, permissions: {
           publish: { allow: [\"up.>\", \"_INBOX.>\"], deny: \"up.secret\" }
           subscribe: { allow: [\"down.>\", \"_INBOX.>\"], deny: \"down.secret\" } } } ] } }\n",
    )
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(
        dir.path(),
        "[accounts.A]\nusers = [{ user = \"a\", password = \"a\" }, { user = \"gw\", password = \"gw\", permissions = {\n\
         publish = { allow = [\"up.>\", \"_INBOX.>\"], deny = [\"up.secret\"] },\n\
         subscribe = { allow = [\"down.>\", \"_INBOX.>\"], deny = [\"down.secret\"] } } }]\n[leaf.listen]\nport = 0\n",
    );
    let nats_url = format!("nats-leaf://gw:gw@127.0.0.1:{}", rig::leaf_port(&hub).await);
    let leafd_url = leafd.port("leafnodes").replace("://", "://gw:gw@");
    for (url, address) in [(nats_url, hub.clients.to_string()), (leafd_url, leafd.url())] {
        let leaf =
            NatsServer::start(&format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{url}\" }} ] }}\n")).await;
        let (at_hub, at_leaf) = (client(&address, "a").await, leaf.client().await);
        let mut up = at_hub.subscribe("up.>").await.expect("subscribed");
        let mut down = at_leaf.subscribe("down.>").await.expect("subscribed");
        let _other = at_hub.subscribe("other").await.expect("subscribed");
        rig::answered(&at_leaf, &at_hub, "up.svc").await;
        rig::answered(&at_hub, &at_leaf, "down.svc").await;
        for subject in ["other", "up.secret", "up.end"] {
            at_leaf.publish(subject, "x".into()).await.expect("published");
        }
        for subject in ["other", "down.secret", "down.end"] {
            at_hub.publish(subject, "x".into()).await.expect("published");
        }
        at_hub.flush().await.expect("flushed");
        at_leaf.flush().await.expect("flushed");
        assert_eq!(heard(&mut up, "up.end").await, ["up.end"], "{address}");
        assert_eq!(heard(&mut down, "down.end").await, ["down.end"], "{address}");
        assert_eq!(leaf.log().matches("Permissions Violation").count(), 0, "{address}: {}", leaf.log());
    }
}
