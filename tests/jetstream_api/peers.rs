//! leafd and nats-server side by side.

use super::common::{self, LIMIT, Leafd, hub, wait_for};
use super::compare::{Difference, differences, normal};
use super::known::{KNOWN, Known};
use async_nats::{Client, HeaderMap, RequestErrorKind};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long an answer may take that should come at once.
const ANSWER: Duration = Duration::from_secs(1);

/// Both servers, and what has been found to differ.
pub struct Peers {
    _dir: tempfile::TempDir,
    _leafd: Leafd,
    nats: Child,
    /// leafd's and nats-server's, in this order.
    pub clients: [Client; 2],
    found: Vec<(String, Difference)>,
    /// Entries of [`KNOWN`] that were met.
    met: BTreeSet<usize>,
    asked: usize,
    /// Codes of the errors that both gave.
    codes: BTreeSet<u64>,
}

impl Peers {
    /// Starts both with the same name and domain; `None` if there is no nats-server here.
    pub async fn start() -> Option<Peers> {
        if !common::have(&hub::binary()) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let mut leafd =
            Leafd::new(dir.path(), "[jetstream]\ndomain = \"gw1\"\nmax_file = \"1GiB\"\nmax_memory = \"64MiB\"\n");
        leafd.start();
        let config = format!(
            "server_name: gw1\nlisten: \"127.0.0.1:-1\"\nports_file_dir: {0:?}\njetstream {{ store_dir: {1:?}, domain: gw1, max_mem: 64MB, max_file: 1GB }}\n",
            dir.path(),
            dir.path().join("nats")
        );
        fs::write(dir.path().join("nats.conf"), config).expect("written");
        let log = File::create(dir.path().join("nats.log")).expect("a log");
        let mut command = Command::new(hub::binary());
        command.arg("-c").arg(dir.path().join("nats.conf")).stdout(Stdio::null()).stderr(log);
        let nats = command.spawn().expect("nats-server starts");
        let ports = dir.path().join(format!("nats-server_{}.ports", nats.id()));
        let address = wait_for("nats-server's ports file", LIMIT, || async { hub::read_port(&ports) }).await;
        let theirs = async_nats::connect(address.to_string()).await.expect("nats-server takes clients");
        let clients = [leafd.client().await, theirs];
        Some(Peers {
            _dir: dir,
            _leafd: leafd,
            nats,
            clients,
            found: Vec::new(),
            met: BTreeSet::new(),
            asked: 0,
            codes: BTreeSet::new(),
        })
    }

    /// Sends a request with a JSON body to both and compares the answers. Returns whether both took it, or both refused:
    /// else there is nothing to compare in what follows.
    pub async fn ask(&mut self, subject: &str, body: &Value) -> bool {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_raw(subject, &[], &text).await
    }

    /// Sends any request to both and compares the answers.
    pub async fn ask_raw(&mut self, subject: &str, headers: &[(&str, &str)], payload: &str) -> bool {
        let [ours, theirs] = &self.clients;
        let (ours, theirs) =
            tokio::join!(request(ours, subject, headers, payload), request(theirs, subject, headers, payload));
        let headers: String = headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let shown = if payload.len() > 300 { format!("{}...", &payload[..300]) } else { payload.to_owned() };
        let same = ours["body"]["error"].is_null() == theirs["body"]["error"].is_null();
        self.note(&format!("{subject}{headers} {shown}"), ours, theirs);
        same
    }

    /// Sends a request that several messages answer, and compares all up to the first with a status or without a body.
    pub async fn ask_many(&mut self, subject: &str, body: &Value) {
        let payload = body.to_string();
        let [ours, theirs] = &self.clients;
        let (ours, theirs) = tokio::join!(collect(ours, subject, &payload), collect(theirs, subject, &payload));
        self.note(&format!("{subject} {payload}"), ours, theirs);
    }

    /// Prepares something that is not under test.
    pub async fn prepare(&mut self, subject: &str, body: &Value) {
        for client in &self.clients {
            let answer = request(client, subject, &[], &body.to_string()).await;
            assert!(answer["body"]["error"].is_null(), "{subject} {body}: {answer}");
        }
    }

    /// Waits until both know that somebody listens to a consumer, here called `stream.consumer`.
    pub async fn wait_until_bound(&self, consumer: &str) {
        for client in &self.clients {
            wait_for("a push consumer that is heard", LIMIT, || async {
                let info = request(client, &format!("$JS.API.CONSUMER.INFO.{consumer}"), &[], "").await;
                (info["body"]["push_bound"] == true).then_some(())
            })
            .await;
        }
    }

    /// Removes a stream if it is there.
    pub async fn delete_stream(&mut self, name: &str) {
        self.delete(&format!("$JS.API.STREAM.DELETE.{name}")).await;
    }

    /// Sends a request whose answer does not matter.
    pub async fn delete(&mut self, subject: &str) {
        for client in &self.clients {
            request(client, subject, &[], "").await;
        }
    }

    /// Compares two answers.
    pub fn note(&mut self, label: &str, ours: Value, theirs: Value) {
        self.asked += 1;
        self.codes.extend(theirs["body"]["error"]["err_code"].as_u64());
        for difference in differences(&normal(ours), &normal(theirs)) {
            let covers = |known: &Known| known.covers(label, &difference);
            match KNOWN.iter().position(covers) {
                Some(at) => drop(self.met.insert(at)),
                None => self.found.push((label.to_owned(), difference)),
            }
        }
    }

    /// Fails if something differed that is not listed.
    pub fn finish(&self) {
        eprintln!("{} requests, {} listed differences met", self.asked, self.met.len());
        eprintln!("errors met: {:?}", self.codes);
        for (label, Difference { path, ours, theirs }) in &self.found {
            eprintln!("{label}\n    {path}\n      leafd       {ours}\n      nats-server {theirs}");
        }
        assert!(self.found.is_empty(), "{} differences that are not listed in known.rs", self.found.len());
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.nats.kill();
        let _ = self.nats.wait();
    }
}

async fn request(client: &Client, subject: &str, headers: &[(&str, &str)], payload: &str) -> Value {
    let mut request = async_nats::Request::new().payload(payload.to_owned().into()).timeout(Some(ANSWER));
    if !headers.is_empty() {
        request = request.headers(header_map(headers));
    }
    match client.send_request(subject.to_owned(), request).await {
        Ok(message) => shown(&message),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => json!("no responders"),
        Err(error) if error.kind() == RequestErrorKind::TimedOut => json!("no answer"),
        Err(error) => json!(error.to_string()),
    }
}

async fn collect(client: &Client, subject: &str, payload: &str) -> Value {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.expect("subscribed");
    client.publish_with_reply(subject.to_owned(), inbox, payload.to_owned().into()).await.expect("sent");
    let mut all = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(ANSWER, answers.next()).await {
        all.push(shown(&message));
        if message.status.is_some() {
            return Value::Array(all);
        }
    }
    all.push(json!("no end"));
    Value::Array(all)
}

/// Headers for the client.
pub fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    map
}

/// A message as JSON: its status, headers and body.
fn shown(message: &async_nats::Message) -> Value {
    let mut all = json!({ "body": serde_json::from_slice::<Value>(&message.payload)
        .unwrap_or_else(|_| String::from_utf8_lossy(&message.payload).into()) });
    if let Some(status) = message.status {
        all["status"] = json!(format!("{} {}", status.as_u16(), message.description.as_deref().unwrap_or_default()));
    }
    for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
        all["headers"][name.to_string()] =
            values.iter().map(|value| value.as_str()).collect::<Vec<_>>().join("|").into();
    }
    all
}
