//! `leafd check`: what it says of a hub whose user may do less than the configuration asks for.

use crate::common::leafd::{Leafd, binary};
use crate::common::nats_server::NatsServer;
use crate::rig;
use async_nats::jetstream::{self, stream};
use serde_json::json;

/// Runs it; the exit status, and all that it writes.
fn check(leafd: &Leafd) -> (Option<i32>, String) {
    let output = std::process::Command::new(binary()).args(["check", "-c"]).arg(leafd.config_file()).output();
    let output = output.expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|l| l.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(line)),
        "{line} in:\n{text}"
    );
}

async fn hub(data: &std::path::Path) -> NatsServer {
    NatsServer::start(&format!(
        r#"server_name: hub
jetstream {{ store_dir: {data:?}, domain: hub }}
leafnodes {{ listen: "127.0.0.1:-1" }}
accounts {{ PLANT {{ jetstream: enabled, users: [
  {{ user: app, password: app }}
  {{ user: gw1, password: secret, permissions: {{
      publish: {{ allow: ["plant1.gw1.>", "$JS.hub.API.STREAM.*.TELEMETRY", "$JS.hub.API.STREAM.MSG.GET.TELEMETRY", "$JS.hub.API.CONSUMER.CREATE.RECIPES.>", "$JS.hub.API.CONSUMER.RESET.RECIPES.d"], deny: "plant1.gw1.secret" }}
      subscribe: ["_INBOX.>", "plant1.gw1.cmd.>", "deliver.d"] }} }}
] }} }}
"#
    ))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_the_hub_accepts_and_what_it_refuses() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = hub(&dir.path().join("hub")).await;
    let app = async_nats::ConnectOptions::with_user_and_password("app".into(), "app".into());
    let context = jetstream::new(app.connect(hub.clients.to_string()).await.expect("connected"));
    let subjects = vec!["plant1.*.telemetry.>".to_owned()];
    let config = stream::Config { name: "TELEMETRY".into(), subjects, ..Default::default() };
    context.create_stream(config).await.expect("made");

    let uplink = |name: &str, subject: &str, more: &str| {
        format!("[[uplink]]\nname = {name:?}\nsubjects = [{subject:?}]\n{more}\n")
    };
    let url = format!("nats://127.0.0.1:{}", rig::leaf_port(&hub).await);
    let remote = |password: &str, export: &str| {
        format!(
            "[[leaf.remote]]\nname = \"hub\"\nurls = [{url:?}]\nuser = \"gw1\"\npassword = {password:?}\nexport = [{export}]\n\
             import = [\"plant1.gw1.cmd.>\"]\n"
        )
    };
    let known = uplink("telemetry", "plant1.gw1.telemetry.>", "hub_stream = \"TELEMETRY\"");

    // All is well, also while the daemon itself is connected, which stays so.
    let mut leafd = Leafd::new(dir.path(), &(remote("secret", "\"plant1.gw1.live.>\"") + &known));
    leafd.start();
    rig::link_up(&leafd).await;
    let (status, text) = check(&leafd);
    assert_eq!(status, Some(0), "{text}");
    has(&text, &format!("accepted {url}: hub "));
    for line in [
        "accepted export plant1.gw1.live.>",
        "accepted import plant1.gw1.cmd.>",
        "accepted publish plant1.gw1.telemetry.>",
        "accepted receive _INBOX.>",
        "accepted stream TELEMETRY is there, and may be asked",
        "accepted stream TELEMETRY takes plant1.gw1.telemetry.>",
    ] {
        has(&text, line);
    }
    let status = leafd.status().expect("it runs");
    assert_eq!((&status["links"][0]["up"], &status["links"][0]["reconnects"]), (&json!(true), &json!(0)), "{status}");

    // A mirror over the link, of which half is allowed.
    let local = jetstream::new(leafd.client().await);
    let external = Some(stream::External { api_prefix: "$JS.hub.API".into(), delivery_prefix: None });
    let mirror = Some(stream::Source { name: "RECIPES".into(), external, ..Default::default() });
    local.create_stream(stream::Config { name: "RECIPES".into(), mirror, ..Default::default() }).await.expect("made");
    let (status, text) = check(&leafd);
    assert_eq!(status, Some(1), "{text}");
    has(&text, "stream RECIPES, which mirrors RECIPES of $JS.hub.API");
    has(&text, "accepted publish $JS.hub.API.CONSUMER.CREATE.RECIPES.>");
    has(&text, "REFUSED export $JS.hub.API.CONSUMER.CREATE.RECIPES.>: add it to export of [[leaf.remote]]");
    has(&text, "REFUSED receive $JS.M.>: add it to the user's subscribe permissions at the hub");

    // A source through a consumer of the hub's makes none, and is delivered to where that delivers.
    local.delete_stream("RECIPES").await.expect("deleted");
    let through = |name: &str| json!({ "name": name, "deliver_subject": format!("deliver.{name}") });
    let of = |name: &str| json!({ "name": "RECIPES", "external": { "api": "$JS.hub.API" }, "consumer": through(name) });
    let source = json!({ "name": "READ", "sources": [of("d"), of("other")] });
    let _: serde_json::Value = local.request("STREAM.CREATE.READ", &source).await.expect("made");
    let (status, text) = check(&leafd);
    assert_eq!(status, Some(1), "{text}");
    for line in [
        "stream READ, which sources RECIPES of $JS.hub.API",
        "accepted publish $JS.hub.API.CONSUMER.RESET.RECIPES.d",
        "REFUSED export $JS.hub.API.CONSUMER.RESET.RECIPES.d: add it to export of [[leaf.remote]]",
        "REFUSED publish $JS.hub.API.CONSUMER.RESET.RECIPES.other: add it to the user's publish permissions",
        "REFUSED publish $JS.FC.RECIPES.d.>: add it to the user's publish permissions",
        "REFUSED import deliver.d: add it to import of [[leaf.remote]]",
        "accepted receive deliver.d",
        "REFUSED receive deliver.other: add it to the user's subscribe permissions",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("CONSUMER.CREATE") && !text.contains("$JS.S."), "{text}");

    // What is not allowed, not taken and not there; each is named with what to do.
    leafd.configure(
        &(remote("secret", "\"plant1.>\", \"plant2.x\", \"plant1.gw1.>\"")
            + &known
            + &uplink("a", "plant2.a", "hub_stream = \"NONE\"")
            + &uplink("b", "plant1.gw1.other", "hub_stream = \"TELEMETRY\"")
            + &uplink("c", "plant1.gw1.c", "")),
    );
    let (status, text) = check(&leafd);
    assert_eq!(status, Some(1), "{text}");
    for line in [
        "REFUSED export plant1.>: in part; plant1.gw1.> without plant1.gw1.secret",
        "REFUSED export plant2.x: the hub's user may not publish it",
        "REFUSED export plant1.gw1.>: in part; plant1.gw1.> without plant1.gw1.secret",
        "REFUSED publish plant2.a: add it to the user's publish permissions",
        "note publish $JS.hub.API.STREAM.MSG.GET.NONE: not allowed",
        "REFUSED stream TELEMETRY does not take plant1.gw1.other: its subjects are plant1.*.telemetry.>",
        "note hub_stream is not set, and the hub may not be asked",
        "leafd: ",
    ] {
        has(&text, line);
    }

    // A hub that stores under other subjects is not found to hold them.
    let renamed = json!({
        "name": "TELEMETRY",
        "subjects": ["plant1.*.telemetry.>"],
        "subject_transform": { "src": ">", "dest": "t.>" }
    });
    let _: serde_json::Value = context.request("STREAM.UPDATE.TELEMETRY", &renamed).await.expect("updated");
    leafd.configure(&(remote("secret", "") + &known));
    let (_, text) = check(&leafd);
    has(&text, "note stream TELEMETRY changes subjects (subject_transform)");

    // A gateway in the hub's own domain reads nothing from it.
    leafd.configure(&("[jetstream]\ndomain = \"hub\"\n".to_owned() + &remote("secret", "")));
    let (status, text) = check(&leafd);
    assert_eq!(status, Some(1), "{text}");
    has(&text, "REFUSED JetStream domain hub: it is the hub's and ours");

    // Who is not let in, and where nobody is.
    leafd.configure(&remote("wrong", ""));
    let (status, text) = check(&leafd);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("REFUSED") && text.contains("check user, password"), "{text}");
    leafd.configure(&remote("secret", "").replace(&url, "nats://127.0.0.1:1"));
    let (status, text) = check(&leafd);
    assert!(status == Some(1) && text.contains("127.0.0.1:1"), "{text}");
    let offline =
        std::process::Command::new(binary()).args(["check", "--offline", "-c"]).arg(leafd.config_file()).output();
    assert!(offline.expect("it runs").status.success());
}
