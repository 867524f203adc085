//! What requests say in headers: the API level that they require, and the stream that they mean. And requests that do not
//! wait, among others that do.

use super::peers::Peers;
use serde_json::json;

const LEVEL: &str = "Nats-Required-Api-Level";
const IDENTITY: &str = "Nats-Stream-Identity";

/// Every request, with levels that both have, that neither has, and that are none.
pub async fn required(peers: &mut Peers) {
    let config = r#"{"name":"L","subjects":["l.>"],"allow_direct":true}"#;
    let consumer = r#"{"stream_name":"L","config":{"durable_name":"d","ack_policy":"explicit"}}"#;
    let deliver = r#"{"deliver_subject":"nobody.listens"}"#;
    for level in ["6", "x", "-1", "5"] {
        for (verb, payload) in [
            ("INFO", ""),
            ("STREAM.CREATE.L", config),
            ("STREAM.CREATE.L", "{"),
            ("STREAM.UPDATE.L", config),
            ("STREAM.INFO.L", ""),
            ("STREAM.NAMES", ""),
            ("STREAM.LIST", ""),
            ("STREAM.MSG.GET.L", r#"{"seq":1}"#),
            ("STREAM.MSG.DELETE.L", r#"{"seq":1}"#),
            ("STREAM.LEADER.STEPDOWN.L", ""),
            ("STREAM.PEER.REMOVE.L", r#"{"peer":"x"}"#),
            ("STREAM.PEER.EVACUATE.L", r#"{"peer":"x"}"#),
            ("STREAM.CANCEL_MOVE.L", ""),
            ("STREAM.SNAPSHOT.none", deliver),
            ("STREAM.RESTORE.L", "{}"),
            ("CONSUMER.CREATE.L.d", consumer),
            ("CONSUMER.CREATE.L.d", "{"),
            ("CONSUMER.CREATE.L", "{}"),
            ("CONSUMER.DURABLE.CREATE.L.d", consumer),
            ("CONSUMER.NAMES.L", ""),
            ("CONSUMER.LIST.L", ""),
            ("CONSUMER.INFO.L.d", ""),
            ("CONSUMER.PAUSE.L.d", ""),
            ("CONSUMER.UNPIN.L.d", ""),
            ("CONSUMER.RESET.L.d", ""),
            ("CONSUMER.RESET.L.none", ""),
            ("CONSUMER.LEADER.STEPDOWN.L.d", ""),
            ("CONSUMER.MSG.NEXT.L.d", r#"{"batch":1,"no_wait":true}"#),
            ("DIRECT.GET.L", r#"{"seq":1}"#),
            ("DIRECT.GET.L", ""),
            ("DIRECT.GET.L.l.a", ""),
            ("CONSUMER.DELETE.L.d", ""),
            ("STREAM.PURGE.L", ""),
            ("STREAM.DELETE.L", ""),
        ] {
            peers.ask_raw(&format!("$JS.API.{verb}"), &[(LEVEL, level)], payload).await;
        }
        peers.prepare("$JS.API.STREAM.CREATE.L", &serde_json::from_str(config).expect("JSON")).await;
        peers.ask_raw("l.a", &[(LEVEL, level)], "x").await;
        peers.ask_raw("$JS.API.STREAM.MSG.GET.L", &[], r#"{"seq":1}"#).await;
    }
    peers.delete_stream("L").await;
}

/// Those who source from here are told which stream it is, and may say which they expect.
pub async fn identities(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.L", &json!({"name": "L", "subjects": ["l.>"]})).await;
    for known in ["", "another"] {
        for (name, fields) in [
            ("a", json!({"name": "a", "direct": true, "ack_policy": "none", "deliver_subject": "x"})),
            ("b", json!({"name": "b", "direct": true, "ack_policy": "explicit"})),
            ("c", json!({"durable_name": "c", "ack_policy": "explicit"})),
        ] {
            let body = json!({"stream_name": "L", "config": fields}).to_string();
            peers.ask_raw(&format!("$JS.API.CONSUMER.CREATE.L.{name}"), &[(IDENTITY, known)], &body).await;
        }
        peers.ask_raw("$JS.API.CONSUMER.RESET.L.c", &[(IDENTITY, known)], "").await;
        peers.ask_raw("$JS.API.CONSUMER.INFO.L.c", &[(IDENTITY, known)], "").await;
    }
    peers.delete_stream("L").await;
}

/// Requests that do not wait, while all that may be delivered is delivered and others wait for more.
pub async fn crowds(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.L", &json!({"name": "L", "subjects": ["l.>"]})).await;
    for payload in ["1", "22", "333"] {
        peers.ask_raw("l.a", &[], payload).await;
    }
    let next = "$JS.API.CONSUMER.MSG.NEXT.L.d";
    for wanted in [1, 2, 3, 9] {
        let config = json!({"durable_name": "d", "ack_policy": "explicit", "max_ack_pending": 1});
        peers.prepare("$JS.API.CONSUMER.CREATE.L.d", &json!({"stream_name": "L", "config": config})).await;
        peers.ask_many(next, &json!({"batch": 1})).await;
        let mut held = Vec::new();
        for client in peers.clients.clone() {
            let inbox = client.new_inbox();
            held.push(client.subscribe(inbox.clone()).await.expect("subscribed"));
            let body = json!({"batch": wanted, "expires": 60_000_000_000_i64}).to_string();
            client.publish_with_reply(next, inbox, body.into()).await.expect("sent");
            client.flush().await.expect("flushed");
        }
        for body in
            [json!({"batch": 1, "no_wait": true, "expires": 20_000_000}), json!({"batch": 1, "expires": 20_000_000})]
        {
            peers.ask_many(next, &body).await;
        }
        peers.ask_raw("$JS.API.CONSUMER.INFO.L.d", &[], "").await;
        peers.delete("$JS.API.CONSUMER.DELETE.L.d").await;
    }
    peers.delete_stream("L").await;
}
