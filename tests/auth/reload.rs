//! Users that change while clients are connected. nats-server is told by SIGHUP as leafd is; both must do the same.

use super::common::{LIMIT, Leafd, NatsServer, have, hub, wait_for, within};
use super::play::{Raw, login};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const BEFORE: [&str; 2] = [
    r#"[authorization]
users = [{ user = "keeps", password = "pw" }, { user = "narrows", password = "pw" }, { user = "goes", password = "pw" }, { user = "changes", password = "pw" }]
[accounts.B]
users = [{ user = "moves", password = "pw" }]"#,
    r#"authorization { users = [{user: keeps, password: pw}, {user: narrows, password: pw}, {user: goes, password: pw}, {user: changes, password: pw}] }
accounts { B { users = [{user: moves, password: pw}] } }"#,
];
const AFTER: [&str; 2] = [
    r#"[authorization]
users = [{ user = "keeps", password = "pw" }, { user = "narrows", password = "pw", permissions = { publish = "a", subscribe = { allow = ["a", "c.>"], deny = "c.no" } } }, { user = "moves", password = "pw" }, { user = "changes", password = "new" }, { user = "comes", password = "pw" }]
[accounts.B]"#,
    r#"authorization { users = [{user: keeps, password: pw}, {user: narrows, password: pw, permissions: {publish: "a", subscribe: {allow: ["a", "c.>"], deny: "c.no"}}}, {user: moves, password: pw}, {user: changes, password: new}, {user: comes, password: pw}] }
accounts { B { } }"#,
];

#[tokio::test]
async fn who_may_stay_stays_with_what_it_may_do_by_now() {
    if !have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), BEFORE[0]);
    leafd.start();
    let nats = NatsServer::start(BEFORE[1]).await;
    let addresses = [leafd.clients.expect("it listens"), nats.clients];
    let mut clients = Vec::new();
    for address in addresses {
        let mut all = Vec::new();
        for user in ["keeps", "narrows", "goes", "changes", "moves"] {
            let mut raw = Raw::connect(address).await;
            assert!(raw.say(&login(user, "pw")).await.starts_with("INFO"));
            raw.say("SUB a 1\r\nSUB b 2\r\nSUB b q 3\r\nSUB c.> 4\r\n").await;
            all.push(raw);
        }
        clients.push(all);
    }
    leafd.configure(AFTER[0]);
    leafd.hup();
    nats.reconfigure(AFTER[1]);
    let mut heard = Vec::new();
    for (address, mut all) in addresses.into_iter().zip(clients) {
        wait_for("the new user", LIMIT, || async {
            Raw::connect(address).await.say(&login("comes", "pw")).await.starts_with("INFO").then_some(())
        })
        .await;
        let mut said = vec![all[2].rest().await, all[3].rest().await, all[4].rest().await];
        said.push(all[0].say("PUB c.no 1\r\nx\r\nPUB c.yes 1\r\ny\r\n").await);
        let mut narrowed = all[1].say("PUB b 1\r\nx\r\nSUB b 9\r\n").await;
        let mut lines: Vec<&str> = narrowed.split_inclusive("\r\n").collect();
        // Which subscription is removed first is not said.
        lines.sort_unstable();
        narrowed = lines.concat();
        said.push(narrowed);
        heard.push(said);
    }
    assert_eq!(heard[0], heard[1], "first ours, then nats-server's");
    assert_eq!(heard[0][1], "-ERR 'Authorization Violation'\r\n(closed)");
    assert!(heard[0][4].contains("c.yes") && !heard[0][4].contains("MSG c.no"), "{heard:?}");
}

#[tokio::test]
async fn those_who_are_here_are_held_to_another_max_payload() {
    if !have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[limits]\nmax_payload = 64\n");
    leafd.start();
    let nats = NatsServer::start("max_payload: 64").await;
    let addresses = [leafd.clients.expect("it listens"), nats.clients];
    let mut heard = [const { String::new() }; 2];
    for limit in [1024, 10] {
        let mut clients = Vec::new();
        for address in addresses {
            let mut raw = Raw::connect(address).await;
            raw.say("CONNECT {\"verbose\":false,\"protocol\":1}\r\nSUB a 1\r\n").await;
            clients.push(raw);
        }
        leafd.configure(&format!("[limits]\nmax_payload = {limit}\n"));
        leafd.hup();
        nats.reconfigure(&format!("max_payload: {limit}"));
        for ((address, mut raw), heard) in addresses.into_iter().zip(clients).zip(&mut heard) {
            let told = async || (Raw::connect(address).await.info["max_payload"] == limit).then_some(());
            wait_for("the other limit", LIMIT, told).await;
            heard.push_str(&raw.say("PUB a 11\r\nhello world\r\n").await);
            heard.push_str(&raw.say(&format!("PUB a 100\r\n{}\r\n", "x".repeat(100))).await);
        }
    }
    assert_eq!(heard[0], heard[1], "first ours, then nats-server's");
    assert!(heard[0].contains("MSG a 1 100") && heard[0].contains("Maximum Payload Violation"), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_without_a_pause_goes_as_well() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), BEFORE[0]);
    leafd.start();
    let mut socket = TcpStream::connect(leafd.clients.expect("it listens")).await.expect("a connection");
    let (begun, begins) = tokio::sync::oneshot::channel();
    let flood = tokio::spawn(async move {
        socket.write_all(login("goes", "pw").as_bytes()).await.expect("taken");
        let publishes = "PUB a 0\r\n\r\n".repeat(20_000);
        socket.write_all(publishes.as_bytes()).await.expect("taken");
        begun.send(()).expect("awaited");
        while socket.write_all(publishes.as_bytes()).await.is_ok() {}
    });
    within("it publishes", begins).await.expect("it is let in");
    leafd.configure(AFTER[0]);
    leafd.hup();
    within("its user is gone, and so is it", flood).await.expect("it ran");
}
