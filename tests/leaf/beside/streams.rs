//! Mirrors and sources of the hub's streams at the leaf, and of the leaf's at the hub.

use super::{Place, api};
use crate::common::{LIMIT, wait_for};
use async_nats::Client;
use async_nats::jetstream::{self, context::PublishErrorKind};
use serde_json::{Value, json};
use std::time::Duration;

/// nats-server looks after a source that has stopped every ten seconds, and waits in between.
const PATIENCE: Duration = Duration::from_secs(90);

/// Subjects, sequences, headers and bodies of a stream once it ends at `last`, and what it says of its origins.
async fn contents(client: &Client, stream: &str, last: u64) -> Vec<String> {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let info = wait_for(&format!("{last} messages in {stream}"), PATIENCE, || async {
        let info = api(client, &subject, &json!({})).await;
        let caught_up = |origin: &Value| origin.is_null() || origin["lag"] == 0;
        let sources = info["sources"].as_array().is_none_or(|all| all.iter().all(caught_up));
        (info["state"]["last_seq"] == last && caught_up(&info["mirror"]) && sources).then_some(info)
    })
    .await;
    let mut seen = Vec::new();
    for origin in info["sources"].as_array().into_iter().flatten().chain(Some(&info["mirror"])) {
        let mut origin = origin.clone();
        let active = origin.as_object_mut().and_then(|origin| origin.remove("active"));
        let active = active.is_some_and(|active| active.as_i64() >= Some(0));
        seen.push(format!("{stream}: {origin} {active}"));
    }
    let context = jetstream::new(client.clone());
    let held = context.get_stream(stream).await.expect("it is there");
    for seq in 1..=last {
        seen.push(match held.get_raw_message(seq).await {
            Ok(message) => {
                let mut headers: Vec<_> = message.headers.iter().map(header).collect();
                headers.sort();
                format!("{stream}: {seq} {} {:?} {headers:?}", message.subject, message.payload)
            }
            Err(error) => format!("{stream}: {seq} {:?}", error.kind()),
        });
    }
    seen
}

/// A header; what tells a source's origin from a later stream of its name is another one each time.
fn header((name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|value| {
            let fields: Vec<&str> = value.as_str().split(' ').collect();
            match fields[..] {
                [.., identity] if fields.len() == 6 => value.as_str().replace(identity, "<identity>"),
                _ => value.to_string(),
            }
        })
        .collect();
    format!("{name}: {values:?}")
}

pub async fn both_ways(place: &Place) -> Vec<String> {
    let mut seen = Vec::new();
    for (domain, owner, reader) in [("hub", &place.hub, &place.leaf), ("gw1", &place.leaf, &place.hub)] {
        let external = |more: Value| {
            let mut origin = json!({"name": "ORIGIN", "external": {"api": format!("$JS.{domain}.API"), "deliver": ""}});
            origin.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
            origin
        };
        let streams = [
            (owner, "ORIGIN", json!({"subjects": ["origin.*"]})),
            (reader, "MIRROR", json!({"mirror": external(json!({}))})),
            (reader, "LATE", json!({"mirror": external(json!({"opt_start_seq": 4}))})),
            (reader, "SOURCED", json!({"sources": [external(json!({"filter_subject": "origin.b"}))]})),
            (
                reader,
                "MOVED",
                json!({"sources": [external(json!({
                    "subject_transforms": [{"src": "origin.*", "dest": "moved.{{wildcard(1)}}"}]}))]}),
            ),
        ];
        let publish = async |from: u64, to: u64| {
            let context = jetstream::new(owner.clone());
            for n in from..=to {
                let subject = format!("origin.{}", if n % 3 == 0 { "b" } else { "a" });
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("N", n.to_string().as_str());
                // Nobody has it while the stream's interest is still on its way to who publishes.
                wait_for("a stored message", LIMIT, || async {
                    let sent = context.publish_with_headers(subject.clone(), headers.clone(), n.to_string().into());
                    match sent.await.expect("sent").await {
                        Err(error) if error.kind() == PublishErrorKind::StreamNotFound => None,
                        stored => Some(stored.expect("stored")),
                    }
                })
                .await;
            }
        };
        for (at, (client, name, mut config)) in streams.into_iter().enumerate() {
            config["name"] = name.into();
            if (domain == "hub") == (at == 0) {
                config.as_object_mut().expect("a map").extend(place.replicas.as_object().expect("a map").clone());
            }
            let made = api(client, &format!("$JS.API.STREAM.CREATE.{name}"), &config).await;
            assert!(made["error"].is_null(), "{name}: {made}");
            if at == 0 {
                publish(1, 12).await;
                api(owner, "$JS.API.STREAM.MSG.DELETE.ORIGIN", &json!({"seq": 2})).await;
            }
        }
        publish(13, 18).await;
        for (stream, last) in [("MIRROR", 18), ("LATE", 18), ("SOURCED", 6), ("MOVED", 17)] {
            seen.extend(contents(reader, stream, last).await.into_iter().map(|line| format!("{domain}: {line}")));
            api(reader, &format!("$JS.API.STREAM.DELETE.{stream}"), &json!({})).await;
        }
        api(owner, "$JS.API.STREAM.DELETE.ORIGIN", &json!({})).await;
    }
    seen
}
