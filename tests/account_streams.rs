//! Streams of several accounts in one process: each account sees its own.

mod common;

use async_nats::jetstream;
use common::{Leafd, within};
use futures_util::StreamExt;

const CONFIG: &str = r#"
[jetstream]
max_file = "100MB"
[accounts.A]
jetstream = true
users = [{ user = "a", password = "a" }]
[accounts.B]
jetstream = { max_file = "1KB" }
users = [{ user = "b", password = "b" }]
[accounts.C]
users = [{ user = "c", password = "c" }]
"#;

async fn context(leafd: &Leafd, user: &str) -> jetstream::Context {
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), user.into());
    jetstream::new(options.connect(leafd.url()).await.expect("connected"))
}

#[tokio::test]
async fn each_account_has_its_own_streams_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), CONFIG);
    leafd.start();
    let config = || jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    for user in ["a", "b"] {
        context(&leafd, user).await.create_stream(config()).await.expect("a stream");
    }
    let (a, b) = (context(&leafd, "a").await, context(&leafd, "b").await);
    for n in 0..3 {
        a.publish("s.x", format!("a{n}").into()).await.expect("sent").await.expect("stored");
    }
    b.publish("s.x", "b0".into()).await.expect("sent").await.expect("stored");
    let refused = b.publish("s.x", vec![b'x'; 2000].into()).await.expect("sent").await.expect_err("above its limit");
    assert!(refused.to_string().contains("resource limits exceeded for account"), "{refused}");
    let c = context(&leafd, "c").await;
    let refused = c.query_account().await.expect_err("no streams were given to C").to_string();
    assert!(refused.contains("JetStream not enabled for account"), "{refused}");
    assert!(c.get_stream("S").await.is_err());

    leafd.restart();
    for (user, messages) in [("a", 3), ("b", 1)] {
        let stream = context(&leafd, user).await.get_stream("S").await.expect("it is there again");
        assert_eq!(stream.cached_info().state.messages, messages, "{user}");
        let message = stream.get_raw_message(1).await.expect("there");
        assert_eq!(&message.payload[..], format!("{user}0").as_bytes());
    }
}

#[tokio::test]
async fn a_reload_gives_streams_and_takes_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), CONFIG);
    leafd.start();
    let config = || jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    let (a, b, c) = (context(&leafd, "a").await, context(&leafd, "b").await, context(&leafd, "c").await);
    for context in [&a, &b] {
        context.create_stream(config()).await.expect("a stream");
    }
    a.publish("s.x", "kept".into()).await.expect("sent").await.expect("stored");
    let reload = |config: &str| {
        let from = leafd.log().len();
        leafd.configure(config);
        leafd.hup();
        leafd.wait_log("configuration", from);
        leafd.log().split_off(from)
    };
    let a_loses = CONFIG.replacen("jetstream = true", "jetstream = false", 1).replace("1KB", "10KB");
    let log = reload(&a_loses.replace("[accounts.C]", "[accounts.C]\njetstream = true"));
    assert!(log.contains("configuration read again"), "{log}");
    c.create_stream(config()).await.expect("C has streams by now");
    b.publish("s.x", vec![b'x'; 2000].into()).await.expect("sent").await.expect("B may store more by now");
    let refused = a.query_account().await.expect_err("A has no streams any more").to_string();
    assert!(refused.contains("JetStream not enabled for account"), "{refused}");

    reload(CONFIG);
    let stream = a.get_stream("S").await.expect("it is there again");
    assert_eq!(&stream.get_raw_message(1).await.expect("there").payload[..], b"kept");
    let ack = a.publish("s.x", "more".into()).await.expect("sent").await.expect("stored");
    assert_eq!(ack.sequence, 2);
}

/// The account that has them answers, not the server for the account that has none.
#[tokio::test]
async fn an_account_without_streams_may_import_those_of_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = r#"
[accounts.A]
jetstream = true
users = [{ user = "a", password = "a" }]
exports = [{ service = "$JS.API.STREAM.INFO.S" }]
[accounts.C]
users = [{ user = "c", password = "c" }]
imports = [{ service = { account = "A", subject = "$JS.API.STREAM.INFO.S" } }]
"#;
    let mut leafd = Leafd::new(dir.path(), config);
    leafd.start();
    let (a, c) = (context(&leafd, "a").await, context(&leafd, "c").await);
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    a.create_stream(config).await.expect("a stream");
    for _ in 0..20 {
        let stream = c.get_stream("S").await.expect("A answers");
        assert_eq!(stream.cached_info().config.subjects, ["s.>"]);
    }
    let refused = c.get_stream("T").await.expect_err("not imported").to_string();
    assert!(refused.contains("JetStream not enabled for account"), "{refused}");
}

/// Who imports the API and the acks may pull: the messages come to the own inbox, with the subjects that they are stored by.
#[tokio::test]
async fn messages_are_pulled_from_another_account() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = r#"
[accounts.A]
jetstream = true
users = [{ user = "a", password = "a" }]
exports = [{ service = "$JS.API.>", response_type = "stream" }, { service = "$JS.ACK.>", response_type = "stream" }]
[accounts.C]
users = [{ user = "c", password = "c" }]
imports = [
  { service = { account = "A", subject = "$JS.API.>" }, to = "FROM.A.>" },
  { service = { account = "A", subject = "$JS.ACK.>" } },
]
"#;
    let mut leafd = Leafd::new(dir.path(), config);
    leafd.start();
    let a = context(&leafd, "a").await;
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    let stream = a.create_stream(config).await.expect("a stream");
    let config = jetstream::consumer::pull::Config { durable_name: Some("d".into()), ..Default::default() };
    stream.create_consumer(config).await.expect("a consumer");
    for subject in ["s.1", "s.2"] {
        a.publish(subject, "x".into()).await.expect("sent").await.expect("stored");
    }
    let options = async_nats::ConnectOptions::with_user_and_password("c".into(), "c".into());
    let c = jetstream::with_prefix(options.connect(leafd.url()).await.expect("connected"), "FROM.A");
    let consumer: jetstream::consumer::PullConsumer = c.get_consumer_from_stream("d", "S").await.expect("the consumer");
    let mut messages = consumer.fetch().max_messages(2).messages().await.expect("asked");
    for subject in ["s.1", "s.2"] {
        let message = within(subject, messages.next()).await.expect("a message").expect("no error");
        assert_eq!(&*message.subject, subject);
        message.double_ack().await.expect("acknowledged");
    }
    assert_eq!(consumer.get_info().await.expect("told").num_ack_pending, 0);
}
