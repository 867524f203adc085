//! What clients on both sides of a leaf connection observe, with a nats-server and with leafd in each of the two roles.

use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, wait_for};
use crate::rig;
use async_nats::{Client, HeaderMap, Request, Subscriber};
use futures_util::StreamExt;
use std::time::Duration;

/// Messages that come, until `end` comes on the same subscription.
async fn until_end(subscriber: &mut Subscriber) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let message = tokio::time::timeout(LIMIT, subscriber.next()).await.expect("in time").expect("a message");
        if &message.payload[..] == b"end" {
            return all;
        }
        let headers = message.headers.as_ref().map(|headers| format!("{headers:?}")).unwrap_or_default();
        all.push(format!("{} {:?} {headers}", message.subject, message.payload));
    }
}

/// Waits until `there` hears what `here` says on `subject`.
async fn opened(here: &Client, there: &Client, subject: &str) {
    rig::answered(here, there, subject).await;
}

/// Subjects, wildcards, headers, overlapping subscriptions and their end, from one side to the other.
async fn plain(from: &Client, to: &Client) -> Vec<String> {
    let mut seen = Vec::new();
    let mut all = to.subscribe("plain.>").await.expect("subscribed");
    let mut one = to.subscribe("plain.*.b").await.expect("subscribed");
    opened(from, to, "plain.opened.svc").await;
    let mut headers = HeaderMap::new();
    headers.insert("A", "1");
    headers.append("A", "2");
    from.publish("plain.a.b", "x".into()).await.expect("published");
    from.publish_with_headers("plain.a.c", headers.clone(), "y".into()).await.expect("published");
    from.publish_with_headers("plain.a.b", headers, "".into()).await.expect("published");
    from.publish("plain.x.b", "end".into()).await.expect("published");
    seen.extend(until_end(&mut all).await.into_iter().filter(|line| !line.contains(".svc")));
    seen.extend(until_end(&mut one).await);
    all.unsubscribe().await.expect("unsubscribed");
    // The other side has heard of it then. A nats-server leaf that hears of it while it hands on a message which both subscriptions
    // want may drop that message.
    opened(from, to, "plain.closed.svc").await;
    from.publish("plain.a.c", "nobody".into()).await.expect("published");
    from.publish("plain.a.b", "still".into()).await.expect("published");
    from.publish("plain.a.b", "end".into()).await.expect("published");
    seen.extend(until_end(&mut one).await);
    seen
}

/// What requests come to: an answer, and that nobody listens, before and after.
async fn requests(from: &Client, to: &Client) -> Vec<String> {
    let ask = |subject: &'static str| async move {
        match from.send_request(subject, Request::new().timeout(Some(Duration::from_secs(2)))).await {
            Ok(answer) => format!("{:?}", answer.payload),
            Err(error) => format!("{:?}", error.kind()),
        }
    };
    let mut seen = vec![ask("requests.nobody").await];
    let mut service = to.queue_subscribe("requests.svc", "q".into()).await.expect("subscribed");
    to.flush().await.expect("flushed");
    let responder = to.clone();
    let serving = tokio::spawn(async move {
        while let Some(request) = service.next().await {
            let Some(reply) = request.reply else { break };
            let _ = responder.publish(reply, "answer".into()).await;
        }
        let _ = service.unsubscribe().await;
    });
    let answer =
        wait_for("an answer", LIMIT, || async { Some(ask("requests.svc").await).filter(|a| a.contains("answer")) });
    seen.push(answer.await);
    from.publish("requests.svc", "stop".into()).await.expect("published");
    serving.await.expect("served");
    to.flush().await.expect("flushed");
    let nobody = wait_for("the end of interest", LIMIT, || async {
        Some(ask("requests.svc").await).filter(|answer| answer.contains("NoResponders"))
    });
    seen.push(nobody.await);
    seen
}

