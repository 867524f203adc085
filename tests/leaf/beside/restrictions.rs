//! What may not cross: by the hub's permissions of a user and of a JWT, by the leaf's own deny lists, by a hub that keeps its
//! leafs apart.

use super::{Kind, Leaf, Remote, same};
use crate::common::LIMIT;
use crate::common::nats_server::NatsServer;
use crate::{credentials, rig};
use async_nats::{Client, Request, Subscriber};
use futures_util::StreamExt;
use serde_json::json;
use std::time::Duration;

/// The subjects that come until that which ends with `end`.
async fn heard(subscriber: &mut Subscriber) -> Vec<String> {
    let mut subjects = Vec::new();
    loop {
        let message = tokio::time::timeout(LIMIT, subscriber.next()).await.expect("in time").expect("a message");
        if message.subject.ends_with(".end") {
            return subjects;
        }
        if !message.subject.ends_with(".svc") {
            subjects.push(message.subject.to_string());
        }
    }
}

/// What comes of messages and requests on `up.*`, `down.*` and others, both ways.
async fn observe(hub: &Client, leaf: &Client) -> Vec<String> {
    let mut seen = Vec::new();
    for (way, from, to) in [("up", leaf, hub), ("down", hub, leaf)] {
        let subject = |last: &str| format!("{way}.{last}");
        let mut subscribers = Vec::new();
        // Wider than what may cross, as wide, and narrower.
        for wanted in [">".to_owned(), subject(">"), subject("*"), subject("secret"), subject("secret.x")] {
            subscribers.push((wanted.clone(), to.subscribe(wanted).await.expect("subscribed")));
        }
        let mut member = to.queue_subscribe(subject("*"), "q".into()).await.expect("subscribed");
        for at in ["open", "secret", "secret.x"] {
            let service = to.subscribe(format!("svc.{way}.{at}")).await.expect("subscribed");
            subscribers.push((format!("svc.{way}.{at}"), service));
        }
        rig::answered(from, to, &subject("svc")).await;
        for at in ["open", "secret", "secret.x", "secret.y", "open.deep"] {
            from.publish(subject(at), "x".into()).await.expect("published");
            from.publish(format!("svc.{way}.{at}"), "x".into()).await.expect("published");
        }
        from.publish(subject("end"), "x".into()).await.expect("published");
        from.flush().await.expect("flushed");
        seen.push(format!("{way}: group {:?}", heard(&mut member).await));
        for (wanted, mut subscriber) in subscribers {
            // What it hears until what everybody may hear has come to the widest.
            let heard = match wanted.as_str() {
                ">" => {
                    let mut all = heard(&mut subscriber).await;
                    all.retain(|subject| !subject.starts_with("_INBOX."));
                    all
                }
                wide if wide.ends_with('>') || wide.ends_with('*') => heard(&mut subscriber).await,
                _ => {
                    let mut all = Vec::new();
                    while let Ok(Some(message)) =
                        tokio::time::timeout(Duration::from_millis(200), subscriber.next()).await
                    {
                        all.push(message.subject.to_string());
                    }
                    all
                }
            };
            seen.push(format!("{way}: {wanted} hears {heard:?}"));
        }
        // Nobody answers, or nobody may be asked.
        let _service = to.subscribe(subject("secret")).await.expect("subscribed");
        to.flush().await.expect("flushed");
        for at in ["secret", "nobody"] {
            let request = Request::new().timeout(Some(Duration::from_millis(500)));
            let error = from.send_request(subject(at), request).await.map(|_| ()).map_err(|error| error.kind());
            seen.push(format!("{way}: request on {at}: {error:?}"));
        }
    }
    seen
}

