//! A nats-server and a leafd with the same accounts, and their JSON made comparable.

use super::common::{LIMIT, Leafd, NatsServer};
use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const NATS_SERVER: &str = r#"
server_name: gw1
http: "127.0.0.1:-1"
jetstream: { domain: gw1, store_dir: STORE }
accounts {
  SYS { users: [{ user: sys, password: s }] }
  APP { jetstream: enabled, users: [{ user: app, password: a, permissions: { publish: { deny: "secret" } } }] }
}
system_account: SYS
"#;

const LEAFD: &str = r#"
[jetstream]
domain = "gw1"
[http]
port = 0
[authorization]
system_account = "SYS"
[accounts.SYS]
users = [{ user = "sys", password = "s" }]
[accounts.APP]
jetstream = true
users = [{ user = "app", password = "a", permissions = { publish = { deny = "secret" } } }]
"#;

/// Both, with nobody connected.
pub struct Pair {
    dir: tempfile::TempDir,
    nats_server: NatsServer,
    leafd: Leafd,
}

/// One of the two.
pub struct Server {
    /// Where clients connect.
    pub url: String,
    /// Somebody in the system account.
    pub system: Client,
    /// Its id.
    pub id: String,
}

impl Pair {
    pub async fn start() -> Pair {
        Pair::with(NATS_SERVER, LEAFD).await
    }

    /// With these configurations, `STORE` for a folder of nats-server's.
    pub async fn with(theirs: &str, ours: &str) -> Pair {
        let dir = tempfile::tempdir().expect("a folder");
        let store = format!("{:?}", dir.path().join("nats"));
        let nats_server = NatsServer::start(&theirs.replace("STORE", &store)).await;
        let mut leafd = Leafd::new(dir.path(), ours);
        leafd.start();
        Pair { dir, nats_server, leafd }
    }

    /// nats-server first.
    pub async fn servers(&self) -> [Server; 2] {
        assert!(self.dir.path().exists());
        [Server::new(self.nats_server.clients.to_string()).await, Server::new(self.leafd.url()).await]
    }

    /// Where both listen for leafs, nats-server first.
    pub fn leaf_ports(&self) -> [String; 2] {
        let port = |log: String| {
            let line = log.lines().find_map(|line| line.split_once("Listening for leafnode connections on "));
            line.map(|(_, address)| address.trim().to_owned()).expect("it listens for leafs")
        };
        [port(self.nats_server.log()), port(self.leafd.log())]
    }

    /// leafd itself.
    pub fn leafd(&mut self) -> &mut Leafd {
        &mut self.leafd
    }
}

impl Server {
    async fn new(url: String) -> Server {
        let system = connect("sys", "s").name("system").connect(&url).await.expect("let in");
        let id = system.server_info().server_id;
        Server { url, system, id }
    }

    /// A client of `APP`.
    pub async fn app(&self, name: &str) -> Client {
        connect("app", "a").name(name).connect(&self.url).await.expect("let in")
    }

    /// What a request of the system account is answered; `None` if nobody does within a moment.
    pub async fn ask(&self, subject: &str, payload: &str) -> Option<Value> {
        request(&self.system, &subject.replace("ID", &self.id), payload).await
    }

    /// Listens in the system account.
    pub async fn listen(&self, subject: &str) -> Subscriber {
        let subscriber = self.system.subscribe(subject.to_owned()).await.expect("subscribed");
        // An answer on the same connection: the server has taken the subscription in.
        request(&self.system, "$SYS.REQ.USER.INFO", "").await.expect("answered");
        subscriber
    }

    /// The JSON of an answer or event of this server, comparable.
    pub fn comparable(&self, mut value: Value) -> Value {
        blank(&mut value, &self.id);
        value
    }
}

/// Options for one of the users.
pub fn connect(user: &str, password: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.into(), password.into())
}

/// What a request is answered; `Null` if nobody listens, `None` if nobody answers within a moment.
pub async fn request(client: &Client, subject: &str, payload: &str) -> Option<Value> {
    let answer = timeout(Duration::from_secs(1), client.request(subject.to_owned(), payload.to_owned().into())).await;
    match answer.ok()? {
        Ok(answer) => Some(serde_json::from_slice(&answer.payload).expect("JSON")),
        Err(_) => Some(Value::Null),
    }
}

/// The next message, its subject with `ID` for the server's id.
pub async fn next(server: &Server, subscriber: &mut Subscriber) -> (String, Value) {
    let message = timeout(LIMIT, subscriber.next()).await.expect("in time").expect("subscribed");
    let value = serde_json::from_slice(&message.payload).expect("JSON");
    (message.subject.replace(&server.id, "ID"), value)
}

/// Of these values only the type is compared; lists are compared whatever their order.
const DIFFERENT: &[&str] = &[
    "id",
    "timestamp",
    "seq",
    "time",
    "start",
    "stop",
    "now",
    "rtt",
    "mem",
    "cpu",
    "port",
    "last_activity",
    "uptime",
    "idle",
    "git_commit",
    "go",
    "http_port",
    "store_dir",
    "max_memory",
    "max_storage",
    "config_load_time",
    "config_digest",
    "num_subscriptions",
    "subscriptions",
    "flags",
    "js_raft_delete_range",
    "update_time",
    "cid",
    "num_cache",
    "num_inserts",
    "num_removes",
    "num_matches",
    "cache_hit_rate",
    "max_fanout",
    "avg_fanout",
    "out_bytes",
    "out_msgs",
    "in_msgs",
    "in_bytes",
    "out_client_bytes",
    "out_client_msgs",
    "in_client_msgs",
    "in_client_bytes",
    "pending_bytes",
    "bytes",
    "sid",
    "created",
];

fn blank(value: &mut Value, id: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(_) if DIFFERENT.contains(&&**key) => *value = json!("text"),
                    Value::Number(_) if DIFFERENT.contains(&&**key) => *value = json!("number"),
                    Value::Bool(_) if DIFFERENT.contains(&&**key) => *value = json!("flag"),
                    _ => blank(value, id),
                }
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| blank(item, id));
            items.sort_by_key(Value::to_string);
        }
        Value::String(text) if text.starts_with("_INBOX.") => *text = "_INBOX".into(),
        Value::String(text) if text.contains(id) => *text = text.replace(id, "ID"),
        _ => {}
    }
}
