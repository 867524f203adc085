//! What `leafd reload` changes of links and of the listener for leaf nodes, and what stays as it is.

use crate::common::certificates::Authority;
use crate::common::leafd::{Leafd, binary};
use crate::common::{LIMIT, wait_for};
use crate::rig;
use serde_json::Value;

/// Has `leafd` read `config`; what it says.
fn reload(leafd: &Leafd, config: &str) -> String {
    leafd.configure(config);
    let mut command = std::process::Command::new(binary());
    let output = command.arg("reload").arg("--data-dir").arg(leafd.data()).output().expect("it runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn link(name: &str, urls: &str, export: &str, more: &str) -> String {
    format!(
        "[[leaf.remote]]\nname = {name:?}\nurls = [{urls}]\nexport = [{export}]\nimport = [\"in.>\", \"rig.>\"]\n\
         reconnect = {{ min = \"20ms\", max = \"200ms\" }}\n{more}\n"
    )
}

/// The status of a link once it is up.
async fn up(leafd: &Leafd, name: &str) -> Value {
    wait_for(&format!("link {name} up"), LIMIT, || async {
        let status = leafd.status()?;
        let link = status["links"].as_array()?.iter().find(|link| link["name"] == name)?;
        (link["up"] == true).then(|| link.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_has_not_changed_stays_while_others_come_change_and_go() {
    let (one, two) = (rig::nats_hub("", "").await, rig::nats_hub("", "").await);
    let url = |port: u16| format!("\"nats://127.0.0.1:{port}\"");
    let (first, second) = (url(rig::leaf_port(&one).await), url(rig::leaf_port(&two).await));
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), &link("a", &first, "\"out.a\"", ""));
    leafd.start();
    up(&leafd, "a").await;
    let (hub, local) = (one.client().await, leafd.client().await);
    rig::answered(&hub, &local, "in.x").await;

    // Added, with the account of another name: nothing of `a` is touched.
    let config = link("a", &first, "\"out.a\"", "") + &link("b", &second, "\"out.b\"", "");
    assert!(reload(&leafd, &config).contains("1 leaf remotes added, 0 removed, 0 changed"));
    up(&leafd, "b").await;

    // What may cross changes on the connection that there is, both ways: new subjects do, old ones do not.
    let config = link("a", &first, "\"out.new\", \"rig.>\"", "") + &link("b", &second, "\"out.b\"", "");
    assert!(reload(&leafd, &config).contains("0 leaf remotes added, 0 removed, 1 changed"));
    rig::joined(&hub, &local).await;
    rig::answered(&local, &hub, "out.new").await;
    let request = async_nats::Request::new().timeout(Some(std::time::Duration::from_millis(300)));
    assert!(local.send_request("out.a", request).await.is_err());
    // More URLs, of which one is where it is connected.
    let config = link("a", &format!("{first}, {second}"), "\"out.new\"", "") + &link("b", &second, "\"out.b\"", "");
    reload(&leafd, &config);
    let a = up(&leafd, "a").await;
    assert_eq!(a["reconnects"], 0, "{a}");
    assert_eq!(a["export"], serde_json::json!(["out.new"]));

    // Gone; and what cannot change on a connection makes another one, of that link only.
    let config = link("b", &second, "\"out.b\"", "compression = \"off\"");
    assert!(reload(&leafd, &config).contains("0 leaf remotes added, 1 removed, 1 changed"));
    wait_for("the link with its new compression", LIMIT, || async {
        let status = leafd.status()?;
        let links = status["links"].as_array()?;
        (links.len() == 1 && links[0]["name"] == "b" && links[0]["up"] == true && links[0]["compression"] == "off")
            .then_some(())
    })
    .await;
    wait_for("no leaf at the first hub", LIMIT, || async {
        let monitoring = one.port("monitoring");
        let answer = crate::common::http::get(&format!("{monitoring}/leafz"), "", None).await.json();
        (answer["leafnodes"] == 0).then_some(())
    })
    .await;
    assert!(reload(&leafd, &config).contains("nothing has changed"));

    // Another hub.
    reload(&leafd, &link("b", &first, "\"rig.>\"", "compression = \"off\""));
    rig::joined(&hub, &local).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_are_used_at_once() {
    let hub = rig::nats_hub("authorization { user: gw, password: right }", "").await;
    let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&hub).await);
    let dir = tempfile::tempdir().expect("a folder");
    // A long pause between dials, which a reload cuts short.
    let with = |password: &str| {
        let text = link("hub", &url, "\"rig.>\"", &format!("user = \"gw\"\npassword = {password:?}"));
        text.replace("min = \"20ms\", max = \"200ms\"", "min = \"10m\", max = \"10m\"")
    };
    let mut leafd = Leafd::new(dir.path(), &with("wrong"));
    leafd.start();
    rig::link_says(&leafd, "Authorization").await;
    reload(&leafd, &with("right"));
    up(&leafd, "hub").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_takes_what_nats_servers_takes_and_refuses_the_rest_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let with = |more: &str| format!("[http]\nport = 0\n[leaf.listen]\nport = 0\n{more}\n");
    let user = "users = [{ user = \"u\", password = \"p\" }]";
    let leafd = rig::leafd(dir.path(), &with(user));
    let url = leafd.port("leafnodes").replace("nats-leaf://", "nats-leaf://u:p@");
    let leaf = crate::common::nats_server::NatsServer::start(&format!(
        "http: \"127.0.0.1:-1\"\nleafnodes {{ reconnect: 1, remotes: [ {{ url: {url:?} }} ] }}\n"
    ))
    .await;
    rig::joined(&leafd.client().await, &leaf.client().await).await;
    for (config, what) in [
        ("users = [{ user = \"u\", password = \"other\" }]", "[leaf.listen] users"),
        (&*format!("{user}\nisolate = true"), "[leaf.listen] isolate"),
        (&*format!("{user}\nhost = \"127.0.0.2\""), "[leaf.listen] host"),
    ] {
        let said = reload(&leafd, &with(config));
        assert!(said.contains(&format!("{what} can only change with a restart")), "{said}");
    }
    let monitoring = rig::monitoring(&leafd);
    rig::compresses(&rig::leafz(&monitoring).await["compression"], "s2_", "before");
    reload(&leafd, &with(&format!("{user}\ncompression = \"off\"")));
    wait_for("the leaf without compression", LIMIT, || async {
        let answer = crate::common::http::get(&format!("{monitoring}/leafz"), "", None).await.json();
        (answer["leafs"][0]["compression"] == "off").then_some(())
    })
    .await;
    rig::joined(&leafd.client().await, &leaf.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_of_the_listener_is_for_those_who_come_and_drops_nobody() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let authorities = [Authority::new(dirs[0].path()), Authority::new(dirs[1].path())];
    let with = |authority: &Authority| {
        let server = authority.server("localhost");
        let (cert, key) = (&server.cert, &server.key);
        format!("[http]\nport = 0\n[leaf.listen]\nport = 0\ntls = {{ cert_file = {cert:?}, key_file = {key:?} }}\n")
    };
    let leafd = rig::leafd(dirs[2].path(), &with(&authorities[0]));
    let address = leafd.port("leafnodes");
    let port = address.rsplit_once(':').expect("a port").1;
    let trusting = async |authority: &Authority| {
        let config = format!(
            "leafnodes {{ reconnect: 1, remotes: [ {{ url: \"tls://localhost:{port}\", tls {{ ca_file: {:?} }} }} ] }}\n",
            authority.file()
        );
        crate::common::nats_server::NatsServer::start(&config).await
    };
    let first = trusting(&authorities[0]).await;
    let (here, there) = (leafd.client().await, first.client().await);
    rig::joined(&here, &there).await;
    reload(&leafd, &with(&authorities[1]));
    let second = trusting(&authorities[1]).await;
    rig::joined(&here, &second.client().await).await;
    rig::joined(&here, &there).await;
    assert_eq!(first.log().matches("Leafnode connection closed").count(), 0, "{}", first.log());
}