async fn compare(what: &str, hub: &Client, remote: &Remote) {
    let mut seen = Vec::new();
    for kind in [Kind::Nats, Kind::Leafd] {
        let dir = tempfile::tempdir().expect("a folder");
        let leaf = Leaf::start(kind, dir.path(), remote).await;
        seen.push(observe(hub, &leaf.client().await).await);
    }
    same(what, &seen[1], &seen[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_of_the_hubs_user() {
    for (what, publish, subscribe) in [
        ("allow", "\"up.>\", \"_INBOX.>\", \"_R_.>\", \"_GR_.>\"", "\"down.>\", \"_INBOX.>\", \"_R_.>\", \"_GR_.>\""),
        ("deny", "{ deny: [\"up.secret\", \"up.secret.>\"] }", "{ deny: [\"down.secret\", \"down.secret.>\"] }"),
        (
            "both",
            "{ allow: [\"up.>\", \"_INBOX.>\", \"_R_.>\"], deny: \"up.secret\" }",
            "{ allow: [\"down.>\", \"_INBOX.>\", \"_R_.>\"], deny: \"down.secret\" }",
        ),
    ] {
        let list = |text: &str| if text.starts_with('{') { text.to_owned() } else { format!("[{text}]") };
        let config = format!(
            "accounts {{ A {{ users: [ {{ user: a, password: a }}, {{ user: gw, password: gw, permissions: {{
               publish: {}, subscribe: {} }} }} ] }} }}\n",
            list(publish),
            list(subscribe)
        );
        let hub = rig::nats_hub("", &config).await;
        let options = async_nats::ConnectOptions::with_user_and_password("a".into(), "a".into());
        let app = options.connect(hub.clients.to_string()).await.expect("connected");
        let urls = vec![format!("nats://gw:gw@127.0.0.1:{}", rig::leaf_port(&hub).await)];
        compare(what, &app, &Remote { urls, ..Remote::default() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_of_a_jwt() {
    let dir = tempfile::tempdir().expect("a folder");
    let account = credentials::Account::new();
    let hub = rig::nats_hub("", account.server()).await;
    let app = credentials::connect(&account.user(dir.path(), "app", json!({})), &hub).await;
    let creds = account.user(
        dir.path(),
        "gw",
        json!({"pub": {"allow": ["up.>", "_INBOX.>", "_R_.>"], "deny": ["up.secret"]},
               "sub": {"allow": ["down.>", "_INBOX.>", "_R_.>"], "deny": ["down.secret.>"]}}),
    );
    let urls = vec![format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await)];
    compare("JWT", &app, &Remote { urls, creds: Some(creds), ..Remote::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_leaf_denies() {
    let hub = rig::nats_hub("", "").await;
    let urls = vec![format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await)];
    let (deny_exports, deny_imports) = ("\"up.secret\", \"svc.up.>\"", "\"down.secret.>\", \"svc.down.open\"");
    compare("deny lists", &hub.client().await, &Remote { urls, deny_exports, deny_imports, ..Remote::default() }).await;
}

/// A hub that tells no leaf what others want: what ours says comes to the hub only.
#[tokio::test(flavor = "multi_thread")]
async fn leafs_that_the_hub_keeps_apart() {
    if rig::version() < (2, 12) {
        return eprintln!("skipped: nats-server has no isolation before 2.12");
    }
    for isolated in [false, true] {
        let hub = rig::nats_hub(&format!("isolate_leafnode_interest: {isolated}"), "").await;
        let urls = vec![format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await)];
        let other =
            NatsServer::start(&format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: {:?} }} ] }}\n", urls[0])).await;
        let (app, far) = (hub.client().await, other.client().await);
        rig::joined(&app, &far).await;
        for kind in [Kind::Nats, Kind::Leafd] {
            let dir = tempfile::tempdir().expect("a folder");
            let leaf = Leaf::start(kind, dir.path(), &Remote { urls: urls.clone(), ..Remote::default() }).await;
            let leaf = leaf.client().await;
            rig::joined(&app, &leaf).await;
            for (way, from, to) in [("out", &leaf, &far), ("in", &far, &leaf)] {
                let mut heard = to.subscribe("apart.x").await.expect("subscribed");
                rig::answered(&app, to, "apart.opened").await;
                let looks = if isolated { 5 } else { 100 };
                let mut crossed = false;
                for _ in 0..looks {
                    from.publish("apart.x", "x".into()).await.expect("published");
                    from.flush().await.expect("flushed");
                    crossed |= tokio::time::timeout(Duration::from_millis(100), heard.next()).await.is_ok();
                    if crossed {
                        break;
                    }
                }
                assert_eq!(crossed, !isolated, "{kind:?} {way}, isolated {isolated}");
            }
        }
    }
}
