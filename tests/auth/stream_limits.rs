//! What accounts may have in streams, by the configuration and by JWT: the same requests to leafd and to nats-server.

use super::common::wait_for;
use super::jwt::{limits, merge, sign};
use super::play::Both;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::time::Duration;

/// Compares what the API says to `requests` one after the other.
async fn ask(options: impl Fn() -> async_nats::ConnectOptions, both: &Both, requests: &[(&str, Value)]) {
    let mut all = Vec::new();
    for address in both.addresses() {
        let client = options().connect(address.to_string()).await.expect("let in");
        let mut answers = Vec::new();
        for (subject, request) in requests {
            let payload = if request.is_null() { String::new() } else { request.to_string() };
            answers.push(match client.request(subject.to_string(), payload.into()).await {
                Ok(answer) => plain(serde_json::from_slice(&answer.payload).unwrap_or(Value::Null)),
                Err(error) => json!(error.to_string()),
            });
        }
        all.push(answers);
    }
    for (at, request) in requests.iter().enumerate() {
        assert_eq!(all[0][at], all[1][at], "{request:?}: first ours, then nats-server's");
    }
}

/// An answer without times and the server's name, and without what counts as a request to the API and how much room a
/// message takes on disk.
fn plain(answer: Value) -> Value {
    const OWN: [&str; 7] = ["created", "ts", "first_ts", "last_ts", "api", "storage", "leader"];
    match answer {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, value)| !OWN.contains(&&**name) || value == "file");
            Value::Object(kept.map(|(name, value)| (name, plain(value))).collect())
        }
        other => other,
    }
}

fn stream(name: &str, claims: Value) -> (String, Value) {
    let mut config = json!({"name": name, "subjects": [name], "storage": "file", "max_bytes": 1000});
    merge(&mut config, &claims);
    (format!("$JS.API.STREAM.CREATE.{name}"), config)
}

fn requests() -> Vec<(String, Value)> {
    let consumer = |name: &str, config: Value| {
        let mut all = json!({"durable_name": name, "ack_policy": "explicit"});
        merge(&mut all, &config);
        (format!("$JS.API.CONSUMER.CREATE.S.{name}"), json!({"stream_name": "S", "config": all}))
    };
    let info = || ("$JS.API.INFO".to_owned(), Value::Null);
    let update = |name: &str, claims: Value| {
        let (subject, config) = stream(name, claims);
        (subject.replace("CREATE", "UPDATE"), config)
    };
    vec![
        info(),
        stream("A", json!({"max_bytes": -1})),
        stream("B", json!({"max_bytes": 6000})),
        stream("C", json!({"storage": "memory", "max_bytes": 2500})),
        stream("D", json!({"max_consumers": 5})),
        stream("S", json!({"max_bytes": 4000})),
        stream("S", json!({"max_bytes": 4000})),
        stream("S", json!({"max_bytes": 3000})),
        info(),
        stream("E", json!({"max_bytes": 4500})),
        stream("M", json!({"storage": "memory", "max_bytes": 1500})),
        stream("F", json!({"storage": "memory", "max_bytes": 1500})),
        stream("T", json!({"max_bytes": 3000})),
        stream("G", json!({"max_bytes": 10})),
        update("S", json!({"max_bytes": 5500})),
        update("S", json!({"max_bytes": 4900})),
        update("S", json!({"max_bytes": -1})),
        update("S", json!({"max_bytes": 4500})),
        update("S", json!({"max_bytes": 4500, "max_consumers": 9})),
        info(),
        consumer("a", json!({})),
        consumer("b", json!({"max_ack_pending": 51})),
        consumer("b", json!({"max_ack_pending": 50})),
        consumer("c", json!({})),
        ("M".to_owned(), json!("x".repeat(900))),
        ("M".to_owned(), json!("x".repeat(900))),
    ]
}

async fn play(options: impl Fn() -> async_nats::ConnectOptions, both: &Both) {
    let requests = requests();
    let requests: Vec<(&str, Value)> =
        requests.iter().map(|(subject, request)| (&**subject, request.clone())).collect();
    ask(options, both, &requests).await;
}

/// nats-server's part of the configuration, for all accounts.
fn server(store: &tempfile::TempDir) -> String {
    format!("jetstream: {{store_dir: {:?}, max_mem: 1G, max_file: 1G}}\n", store.path())
}

