//! The link to the hub against a real nats-server: `NATS_SERVER` names the binary, else it is looked for on PATH. Without
//! one the tests say so and pass.

mod common;

use common::Port;
use futures_util::StreamExt;
use leafd::account::{Account, LocalClient, Message, OwnedMessage};
use leafd::config::leaf::RemoteConfig;
use leafd::leaf::{Identity, Link, LinkError};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(20);

fn binary() -> Option<String> {
    let name = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into());
    let found = Command::new(&name).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: no nats-server; set NATS_SERVER");
    }
    found.then_some(name)
}

struct Hub {
    dir: tempfile::TempDir,
    binary: String,
    child: Option<Child>,
    client_port: Port,
    leaf_port: Port,
}

const PERMISSIONS: &str = r#"publish: {allow: ["p.gw1.>", "_INBOX.>", "$JS.API.STREAM.MSG.GET.T"]}, subscribe: {allow: ["p.gw1.cmd.>", "_INBOX.>"]}"#;

impl Hub {
    fn new(binary: String, tls: bool) -> Hub {
        let dir = tempfile::tempdir().expect("a directory");
        let hub = Hub { dir, binary, child: None, client_port: Port::free(), leaf_port: Port::free() };
        let mut leaf_tls = String::new();
        if tls {
            let cert = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
            std::fs::write(hub.dir.path().join("cert.pem"), cert.cert.pem()).expect("written");
            std::fs::write(hub.dir.path().join("key.pem"), cert.signing_key.serialize_pem()).expect("written");
            leaf_tls = format!(
                "tls {{ cert_file: {0:?}, key_file: {1:?} }}",
                hub.dir.path().join("cert.pem"),
                hub.dir.path().join("key.pem")
            );
        }
        hub.configure(&leaf_tls, PERMISSIONS);
        hub
    }

    fn configure(&self, leaf_tls: &str, permissions: &str) {
        let config = format!(
            "server_name: hub1\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: {:?}, domain: hub }}\n\
             authorization {{ users: [ {{user: app, password: app}}, {{user: gw1, password: pw, permissions: {{ {permissions} }} }} ] }}\n\
             leafnodes {{ listen: 127.0.0.1:{}, {leaf_tls} }}\n",
            self.client_port.number(),
            self.dir.path().join("js"),
            self.leaf_port.number(),
        );
        std::fs::write(self.dir.path().join("hub.conf"), config).expect("written");
    }

    fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log");
        let child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.dir.path().join("hub.conf"))
            .arg("-D")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("nats-server starts"));
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("hub.log")
    }

    fn violations(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|l| l.contains("iolation")).map(String::from).collect()
    }

    async fn client(&self) -> async_nats::Client {
        let url = format!("127.0.0.1:{}", self.client_port.number());
        let until = Instant::now() + LIMIT;
        loop {
            let options = async_nats::ConnectOptions::with_user_and_password("app".into(), "app".into());
            match options.connect(&url).await {
                Ok(client) => return client,
                Err(e) if Instant::now() > until => panic!("no client: {e}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

fn remote(url: &str, extra: &str) -> RemoteConfig {
    let text = format!(
        "name = \"hub\"\nurls = [\"{url}\"]\nuser = \"gw1\"\npassword = \"pw\"\n\
         export = [\"p.gw1.>\"]\nimport = [\"p.gw1.cmd.>\"]\n\
         reconnect = {{ min = \"20ms\", max = \"200ms\" }}\n{extra}"
    );
    toml::from_str(&text).expect("a valid remote")
}

struct Gateway {
    account: Arc<Account>,
    client: LocalClient,
    link: Arc<Link>,
    end: watch::Sender<bool>,
}

fn gateway(config: RemoteConfig, withheld: &[&str]) -> Gateway {
    let account = Account::new("$G");
    let (end, shutdown) = watch::channel(false);
    let identity =
        Identity { server_name: "gw1".into(), server_id: "ID".into(), domain: Some("gw1".into()), jetstream: true };
    let withheld = withheld.iter().map(|s| s.to_string()).collect();
    let link = Link::start(account.clone(), config, identity, withheld, shutdown);
    Gateway { client: LocalClient::new(account.clone()), account, link, end }
}

impl Gateway {
    async fn up(&self) {
        let mut state = self.link.state();
        let up = tokio::time::timeout(LIMIT, state.wait_for(|s| s.is_up())).await;
        assert!(up.is_ok(), "not up: {:?}", self.link.status());
    }

    async fn down(&self) {
        let mut state = self.link.state();
        let down = tokio::time::timeout(LIMIT, state.wait_for(|s| !s.is_up())).await;
        assert!(down.is_ok(), "still up");
    }

    /// Waits until the hub's interest in `subject` is (or is no longer) known here.
    async fn interest(&self, subject: &str, want: bool) {
        let until = Instant::now() + LIMIT;
        while self.account.has_interest(subject, None) != want {
            assert!(Instant::now() < until, "interest in {subject} is not {want}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn publish(&self, subject: &str, payload: &str) -> usize {
        self.client.publish(&Message { subject, reply: "", headers: b"", payload: payload.as_bytes() })
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

/// Publishes at the hub until `inbox` has one: interest spreads through the hub in its own time.
async fn until_heard(hub: &async_nats::Client, subject: &str, inbox: &mut leafd::account::Inbox) -> OwnedMessage {
    within(async {
        loop {
            hub.publish(subject.to_owned(), "x".into()).await.expect("published");
            hub.flush().await.expect("flushed");
            if let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(50), inbox.next()).await {
                return message;
            }
        }
    })
    .await
}

async fn both_ways(tls: bool) {
    let Some(binary) = binary() else { return };
    let mut hub = Hub::new(binary, tls);
    hub.start();
    let app = hub.client().await;
    let config = match tls {
        false => remote(&format!("nats://127.0.0.1:{}", hub.leaf_port.number()), ""),
        true => {
            let ca = format!("tls = {{ ca_file = {:?} }}", hub.dir.path().join("cert.pem"));
            remote(&format!("tls://localhost:{}", hub.leaf_port.number()), &ca)
        }
    };
    let gw = gateway(config, &["p.gw1.own.>"]);
    let mut commands = gw.client.subscribe("p.gw1.cmd.*", 16);
    gw.up().await;

    // To the hub: what is exported, and neither what is not nor what an uplink owns.
    let mut heard = app.subscribe(">").await.expect("subscribed");
    gw.interest("p.gw1.t.a", true).await;
    let mut everything = gw.client.subscribe(">", 1024);
    assert_eq!(gw.publish("other.x", "no"), 1, "only the local subscriber");
    gw.publish("p.gw1.own.x", "no");
    gw.publish("$JS.API.INFO", "no");
    let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
    gw.client.publish(&Message { subject: "p.gw1.t.a", reply: "", headers, payload: b"yes" });
    let first = within(heard.next()).await.expect("a message");
    assert_eq!((first.subject.as_str(), &first.payload[..]), ("p.gw1.t.a", &b"yes"[..]));
    assert_eq!(first.headers.as_ref().and_then(|h| h.get("A")).map(|v| v.as_str()), Some("b"));

    // From the hub: what is imported, though the hub knows of a subscriber to everything.
    app.publish("p.gw1.x", "no".into()).await.expect("published");
    let command = until_heard(&app, "p.gw1.cmd.go", &mut commands).await;
    assert_eq!(&*command.subject, "p.gw1.cmd.go");
    while let Some(message) = everything.try_next() {
        assert_ne!(&*message.subject, "p.gw1.x");
    }
    assert_eq!(hub.violations(), Vec::<String>::new());
    let status = gw.link.status();
    assert!(status.up && status.hub_name == "hub1" && status.hub_domain == "hub" && status.sent >= 1, "{status:?}");
    gw.end.send(true).expect("running");
    within(gw.link.stopped()).await;
    drop((everything, commands));
    assert_eq!(gw.account.subscriptions(), 0, "the link has left the account");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_cross_both_ways_in_the_clear() {
    both_ways(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_cross_both_ways_under_tls() {
    both_ways(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_queue_groups_and_no_responders() {
    let Some(binary) = binary() else { return };
    let mut hub = Hub::new(binary, false);
    hub.start();
    let app = hub.client().await;
    let gw = gateway(remote(&format!("nats://127.0.0.1:{}", hub.leaf_port.number()), ""), &[]);
    gw.up().await;
    // A request from here, answered by one of a queue group at the hub.
    let mut service = app.queue_subscribe("p.gw1.svc", "workers".into()).await.expect("subscribed");
    gw.interest("p.gw1.svc", true).await;
    let responder = app.clone();
    let answering = tokio::spawn(async move {
        let request = service.next().await.expect("a request");
        responder.publish(request.reply.expect("a reply subject"), "pong".into()).await.expect("answered");
        responder.flush().await.expect("flushed");
        service
    });
    let answer = gw.client.request("p.gw1.svc", b"", b"ping", LIMIT).await.expect("an answer");
    assert_eq!(&answer.payload[..], b"pong");
    let mut service = within(answering).await.expect("answered");
    // The last member goes: nobody listens, on either side.
    service.unsubscribe().await.expect("unsubscribed");
    app.flush().await.expect("flushed");
    gw.interest("p.gw1.svc", false).await;
    assert!(gw.client.request("p.gw1.svc", b"", b"", LIMIT).await.is_err());
    // A request from the hub, answered here.
    let mut commands = gw.client.subscribe("p.gw1.cmd.>", 16);
    until_heard(&app, "p.gw1.cmd.probe", &mut commands).await;
    let request = app.request("p.gw1.cmd.do", "now".into());
    let serve = async {
        loop {
            let command = commands.next().await.expect("a command");
            if !command.reply.is_empty() {
                gw.client.publish(&Message { subject: &command.reply, reply: "", headers: b"", payload: b"done" });
                return;
            }
        }
    };
    let (answer, ()) = within(async { tokio::join!(request, serve) }).await;
    assert_eq!(&answer.expect("an answer").payload[..], b"done");
    drop(commands);
    // A request that leaves the hub before it hears that the interest is gone has no answer; the next ones are told.
    within(async {
        loop {
            let request = async_nats::Request::new().payload("now".into()).timeout(Some(Duration::from_millis(500)));
            match app.send_request("p.gw1.cmd.do", request).await {
                Err(error) if error.kind() == async_nats::client::RequestErrorKind::NoResponders => return,
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(hub.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_gets_its_publish_acks_and_may_ask_for_the_last_message() {
    let Some(binary) = binary() else { return };
    let mut hub = Hub::new(binary, false);
    hub.start();
    let app = hub.client().await;
    let js = async_nats::jetstream::new(app.clone());
    let config = async_nats::jetstream::stream::Config {
        name: "T".into(),
        subjects: vec!["p.gw1.tele.>".into()],
        ..Default::default()
    };
    js.create_stream(config).await.expect("a stream");
    let gw = gateway(remote(&format!("nats://127.0.0.1:{}", hub.leaf_port.number()), ""), &["p.gw1.tele.>"]);
    let mut acks = gw.client.subscribe("_INBOX.up.*", 64);
    gw.up().await;
    for n in 0..10 {
        let reply = format!("_INBOX.up.{n}");
        gw.link
            .publish(&Message { subject: "p.gw1.tele.a", reply: &reply, headers: b"", payload: b"x" })
            .expect("sent");
        let ack = within(acks.next()).await.expect("an ack");
        assert!(String::from_utf8_lossy(&ack.payload).contains(&format!("\"seq\":{}", n + 1)), "{ack:?}");
    }
    let ask = Message {
        subject: "$JS.API.STREAM.MSG.GET.T",
        reply: "_INBOX.up.get",
        headers: b"",
        payload: b"{\"last_by_subj\":\"p.gw1.tele.a\"}",
    };
    gw.link.publish(&ask).expect("sent");
    let got = within(acks.next()).await.expect("an answer");
    assert!(String::from_utf8_lossy(&got.payload).contains("\"seq\":10"), "{got:?}");
    let denied = Message { subject: "$JS.API.STREAM.DELETE.T", reply: "", headers: b"", payload: b"" };
    assert_eq!(gw.link.publish(&denied), Err(LinkError::NotAllowed));
    assert!(!gw.link.permits_publish("q"));
    assert_eq!(hub.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_restarts_is_found_again_and_its_new_permissions_are_kept() {
    let Some(binary) = binary() else { return };
    let mut hub = Hub::new(binary, false);
    hub.start();
    let gw = gateway(remote(&format!("nats://127.0.0.1:{}", hub.leaf_port.number()), ""), &[]);
    let mut commands = gw.client.subscribe("p.gw1.cmd.>", 1024);
    gw.up().await;
    hub.stop();
    gw.down().await;
    let message = Message { subject: "p.gw1.t", reply: "", headers: b"", payload: b"" };
    assert_eq!(gw.link.publish(&message), Err(LinkError::Down));
    hub.configure("", r#"publish: {allow: ["p.gw1.only"]}, subscribe: {allow: ["p.gw1.cmd.a", "_INBOX.>"]}"#);
    hub.start();
    gw.up().await;
    let app = hub.client().await;
    until_heard(&app, "p.gw1.cmd.a", &mut commands).await;
    let mut heard = app.subscribe("p.gw1.>").await.expect("subscribed");
    gw.interest("p.gw1.only", true).await;
    assert_eq!(gw.publish("p.gw1.t", "no"), 0);
    gw.publish("p.gw1.only", "yes");
    assert_eq!(&within(heard.next()).await.expect("a message").payload[..], b"yes");
    assert_eq!(gw.link.publish(&message), Err(LinkError::NotAllowed));
    assert_eq!(hub.violations(), Vec::<String>::new());
    assert_eq!(gw.link.status().reconnects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_and_large_messages_arrive_whole_and_in_order() {
    let Some(binary) = binary() else { return };
    let mut hub = Hub::new(binary, true);
    hub.start();
    let app = hub.client().await;
    let ca = format!("tls = {{ ca_file = {:?} }}", hub.dir.path().join("cert.pem"));
    let gw = gateway(remote(&format!("tls://localhost:{}", hub.leaf_port.number()), &ca), &[]);
    let mut commands = gw.client.subscribe("p.gw1.cmd.burst", 20_000);
    let mut probe = gw.client.subscribe("p.gw1.cmd.probe", 64);
    gw.up().await;
    until_heard(&app, "p.gw1.cmd.probe", &mut probe).await;
    let sizes = |n: usize| if n % 1000 == 999 { 900_000 } else { n % 300 };
    let send = async {
        for n in 0..10_000 {
            let payload = vec![n as u8; sizes(n)];
            app.publish("p.gw1.cmd.burst", payload.into()).await.expect("published");
        }
        app.flush().await.expect("flushed");
    };
    let receive = async {
        for n in 0..10_000 {
            let message = commands.next().await.expect("a message");
            assert_eq!(
                (message.payload.len(), message.payload.first().copied().unwrap_or(n as u8)),
                (sizes(n), n as u8)
            );
        }
    };
    within(async { tokio::join!(send, receive) }).await;
    assert_eq!(gw.link.status().reconnects, 0);
}

/// A hub that answers every connection with `speech` and counts them.
async fn liar(speech: &'static [u8]) -> (u16, watch::Receiver<u32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.send_modify(|n| *n += 1);
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let _ = socket.write_all(speech).await;
                let mut rest = [0; 1024];
                while matches!(socket.read(&mut rest).await, Ok(1..)) {}
            });
        }
    });
    (port, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_speaks_nonsense_is_dialled_again_and_named() {
    const INFO: &str = "INFO {\"server_id\":\"X\",\"client_id\":1,\"leafnode_urls\":[],\"max_payload\":100}\r\n";
    for (speech, want) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "leafnode port"),
        ("INFO {\"server_id\":\"X\",\"client_id\":1}\r\n", "another port"),
        ("INFO nonsense\r\n", "not valid"),
        ("-ERR 'Authorization Violation'\r\n", "check user, password"),
        ("INFO {\"client_id\":1,\"leafnode_urls\":[]}\r\nLMSG a 5\r\nabcdefgh\r\n", "Unknown Protocol Operation"),
        ("INFO {\"client_id\":1,\"leafnode_urls\":[]}\r\nLMSG a 999999999\r\n", "Payload"),
        ("INFO {\"client_id\":1,\"leafnode_urls\":[]}\r\n\0\0\0\0\0", "no leaf node protocol"),
    ] {
        let (port, mut dials) = liar(speech.as_bytes()).await;
        let gw = gateway(remote(&format!("nats://127.0.0.1:{port}"), ""), &[]);
        within(dials.wait_for(|n| *n >= 3)).await.expect("dialled");
        let until = Instant::now() + LIMIT;
        while !gw.link.status().reason.contains(want) {
            assert!(Instant::now() < until, "{speech:?}: {:?}", gw.link.status().reason);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // A hub that falls silent is given up after two pings.
    let (port, mut dials) = liar(INFO.as_bytes()).await;
    let gw = gateway(remote(&format!("nats://127.0.0.1:{port}"), "ping_interval = \"50ms\""), &[]);
    within(dials.wait_for(|n| *n >= 2)).await.expect("dialled");
    drop(gw);
}
