//! Limits of connections that are lowered while clients are connected, and JetStream that an account's JWT takes and gives
//! again: leafd beside nats-server.

use super::common::{LIMIT, within};
use super::play::{Both, Raw, connect, login};
use super::resolver::World;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Instant;

/// So many connections that have said `hello`.
async fn crowd(address: SocketAddr, count: usize, hello: &str) -> Vec<Raw> {
    let mut raws = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::connect(address).await;
        assert!(!raw.say(hello).await.contains("-ERR"), "let in");
        raws.push(raw);
    }
    raws
}

/// What each has heard when `gone` of them are closed; those that stay are asked then. Nobody writes before: what a server says
/// at the end may be lost to one that does.
async fn last_words(raws: &mut [Raw], gone: usize) -> Vec<String> {
    let mut heard = vec![None; raws.len()];
    let ends = raws.iter_mut().enumerate().map(|(at, raw)| async move { (at, raw.rest().await) });
    let mut ends: FuturesUnordered<_> = ends.collect();
    for _ in 0..gone {
        let (at, words) = within("one is closed", ends.next()).await.expect("one that is closed");
        heard[at] = Some(words);
    }
    drop(ends);
    let mut all = Vec::new();
    for (raw, heard) in raws.iter_mut().zip(heard) {
        all.push(match heard {
            Some(words) => words,
            None => raw.say("").await,
        });
    }
    all
}

/// Both with the first configuration and five connections; what these hear of the second one.
async fn lowered(first: (&str, &str), second: (&str, &str), hello: &str) -> Vec<String> {
    let Some(both) = Both::start(first.0, first.1).await else { return Vec::new() };
    let mut crowds = Vec::new();
    for address in both.addresses() {
        crowds.push(crowd(address, 5, hello).await);
    }
    both.reconfigure(second.0, second.1);
    let ours = last_words(&mut crowds[0], 3).await;
    // Which of them nats-server closes is chance.
    let (mut sorted, mut theirs) = (ours.clone(), last_words(&mut crowds[1], 3).await);
    sorted.sort();
    theirs.sort();
    assert_eq!(sorted, theirs, "first ours, then nats-server's");
    assert!(ours[..2].iter().all(String::is_empty), "the first to come stay: {ours:?}");
    ours
}

#[tokio::test]
async fn of_the_server() {
    let (first, second) = (("[limits]\nmax_connections = 5\n", "max_connections: 5\n"), 2);
    let second = (format!("[limits]\nmax_connections = {second}\n"), format!("max_connections: {second}\n"));
    lowered(first, (&second.0, &second.1), &connect("")).await;
}

#[tokio::test]
async fn of_an_account() {
    let toml = |n| {
        format!("[accounts.A]\nusers = [{{ user = \"a\", password = \"a\" }}]\nlimits = {{ max_connections = {n} }}\n")
    };
    let conf = |n| format!("accounts: {{ A: {{ users: [{{user: a, password: a}}], limits: {{ max_conn: {n} }} }} }}\n");
    lowered((&toml(5), &conf(5)), (&toml(2), &conf(2)), &login("a", "a")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_account_s_jwt() {
    let Some(world) = World::full().await else { return };
    let systems = world.systems().await;
    let limited = |conn: i64| world.token(json!({"jti": conn.to_string(), "nats": {"limits": {"conn": conn}}}));
    world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &limited(5)).await;
    let hello = connect(&format!("\"jwt\":\"{}\"", world.user_token()));
    let mut crowds = Vec::new();
    for address in world.both.addresses() {
        crowds.push(crowd(address, 5, &hello).await);
    }
    world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &limited(2)).await;
    let (ours, theirs) = (last_words(&mut crowds[0], 3).await, last_words(&mut crowds[1], 3).await);
    assert_eq!(ours, theirs, "first ours, then nats-server's");
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_by_the_account_s_jwt() {
    let Some(world) = World::new(
        "resolver = { dir = DIR, allow_delete = true }\n[jetstream]\nmax_file = \"100MB\"",
        "resolver: { type: full, dir: DIR, allow_delete: true }\njetstream: { store_dir: DIR, max_file: 100M, max_mem: 100M }",
        false,
    )
    .await
    else {
        return;
    };
    let systems = world.systems().await;
    let push = async |turn: i64, disk: i64| {
        let limits = json!({"disk_storage": disk, "mem_storage": disk, "streams": -1, "consumer": -1});
        let token = world.token(json!({"jti": turn.to_string(), "nats": {"limits": limits}}));
        world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &token).await;
    };
    push(0, 1_000_000).await;
    let mut clients = Vec::new();
    for address in world.both.addresses() {
        clients.push(world.client(address).await);
    }
    let mut heard = [Vec::new(), Vec::new()];
    let config = json!({"name": "S", "subjects": ["s"], "storage": "file"});
    for turn in 1..4 {
        for (client, heard) in clients.iter().zip(&mut heard) {
            let ask = async |subject: &str, payload: String| -> Value {
                let answer = client.request(subject.to_owned(), payload.into()).await.expect("answered");
                serde_json::from_slice(&answer.payload).expect("JSON")
            };
            // Either has taken the JWT over when it answers; the streams come a moment later.
            let until = Instant::now() + LIMIT;
            while !ask("$JS.API.INFO", String::new()).await["error"].is_null() {
                assert!(Instant::now() < until, "the account has no JetStream");
            }
            if turn == 1 {
                ask("$JS.API.STREAM.CREATE.S", config.to_string()).await;
            }
            let ack = ask("s", "x".to_owned()).await;
            let info = ask("$JS.API.STREAM.INFO.S", String::new()).await;
            // leafd has a domain wherever it has JetStream.
            heard.push(json!([ack["stream"], ack["seq"], info["state"]["messages"], info["state"]["last_seq"]]));
        }
        push(turn * 2, 0).await;
        push(turn * 2 + 1, 1_000_000).await;
    }
    assert_eq!(heard[0], heard[1], "first ours, then nats-server's");
    assert_eq!(heard[0][2][1], 3);
}