#[tokio::test]
async fn limits_of_the_configuration() {
    let toml = "[accounts.A]\nusers = [{ user = \"a\", password = \"p\" }]\n[accounts.A.jetstream]\nmax_file = 8000\nmax_memory = 2000\nmax_streams = 3\nmax_consumers = 2\nmax_ack_pending = 50\nmax_bytes_required = true\nfile_max_stream_bytes = 5000\nmemory_max_stream_bytes = 2000\n";
    let store = tempfile::tempdir().expect("a folder");
    let conf = format!(
        "{}accounts {{ A {{ users: [{{user: a, password: p}}], jetstream: {{max_file: 8000, max_mem: 2000, max_streams: 3, max_consumers: 2, max_ack_pending: 50, max_bytes_required: true, disk_max_stream_bytes: 5000, mem_max_stream_bytes: 2000}} }} }}\n",
        server(&store)
    );
    let toml = format!("[jetstream]\nmax_memory = \"1GB\"\nmax_file = \"1GB\"\n{toml}");
    let Some(both) = Both::start(&toml, &conf).await else { return };
    play(|| async_nats::ConnectOptions::with_user_and_password("a".into(), "p".into()), &both).await;
}

/// An account and its operator.
struct World {
    operator: KeyPair,
    /// The operator's JWT.
    own: String,
    system: KeyPair,
    account: KeyPair,
    store: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let claims = json!({"nats": {"system_account": system.public_key()}});
        let own = sign(&operator, &operator.public_key(), "operator", claims);
        World { operator, own, system, account, store: tempfile::tempdir().expect("a folder") }
    }

    /// leafd's configuration and nats-server's, where the account has `jetstream` among its limits.
    fn configurations(&self, jetstream: Value) -> [String; 2] {
        let claims = |jetstream: Value| {
            let mut all = json!({"nats": {"limits": limits()}});
            merge(&mut all["nats"]["limits"], &jetstream);
            all
        };
        let tokens = [(&self.system, claims(json!({}))), (&self.account, claims(jetstream))]
            .map(|(key, claims)| (key.public_key(), sign(&self.operator, &key.public_key(), "account", claims)));
        let list = |between: &str, quote: &str| {
            tokens.iter().map(|(key, token)| format!("{key}{between}{quote}{token}{quote}\n")).collect::<String>()
        };
        let own = &self.own;
        let toml = format!(
            "[jetstream]\nmax_memory = \"1GB\"\nmax_file = \"1GB\"\n[authorization]\noperator = [\"{own}\"]\n[authorization.resolver_preload]\n{}",
            list(" = ", "\"")
        );
        let conf = format!(
            "{}operator: {own}\nresolver: MEMORY\nresolver_preload: {{\n{}}}\n",
            server(&self.store),
            list(": ", "")
        );
        [toml, conf]
    }

    /// How a user of the account connects.
    fn user(&self) -> impl Fn() -> async_nats::ConnectOptions + use<> {
        let user = KeyPair::new_user();
        let token = sign(&self.account, &user.public_key(), "user", json!({}));
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().expect("a seed")
        );
        move || async_nats::ConnectOptions::with_credentials(&creds).expect("valid")
    }
}

fn claims() -> Value {
    json!({
        "disk_storage": 8000, "mem_storage": 2000, "streams": 3, "consumer": 2, "max_ack_pending": 50,
        "max_bytes_required": true, "disk_max_stream_bytes": 5000, "mem_max_stream_bytes": 2000,
    })
}

#[tokio::test]
async fn limits_of_an_account_s_jwt() {
    let world = World::new();
    let [toml, conf] = world.configurations(claims());
    let Some(both) = Both::start(&toml, &conf).await else { return };
    play(world.user(), &both).await;
}

/// Requests about streams with several replicas, without bound, and messages beyond what there is room for.
fn of_tiers() -> Vec<(String, Value)> {
    let info = || ("$JS.API.INFO".to_owned(), Value::Null);
    let full = || ("F".to_owned(), json!("x".repeat(900)));
    let consumer = json!({"stream_name": "F", "config": {"durable_name": "c", "ack_policy": "explicit"}});
    let mut all = requests();
    all.extend(["A", "B", "C", "D", "S", "T", "M"].map(|name| (format!("$JS.API.STREAM.DELETE.{name}"), Value::Null)));
    all.extend([
        stream("R", json!({"num_replicas": 3})),
        stream("R", json!({"num_replicas": 3, "max_bytes": 9000})),
        stream("R", json!({"num_replicas": 2})),
        stream("R", json!({"num_replicas": -1})),
        stream("R", json!({"num_replicas": 9})),
        stream("F", json!({"storage": "memory", "max_bytes": -1})),
        full(),
        full(),
        full(),
        ("$JS.API.CONSUMER.CREATE.F.c".to_owned(), consumer),
        info(),
    ]);
    all
}

async fn play_all(world: &World, both: &Both, requests: &[(String, Value)]) {
    let requests: Vec<(&str, Value)> =
        requests.iter().map(|(subject, request)| (&**subject, request.clone())).collect();
    ask(world.user(), both, &requests).await;
}

