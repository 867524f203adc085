//! A disk that is really full, and one that turns read-only: a small ext4 on a loop device. Needs root.

mod common;

use async_nats::jetstream::{self, stream::Config};
use common::Leafd;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long leafd may take to find out that it can write again.
const HEALS: Duration = Duration::from_secs(20);

/// A small file system, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// Mounts one on `at`; `None` with a message if this machine does not allow it.
    fn mount(image: &Path, at: &Path) -> Option<Small> {
        std::fs::create_dir(at).expect("a folder");
        std::fs::File::create(image).and_then(|file| file.set_len(24 << 20)).expect("an image");
        let made = run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image));
        let mounted = made && run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        assert!(
            mounted || std::env::var_os("LEAFD_REQUIRE_PEERS").is_none(),
            "an ext4 must be mounted here: run as root"
        );
        if !mounted {
            eprintln!("skipped: mounting an ext4 on a loop device needs root and mkfs.ext4");
        }
        mounted.then(|| Small(at.to_owned()))
    }

    /// Mounts what was mounted before, after the file system was checked.
    fn mount_again(image: &Path, at: &Path) -> Small {
        let mut check = Command::new("fsck.ext4");
        let checked = check.arg("-fy").arg(image).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("runs");
        assert!(checked.code().is_some_and(|code| code < 4), "errors were corrected: {checked}");
        assert!(run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at)), "mounted again");
        Small(at.to_owned())
    }

    /// Has the kernel find an error, upon which it turns the file system read-only with files open; `false` if this kernel cannot.
    fn find_error(&self) -> bool {
        let device = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&self.0).output().expect("runs");
        let device = String::from_utf8_lossy(&device.stdout).trim().trim_start_matches("/dev/").to_owned();
        // Nobody else's.
        assert!(device.starts_with("loop"), "{device}");
        let set = run(Command::new("mount").args(["-o", "remount,errors=remount-ro"]).arg(&self.0));
        let found = set && std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").is_ok();
        if !found {
            eprintln!("skipped: this kernel has no trigger_fs_error");
        }
        found
    }

    /// Whether the kernel lets it be written to again while it is mounted.
    fn forgive(&self) -> bool {
        run(Command::new("mount").args(["-o", "remount,rw"]).arg(&self.0))
    }

    /// What ext4 does when the device fails: it takes no more writes.
    fn fail(&self) {
        assert!(run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.0)), "made to fail");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

async fn stream(leafd: &Leafd) -> (jetstream::Context, jetstream::stream::Stream) {
    let context = jetstream::new(leafd.client().await);
    let config = Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    let stream = context.get_or_create_stream(config).await.expect("a stream");
    (context, stream)
}

async fn publish(context: &jetstream::Context, size: usize) -> Result<u64, String> {
    let ack = context.publish("s.x", vec![b'x'; size].into()).await.map_err(|e| e.to_string())?;
    ack.await.map(|ack| ack.sequence).map_err(|e| e.to_string())
}

