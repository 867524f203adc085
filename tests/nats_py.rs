//! nats-py, unmodified, on leafd's ordinary port: runs scripts of `tests/python` by the Python of `LEAFD_PYTHON`, of
//! `target/venv`, or of PATH.

mod common;

use common::Leafd;
use common::certificates::Authority;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a script to its end; says so and does nothing where there is no nats-py.
fn run(script: &str, arguments: &[&OsStr]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = root.join("target/venv/bin/python");
    let python = match std::env::var_os("LEAFD_PYTHON") {
        Some(named) => PathBuf::from(named),
        None if venv.exists() => venv,
        None => PathBuf::from("python3"),
    };
    let usable = Command::new(&python).args(["-c", "import nats"]).output().is_ok_and(|output| output.status.success());
    assert!(usable || std::env::var_os("LEAFD_REQUIRE_PEERS").is_none(), "{} has no nats-py", python.display());
    if !usable {
        eprintln!("skipped: {} has no nats-py", python.display());
        return;
    }
    let output = Command::new(python).arg(root.join("tests/python").join(script)).args(arguments).output();
    let output = output.expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn nats_py_finds_what_it_expects() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    run("test_nats_py.py", &[leafd.url().as_ref()]);
}

#[test]
fn nats_py_speaks_tls_with_and_without_a_certificate() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let (server, client) = (authority.server("server"), authority.client("alice"));
    let tls = format!("[tls]\ncert_file = {:?}\nkey_file = {:?}\n", server.cert, server.key);
    let ca = authority.file();
    for (more, own) in [
        (String::new(), vec![]),
        (format!("ca_file = {ca:?}\nverify = true"), vec![client.cert.as_os_str(), client.key.as_os_str()]),
    ] {
        let mut leafd = Leafd::new(dir.path(), &format!("{tls}{more}"));
        leafd.start();
        let url = leafd.url().replace("nats://", "tls://");
        run("test_tls.py", &[&[url.as_ref(), ca.as_os_str()], &own[..]].concat());
    }
}
