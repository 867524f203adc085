//! Messages that are schedules: what is refused, and what they give.

use super::peers::{Peers, header_map};
use async_nats::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn stream(fields: Value) -> Value {
    let mut config = json!({ "name": "C", "subjects": ["c.>"], "allow_msg_schedules": true });
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

const FAR: &str = "@at 2099-01-01T00:00:00Z";

/// Every header with good and bad values.
pub async fn checks(peers: &mut Peers) {
    let cases: &[&[(&str, &str)]] = &[
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", FAR)],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.a")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.*")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "elsewhere")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Source", "c.s")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Source", "c.t")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Source", "c.a")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Source", "x")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-TTL", "1m")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-TTL", "x")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Rollup", "sub")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Rollup", "all")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Rollup", "all")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Rollup", "sub")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Time-Zone", "UTC")],
        &[("Nats-Schedule", "@at now"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "@every 1h"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "@every 1ms"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "@every 1h"), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Time-Zone", "UTC")],
        &[("Nats-Schedule", "@daily"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "@daily"), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Time-Zone", "UTC")],
        &[("Nats-Schedule", "@daily"), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Time-Zone", "No/Where")],
        &[("Nats-Schedule", "@daily"), ("Nats-Schedule-Target", "c.t"), ("Nats-Schedule-Time-Zone", "")],
        &[("Nats-Schedule-Time-Zone", "No/Where")],
        &[("Nats-Schedule", "@fortnightly"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "0 30 14 * * *"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "0 30 14 * * sun,MON-fri"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "0 30 14 31 feb *"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", "30 14 * * *"), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule", ""), ("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule-Target", "c.t")],
        &[("Nats-Schedule-Next", "purge")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "c.a")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "c.*")],
        &[("Nats-Schedule-Next", "2030-01-01T00:00:00Z"), ("Nats-Scheduler", "c.other")],
        &[("Nats-Scheduler", "c.other")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "c.plain")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "c.none")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "c.known")],
    ];
    for fields in [json!({}), json!({"allow_msg_ttl": true}), json!({"allow_msg_schedules": false})] {
        peers.prepare("$JS.API.STREAM.CREATE.C", &stream(fields.clone())).await;
        peers.ask_raw("c.plain", &[], "plain").await;
        peers.ask_raw("c.known", &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "c.t")], "known").await;
        for headers in cases {
            peers.ask_raw("c.a", headers, "x").await;
        }
        peers.ask("$JS.API.STREAM.INFO.C", &json!({ "subjects_filter": ">", "deleted_details": true })).await;
        for subject in ["c.a", "c.known", "c.plain"] {
            peers.ask("$JS.API.STREAM.MSG.GET.C", &json!({ "last_by_subj": subject })).await;
        }
        peers.delete_stream("C").await;
    }
}

async fn last(client: &Client, subject: &str) -> Value {
    let body = json!({ "last_by_subj": subject }).to_string();
    let answer = client.request("$JS.API.STREAM.MSG.GET.C", body.into()).await.expect("an answer");
    let mut answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    answer["message"].take()
}

/// The last message of a subject, when there is one from sequence `from` on.
async fn wait_for(client: &Client, subject: &str, from: u64) -> Value {
    for _ in 0..400 {
        let message = last(client, subject).await;
        if message["seq"].as_u64().is_some_and(|seq| seq >= from) {
            return message;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nothing on {subject} from {from} on");
}

/// Headers, sorted, without the time of the next message.
fn shown(message: &Value) -> (Vec<String>, Value) {
    let block = STANDARD.decode(message["hdrs"].as_str().unwrap_or_default()).expect("base64");
    let mut lines: Vec<String> = String::from_utf8_lossy(&block).lines().map(str::to_owned).collect();
    for line in &mut lines {
        if line.starts_with("Nats-Schedule-Next: 2") {
            assert!(line.ends_with('Z'), "{line}");
            *line = "Nats-Schedule-Next: a time".into();
        }
    }
    lines.sort();
    (lines, message["data"].clone())
}

async fn publish(client: &Client, subject: &'static str, headers: &[(&str, &str)], body: &'static str) {
    client.publish_with_headers(subject, header_map(headers), body.into()).await.expect("sent");
}

/// What schedules give, once and again.
pub async fn gifts(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.C", &stream(json!({"allow_msg_ttl": true}))).await;
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 2;
    let soon = time::OffsetDateTime::from_unix_timestamp(i64::try_from(soon).expect("fits")).expect("a time");
    let at = format!("@at {}", soon.format(&time::format_description::well_known::Rfc3339).expect("text"));
    let mut given = Vec::new();
    for client in peers.clients.clone() {
        publish(&client, "c.source", &[("S", "1"), ("Nats-Msg-Id", "s")], "of the source").await;
        let once =
            [("Nats-Schedule", &*at), ("Nats-Schedule-Target", "c.once"), ("X", "y"), ("Nats-Schedule-TTL", "1m")];
        publish(&client, "c.s1", &once, "once").await;
        let source =
            [("Nats-Schedule", &*at), ("Nats-Schedule-Target", "c.copy"), ("Nats-Schedule-Source", "c.source")];
        publish(&client, "c.s2", &source, "not this").await;
        let every =
            [("Nats-Schedule", "@every 1s"), ("Nats-Schedule-Target", "c.every"), ("Nats-Schedule-Rollup", "sub")];
        publish(&client, "c.s3", &every, "every").await;
        let cron =
            [("Nats-Schedule", "* * * * * *"), ("Nats-Schedule-Target", "c.cron"), ("Nats-Schedule-Time-Zone", "UTC")];
        publish(&client, "c.s4", &cron, "cron").await;
        let ended = [("Nats-Schedule", &*at), ("Nats-Schedule-Target", "c.ended")];
        publish(&client, "c.s5", &ended, "ended").await;
        publish(&client, "c.by", &[("Nats-Scheduler", "c.s5"), ("Nats-Schedule-Next", "purge")], "").await;
        publish(&client, "c.s6", &ended, "replaced").await;
        publish(&client, "c.s6", &[], "by this").await;
        client.flush().await.expect("flushed");
    }
    for client in peers.clients.clone() {
        let mut all = Vec::new();
        for subject in ["c.once", "c.copy", "c.every", "c.cron"] {
            all.push(shown(&wait_for(&client, subject, 1).await));
        }
        for subject in ["c.every", "c.cron"] {
            let first = last(&client, subject).await["seq"].as_u64().expect("a sequence");
            all.push(shown(&wait_for(&client, subject, first + 1).await));
        }
        for subject in ["c.s1", "c.s2", "c.s3", "c.s4", "c.s5", "c.s6", "c.ended"] {
            all.push(shown(&last(&client, subject).await));
        }
        given.push(all);
    }
    for (ours, theirs) in given[0].iter().zip(&given[1]) {
        assert_eq!(ours, theirs);
    }
    peers.delete_stream("C").await;
}