async fn heals(context: &jetstream::Context) {
    common::wait_for("publishing works again", HEALS, || async { publish(context, 100).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_at_once_serves_on_and_heals() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nmax_file = \"1GB\"\n");
    let Some(_small) = Small::mount(&dir.path().join("image"), &leafd.data()) else { return };
    leafd.start();
    let (context, stream) = stream(&leafd).await;
    let mut last = 0;
    let refused = loop {
        match publish(&context, 100_000).await {
            Ok(seq) => last = seq,
            Err(error) => break error,
        }
    };
    assert!(last > 100, "{last} were stored");
    assert!(!refused.contains("timed out"), "{refused}");
    // Small ones take what is left; each is answered.
    let begun = std::time::Instant::now();
    let (mut taken, mut answers) = (0, 0);
    while answers < 20 {
        match publish(&context, 10).await {
            Ok(_) if taken < 20_000 => taken += 1,
            Ok(_) => panic!("the disk does not fill up"),
            Err(_) => answers += 1,
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "answered at once");
    assert_eq!(stream.get_raw_message(last).await.expect("reads go on").payload.len(), 100_000);
    assert!(stream.delete_message(1).await.expect("a message is deleted on a full disk"));
    let purged = stream.purge().sequence(last).await.expect("a full disk is purged").purged;
    assert!(purged >= last - 3, "{purged} are purged");
    heals(&context).await;
    leafd.restart();
    let (context, stream) = self::stream(&leafd).await;
    assert!(stream.get_raw_message(last).await.is_ok(), "acknowledged, and there after kill -9");
    publish(&context, 100_000).await.expect("there is room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_disk_serves_and_heals() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    let (data, ports) = (leafd.data(), dir.path());
    leafd.configure_raw(&format!(
        "data_dir = {data:?}\nports_file_dir = {ports:?}\n[listen]\nport = 0\n[jetstream]\nmax_file = \"1GB\"\n"
    ));
    let Some(_small) = Small::mount(&dir.path().join("image"), &data) else { return };
    leafd.start();
    let (context, _) = stream(&leafd).await;
    let mut last = 0;
    while let Ok(seq) = publish(&context, 100_000).await {
        last = seq;
    }
    leafd.kill9();
    // Another program takes what is left, to the last block.
    std::fs::remove_file(data.join("leafd.ports")).expect("it was there");
    let filler = data.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while std::io::Write::write_all(&mut file, &[b'x'; 1024]).is_ok() {}
    leafd.start();
    let (context, stream) = self::stream(&leafd).await;
    assert_eq!(stream.get_raw_message(last).await.expect("what was acknowledged is there").payload.len(), 100_000);
    stream.purge().sequence(last).await.expect("a full disk is purged");
    std::fs::remove_file(&filler).expect("removed");
    heals(&context).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_turns_read_only_answers_at_once_and_serves_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nmax_file = \"1GB\"\n");
    let Some(small) = Small::mount(&dir.path().join("image"), &leafd.data()) else { return };
    leafd.start();
    let (context, stream) = stream(&leafd).await;
    let seq = publish(&context, 1000).await.expect("stored");
    small.fail();
    for _ in 0..3 {
        let refused = publish(&context, 1000).await.expect_err("it is read-only");
        assert!(!refused.contains("timed out"), "{refused}");
    }
    assert_eq!(stream.get_raw_message(seq).await.expect("reads go on").payload.len(), 1000);
    assert!(leafd.runs());
}

/// The error code of an answer; `None` if the request was done.
async fn code(client: &async_nats::Client, verb: &str, body: Value) -> Option<u64> {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(format!("$JS.API.{verb}"), payload.into()).await.expect("an answer").payload;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer["error"]["err_code"].as_u64()
}

/// What a server's API answers once its disk takes nothing more.
async fn failing_codes(client: &async_nats::Client, small: &Small) -> Vec<(&'static str, Option<u64>)> {
    let stream = json!({ "name": "S", "subjects": ["s.>"] });
    assert_eq!(code(client, "STREAM.CREATE.S", stream).await, None);
    let consumer = |name: &str, max_deliver: i64| json!({ "stream_name": "S", "config": { "durable_name": name, "ack_policy": "explicit", "max_deliver": max_deliver } });
    for name in ["a", "b"] {
        assert_eq!(code(client, &format!("CONSUMER.CREATE.S.{name}"), consumer(name, 2)).await, None);
    }
    for _ in 0..5 {
        client.request("s.x", "x".into()).await.expect("stored");
    }
    small.fail();
    let mut codes = Vec::new();
    for (verb, body) in [
        ("CONSUMER.CREATE.S.c", consumer("c", 2)),
        ("CONSUMER.CREATE.S.a", consumer("a", 3)),
        ("CONSUMER.PAUSE.S.a", json!({ "pause_until": "2099-01-01T00:00:00Z" })),
        ("CONSUMER.DELETE.S.b", Value::Null),
        ("STREAM.MSG.DELETE.S", json!({ "seq": 2 })),
        ("STREAM.PURGE.S", Value::Null),
        ("STREAM.UPDATE.S", json!({ "name": "S", "subjects": ["s.>", "t"] })),
        ("STREAM.CREATE.T", json!({ "name": "T", "subjects": ["u"] })),
        ("STREAM.INFO.S", Value::Null),
        ("STREAM.LIST", Value::Null),
        ("CONSUMER.INFO.S.a", Value::Null),
        ("CONSUMER.LIST.S", Value::Null),
    ] {
        codes.push((verb, code(client, verb, body).await));
    }
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_has_the_error_codes_of_nats_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nmax_file = \"1GB\"\n");
    let Some(small) = Small::mount(&dir.path().join("image"), &leafd.data()) else { return };
    leafd.start();
    let client = leafd.client().await;
    let ours = failing_codes(&client, &small).await;
    let expected = [10012, 10012, 10104, 10051, 10057, 10051, 10069, 10049].map(Some);
    assert_eq!(ours.iter().map(|(_, code)| *code).collect::<Vec<_>>(), [&expected[..], &[None; 4]].concat());
    assert_eq!(code(&client, "STREAM.DELETE.S", Value::Null).await, Some(10050), "it is back after a restart");
    if !common::have(&common::hub::binary()) {
        return;
    }
    let store = dir.path().join("nats");
    let Some(small) = Small::mount(&dir.path().join("nats.image"), &store) else { return };
    let config =
        format!("listen: \"127.0.0.1:-1\"\nports_file_dir: {:?}\njetstream {{ store_dir: {store:?} }}\n", dir.path());
    std::fs::write(dir.path().join("nats.conf"), config).expect("written");
    let mut command = Command::new(common::hub::binary());
    let mut nats = command.arg("-c").arg(dir.path().join("nats.conf")).stderr(Stdio::null()).spawn().expect("starts");
    let ports = dir.path().join(format!("nats-server_{}.ports", nats.id()));
    let address = common::wait_for("its ports", HEALS, || async { common::hub::read_port(&ports) }).await;
    let client = async_nats::connect(address.to_string()).await.expect("it takes clients");
    let theirs = failing_codes(&client, &small).await;
    nats.kill().and_then(|()| nats.wait()).expect("it ends");
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_the_kernel_turns_read_only_on_an_error_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nmax_file = \"1GB\"\n");
    let image = dir.path().join("image");
    let Some(small) = Small::mount(&image, &leafd.data()) else { return };
    leafd.start();
    let (context, stream) = stream(&leafd).await;
    let mut acked = Vec::new();
    for _ in 0..100 {
        acked.push(publish(&context, 1000).await.expect("stored"));
    }
    // With some on their way.
    let publisher = tokio::spawn({
        let context = context.clone();
        async move {
            let mut acked = Vec::new();
            loop {
                match publish(&context, 1000).await {
                    Ok(seq) => acked.push(seq),
                    Err(error) => return (acked, error),
                }
            }
        }
    });
    common::wait_for("some more", HEALS, || async { holds_more(&stream, 150).await }).await;
    if !small.find_error() {
        publisher.abort();
        return;
    }
    let (more, refused) = tokio::time::timeout(HEALS, publisher).await.expect("is refused").expect("ends");
    acked.extend(more);
    assert!(!refused.contains("timed out"), "{refused}");
    let client = leafd.client().await;
    let answer = client.request("s.x", vec![b'x'; 1000].into()).await.expect("an answer").payload;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((&answer["error"]["code"], &answer["error"]["err_code"]), (&503.into(), &10077.into()), "{answer}");
    let last = acked.last().copied().unwrap_or(0);
    assert_eq!(stream.get_raw_message(last).await.expect("reads go on").payload.len(), 1000);
    let mut subscription = client.subscribe("core.>").await.expect("subscribed");
    client.publish("core.a", "x".into()).await.expect("sent");
    assert!(futures_util::StreamExt::next(&mut subscription).await.is_some(), "core NATS");
    let mut small = small;
    if small.forgive() {
        heals(&context).await;
        leafd.kill9();
    } else {
        // A kernel that does not forgive wants it mounted anew.
        leafd.kill9();
        drop(small);
        small = Small::mount_again(&image, &leafd.data());
    }
    leafd.start();
    let (context, stream) = self::stream(&leafd).await;
    for seq in acked {
        assert_eq!(stream.get_raw_message(seq).await.expect("acknowledged, and there").payload.len(), 1000, "{seq}");
    }
    publish(&context, 1000).await.expect("it takes messages again");
    assert_eq!(leafd.status().expect("answers")["store"]["error"], Value::Null);
    leafd.terminate();
    drop(small);
}

