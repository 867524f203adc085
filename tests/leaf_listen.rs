//! The accepting side: our own link, and a real nats-server (`NATS_SERVER`, or on PATH), as leafs of ours.

use futures_util::StreamExt;
use leafd::account::{Account, Accounts, LocalClient, Message};
use leafd::auth::{Authenticator, Rules};
use leafd::config::leaf::{ListenConfig, RemoteConfig};
use leafd::events::Events;
use leafd::leaf::{House, Identity, Link, Listener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(20);

fn identity(name: &str) -> Identity {
    Identity { server_name: name.into(), server_id: name.into(), domain: Some(name.into()), jetstream: false }
}

fn events(accounts: &Accounts) -> Arc<Events> {
    let identity = leafd::events::Identity {
        name: "hub".into(),
        host: "localhost".into(),
        id: "hub".into(),
        domain: None,
        jetstream: false,
    };
    Events::new(accounts.system().clone(), identity).0
}

async fn listener(accounts: &Arc<Accounts>, extra: &str, shutdown: &watch::Receiver<bool>) -> Listener {
    let config: ListenConfig = toml::from_str(&format!("port = 0\n{extra}")).expect("valid");
    let house = House {
        accounts: accounts.clone(),
        authenticator: Authenticator::new(Rules::open(accounts)),
        events: events(accounts),
        identity: identity("hub"),
        max_payload: 1 << 20,
        visits: tokio::sync::mpsc::channel(1).1,
    };
    Listener::start(house, config, shutdown.clone()).await.expect("listening")
}

fn link(account: &Arc<Account>, port: u16, extra: &str, shutdown: &watch::Receiver<bool>) -> Arc<Link> {
    let text = format!(
        "name = \"hub\"\nurls = [\"nats://localhost:{port}\"]\nexport = [\">\"]\nimport = [\">\"]\n\
         reconnect = {{ min = \"20ms\", max = \"100ms\" }}\n{extra}"
    );
    let config: RemoteConfig = toml::from_str(&text).expect("valid");
    Link::start(account.clone(), config, identity("gw1"), Vec::new(), shutdown.clone())
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn publish(client: &LocalClient, subject: &str, payload: &str) -> usize {
    client.publish(&Message { subject, reply: "", headers: b"", payload: payload.as_bytes() })
}

const USERS: &str = "users = [{ user = \"gw1\", password = \"pw\", publish = [\"up.>\", \"_INBOX.>\"], subscribe = [\"down.>\", \"_INBOX.>\"] }]";

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_our_own_within_its_users_permissions() {
    let dir = tempfile::tempdir().expect("a directory");
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert_file, cert.cert.pem()).expect("written");
    std::fs::write(&key_file, cert.signing_key.serialize_pem()).expect("written");
    for tls in [false, true] {
        let (end, shutdown) = watch::channel(false);
        let (accounts, down) = (Accounts::new(None), Account::new("$G"));
        let up = accounts.global();
        let (listen_tls, link_tls) = match tls {
            false => (String::new(), String::new()),
            true => (
                format!("tls = {{ cert_file = {cert_file:?}, key_file = {key_file:?} }}\n"),
                format!("tls = {{ ca_file = {cert_file:?} }}"),
            ),
        };
        let hub = listener(&accounts, &format!("{listen_tls}{USERS}"), &shutdown).await;
        let credentials = format!("user = \"gw1\"\npassword = \"pw\"\n{link_tls}");
        let link = link(&down, hub.address().port(), &credentials, &shutdown);
        let (hub_client, leaf_client) = (LocalClient::new(up.clone()), LocalClient::new(down.clone()));
        let mut hub_all = hub_client.subscribe(">", 64);
        let mut leaf_down = leaf_client.subscribe("down.*", 64);
        let _leaf_other = leaf_client.subscribe("other", 64);
        eventually("the hub's interest at the leaf", || down.has_interest("up.a", None)).await;
        eventually("the leaf's interest at the hub", || up.subscriptions() > 2).await;
        assert_eq!((publish(&leaf_client, "up.a", "1"), publish(&leaf_client, "beyond", "2")), (1, 0));
        let got = tokio::time::timeout(LIMIT, hub_all.next()).await.expect("in time").expect("a message");
        assert_eq!((&*got.subject, &got.payload[..]), ("up.a", &b"1"[..]));
        eventually("delivery to the leaf", || {
            publish(&hub_client, "down.b", "3");
            leaf_down.try_next().is_some()
        })
        .await;
        assert!(
            !up.has_interest("other", Some(leafd::account::TargetId::next())) || publish(&hub_client, "other", "") == 1
        );
        assert_eq!(hub.status().len(), 1);
        assert_eq!(hub.status()[0].refused, 0, "the link knows its permissions");
        assert!(link.permits_publish("up.x") && !link.permits_publish("beyond"));
        end.send(true).expect("running");
        tokio::time::timeout(LIMIT, hub.stopped()).await.expect("the listener ends");
        tokio::time::timeout(LIMIT, link.stopped()).await.expect("the link ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_loops_are_told() {
    let (_end, shutdown) = watch::channel(false);
    let (accounts, down) = (Accounts::new(None), Account::new("$G"));
    let up = accounts.global();
    let hub = listener(&accounts, USERS, &shutdown).await;
    let wrong = link(&down, hub.address().port(), "user = \"gw1\"\npassword = \"no\"", &shutdown);
    eventually("advice", || wrong.status().reason.contains("check user, password")).await;
    let open = listener(&accounts, "", &shutdown).await;
    let around = link(up, open.address().port(), "", &shutdown);
    eventually("the loop is found", || around.status().reason.contains("Loop detected")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_is_a_leaf_of_ours() {
    let name = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into());
    if Command::new(&name).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: no nats-server; set NATS_SERVER");
        return;
    }
    let (_end, shutdown) = watch::channel(false);
    let accounts = Accounts::new(None);
    let account = accounts.global();
    let hub = listener(&accounts, USERS, &shutdown).await;
    let dir = tempfile::tempdir().expect("a directory");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let config = format!(
        "server_name: leaf1\nlisten: 127.0.0.1:{port}\nleafnodes {{ reconnect: 1, remotes: [ {{ url: \"nats://gw1:pw@127.0.0.1:{}\" }} ] }}\n",
        hub.address().port()
    );
    std::fs::write(dir.path().join("leaf.conf"), config).expect("written");
    let mut child = Command::new(&name)
        .arg("-c")
        .arg(dir.path().join("leaf.conf"))
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts");
    let test = async {
        eventually("the leaf connects", || hub.status().iter().any(|leaf| leaf.name == "leaf1")).await;
        let app = loop {
            match async_nats::connect(format!("127.0.0.1:{port}")).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let client = LocalClient::new(account.clone());
        let mut heard = client.subscribe("up.>", 64);
        let mut down = app.subscribe("down.*").await.expect("subscribed");
        app.flush().await.expect("flushed");
        eventually("a message up", || {
            let sent = futures_util::FutureExt::now_or_never(app.publish("up.x", "1".into()));
            assert!(sent.is_none_or(|s| s.is_ok()));
            heard.try_next().is_some()
        })
        .await;
        eventually("interest of the leaf", || account.has_interest("down.a", None)).await;
        publish(&client, "down.a", "2");
        let got = tokio::time::timeout(LIMIT, down.next()).await.expect("in time").expect("a message");
        assert_eq!(&got.payload[..], b"2");
    };
    let result = tokio::time::timeout(LIMIT * 2, test).await;
    let _ = child.kill();
    let _ = child.wait();
    result.expect("in time");
}
