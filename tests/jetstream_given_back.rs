//! JetStream that an account loses and gets again while the server runs: leafd beside nats-server.

mod common;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, Context, stream};
use common::play::Both;
use common::{LIMIT, wait_for, within};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

const USERS: &str = "users = [{ user = \"a\", password = \"a\" }]\n";

fn toml(jetstream: bool) -> String {
    format!(
        "[jetstream]\nmax_file = \"100MB\"\n[accounts.A]\njetstream = {jetstream}\n{USERS}[accounts.B]\njetstream = true\n"
    )
}

fn conf(store: &tempfile::TempDir, jetstream: bool) -> String {
    let given = if jetstream { "enabled" } else { "disabled" };
    format!(
        "jetstream: {{store_dir: {:?}, max_file: 100M, max_mem: 100M}}\naccounts: {{ A: {{ jetstream: {given}, users: [{{user: a, password: a}}] }}, B: {{ jetstream: enabled }} }}\n",
        store.path()
    )
}

/// Waits until the account has JetStream, or has it no longer.
async fn wait_jetstream(context: &Context, there: bool) {
    wait_for("the account's JetStream comes or goes", LIMIT, || async {
        (context.query_account().await.is_ok() == there).then_some(())
    })
    .await;
}

async fn publish(context: &Context, subject: &str, id: &str) -> Value {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    let sent = context.publish_with_headers(subject.to_owned(), headers, id.to_owned().into());
    let ack = sent.await.expect("sent").await.expect("stored");
    json!([ack.stream, ack.sequence, ack.duplicate])
}

async fn state(context: &Context, name: &str) -> Value {
    let info = context.get_stream(name).await.expect("the stream is there").cached_info().clone();
    json!([info.state.messages, info.state.first_sequence, info.state.last_sequence, info.state.consumer_count])
}

async fn pulled(context: &Context) -> (String, u64) {
    let consumer: PullConsumer = context.get_consumer_from_stream("C", "F").await.expect("the consumer is there");
    let mut batch = consumer.fetch().max_messages(1).messages().await.expect("asked");
    let message = within("a message", batch.next()).await.expect("one").expect("a message");
    message.double_ack().await.expect("acknowledged");
    let of = message.info().expect("of JetStream");
    (String::from_utf8_lossy(&message.payload).into_owned(), of.delivered as u64)
}

#[tokio::test]
async fn an_account_that_gets_jetstream_again_has_its_streams() {
    let store = tempfile::tempdir().expect("a folder");
    let Some(both) = Both::start(&toml(true), &conf(&store, true)).await else { return };
    let mut seen = Vec::new();
    for address in both.addresses() {
        let options = async_nats::ConnectOptions::with_user_and_password("a".into(), "a".into());
        let mut context = jetstream::new(options.connect(address.to_string()).await.expect("let in"));
        // nats-server does not answer while the account loses JetStream.
        context.set_timeout(Duration::from_secs(1));
        let config = |name: &str, storage| stream::Config {
            name: name.into(),
            subjects: vec![format!("{name}.>")],
            storage,
            ..Default::default()
        };
        context.create_stream(config("F", stream::StorageType::File)).await.expect("a stream");
        context.create_stream(config("M", stream::StorageType::Memory)).await.expect("a stream");
        let durable =
            pull::Config { durable_name: Some("C".into()), ack_policy: AckPolicy::Explicit, ..Default::default() };
        context.create_consumer_on_stream(durable, "F").await.expect("a consumer");
        let mut heard = vec![];
        for subject in ["F.x", "M.x"] {
            for n in 0..5 {
                heard.push(publish(&context, subject, &format!("{subject}{n}")).await);
            }
        }
        heard.push(json!(pulled(&context).await));
        seen.push((context, heard));
    }
    for round in 0..2 {
        both.reconfigure(&toml(false), &conf(&store, false));
        for (context, _) in &seen {
            wait_jetstream(context, false).await;
        }
        both.reconfigure(&toml(true), &conf(&store, true));
        for (context, heard) in &mut seen {
            wait_jetstream(context, true).await;
            heard.push(state(context, "F").await);
            heard.push(json!(pulled(context).await));
            heard.push(publish(context, "F.x", "F.x4").await);
            heard.push(publish(context, "F.x", &format!("new{round}")).await);
        }
    }
    // Streams in memory are there again as after a restart, empty; nats-server forgets them.
    assert_eq!(state(&seen[0].0, "M").await[0], 0);
    assert_eq!(seen[0].1, seen[1].1, "first ours, then nats-server's");
}
