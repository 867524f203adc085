//! What accounts share by their JWTs: played to leafd and to nats-server.

use super::jwt::{limits, merge, now, sign};
use super::play::{Both, Raw, connect};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Accounts, known to both servers, by their places.
struct World {
    both: Both,
    accounts: Vec<KeyPair>,
}

impl World {
    /// `claims` gives the `nats` part of each of `count` accounts, whose keys it gets to see.
    async fn new(count: usize, claims: impl Fn(&[KeyPair]) -> Vec<Value>) -> Option<World> {
        let operator = KeyPair::new_operator();
        let system = KeyPair::new_account();
        let accounts: Vec<KeyPair> = (0..count).map(|_| KeyPair::new_account()).collect();
        let system_token = sign(&operator, &system.public_key(), "account", json!({"nats": {"limits": limits()}}));
        let mut toml = format!("[authorization.resolver_preload]\n{} = \"{system_token}\"\n", system.public_key());
        let mut conf = format!("resolver: MEMORY\nresolver_preload: {{\n{}: {system_token}\n", system.public_key());
        for (account, nats) in accounts.iter().zip(claims(&accounts)) {
            let mut all = json!({"nats": {"limits": limits()}});
            merge(&mut all["nats"], &nats);
            let token = sign(&operator, &account.public_key(), "account", all);
            toml += &format!("{} = \"{token}\"\n", account.public_key());
            conf += &format!("{}: {token}\n", account.public_key());
        }
        let claims = json!({"nats": {"system_account": system.public_key()}});
        let token = sign(&operator, &operator.public_key(), "operator", claims);
        let toml = format!("[authorization]\noperator = [\"{token}\"]\n{toml}");
        let both = Both::start(&toml, &format!("operator: {token}\n{conf}}}\n")).await?;
        Some(World { both, accounts })
    }

    /// Plays `lines` (which account sends what; `.0` is its place) to both servers, and asserts that they answer the same.
    async fn play(&self, lines: &[(usize, &str)]) -> Vec<String> {
        let mut all = Vec::new();
        for address in self.both.addresses() {
            let mut speakers: Vec<Option<Raw>> = self.accounts.iter().map(|_| None).collect();
            let mut answers = Vec::new();
            for (who, text) in lines {
                if speakers[*who].is_none() {
                    let (account, user) = (&self.accounts[*who], KeyPair::new_user().public_key());
                    let token = sign(account, &user, "user", json!({"nats": {"bearer_token": true}}));
                    let mut raw = Raw::connect(address).await;
                    raw.say(&connect(&format!("\"jwt\":\"{token}\""))).await;
                    speakers[*who] = Some(raw);
                }
                let answer = speakers[*who].as_mut().expect("connected").say(text).await;
                answers.push(self.plain(&answer));
            }
            all.push(answers);
        }
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(all[0][at], all[1][at], "line {at}, {line:?}: first ours, then nats-server's");
        }
        all.remove(0)
    }

    /// Reply subjects that are made up, and keys, by what they are.
    fn plain(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (at, account) in self.accounts.iter().enumerate() {
            text = text.replace(&account.public_key(), &format!("ACCOUNT{at}"));
        }
        let word = |word: &str| if word.starts_with("_R_.") { "_R_".to_owned() } else { word.to_owned() };
        let text = text.split(' ').map(word).collect::<Vec<_>>().join(" ");
        // nats-server tells services the round trip time of the requester, where it knows it; sizes go with it.
        let line = |line: &str| match (line.strip_prefix("HMSG "), line.split_once(",\"rtt\":")) {
            (Some(rest), _) => format!("HMSG {}\r\n", rest.split(' ').take(3).collect::<Vec<_>>().join(" ")),
            (None, Some((before, _))) => format!("{before}}}\r\n"),
            _ => line.to_owned(),
        };
        text.split_inclusive("\r\n").map(line).collect()
    }
}

/// The right that `by` gives `to`.
fn activation(by: &KeyPair, to: &KeyPair, subject: &str, kind: &str, claims: Value) -> String {
    let mut all = json!({"nats": {"subject": subject, "kind": kind}});
    merge(&mut all, &claims);
    sign(by, &to.public_key(), "activation", all)
}

