//! A nats-server and leafd as the leaf of the same hub, one after the other: whatever clients on both sides observe must be the
//! same. Each case gives lines of what it saw; each topology runs the cases with both leafs, and compares. With an older hub in
//! `NATS_SERVER`, `NATS_SERVER_LEAF` names the nats-server whose behaviour leafd has.

mod cases;
mod nodes;
mod restrictions;
mod streams;

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::{Cluster, LIMIT, hub, wait_for, within};
use crate::{credentials, rig};
use async_nats::Client;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nats,
    Leafd,
}

/// How a leaf comes to its hub, and what it lets cross.
#[derive(Clone, Default)]
pub struct Remote {
    pub urls: Vec<String>,
    pub creds: Option<PathBuf>,
    /// Quoted subjects, with commas between.
    pub deny_exports: &'static str,
    pub deny_imports: &'static str,
}

/// The leaf under test, `gw1`, with JetStream in the domain `gw1`.
pub enum Leaf {
    Nats(NatsServer),
    Leafd(Leafd),
}

impl Leaf {
    /// Starts one whose files are in `dir`.
    pub async fn start(kind: Kind, dir: &Path, remote: &Remote) -> Leaf {
        let list = |all: &[String]| all.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(", ");
        let (urls, no, nor) = (list(&remote.urls), remote.deny_exports, remote.deny_imports);
        if kind == Kind::Nats {
            let creds = remote.creds.as_ref().map(|file| format!(", credentials: {file:?}")).unwrap_or_default();
            let config = format!(
                "server_name: gw1\nhttp: \"127.0.0.1:-1\"\njetstream {{ domain: gw1, store_dir: {:?} }}\nleafnodes {{ reconnect: 1,\n\
                 remotes: [ {{ urls: [{urls}], deny_exports: [{no}], deny_imports: [{nor}]{creds} }} ] }}\n",
                dir.join("nats")
            );
            let binary = std::env::var("NATS_SERVER_LEAF").unwrap_or_else(|_| hub::binary());
            return Leaf::Nats(NatsServer::start_binary(binary, &config).await);
        }
        let creds = remote.creds.as_ref().map(|file| format!("creds = {file:?}\n")).unwrap_or_default();
        let more = format!("discover = true\ndeny_export = [{no}]\ndeny_import = [{nor}]\n{creds}");
        Leaf::Leafd(rig::leafd(dir, &rig::remote(&urls, &more)))
    }

    pub async fn client(&self) -> Client {
        match self {
            Leaf::Nats(server) => server.client().await,
            Leaf::Leafd(leafd) => leafd.client().await,
        }
    }

    /// The hub node it is connected to.
    pub async fn node(&self) -> String {
        let url = match self {
            Leaf::Nats(server) => server.port("monitoring"),
            Leaf::Leafd(leafd) => leafd.port("monitoring"),
        };
        rig::leafz(&url).await["name"].as_str().expect("a name").to_owned()
    }
}

/// Where a case is played: a client of the hub, far from the leaf, and one of the leaf.
pub struct Place {
    pub hub: Client,
    pub leaf: Client,
    /// What the hub's streams are made with: replicas, and where they lie.
    pub replicas: Value,
    pub remote: Remote,
}

type Case = (&'static str, fn(&Place) -> BoxFuture<'_, Vec<String>>);

/// What a leaf with JetStream must show at any hub with JetStream in the domain `hub`.
const CASES: [Case; 5] = [
    ("crossing", |place| Box::pin(cases::crossing(place))),
    ("weights", |place| Box::pin(cases::weights(place))),
    ("domains", |place| Box::pin(cases::domains(place))),
    ("consumers", |place| Box::pin(cases::consumers(place))),
    ("streams", |place| Box::pin(streams::both_ways(place))),
];

/// Runs all cases with both leafs.
async fn compare(hub: Client, remote: Remote, replicas: Value) {
    let mut seen = Vec::new();
    for kind in [Kind::Nats, Kind::Leafd] {
        let dir = tempfile::tempdir().expect("a folder");
        let leaf = Leaf::start(kind, dir.path(), &remote).await;
        let place =
            Place { hub: hub.clone(), leaf: leaf.client().await, replicas: replicas.clone(), remote: remote.clone() };
        rig::joined(&place.hub, &place.leaf).await;
        let mut lines = Vec::new();
        for (name, case) in CASES {
            eprintln!("{kind:?}: {name}");
            lines.push((name, case(&place).await));
        }
        seen.push(lines);
    }
    let (leafd, nats) = (seen.pop().expect("of leafd"), seen.pop().expect("of nats-server"));
    for ((name, ours), (_, theirs)) in leafd.into_iter().zip(nats) {
        assert!(!theirs.is_empty(), "{name} saw nothing");
        same(name, &ours, &theirs);
    }
}

