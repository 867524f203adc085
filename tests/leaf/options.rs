//! Options of remotes, beside a nats-server with the same ones: what crosses, and whom it reaches.

use crate::common::nats_server::NatsServer;
use crate::rig;
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether what `from` publishes on `subject` comes to `to`: within seconds if it shall, and not for a while if not.
async fn reaches(from: &Client, to: &mut Subscriber, subject: &str, shall: bool) -> bool {
    let until = Instant::now() + Duration::from_millis(if shall { 10_000 } else { 600 });
    while Instant::now() < until {
        from.publish(subject.to_owned(), "x".into()).await.expect("published");
        from.flush().await.expect("flushed");
        if tokio::time::timeout(Duration::from_millis(60), to.next()).await.is_ok() {
            return true;
        }
    }
    false
}

async fn listen(client: &Client, subject: &str) -> Subscriber {
    let subscriber = client.subscribe(subject.to_owned()).await.expect("subscribed");
    client.flush().await.expect("flushed");
    subscriber
}

/// Either server, with the same remotes: `toml` and `conf` are what stands in each of them.
enum Middle {
    Nats(NatsServer),
    Leafd(crate::common::leafd::Leafd),
}

impl Middle {
    async fn start(leafd: bool, dir: &Path, urls: &[String], toml: &str, conf: &str) -> Middle {
        if leafd {
            let remotes = urls.iter().enumerate().map(|(n, url)| {
                format!(
                    "[[leaf.remote]]\nname = \"r{n}\"\nurls = [{url:?}]\nexport = [\">\"]\nimport = [\">\"]\n\
                     reconnect = {{ min = \"20ms\", max = \"200ms\" }}\n{toml}\n"
                )
            });
            return Middle::Leafd(rig::leafd(dir, &remotes.collect::<String>()));
        }
        let remotes: Vec<_> = urls.iter().map(|url| format!("{{ url: {url:?}, {conf} }}")).collect();
        let config = format!("leafnodes {{ reconnect: 1, remotes: [ {} ] }}\n", remotes.join(", "));
        Middle::Nats(NatsServer::start(&config).await)
    }

    async fn client(&self) -> Client {
        match self {
            Middle::Nats(server) => server.client().await,
            Middle::Leafd(leafd) => leafd.client().await,
        }
    }
}

async fn url(server: &NatsServer) -> String {
    format!("nats://127.0.0.1:{}", rig::leaf_port(server).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_does_not_cross() {
    let hub = rig::nats_hub("", "").await;
    let urls = [url(&hub).await];
    for leafd in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let toml = "deny_export = [\"out.secret\"]\ndeny_import = [\"in.secret\"]";
        let conf = "deny_exports: [\"out.secret\"], deny_imports: [\"in.secret\"]";
        let leaf = Middle::start(leafd, dir.path(), &urls, toml, conf).await;
        let (app, local) = (hub.client().await, leaf.client().await);
        let (mut at_hub, mut at_leaf) = (listen(&app, "out.>").await, listen(&local, "in.>").await);
        assert!(reaches(&local, &mut at_hub, "out.a", true).await, "leafd {leafd}");
        assert!(!reaches(&local, &mut at_hub, "out.secret", false).await, "leafd {leafd}");
        assert!(reaches(&app, &mut at_leaf, "in.a", true).await, "leafd {leafd}");
        assert!(!reaches(&app, &mut at_leaf, "in.secret", false).await, "leafd {leafd}");
    }
}

/// One in the middle that dials two servers: as their leaf it keeps them apart, as their hub it joins them.
#[tokio::test(flavor = "multi_thread")]
async fn a_dialling_hub_joins_those_that_it_dials() {
    for (leafd, hub) in [(false, false), (true, false), (false, true), (true, true)] {
        let (one, two) = (rig::nats_hub("", "").await, rig::nats_hub("", "").await);
        let urls = [url(&one).await, url(&two).await];
        let dir = tempfile::tempdir().expect("a folder");
        let middle = Middle::start(leafd, dir.path(), &urls, &format!("hub = {hub}"), &format!("hub: {hub}")).await;
        let (a, b, here) = (one.client().await, two.client().await, middle.client().await);
        rig::joined(&a, &here).await;
        rig::joined(&b, &here).await;
        let mut far = listen(&b, "far.x").await;
        assert_eq!(reaches(&a, &mut far, "far.x", hub).await, hub, "leafd {leafd}, hub {hub}");
    }
}

/// Two leafs of one hub, of which one asks not to hear of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_asks_for_isolation_does_not_hear_of_others() {
    if crate::rig::version() < (2, 12) {
        return eprintln!("skipped: nats-server has no isolation before 2.12");
    }
    let hub = rig::nats_hub("", "").await;
    let urls = [url(&hub).await];
    for (leafd, isolated) in [(false, false), (true, false), (false, true), (true, true)] {
        let dir = tempfile::tempdir().expect("a folder");
        let (toml, conf) = match isolated {
            true => ("request_isolation = true", "request_isolation: true"),
            false => ("", ""),
        };
        let asks = Middle::start(leafd, dir.path(), &urls, toml, conf).await;
        let other = Middle::start(false, dir.path(), &urls, "", "").await;
        let (app, from, to) = (hub.client().await, asks.client().await, other.client().await);
        rig::joined(&app, &from).await;
        rig::joined(&app, &to).await;
        let mut far = listen(&to, "iso.x").await;
        assert_eq!(reaches(&from, &mut far, "iso.x", !isolated).await, !isolated, "leafd {leafd}, isolated {isolated}");
    }
}

/// The same with leafd as the hub, for one leaf that asks and for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_isolates_its_leafs() {
    if crate::rig::version() < (2, 12) {
        return eprintln!("skipped: nats-server has no isolation before 2.12");
    }
    for (listen_more, conf, isolated) in
        [("", "", false), ("isolate = true", "", true), ("", "request_isolation: true", true)]
    {
        let dir = tempfile::tempdir().expect("a folder");
        let hub = rig::leafd(dir.path(), &format!("[leaf.listen]\nport = 0\n{listen_more}\n"));
        let urls = [hub.port("leafnodes")];
        let asks = Middle::start(false, dir.path(), &urls, "", conf).await;
        let other = Middle::start(false, dir.path(), &urls, "", "").await;
        let (app, from, to) = (hub.client().await, asks.client().await, other.client().await);
        rig::joined(&app, &from).await;
        rig::joined(&app, &to).await;
        let mut far = listen(&to, "iso.x").await;
        assert_eq!(reaches(&from, &mut far, "iso.x", !isolated).await, !isolated, "{listen_more:?} {conf:?}");
    }
}
