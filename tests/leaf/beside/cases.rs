//! Subjects, queue groups, requests, and JetStream by its domains.

use super::{Place, api};
use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, wait_for};
use crate::{differential, rig};
use async_nats::jetstream::{self, consumer, kv};
use async_nats::{Client, Request};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Plain and queue subscribers, headers, requests and their no-responders, both ways.
pub async fn crossing(place: &Place) -> Vec<String> {
    differential::observe(&place.hub, &place.leaf).await
}

/// Another leaf of the hub has one member of a group, ours has three: it gets about three quarters.
pub async fn weights(place: &Place) -> Vec<String> {
    let creds = place.remote.creds.as_ref().map(|file| format!(", credentials: {file:?}")).unwrap_or_default();
    let url = &place.remote.urls[0];
    let config = format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: {url:?}{creds} }} ] }}\n");
    let other = NatsServer::start(&config).await;
    let other = other.client().await;
    let mut theirs = other.queue_subscribe("w", "q".into()).await.expect("subscribed");
    let mut ours = Vec::new();
    for _ in 0..3 {
        ours.push(place.leaf.queue_subscribe("w", "q".into()).await.expect("subscribed"));
    }
    rig::answered(&place.hub, &other, "w.other").await;
    rig::answered(&place.hub, &place.leaf, "w.ours").await;
    for _ in 0..800 {
        place.hub.publish("w", "x".into()).await.expect("published");
    }
    place.hub.flush().await.expect("flushed");
    let (mut near, mut all) = (0, count(&mut theirs).await);
    for member in &mut ours {
        near += count(member).await;
    }
    all += near;
    vec![format!("{all} in all, three quarters here: {}", (520..680).contains(&near))]
}

/// Messages until none comes for a while.
async fn count(subscriber: &mut async_nats::Subscriber) -> u32 {
    let mut count = 0;
    while tokio::time::timeout(Duration::from_millis(300), subscriber.next()).await.is_ok() {
        count += 1;
    }
    count
}

/// What a request comes to.
async fn ask(client: &Client, subject: &str, body: &str) -> Result<Value, String> {
    let request = Request::new().payload(body.to_owned().into()).timeout(Some(Duration::from_secs(5)));
    match client.send_request(subject.to_owned(), request).await {
        Ok(answer) => Ok(serde_json::from_slice(&answer.payload).unwrap_or_default()),
        Err(error) => Err(format!("{:?}", error.kind())),
    }
}

/// Which JetStream answers to which name from which side; streams, keys and acknowledgements of each from the other.
pub async fn domains(place: &Place) -> Vec<String> {
    let sides = [("hub", &place.hub), ("leaf", &place.leaf)];
    let mut seen = Vec::new();
    for (side, client) in sides {
        for prefix in ["$JS.API", "$JS.hub.API", "$JS.gw1.API", "$JS.none.API"] {
            let info = ask(client, &format!("{prefix}.INFO"), "").await.map(|info| info["domain"].clone());
            seen.push(format!("at the {side} {prefix} is {info:?}"));
        }
    }
    for (side, client) in sides {
        for domain in ["hub", "gw1"] {
            let name = format!("{side}_{domain}");
            let subject = format!("$JS.{domain}.API.STREAM.CREATE.{name}");
            let made = api(client, &subject, &json!({"name": name, "subjects": [name]})).await;
            seen.push(format!("{name}: {} {}", made["config"]["name"], made["error"]));
            let bucket = kv::Config { bucket: name.clone(), ..Default::default() };
            let context = jetstream::with_domain(client.clone(), domain);
            let bucket = context.create_key_value(bucket).await.expect("a bucket");
            // The bucket's interest may still be on its way to us, and so may that in the answer.
            let first = wait_for("a first revision", LIMIT, || async { bucket.put("k", "1".into()).await.ok() }).await;
            bucket.put("k", "2".into()).await.expect("put");
            let entry = bucket.entry("k").await.expect("read").expect("there");
            seen.push(format!("{name}: key {:?}, {} after the first", entry.value, entry.revision - first));
        }
    }
    for (side, client) in sides {
        for prefix in ["$JS.API", "$JS.hub.API", "$JS.gw1.API"] {
            let names = ask(client, &format!("{prefix}.STREAM.NAMES"), "").await.map(|names| names["streams"].clone());
            seen.push(format!("at the {side} {prefix} has {names:?}"));
        }
    }
    // A subject that streams of both sides keep: who says it hears of both.
    for (client, domain) in [(&place.hub, "hub"), (&place.leaf, "gw1")] {
        let made = api(client, "$JS.API.STREAM.CREATE.SAME", &json!({"name": "SAME", "subjects": ["same.*"]})).await;
        assert!(made["error"].is_null(), "{domain}: {made}");
    }
    for (side, client) in sides {
        let subject = format!("same.{side}");
        // The interest of the other side's stream is known here when it has answered.
        wait_for("both streams hear", LIMIT, || async {
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await.expect("subscribed");
            client.publish_with_reply(subject.clone(), inbox, "x".into()).await.expect("published");
            let mut domains = Vec::new();
            while let Ok(Some(ack)) = tokio::time::timeout(Duration::from_millis(500), answers.next()).await {
                let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
                domains.push(ack["domain"].to_string());
            }
            domains.sort();
            (domains == ["\"gw1\"", "\"hub\""]).then_some(())
        })
        .await;
        seen.push(format!("{subject} is kept in both"));
    }
    for (side, client) in sides {
        let names = ask(client, "$JS.API.STREAM.NAMES", "").await.expect("names");
        for name in names["streams"].as_array().expect("a list") {
            let name = name.as_str().expect("a name");
            let deleted = api(client, &format!("$JS.API.STREAM.DELETE.{name}"), &json!({})).await;
            seen.push(format!("at the {side} {name} deleted: {}", deleted["success"]));
        }
    }
    seen.sort();
    seen
}