/// A file system on a device whose writes fail while its own medium, a file system in memory, has no room: one with a hole in it, as
/// a dying flash chip or a loose cable makes it.
struct Flaky {
    _inner: Small,
    medium: PathBuf,
    _outer: Small,
}

impl Flaky {
    fn mount(dir: &Path, at: &Path) -> Option<Flaky> {
        let medium = dir.join("medium");
        std::fs::create_dir_all(&medium).expect("a folder");
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(&medium));
        assert!(
            mounted || std::env::var_os("LEAFD_REQUIRE_PEERS").is_none(),
            "a tmpfs must be mounted here: run as root"
        );
        let outer = mounted.then(|| Small(medium.clone()))?;
        let image = medium.join("image");
        std::fs::create_dir(at).expect("a folder");
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
        // Without a journal nothing but the writes themselves can fail, and the file system goes on.
        let made = run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-O", "^has_journal"]).arg(&image));
        assert!(made && run(Command::new("mount").args(["-o", "loop,errors=continue"]).arg(&image).arg(at)));
        Some(Flaky { _inner: Small(at.to_owned()), medium, _outer: outer })
    }

    /// From now on what is written where nothing was before fails.
    fn fail(&self) {
        fill(&self.medium.join("filler"));
    }

    /// The device is back.
    fn heal(&self) {
        std::fs::remove_file(self.medium.join("filler")).expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_answers_at_once_serves_on_and_heals_when_it_is_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nmax_file = \"1GB\"\n");
    let Some(device) = Flaky::mount(dir.path(), &leafd.data()) else { return };
    leafd.start();
    let (context, stream) = stream(&leafd).await;
    let config = jetstream::kv::Config { bucket: "B".into(), ..Default::default() };
    let bucket = context.create_key_value(config).await.expect("a bucket");
    bucket.put("key", "value".into()).await.expect("stored");
    let first = publish(&context, 1000).await.expect("stored");
    device.fail();
    let mut last = first;
    let refused = loop {
        match publish(&context, 20_000).await {
            Ok(seq) => last = seq,
            Err(error) => break error,
        }
        assert!(last < 1000, "writes do not fail");
    };
    assert!(!refused.contains("timed out"), "{refused}");
    let client = leafd.client().await;
    let answer = client.request("s.x", vec![b'x'; 20_000].into()).await.expect("an answer").payload;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((&answer["error"]["code"], &answer["error"]["err_code"]), (&503.into(), &10077.into()), "{answer}");
    // Everything that needs no write goes on.
    let mut subscription = client.subscribe("core.>").await.expect("subscribed");
    client.publish("core.a", "x".into()).await.expect("sent");
    assert!(futures_util::StreamExt::next(&mut subscription).await.is_some(), "core NATS");
    assert_eq!(stream.get_raw_message(last).await.expect("reads go on").sequence, last);
    assert_eq!(bucket.get("key").await.expect("readable"), Some("value".into()));
    device.heal();
    heals(&context).await;
    bucket.put("key", "another".into()).await.expect("stored");
    leafd.restart();
    let (context, stream) = self::stream(&leafd).await;
    for seq in [first, last] {
        assert_eq!(stream.get_raw_message(seq).await.expect("acknowledged").sequence, seq);
    }
    let bucket = context.get_key_value("B").await.expect("the bucket");
    assert_eq!(bucket.get("key").await.expect("readable"), Some("another".into()));
    assert_eq!(leafd.status().expect("answers")["store"]["error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_and_a_source_miss_nothing_that_came_while_the_disk_was_full() {
    const MESSAGES: u64 = 200;
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nmax_file = \"1GB\"\n");
    let Some(_small) = Small::mount(&dir.path().join("image"), &leafd.data()) else { return };
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let origin = || Some(jetstream::stream::Source { name: "ORIGIN".into(), ..Default::default() });
    let storage = jetstream::stream::StorageType::Memory;
    let config = Config { name: "ORIGIN".into(), subjects: vec!["o.>".into()], storage, ..Default::default() };
    context.create_stream(config).await.expect("a stream in memory");
    let mirror = Config { name: "MIRROR".into(), mirror: origin(), ..Default::default() };
    let source = Config { name: "SOURCE".into(), sources: origin().map(|origin| vec![origin]), ..Default::default() };
    let mut followers = Vec::new();
    for config in [mirror, source] {
        followers.push(context.create_stream(config).await.expect("a follower"));
    }
    let store = async |numbers: std::ops::Range<u64>| {
        for n in numbers {
            let payload = format!("{n:<20000}");
            context.publish("o.x", payload.into()).await.expect("sent").await.expect("stored in memory");
        }
    };
    store(0..10).await;
    for follower in &followers {
        common::wait_for("the beginning", HEALS, || async { holds(follower, 10).await }).await;
    }
    let filler = leafd.data().join("filler");
    fill(&filler);
    store(10..MESSAGES).await;
    common::wait_for("the disk refuses what follows", HEALS, || async {
        leafd.log().contains("messages could not be stored").then_some(())
    })
    .await;
    std::fs::remove_file(&filler).expect("it is there");
    for follower in &followers {
        common::wait_for("all of the origin", 3 * HEALS, || async { holds(follower, MESSAGES).await }).await;
        for seq in 1..=MESSAGES {
            let message = follower.get_raw_message(seq).await.expect("without a gap");
            assert_eq!(std::str::from_utf8(&message.payload).expect("a number").trim_end(), (seq - 1).to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_streams_may_hold_does_not_shrink_by_what_they_hold() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[http]\nport = 0\n");
    let Some(_small) = Small::mount(&dir.path().join("image"), &leafd.data()) else { return };
    leafd.start();
    let most = async |leafd: &Leafd| {
        let varz = common::http::get(&format!("{}/varz", leafd.port("monitoring")), "", None).await.json();
        varz["jetstream"]["config"]["max_storage"].as_u64().expect("bytes")
    };
    let before = most(&leafd).await;
    assert!(before < 24 << 20, "a part of the disk: {before}");
    let (context, _) = stream(&leafd).await;
    for _ in 0..90 {
        publish(&context, 100_000).await.expect("stored");
    }
    leafd.restart();
    let after = most(&leafd).await;
    assert!(after > before / 10 * 9, "{before}, and {after} with 9 MB stored");
    let (context, _) = stream(&leafd).await;
    publish(&context, 100_000).await.expect("stored");
}

/// Leaves nothing free where `filler` lies.
fn fill(filler: &Path) {
    let mut file = std::fs::File::create(filler).expect("a file");
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
}

async fn holds_more(stream: &jetstream::stream::Stream, messages: u64) -> Option<()> {
    (stream.get_info().await.ok()?.state.messages > messages).then_some(())
}

async fn holds(stream: &jetstream::stream::Stream, messages: u64) -> Option<()> {
    (stream.get_info().await.ok()?.state.messages == messages).then_some(())
}