/// Where the messages of a queue group go: members on the publisher's side come first, then those of the other.
async fn groups(from: &Client, to: &Client) -> Vec<String> {
    let subject = "groups.x";
    let mut far = Vec::new();
    for _ in 0..3 {
        far.push(to.queue_subscribe(subject, "q".into()).await.expect("subscribed"));
    }
    let mut everybody = to.subscribe(subject).await.expect("subscribed");
    to.flush().await.expect("flushed");
    opened(from, to, "groups.svc").await;
    let mut near = from.queue_subscribe(subject, "q".into()).await.expect("subscribed");
    from.flush().await.expect("flushed");
    for _ in 0..60 {
        from.publish(subject, "near".into()).await.expect("published");
    }
    from.flush().await.expect("flushed");
    let mut count = 0;
    while tokio::time::timeout(Duration::from_millis(300), near.next()).await.is_ok() {
        count += 1;
    }
    near.unsubscribe().await.expect("unsubscribed");
    from.flush().await.expect("flushed");
    for _ in 0..300 {
        from.publish(subject, "far".into()).await.expect("published");
    }
    from.flush().await.expect("flushed");
    let mut shares = Vec::new();
    for member in &mut far {
        let mut share = 0;
        while tokio::time::timeout(Duration::from_millis(300), member.next()).await.is_ok() {
            share += 1;
        }
        shares.push(share);
    }
    let mut heard = 0;
    while tokio::time::timeout(Duration::from_millis(300), everybody.next()).await.is_ok() {
        heard += 1;
    }
    let fair = shares.iter().all(|share| (50..150).contains(share));
    vec![format!("near {count}, far {} in fair shares {fair}, everybody {heard}", shares.iter().sum::<i32>())]
}

pub async fn observe(hub: &Client, leaf: &Client) -> Vec<String> {
    let mut seen = Vec::new();
    for (way, from, to) in [("down", hub, leaf), ("up", leaf, hub)] {
        for lines in [plain(from, to).await, requests(from, to).await, groups(from, to).await] {
            seen.extend(lines.into_iter().map(|line| format!("{way}: {line}")));
        }
    }
    seen
}

fn nats_leaf(url: &str) -> String {
    format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{url}\" }} ] }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_the_same_with_leafd_as_the_leaf_and_as_the_hub() {
    let hub = rig::nats_hub("", "").await;
    let url = format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await);
    let leaf = NatsServer::start(&nats_leaf(&url)).await;
    let expected = observe(&hub.client().await, &leaf.client().await).await;
    drop(leaf);
    assert!(expected.iter().any(|line| line.contains("near 60, far 300 in fair shares true")), "{expected:#?}");
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), &rig::remote(&format!("{url:?}"), ""));
    assert_eq!(observe(&hub.client().await, &leafd.client().await).await, expected, "leafd is the leaf");
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), "[leaf.listen]\nport = 0\n");
    let leaf = NatsServer::start(&nats_leaf(&leafd.port("leafnodes"))).await;
    assert_eq!(observe(&leafd.client().await, &leaf.client().await).await, expected, "leafd is the hub");
}

/// Two leafs with one and with three members of a group: the hub gives the second three times as much.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_chooses_among_leafs_by_the_members_of_a_group() {
    let hub = rig::nats_hub("", "").await;
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), "[leaf.listen]\nport = 0\n");
    let nats_url = format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await);
    for (what, url, app) in
        [("nats-server", nats_url, hub.client().await), ("leafd", leafd.port("leafnodes"), leafd.client().await)]
    {
        let (small, big) = (NatsServer::start(&nats_leaf(&url)).await, NatsServer::start(&nats_leaf(&url)).await);
        let clients = [small.client().await, big.client().await];
        let mut members = vec![clients[0].queue_subscribe("w", "q".into()).await.expect("subscribed")];
        for _ in 0..3 {
            members.push(clients[1].queue_subscribe("w", "q".into()).await.expect("subscribed"));
        }
        for client in &clients {
            client.flush().await.expect("flushed");
            rig::answered(&app, client, "w.svc").await;
        }
        for _ in 0..800 {
            app.publish("w", "x".into()).await.expect("published");
        }
        app.flush().await.expect("flushed");
        let mut shares = Vec::new();
        for member in &mut members {
            let mut share = 0;
            while tokio::time::timeout(Duration::from_millis(300), member.next()).await.is_ok() {
                share += 1;
            }
            shares.push(share);
        }
        assert_eq!(shares.iter().sum::<i32>(), 800, "{what}: {shares:?}");
        assert!((120..280).contains(&shares[0]), "{what}: {shares:?}");
    }
}