#[tokio::test]
async fn exports_and_imports() {
    let world = World::new(3, |keys| {
        let own = keys[0].public_key();
        let position = format!("pos.{}.x", keys[1].public_key());
        let stranger = format!("pos.{}.x", keys[2].public_key());
        vec![
            json!({
                "exports": [
                    {"name": "s", "subject": "s.>", "type": "stream"},
                    {"name": "u", "subject": "u.>", "type": "stream"},
                    {"name": "q", "subject": "q.*", "type": "service"},
                    {"name": "many", "subject": "many", "type": "service", "response_type": "Stream"},
                    {"name": "t", "subject": "t.*", "type": "stream", "token_req": true},
                    {"name": "r", "subject": "r.*", "type": "service", "token_req": true,
                        "revocations": {(keys[2].public_key()): now() + 10}},
                    {"name": "pos", "subject": "pos.*.x", "type": "stream", "account_token_position": 2},
                ],
                "mappings": {"m.*": [{"subject": "mapped.$1"}], "w": [{"subject": "w1", "weight": 100}]},
            }),
            json!({"imports": [
                {"name": "s", "subject": "s.>", "account": own, "type": "stream", "local_subject": "local.s.>"},
                {"name": "p", "subject": "u.p", "account": own, "type": "stream", "to": "prefix"},
                {"name": "q", "subject": "q.*", "account": own, "type": "service", "local_subject": "ask.*"},
                {"name": "many", "subject": "much", "to": "many", "account": own, "type": "service"},
                {"name": "t", "subject": "t.*", "account": own, "type": "stream",
                    "token": activation(&keys[0], &keys[1], "t.*", "stream", json!({}))},
                {"name": "r", "subject": "r.*", "account": own, "type": "service",
                    "token": activation(&keys[0], &keys[1], "r.>", "service", json!({}))},
                {"name": "pos", "subject": position, "account": own, "type": "stream", "to": "own"},
            ]}),
            json!({"imports": [
                {"name": "t", "subject": "t.a", "account": own, "type": "stream"},
                {"name": "r", "subject": "r.a", "account": own, "type": "service",
                    "token": activation(&keys[0], &keys[2], "r.a", "service", json!({}))},
                {"name": "pos", "subject": stranger, "account": keys[1].public_key(), "type": "stream"},
                {"name": "s", "subject": "s.a", "account": own, "type": "stream"},
                {"name": "t b", "subject": "t.b", "account": own, "type": "stream",
                    "token": activation(&keys[0], &keys[2], "t.b", "stream", json!({"exp": now() - 5}))},
            ]}),
        ]
    });
    let Some(world) = world.await else { return };
    let position = format!("PUB pos.{}.x 1\r\np\r\n", world.accounts[1].public_key());
    let answers = world
        .play(&[
            (1, "SUB local.s.* 1\r\nSUB prefix.> 2\r\nSUB t.* 3\r\nSUB own.> 4\r\nSUB reply 5\r\n"),
            (2, "SUB > 1\r\nSUB t.a 2\r\nSUB t.b 3\r\n"),
            (0, "SUB q.* 1\r\nSUB many 2\r\nSUB r.* 3\r\nSUB mapped.* 4\r\nSUB w1 5\r\n"),
            (0, "PUB s.a 1\r\n1\r\nPUB u.p 1\r\n2\r\nPUB t.a 1\r\n3\r\nPUB t.b 1\r\n4\r\nPUB m.x 1\r\n5\r\nPUB w 1\r\n6\r\n"),
            (0, &position),
            (1, ""),
            (2, ""),
            (1, "PUB ask.one reply 1\r\nq\r\nPUB much reply 1\r\nm\r\nPUB r.a reply 1\r\nr\r\nPUB q.x 1\r\nn\r\n"),
            (0, ""),
            (2, "PUB r.a reply 1\r\nx\r\nPUB q.x 1\r\nn\r\n"),
            (0, ""),
        ])
        .await;
    assert!(
        answers[5].contains("MSG local.s.a 1 1\r\n1") && answers[5].contains("MSG prefix.u.p 2 1\r\n2"),
        "{answers:?}"
    );
    assert!(answers[5].contains("MSG t.a 3 1\r\n3") && answers[5].contains("own.pos.ACCOUNT1.x 4 1"), "{answers:?}");
    assert!(
        answers[6].contains("MSG s.a 1 1") && !answers[6].contains("t.a") && !answers[6].contains("t.b"),
        "{answers:?}"
    );
    assert!(answers[3].contains("MSG mapped.x 4 1\r\n5") && answers[3].contains("MSG w1 5 1\r\n6"), "{answers:?}");
    assert!(answers[8].contains("q.one") && answers[8].contains("many") && answers[8].contains("r.a"), "{answers:?}");
    assert!(!answers[10].contains("r.a"), "{answers:?}");
}

#[tokio::test]
async fn accounts_keep_to_their_limits() {
    let world = World::new(5, |keys| {
        let stream = |subject: &str| json!({"name": subject, "subject": subject, "type": "stream"});
        let import = json!({"name": "i", "subject": "a", "account": keys[0].public_key(), "type": "stream"});
        vec![
            json!({"exports": [stream("a")], "limits": {"exports": 1, "wildcards": false}}),
            json!({"exports": [stream("a"), stream("b")], "limits": {"exports": 1}}),
            json!({"exports": [stream("a.*")], "limits": {"exports": 1, "wildcards": false}}),
            json!({"imports": [import], "limits": {"imports": 0}}),
            json!({"exports": [stream("a.>"), stream("a.b")]}),
        ]
    });
    let Some(world) = world.await else { return };
    let answers = world.play(&[(0, "SUB a 1\r\n"), (1, ""), (2, ""), (3, ""), (4, "")]).await;
    assert_eq!(answers[0], "");
    assert!(answers[1..].iter().all(|answer| answer == "(closed)"), "{answers:?}");
}

#[tokio::test]
async fn an_activation_ends() {
    let world = World::new(2, |keys| {
        let token = activation(&keys[0], &keys[1], "t", "stream", json!({"exp": now() + 3}));
        vec![
            json!({"exports": [{"name": "t", "subject": "t", "type": "stream", "token_req": true}]}),
            json!({"imports": [{"name": "t", "subject": "t", "account": keys[0].public_key(), "type": "stream", "token": token}]}),
        ]
    });
    let Some(world) = world.await else { return };
    let [leafd, _] = world.both.addresses();
    let mut raws = Vec::new();
    for account in &world.accounts {
        let token = sign(account, &KeyPair::new_user().public_key(), "user", json!({"nats": {"bearer_token": true}}));
        let mut raw = Raw::connect(leafd).await;
        raw.say(&connect(&format!("\"jwt\":\"{token}\""))).await;
        raws.push(raw);
    }
    raws[1].say("SUB t 1\r\n").await;
    raws[0].say("PUB t 1\r\n1\r\n").await;
    assert_eq!(raws[1].say("").await, "MSG t 1 1\r\n1\r\n");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        raws[0].say("PUB t 1\r\n2\r\n").await;
        if raws[1].say("").await.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < until, "it goes on");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