#[tokio::test]
async fn limits_by_tiers() {
    let mut open = claims();
    merge(&mut open, &json!({"max_bytes_required": false, "mem_max_stream_bytes": 0, "disk_max_stream_bytes": 0}));
    for tiers in [
        json!({"R1": claims()}),
        json!({"R1": open, "R3": claims()}),
        json!({"R3": claims()}),
        json!({"R1": {"mem_storage": 2000, "disk_storage": 0, "streams": -1, "consumer": -1}, "R3": open}),
    ] {
        let world = World::new();
        let [toml, conf] = world.configurations(json!({ "tiered_limits": tiers }));
        let Some(both) = Both::start(&toml, &conf).await else { return };
        play_all(&world, &both, &of_tiers()).await;
    }
}

/// Streams stay when the tier that they belong to goes, and take nothing more in.
#[tokio::test]
async fn a_tier_that_goes() {
    let world = World::new();
    let [toml, conf] = world.configurations(json!({ "tiered_limits": {"R1": claims()} }));
    let Some(both) = Both::start(&toml, &conf).await else { return };
    play_all(&world, &both, &[stream("S", json!({})), ("S".to_owned(), json!("first"))]).await;
    let [toml, conf] = world.configurations(json!({ "tiered_limits": {"R3": claims()} }));
    both.reconfigure(&toml, &conf);
    for (address, what) in both.addresses().into_iter().zip(["leafd's limits without R1", "nats-server's"]) {
        let client = world.user()().connect(address.to_string()).await.expect("let in");
        wait_for(what, Duration::from_secs(10), || async {
            let answer = client.request("$JS.API.INFO", "".into()).await.ok()?;
            let info: Value = serde_json::from_slice(&answer.payload).ok()?;
            (info["tiers"]["R1"]["limits"]["max_streams"] != 3).then_some(())
        })
        .await;
    }
    let consumer = json!({"stream_name": "S", "config": {"durable_name": "c", "ack_policy": "explicit"}});
    let (subject, config) = stream("S", json!({"description": "changed"}));
    // nats-server does not list a tier without streams beside one without limits: INFO is compared at the end.
    let requests = [
        ("$JS.API.STREAM.INFO.S".to_owned(), Value::Null),
        ("S".to_owned(), json!("second")),
        ("$JS.API.CONSUMER.CREATE.S.c".to_owned(), consumer),
        (subject.replace("CREATE", "UPDATE"), config),
        stream("T", json!({})),
        ("$JS.API.STREAM.DELETE.S".to_owned(), Value::Null),
        ("$JS.API.INFO".to_owned(), Value::Null),
    ];
    play_all(&world, &both, &requests).await;
}

/// What streams of all accounts reserve is within what the server has.
#[tokio::test]
async fn reservations_of_all_accounts() {
    let toml = "[jetstream]\nmax_memory = 1024\nmax_file = 10240\n[accounts.A]\njetstream = true\nusers = [{ user = \"a\", password = \"p\" }]\n[accounts.B]\njetstream = true\nusers = [{ user = \"b\", password = \"p\" }]\n";
    let store = tempfile::tempdir().expect("a folder");
    let accounts = ["A", "B"]
        .map(|name| format!("{name} {{ users: [{{user: {}, password: p}}], jetstream: true }}", name.to_lowercase()));
    let conf = format!(
        "jetstream: {{store_dir: {:?}, max_mem: 1024, max_file: 10240}}\naccounts {{ {} }}\n",
        store.path(),
        accounts.join("\n")
    );
    let Some(both) = Both::start(toml, &conf).await else { return };
    let update = |name: &str, claims: Value| {
        let (subject, config) = stream(name, claims);
        (subject.replace("CREATE", "UPDATE"), config)
    };
    let turns = [
        ("a", stream("A", json!({"max_bytes": 6000}))),
        ("b", stream("B", json!({"max_bytes": 5000}))),
        ("b", stream("B", json!({"max_bytes": 4000}))),
        ("b", stream("B", json!({"max_bytes": 4000}))),
        ("b", update("B", json!({"max_bytes": 4500}))),
        ("b", update("B", json!({"max_bytes": 4200}))),
        ("b", update("B", json!({"max_bytes": 100}))),
        ("a", update("A", json!({"max_bytes": 10000}))),
        ("a", update("A", json!({"max_bytes": 10141}))),
        ("b", update("B", json!({"max_bytes": 101}))),
        ("b", update("B", json!({"max_bytes": -1}))),
        ("a", stream("C", json!({"storage": "memory", "max_bytes": 1000}))),
        ("b", stream("D", json!({"storage": "memory", "max_bytes": 100}))),
        ("b", stream("E", json!({"max_bytes": -1}))),
        ("a", ("$JS.API.STREAM.DELETE.A".to_owned(), Value::Null)),
        ("b", stream("E", json!({"max_bytes": 10000}))),
        ("a", ("$JS.API.INFO".to_owned(), Value::Null)),
        ("b", ("$JS.API.INFO".to_owned(), Value::Null)),
    ];
    for (who, (subject, request)) in turns {
        let user = || async_nats::ConnectOptions::with_user_and_password(who.into(), "p".into());
        ask(user, &both, &[(&subject, request)]).await;
    }
}

