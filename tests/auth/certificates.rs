//! Users by the names in their certificates, over TLS, at leafd and at nats-server.

use super::common::certificates::{Authority, Certificate};
use super::play::{Both, Raw};
use async_nats::ConnectOptions;
use serde_json::Value;

/// Who one with this certificate and these credentials is: its user, or nothing.
async fn visit(
    both: &Both,
    authority: &Authority,
    certificate: Option<&Certificate>,
    login: Option<(&str, &str)>,
) -> String {
    let mut seen = Vec::new();
    for address in both.addresses() {
        let mut options = match login {
            Some((user, password)) => ConnectOptions::with_user_and_password(user.into(), password.into()),
            None => ConnectOptions::new(),
        };
        options = options.add_root_certificates(authority.file()).require_tls(true).max_reconnects(1);
        if let Some(Certificate { cert, key }) = certificate {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        let url = format!("localhost:{}", address.port());
        seen.push(match options.connect(url).await {
            Err(_) => "refused".to_owned(),
            Ok(client) => match client.request("$SYS.REQ.USER.INFO", "".into()).await {
                Err(error) => error.to_string(),
                Ok(answer) => {
                    let mut answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
                    // nats-server gathers them from a map, in no order.
                    if let Some(allowed) = answer["data"]["permissions"]["publish"]["allow"].as_array_mut() {
                        allowed.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
                    }
                    format!("{} {}", answer["data"]["user"], answer["data"]["permissions"])
                }
            },
        });
    }
    assert_eq!(seen[0], seen[1], "{login:?}; first ours, then nats-server's");
    seen.remove(0)
}

#[tokio::test]
async fn certificates_name_users() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let (server, ca) = (authority.server("server"), authority.file());
    let toml = format!(
        "[tls]\ncert_file = {:?}\nkey_file = {:?}\nca_file = {ca:?}\nverify_and_map = true\n[authorization]\nusers = [{{ user = \"alice@localhost\", permissions = {{ publish = [\"a\", \"$SYS.REQ.USER.INFO\"] }} }}, {{ user = \"CN=bob\" }}, {{ user = \"carol@localhost\", password = \"pw\" }}]\n",
        server.cert, server.key
    );
    let conf = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {ca:?}, verify_and_map: true }}\nauthorization {{ users = [{{ user: \"alice@localhost\", permissions: {{ publish: [\"a\", \"$SYS.REQ.USER.INFO\"] }} }}, {{ user: \"CN=bob\" }}, {{ user: \"carol@localhost\", password: pw }}] }}",
        server.cert, server.key
    );
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let [alice, bob, carol, mallory] = ["alice", "bob", "carol", "mallory"].map(|name| authority.client(name));
    let named = |user: &str| format!("\"{user}\"");
    let who = visit(&both, &authority, Some(&alice), None).await;
    assert!(who.starts_with(&named("alice@localhost")) && who.contains("\"a\""), "{who}");
    assert!(visit(&both, &authority, Some(&bob), None).await.starts_with(&named("CN=bob")));
    visit(&both, &authority, Some(&carol), None).await;
    visit(&both, &authority, Some(&carol), Some(("carol@localhost", "pw"))).await;
    visit(&both, &authority, Some(&alice), Some(("carol@localhost", "pw"))).await;
    assert_eq!(visit(&both, &authority, Some(&mallory), None).await, "refused");
    assert_eq!(visit(&both, &authority, None, None).await, "refused");
    // What INFO says before TLS.
    let mut infos = Vec::new();
    for address in both.addresses() {
        let mut info = Raw::connect(address).await.info;
        for key in ["server_id", "server_name", "go", "git_commit", "port", "client_id", "xkey", "host", "nonce"] {
            info.as_object_mut().expect("a map").remove(key);
        }
        // leafd has JetStream here, nats-server has not.
        for key in ["jetstream", "domain", "api_lvl"] {
            info.as_object_mut().expect("a map").remove(key);
        }
        infos.push(info);
    }
    assert_eq!(infos[0], infos[1], "first ours, then nats-server's");
}
