//! Requests: every one is made to both servers, after the same work, and the answers must be the same.

use super::common::have;
use super::pair::{Pair, Server, request};
use serde_json::{Value, json};
use std::io::Read;

/// What is asked in the system account; `ID` stands for the server's id.
const OF_SYSTEM: [(&str, &str); 66] = [
    ("$SYS.REQ.SERVER.PING", ""),
    ("$SYS.REQ.SERVER.PING", r#"{"server_name":"other"}"#),
    ("$SYS.REQ.SERVER.PING.IDZ", ""),
    ("$SYS.REQ.SERVER.PING.STATSZ", "{}"),
    ("$SYS.REQ.SERVER.PING.STATSZ", "{"),
    ("$SYS.REQ.SERVER.PING.VARZ", ""),
    ("$SYS.REQ.SERVER.PING.SUBSZ", ""),
    ("$SYS.REQ.SERVER.PING.CONNZ", ""),
    ("$SYS.REQ.SERVER.PING.ROUTEZ", ""),
    ("$SYS.REQ.SERVER.PING.GATEWAYZ", ""),
    ("$SYS.REQ.SERVER.PING.LEAFZ", ""),
    ("$SYS.REQ.SERVER.PING.ACCOUNTZ", ""),
    ("$SYS.REQ.SERVER.PING.JSZ", ""),
    ("$SYS.REQ.SERVER.PING.HEALTHZ", ""),
    ("$SYS.REQ.SERVER.PING.PROFILEZ", ""),
    ("$SYS.REQ.SERVER.PING.PROFILEZ", r#"{"name":"nothing"}"#),
    ("$SYS.REQ.SERVER.PING.IPQUEUESZ", ""),
    ("$SYS.REQ.SERVER.PING.RAFTZ", ""),
    ("$SYS.REQ.SERVER.PING.NONE", ""),
    ("$SYS.REQ.SERVER.ID.VARZ", r#"{"server_name":"gw1","exact_match":true}"#),
    ("$SYS.REQ.SERVER.ID.VARZ", r#"{"server_name":"gw"}"#),
    ("$SYS.REQ.SERVER.ID.VARZ", r#"{"server_name":"gw","exact_match":true}"#),
    ("$SYS.REQ.SERVER.ID.VARZ", r#"{"cluster":"c"}"#),
    ("$SYS.REQ.SERVER.ID.VARZ", r#"{"tags":["a"]}"#),
    ("$SYS.REQ.SERVER.ID.VARZ", r#"{"domain":"gw1","host":"127"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"auth":true,"subscriptions":true,"user":"app"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"acc":"APP","subscriptions_detail":true,"filter_subject":"work.1"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"acc":"APP","filter_subject":"idle.*"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"filter_subject":"work.1"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"sort":"size"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"sort":"stop"}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"state":1,"sort":"reason","auth":true}"#),
    ("$SYS.REQ.SERVER.ID.CONNZ", r#"{"mqtt_client":"x"}"#),
    ("$SYS.REQ.SERVER.ID.SUBSZ", r#"{"subscriptions":true,"account":"APP","test":"work.1"}"#),
    ("$SYS.REQ.SERVER.ID.SUBSZ", r#"{"subscriptions":true,"test":"work.*"}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"account":"APP","stream":"NONE"}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"account":"APP","stream":"WORK"}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"account":"APP","stream":"WORK","consumer":"NONE","details":true}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"stream":"WORK"}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"js-server-only":true,"account":"NONE"}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"js-enabled-only":true,"account":"NONE"}"#),
    ("$SYS.REQ.SERVER.ID.HEALTHZ", r#"{"account":"NONE"}"#),
    ("$SYS.REQ.SERVER.ID.JSZ", r#"{"account":"APP","streams":true}"#),
    ("$SYS.REQ.SERVER.ID.RELOAD", ""),
    ("$SYS.REQ.SERVER.ID.KICK", r#"{"cid":999999}"#),
    ("$SYS.REQ.SERVER.ID.LDM", r#"{"cid":999999}"#),
    ("$SYS.REQ.ACCOUNT.APP.CONNZ", ""),
    ("$SYS.REQ.ACCOUNT.NONE.CONNZ", ""),
    ("$SYS.REQ.ACCOUNT.APP.LEAFZ", ""),
    ("$SYS.REQ.ACCOUNT.APP.JSZ", ""),
    ("$SYS.REQ.ACCOUNT.SYS.JSZ", ""),
    ("$SYS.REQ.ACCOUNT.NONE.JSZ", ""),
    ("$SYS.REQ.ACCOUNT.NONE.INFO", ""),
    ("$SYS.REQ.ACCOUNT.APP.STATZ", ""),
    ("$SYS.REQ.ACCOUNT.NONE.STATZ", ""),
    ("$SYS.REQ.ACCOUNT.APP.CONNS", ""),
    ("$SYS.REQ.ACCOUNT.APP.CONNS", r#"{"acc":"SYS"}"#),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", ""),
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", ""),
    ("$SYS.REQ.USER.INFO", ""),
    ("$SYS.DEBUG.SUBSCRIBERS", "$SYS.REQ.>"),
    ("$SYS.REQ.ACCOUNT.NSUBS", r#"{"acc":"APP","subject":"work.1"}"#),
    ("$SYS.REQ.ACCOUNT.NSUBS", r#"{"acc":"APP","subject":"work.*"}"#),
    ("$SYS.REQ.ACCOUNT.NSUBS", r#"{"acc":"APP","subject":"work.1","queue":"cQ=="}"#),
    ("$SYS.REQ.ACCOUNT.NSUBS", r#"{"acc":"NONE","subject":"work.1"}"#),
    ("$SYS.REQ.ACCOUNT.NSUBS", ""),
];

/// What is asked in an account of its own.
const OF_APP: [(&str, &str); 6] = [
    ("$SYS.REQ.USER.INFO", ""),
    ("$SYS.REQ.SERVER.PING.CONNZ", ""),
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", r#"{"subscriptions":true}"#),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", ""),
    ("$SYS.REQ.SERVER.PING", ""),
    ("$SYS.REQ.ACCOUNT.SYS.CONNZ", ""),
];

/// Nothing but the known differences is left out.
fn comparable(server: &Server, answer: Option<Value>) -> Value {
    let Some(answer) = answer else { return json!("no answer") };
    let mut answer = server.comparable(answer);
    // leafd's JSON errors are its parser's; that it is one is told by the code.
    if answer["error"]["code"] == 400 {
        answer["error"]["description"] = "why".into();
    }
    // leafd syncs before it acknowledges, tells no switches of Go's garbage collector, and has no feature flags in /varz.
    for place in ["/data", "/data/jetstream", "/statsz/jetstream"] {
        if let Some(Value::Object(fields)) = answer.pointer_mut(place) {
            fields.remove("limits");
            fields.remove("feature_flags");
            fields.remove("config");
        }
    }
    // nats-server may answer before it has counted the request itself.
    for place in ["/statsz/received/msgs", "/statsz/received_from_clients/msgs"] {
        if let Some(count) = answer.pointer_mut(place) {
            assert!(count.take().as_u64() >= Some(1), "{place}: {answer}");
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_by_nats_server() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::start().await;
    let servers = pair.servers().await;
    let mut apps = Vec::new();
    for server in &servers {
        let gone = server.app("gone").await;
        gone.flush().await.expect("flushed");
        gone.drain().await.expect("drained");
        let app = server.app("worker").await;
        let work = app.subscribe("work.*").await.expect("subscribed");
        let stream = r#"{"name":"WORK","subjects":["work.>"]}"#;
        request(&app, "$JS.API.STREAM.CREATE.WORK", stream).await.expect("made");
        apps.push((app, work));
    }
    let mut wrong = Vec::new();
    for (subject, payload) in OF_SYSTEM {
        let theirs = comparable(&servers[0], servers[0].ask(subject, payload).await);
        let ours = comparable(&servers[1], servers[1].ask(subject, payload).await);
        if theirs != ours {
            wrong.push(format!("{subject} {payload}\n{theirs}\n{ours}"));
        }
    }
    for (subject, payload) in OF_APP {
        let theirs = comparable(&servers[0], request(&apps[0].0, subject, payload).await);
        let ours = comparable(&servers[1], request(&apps[1].0, subject, payload).await);
        if theirs != ours {
            wrong.push(format!("APP: {subject} {payload}\n{theirs}\n{ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_as_asked() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::start().await;
    for (accepted, expected) in [("gzip", "gzip"), ("S2, gzip", "snappy"), ("snappy", "snappy"), ("br", "identity")] {
        let mut sizes = Vec::new();
        for server in pair.servers().await {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Accept-Encoding", accepted);
            let answer = server.system.request_with_headers("$SYS.REQ.SERVER.PING.VARZ", headers, "{}".into()).await;
            let answer = answer.expect("answered");
            let encoding = answer.headers.as_ref().and_then(|headers| headers.get("Content-Encoding"));
            assert_eq!(encoding.map(|value| value.as_str()), Some(expected), "{accepted}");
            if expected == "snappy" {
                let mut plain = String::new();
                minlz::Reader::new(&answer.payload[..]).read_to_string(&mut plain).expect("the format");
                let plain: Value = serde_json::from_str(&plain).expect("JSON");
                assert!(plain["data"]["server_id"].is_string(), "{plain}");
            }
            sizes.push(answer.payload.len());
        }
        assert!(sizes[1] < sizes[0] * 2, "{accepted}: {sizes:?}");
    }
}
