//! Subject transforms beside those of a real nats-server: what its account mappings make of a subject, ours make too.

mod common;

use common::{LIMIT, NatsServer, have, hub};
use futures_util::StreamExt;
use leafd::subject::Transform;
use tokio::time::timeout;

/// Sources, of which no two take the same subject, and destinations. A partition of a literal source is left out:
/// nats-server hashes nothing there, unless it looked at another mapping before.
const MAPPINGS: [(&str, &str); 18] = [
    ("part.one.*", "p1.{{wildcard(1)}}.{{partition(7,1)}}"),
    ("part.two.*.*", "p2.{{partition(1000,1,2)}}.$2"),
    ("part.swap.*.*", "p3.{{partition(1000,2,1)}}.$1.$2"),
    ("part.all.*", "p4.{{Partition(2147483647)}}"),
    ("part.rest.>", "p6.{{partition(12)}}.>"),
    ("part.zero.*", "p7.{{partition(10,0)}}"),
    ("part.negative.*", "p8.{{partition(-3,1)}}"),
    ("split.*", "s1.{{split(1,-)}}"),
    ("split.left.*", "s2.{{SplitFromLeft(1, 3)}}"),
    ("split.right.*", "s3.{{SplitFromRight(1,3)}}"),
    ("slice.left.*", "s4.{{sliceFromLeft(1,4)}}"),
    ("slice.right.*", "s5.{{slicefromright(1,4)}}"),
    ("left.*.*", "c1.{{left(1,3)}}.{{Left(2,20)}}"),
    ("right.*.*", "c2.{{right(2,2)}}.{{Right(1,1)}}"),
    ("move.*.x.*.>", "m1.$2.y.$1.>"),
    ("move.prefix.>", "m2.deep.er.>"),
    ("dollar.*", "d1.$x.$1"),
    ("plain", "d2.other"),
];

fn subjects() -> Vec<String> {
    let words = ["a", "foo", "sensor-42", "-x-yz--w-", "1234567890", "ab", "abcdefgh", "ünïcode", "A_b", "0"];
    let mut subjects = vec!["plain".to_owned()];
    for (n, word) in words.iter().enumerate() {
        let other = words[(n + 3) % words.len()];
        for (source, _) in MAPPINGS.iter().filter(|(source, _)| source.contains(['*', '>'])) {
            let subject =
                source.replacen('*', word, 1).replacen('*', other, 1).replace('>', &format!("{other}.{word}"));
            // Cutting a character in two gives nats-server a subject that is no UTF-8, which no client can tell.
            if word.is_ascii() && other.is_ascii() || source.starts_with("part") {
                subjects.push(subject);
            }
        }
    }
    subjects
}

#[tokio::test]
async fn account_mappings_of_nats_server_give_the_same_subjects() {
    if !have(&hub::binary()) {
        return;
    }
    let mappings: String = MAPPINGS.iter().map(|(from, to)| format!("  {from:?}: {to:?}\n")).collect();
    let server = NatsServer::start(&format!("mappings {{\n{mappings}}}\n")).await;
    let client = server.client().await;
    let mut all = client.subscribe(">").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let transforms: Vec<_> = MAPPINGS.iter().map(|(from, to)| Transform::new(from, to).expect("valid")).collect();
    for subject in subjects() {
        client.publish(subject.clone(), "".into()).await.expect("published");
        let message = timeout(LIMIT, all.next()).await.expect("in time").expect("a message");
        let ours = transforms.iter().find_map(|transform| transform.apply(&subject));
        assert_eq!(ours.as_deref(), Some(message.subject.as_str()), "{subject}");
    }
}

#[tokio::test]
async fn stream_transforms_of_nats_server_give_the_same_subjects() {
    if !have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let server = NatsServer::start(&format!("jetstream {{ store_dir: {:?} }}\n", dir.path())).await;
    let client = server.client().await;
    let jetstream = async_nats::jetstream::new(client.clone());
    for (name, source, destination) in
        [("LEFT", "l.*.*", "out.{{splitfromleft(1,3)}}.{{partition(9,2)}}"), ("REST", "r.*.>", "out.{{split(1,b)}}.>")]
    {
        let transform = Transform::new(source, destination).expect("valid");
        let config = serde_json::json!({
            "name": name, "subjects": [source], "storage": "memory",
            "subject_transform": { "src": source, "dest": destination },
        });
        let answer = client.request(format!("$JS.API.STREAM.CREATE.{name}"), config.to_string().into()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON");
        assert!(answer["error"].is_null(), "{answer}");
        let stream = jetstream.get_stream(name).await.expect("there");
        for tokens in ["a.b", "abc.defg", "abcd.x-", "12345678901234567890123.1"] {
            let subject = format!("{}.{tokens}", name[..1].to_lowercase());
            let ack = jetstream.publish(subject.clone(), "".into()).await.expect("sent").await.expect("stored");
            let stored = stream.get_raw_message(ack.sequence).await.expect("there");
            assert_eq!(transform.apply(&subject).as_deref(), Some(stored.subject.as_str()), "{subject}");
        }
    }
}
