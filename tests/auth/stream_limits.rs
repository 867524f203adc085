//! What accounts may have in streams, by the configuration and by JWT: the same requests to leafd and to nats-server.

use super::jwt::{limits, merge, sign};
use super::play::Both;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// What the API says to `requests` one after the other: the errors, and of an answer without one `limits` and the
/// configuration's bounds.
async fn ask(options: impl Fn() -> async_nats::ConnectOptions, both: &Both, requests: &[(&str, Value)]) {
    let mut all = Vec::new();
    for address in both.addresses() {
        let client = options().connect(address.to_string()).await.expect("let in");
        let mut answers = Vec::new();
        for (subject, request) in requests {
            let payload = if request.is_null() { String::new() } else { request.to_string() };
            let answer = client.request(subject.to_string(), payload.into()).await.expect("answered");
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or(Value::Null);
            answers.push(match answer.get("error") {
                Some(error) => error.clone(),
                None => json!({
                    "limits": answer["limits"], "reserved": [&answer["reserved_storage"], &answer["reserved_memory"]],
                    "max_bytes": answer["config"]["max_bytes"], "max_ack_pending": answer["config"]["max_ack_pending"],
                }),
            });
        }
        all.push(answers);
    }
    for (at, request) in requests.iter().enumerate() {
        assert_eq!(all[0][at], all[1][at], "{request:?}: first ours, then nats-server's");
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

#[tokio::test]
async fn limits_of_an_account_s_jwt() {
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let claims = |jetstream: Value| {
        let mut all = json!({"nats": {"limits": limits()}});
        merge(&mut all["nats"]["limits"], &jetstream);
        all
    };
    let jetstream = json!({
        "disk_storage": 8000, "mem_storage": 2000, "streams": 3, "consumer": 2, "max_ack_pending": 50,
        "max_bytes_required": true, "disk_max_stream_bytes": 5000, "mem_max_stream_bytes": 2000,
    });
    let tokens = [(&system, claims(json!({}))), (&account, claims(jetstream))]
        .map(|(key, claims)| (key.public_key(), sign(&operator, &key.public_key(), "account", claims)));
    let own =
        sign(&operator, &operator.public_key(), "operator", json!({"nats": {"system_account": system.public_key()}}));
    let list = |between: &str, quote: &str| {
        tokens.iter().map(|(key, token)| format!("{key}{between}{quote}{token}{quote}\n")).collect::<String>()
    };
    let store = tempfile::tempdir().expect("a folder");
    let toml = format!(
        "[jetstream]\nmax_memory = \"1GB\"\nmax_file = \"1GB\"\n[authorization]\noperator = [\"{own}\"]\n[authorization.resolver_preload]\n{}",
        list(" = ", "\"")
    );
    let conf =
        format!("{}operator: {own}\nresolver: MEMORY\nresolver_preload: {{\n{}}}\n", server(&store), list(": ", ""));
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let user = KeyPair::new_user();
    let token = sign(&account, &user.public_key(), "user", json!({}));
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().expect("a seed")
    );
    play(|| async_nats::ConnectOptions::with_credentials(&creds).expect("valid"), &both).await;
}