/// What the server allows streams and consumers of all accounts.
#[tokio::test]
async fn limits_of_the_server() {
    let toml = "[jetstream.limits]\nmax_ack_pending = 60\nmax_request_batch = 9\nduplicate_window = \"90s\"\ndefault_max_consumers = 4\nbatch = { max_inflight_per_stream = 2, max_inflight_total = 3, max_msgs = 4, timeout = \"1s\" }\n[accounts.A]\njetstream = true\nusers = [{ user = \"a\", password = \"p\" }]\n[accounts.B]\njetstream = { max_consumers = 2, max_ack_pending = 50 }\nusers = [{ user = \"b\", password = \"p\" }]\n[http]\nport = 0\n";
    let store = tempfile::tempdir().expect("a folder");
    let conf = format!(
        "http: \"127.0.0.1:-1\"\njetstream: {{store_dir: {:?}, max_mem: 1G, max_file: 1G, limits {{ max_ack_pending: 60, max_request_batch: 9, duplicate_window: 90s, default_max_consumers: 4, batch {{ max_inflight_per_stream: 2, max_inflight_total: 3, max_msgs: 4, timeout: 1s }} }} }}\naccounts {{ A {{ users: [{{user: a, password: p}}], jetstream: true }}\nB {{ users: [{{user: b, password: p}}], jetstream: {{ max_consumers: 2, max_ack_pending: 50, max_file: 1M, max_mem: 1M }} }} }}\n",
        store.path()
    );
    let Some(both) = Both::start(toml, &conf).await else { return };
    let consumer = |name: &str, pedantic: bool, config: Value| {
        let mut all = json!({"durable_name": name, "ack_policy": "explicit"});
        merge(&mut all, &config);
        (format!("$JS.API.CONSUMER.CREATE.S.{name}"), json!({"stream_name": "S", "config": all, "pedantic": pedantic}))
    };
    let second: i64 = 1_000_000_000;
    let mut requests = vec![
        stream("S", json!({"duplicate_window": 91 * second})),
        stream("S", json!({"pedantic": true})),
        stream("S", json!({"max_age": 80 * second, "duplicate_window": 90 * second})),
        stream("S", json!({"allow_atomic": true})),
        consumer("a", false, json!({"max_batch": 10})),
        consumer("a", true, json!({})),
        consumer("a", false, json!({"max_ack_pending": 61})),
        consumer("a", false, json!({"max_ack_pending": 51})),
        consumer("a", false, json!({"deliver_subject": "to.me", "max_batch": 10})),
        ("$JS.API.CONSUMER.DELETE.S.a".to_owned(), Value::Null),
    ];
    requests.extend(["a", "b", "c", "d", "e"].map(|name| consumer(name, false, json!({}))));
    requests.extend([
        ("$JS.API.STREAM.INFO.S".to_owned(), Value::Null),
        (
            stream("S", json!({})).0.replace("CREATE", "UPDATE"),
            stream("S", json!({"allow_atomic": true, "max_consumers": 5})).1,
        ),
        consumer("e", false, json!({})),
        consumer("f", false, json!({})),
    ]);
    let requests: Vec<(&str, Value)> =
        requests.iter().map(|(subject, request)| (&**subject, request.clone())).collect();
    for who in ["a", "b"] {
        ask(|| async_nats::ConnectOptions::with_user_and_password(who.into(), "p".into()), &both, &requests).await;
    }
    batches(&both).await;
}

/// Batches that are too many or too large.
async fn batches(both: &Both) {
    let mut all = Vec::new();
    for address in both.addresses() {
        let options = async_nats::ConnectOptions::with_user_and_password("a".into(), "p".into());
        let client = options.connect(address.to_string()).await.expect("let in");
        let mut answers = Vec::new();
        let parts =
            [("1", 1), ("2", 1), ("3", 1), ("1", 2), ("1", 3), ("1", 4), ("1", 5), ("9", 5), ("9", 4), ("2", 2)];
        for (id, seq) in parts {
            let mut headers = async_nats::HeaderMap::new();
            headers.append("Nats-Batch-Id", id);
            headers.append("Nats-Batch-Sequence", seq.to_string());
            let request = async_nats::Request::new().headers(headers).timeout(Some(Duration::from_secs(5)));
            let answer = client.send_request("S", request).await.expect("an answer");
            answers.push(String::from_utf8_lossy(&answer.payload).into_owned());
        }
        all.push(answers);
    }
    assert_eq!(all[0], all[1], "first ours, then nats-server's");
}
