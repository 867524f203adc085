//! A gateway whose data directory is encrypted.

mod common;

use async_nats::jetstream;
use common::Leafd;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The files below `dir` in which `text` stands.
fn showing(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(showing(&path, text));
        } else if memchr::memmem::find(&fs::read(&path).unwrap_or_default(), text.as_bytes()).is_some() {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_stolen_data_directory_tells_nothing_and_opens_with_its_key_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, key: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("{key}\n")).expect("written");
        path
    };
    let (right, wrong) = (file("right", "0123456789abcdef0123"), file("wrong", "another key of 20 b."));
    let with = |key: &Path| format!("[store.encryption]\nkey = {{ file = {key:?} }}\n");
    let mut leafd = Leafd::new(dir.path(), &with(&right));
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let config = jetstream::kv::Config { bucket: "recipes".into(), history: 5, ..Default::default() };
    let bucket = context.create_key_value(config).await.expect("made");
    for n in 0..100 {
        bucket.put("pasta.carbonara", format!("guanciale, no cream, {n}").into()).await.expect("put");
    }
    leafd.kill9();
    for secret in ["carbonara", "guanciale", "recipes"] {
        assert_eq!(showing(&leafd.data(), secret), Vec::<String>::new(), "{secret}");
    }
    leafd.configure(&with(&wrong));
    let failure = leafd.try_start().expect_err("another key");
    assert!(failure.text.contains("store.key does not open with this key"), "{}", failure.text);
    leafd.configure("");
    let failure = leafd.try_start().expect_err("no key");
    assert!(failure.text.contains("the data directory is encrypted"), "{}", failure.text);
    let fsck = |key: &Path| {
        let mut command = Command::new(common::leafd::binary());
        command.arg("fsck").arg(leafd.data()).arg("--key-file").arg(key).output().expect("runs")
    };
    assert!(fsck(&right).status.success() && !fsck(&wrong).status.success());
    leafd.configure(&with(&right));
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let bucket = context.get_key_value("recipes").await.expect("there");
    let value = bucket.get("pasta.carbonara").await.expect("readable").expect("there");
    assert_eq!(value, "guanciale, no cream, 99".as_bytes());
}