/// Panics with the lines that one of them has seen and the other has not.
fn same(what: &str, leafd: &[String], nats: &[String]) {
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    let (ours, theirs) = (only(leafd, nats), only(nats, leafd));
    assert!(leafd == nats, "{what}: only with leafd {ours:#?}, only with nats-server {theirs:#?}");
}

/// What JetStream at the hub needs.
fn jetstream(dir: &Path) -> String {
    format!("jetstream {{ domain: hub, store_dir: {:?} }}\n", dir.join("hub"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_hub() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = rig::nats_hub("", &jetstream(dir.path())).await;
    let urls = vec![format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await)];
    compare(hub.client().await, Remote { urls, ..Remote::default() }, json!({"num_replicas": 1})).await;
}

/// The leaf dials the first node, the application is at the last; streams have three replicas.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_of_three_nodes() {
    let cluster = Cluster::start(&[("hub", 3)]).await;
    let app = async_nats::connect(cluster.nodes[2].clients.to_string()).await.expect("connected");
    let urls = vec![format!("nats://{}", cluster.nodes[0].leafs)];
    compare(app, Remote { urls, ..Remote::default() }, json!({"num_replicas": 3})).await;
}

/// The leaf dials one cluster, the application is in the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_joined_by_a_gateway() {
    let clusters = Cluster::start(&[("east", 3), ("west", 1)]).await;
    let app = async_nats::connect(clusters.nodes[3].clients.to_string()).await.expect("connected");
    let urls = vec![format!("nats://{}", clusters.nodes[0].leafs)];
    let replicas = json!({"num_replicas": 3, "placement": {"cluster": "east"}});
    compare(app, Remote { urls, ..Remote::default() }, replicas).await;
}

/// The leaf and the application come with credentials of one account of an operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_of_an_operator() {
    let dir = tempfile::tempdir().expect("a folder");
    let account = credentials::Account::new();
    let hub = rig::nats_hub("", &format!("{}{}", account.server(), jetstream(dir.path()))).await;
    let creds = account.user(dir.path(), "gw", json!({}));
    let app = credentials::connect(&account.user(dir.path(), "app", json!({})), &hub).await;
    let urls = vec![format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await)];
    compare(app, Remote { urls, creds: Some(creds), ..Remote::default() }, json!({"num_replicas": 1})).await;
}

/// What the leaf says of itself decides how a hub treats it: its name as its cluster, whether members of a queue group at other
/// nodes come before those behind the link.
#[tokio::test]
async fn both_say_the_same_of_themselves() {
    let mut said = Vec::new();
    for kind in [Kind::Nats, Kind::Leafd] {
        let hub = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("nats://{}", hub.local_addr().expect("bound"));
        let dir = tempfile::tempdir().expect("a folder");
        let deny_imports = "\"a.>\", \"b\"";
        let remote = Remote { urls: vec![url], deny_imports, ..Remote::default() };
        let _leaf = Leaf::start(kind, dir.path(), &remote).await;
        let (mut socket, _) = within("the leaf comes", hub.accept()).await.expect("accepted");
        let info = json!({"server_id": "HUB", "server_name": "hub", "version": "2.15.1", "proto": 1, "client_id": 7, "headers": true,
            "max_payload": 1 << 20, "leafnode_urls": [], "domain": "hub", "jetstream": true});
        socket.write_all(format!("INFO {info}\r\n").as_bytes()).await.expect("written");
        let mut lines = BufReader::new(socket).lines();
        let connect = loop {
            let line = within("CONNECT", lines.next_line()).await.expect("read").expect("a line");
            if let Some(connect) = line.strip_prefix("CONNECT ") {
                break serde_json::from_str::<Value>(connect).expect("JSON");
            }
        };
        let fields = connect.as_object().expect("an object").iter();
        // Which server it is and how far it traces are its own.
        let own = ["server_id", "version", "protocol"];
        said.push(fields.filter(|(key, _)| !own.contains(&key.as_str())).map(|f| format!("{f:?}")).collect::<Vec<_>>());
    }
    same("CONNECT", &said[1], &said[0]);
}

/// Waits for the answer of the JetStream API.
async fn api(client: &Client, subject: &str, body: &Value) -> Value {
    wait_for(&format!("an answer to {subject}"), LIMIT, || async {
        let answer = client.request(subject.to_owned(), body.to_string().into()).await.ok()?;
        serde_json::from_slice(&answer.payload).ok()
    })
    .await
}