/// Asks for messages until `count` have come: a request that comes before the leader of a new consumer is known everywhere is
/// answered by nobody.
async fn fetched(consumer: &consumer::PullConsumer, count: usize) -> Vec<jetstream::Message> {
    let mut messages = Vec::new();
    let all = async {
        while messages.len() < count {
            let fetch = consumer.fetch().max_messages(count - messages.len()).expires(Duration::from_secs(1));
            let batch = fetch.messages().await.expect("asked");
            messages.extend(batch.map(|message| message.expect("a message")).collect::<Vec<_>>().await);
        }
    };
    tokio::time::timeout(2 * LIMIT, all).await.expect("all are fetched");
    messages
}

/// A stream of each side, read from the other through a pull and a push consumer, with acknowledgements that come back.
pub async fn consumers(place: &Place) -> Vec<String> {
    let mut seen = Vec::new();
    for (domain, owner, reader) in [("hub", &place.hub, &place.leaf), ("gw1", &place.leaf, &place.hub)] {
        let mut config = json!({"name": "ORDERS", "subjects": ["orders.>"]});
        if domain == "hub" {
            config.as_object_mut().expect("a map").extend(place.replicas.as_object().expect("a map").clone());
        }
        let made = api(owner, "$JS.API.STREAM.CREATE.ORDERS", &config).await;
        assert!(made["error"].is_null(), "{made}");
        let context = jetstream::with_domain(reader.clone(), domain);
        for n in 1..=10 {
            // The stream's interest may still be on its way to us.
            let ack = wait_for("a stored message", LIMIT, || async {
                context.publish(format!("orders.{n}"), n.to_string().into()).await.ok()?.await.ok()
            })
            .await;
            seen.push(format!("{domain}: {} {} {:?}", ack.stream, ack.sequence, ack.domain));
        }
        let stream = context.get_stream("ORDERS").await.expect("the stream");
        let pull = consumer::pull::Config { durable_name: Some("pull".into()), ..Default::default() };
        let pull = stream.create_consumer(pull).await.expect("a consumer");
        for message in fetched(&pull, 10).await {
            message.double_ack().await.expect("acknowledged");
            let info = message.info().expect("a reply subject");
            let reply =
                message.reply.as_ref().expect("a reply subject").split('.').take(6).collect::<Vec<_>>().join(".");
            seen.push(format!(
                "{domain}: {} {:?} {} of {} {:?} {reply}",
                message.subject, message.payload, info.stream_sequence, info.stream, info.domain
            ));
        }
        let inbox = reader.new_inbox();
        let push =
            consumer::push::Config { deliver_subject: inbox, durable_name: Some("push".into()), ..Default::default() };
        let push = stream.create_consumer(push).await.expect("a consumer");
        let mut messages = push.messages().await.expect("messages");
        for _ in 0..10 {
            let message = tokio::time::timeout(LIMIT, messages.next()).await.expect("in time").expect("one");
            let message = message.expect("a message");
            message.double_ack().await.expect("acknowledged");
            seen.push(format!("{domain}: pushed {} {:?}", message.subject, message.payload));
        }
        for name in ["pull", "push"] {
            // A replica that answers may be a moment behind the one that has confirmed the acks.
            let info = wait_for("all is acknowledged", LIMIT, || async {
                let info = api(owner, &format!("$JS.API.CONSUMER.INFO.ORDERS.{name}"), &json!({})).await;
                (info["ack_floor"]["stream_seq"] == 10).then_some(info)
            })
            .await;
            seen.push(format!("{domain}: {name} {} {}", info["ack_floor"]["stream_seq"], info["num_pending"]));
        }
        api(owner, "$JS.API.STREAM.DELETE.ORDERS", &json!({})).await;
    }
    seen
}
