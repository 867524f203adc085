//! Events of connections that come, go and are turned away, and of the server itself.

use super::common::{have, within};
use super::pair::{Pair, Server, connect, next};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is told while a client comes, works and goes, and another one is turned away: by subject, in order.
async fn visit(server: &Server) -> BTreeMap<String, Vec<Value>> {
    let mut accounts = server.listen("$SYS.ACCOUNT.>").await;
    let mut old = server.listen("$SYS.SERVER.ACCOUNT.>").await;
    let mut refused = server.listen("$SYS.SERVER.*.CLIENT.AUTH.ERR").await;
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut add = |(subject, event): (String, Value)| told.entry(subject).or_default().push(event);
    let app = server.app("visitor").await;
    // A number of connections and a connect; the number once more under its old name. They count what was sent until
    // they are written, so that they must be there before the work begins.
    for _ in 0..2 {
        add(next(server, &mut accounts).await);
    }
    add(next(server, &mut old).await);
    let _held = app.subscribe("work.*").await.expect("subscribed");
    app.publish("work.1", "hello".into()).await.expect("published");
    app.flush().await.expect("flushed");
    drop(_held);
    app.drain().await.expect("drained");
    for _ in 0..2 {
        add(next(server, &mut accounts).await);
    }
    add(next(server, &mut old).await);
    let wrong = connect("app", "wrong").connect(&server.url).await;
    assert!(wrong.is_err());
    add(next(server, &mut refused).await);
    add(next(server, &mut accounts).await);
    for events in told.values_mut() {
        events.iter_mut().for_each(|event| *event = server.comparable(event.take()));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_told_of_as_by_nats_server() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::start().await;
    let [theirs, ours] = pair.servers().await;
    let (expected, told) = (visit(&theirs).await, visit(&ours).await);
    for (subject, events) in &expected {
        let ours = told.get(subject).unwrap_or_else(|| panic!("nothing on {subject}: {:#?}", told.keys()));
        for (expected, event) in events.iter().zip(ours) {
            assert_eq!(expected, event, "{subject}");
        }
    }
    assert_eq!(expected.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>());
}

/// A client that is asked to go elsewhere, and then sent away: what is answered, and what is told of its end.
async fn send_away(server: &Server) -> (Vec<Option<Value>>, Value) {
    let mut ends = server.listen("$SYS.ACCOUNT.APP.DISCONNECT").await;
    let (heard, mut events) = tokio::sync::mpsc::unbounded_channel();
    let told = move |event| {
        let _ = heard.send(event);
        async {}
    };
    let app = connect("app", "a").event_callback(told).connect(&server.url).await.expect("let in");
    app.flush().await.expect("flushed");
    let order = format!("{{\"cid\":{}}}", app.server_info().client_id);
    let mut answers = Vec::new();
    answers.push(server.ask("$SYS.REQ.SERVER.ID.LDM", &order).await);
    while !matches!(
        within("the lame duck is told", events.recv()).await.expect("an event"),
        async_nats::Event::LameDuckMode
    ) {}
    answers.push(server.ask("$SYS.REQ.SERVER.ID.KICK", &order).await);
    let end = server.comparable(next(server, &mut ends).await.1);
    (answers.into_iter().map(|answer| answer.map(|answer| server.comparable(answer))).collect(), end)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_away_as_by_nats_server() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::start().await;
    let [theirs, ours] = pair.servers().await;
    let (expected, told) = (send_away(&theirs).await, send_away(&ours).await);
    assert_eq!(expected, told);
    assert_eq!(told.1["reason"], "Kicked");
}

#[tokio::test(flavor = "multi_thread")]
async fn statsz_comes_by_itself_and_the_end_is_announced() {
    if !have("nats-server") {
        return;
    }
    let mut pair = Pair::start().await;
    let [theirs, ours] = pair.servers().await;
    let mut told = Vec::new();
    for server in [&theirs, &ours] {
        let mut statsz = server.listen("$SYS.SERVER.*.STATSZ").await;
        let (subject, event) = next(server, &mut statsz).await;
        assert_eq!(subject, "$SYS.SERVER.ID.STATSZ");
        let mut event = server.comparable(event);
        // leafd syncs before it acknowledges, and has another default for consumers.
        event["statsz"]["jetstream"]["config"] = Value::Null;
        event["statsz"]["jetstream"]["limits"] = Value::Null;
        for counted in ["sent", "received", "sent_to_clients", "received_from_clients"] {
            assert!(event["statsz"][counted]["msgs"].is_u64());
            event["statsz"][counted] = Value::Null;
        }
        told.push(event);
    }
    assert_eq!(told[0], told[1]);
    let mut ends = ours.listen("$SYS.SERVER.*.SHUTDOWN").await;
    assert!(pair.leafd().terminate().success());
    let (subject, event) = next(&ours, &mut ends).await;
    assert_eq!((&*subject, &event["name"]), ("$SYS.SERVER.ID.SHUTDOWN", &"gw1".into()));
}
