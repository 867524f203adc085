//! nats-py, unmodified, on leafd's ordinary port: runs `tests/python/test_nats_py.py` by the Python of `LEAFD_PYTHON`, of
//! `target/venv`, or of PATH.

mod common;

use common::Leafd;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn nats_py_finds_what_it_expects() {
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
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let output = Command::new(python).arg(root.join("tests/python/test_nats_py.py")).arg(leafd.url()).output();
    let output = output.expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
