//! The README's example, run as it stands: its files are written, its commands executed one after the other. Only the
//! ports are others, so that nothing else on the machine is in the way.

mod common;

use common::Port;
use std::path::Path;
use std::process::Command;

/// Fenced blocks: what stands behind the fence, and the text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            found.push((info.to_owned(), body.join("\n") + "\n"));
        }
    }
    found
}

/// A folder for PATH in which `leafd`, `nats-server` and `python3` are the ones under test.
fn tools(dir: &Path) -> std::path::PathBuf {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).expect("creates");
    let link = |name: &str, target: String| {
        let script = format!("#!/bin/sh\nexec {target} \"$@\"\n");
        std::fs::write(bin.join(name), script).expect("writes");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join(name), mode).expect("sets");
    };
    link("leafd", env!("CARGO_BIN_EXE_leafd").to_owned());
    if let Ok(server) = std::env::var("NATS_SERVER") {
        link("nats-server", server);
    }
    if let Ok(python) = std::env::var("LEAFD_PYTHON") {
        link("python3", python);
    }
    bin
}

#[test]
fn the_example_with_a_real_hub_works_as_written() {
    let readme = include_str!("../README.md");
    let ports = ["4222", "4333", "7422"].map(|port| (port, Port::free()));
    let dir = tempfile::tempdir().expect("a folder");
    let bin = tools(dir.path());
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n");
    for (info, body) in blocks(readme) {
        let body = ports.iter().fold(body, |text, (port, other)| text.replace(port, &other.number().to_string()));
        match info.split_once(' ') {
            Some((_, file)) => std::fs::write(dir.path().join(file), body).expect("writes"),
            None if info == "sh" => script += &body,
            None => {}
        }
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let run = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .current_dir(dir.path())
        .env("PATH", path)
        .output()
        .expect("bash runs");
    let out = String::from_utf8_lossy(&run.stdout);
    let logs = ["hub.log", "leafd.log"].map(|f| std::fs::read_to_string(dir.path().join(f)).unwrap_or_default());
    let all = format!("{out}\n{}\n{}", String::from_utf8_lossy(&run.stderr), logs.join("\n"));
    assert!(run.status.success(), "{all}");
    for want in ["The configuration is right", "on the gateway's disk: 3", "at the hub: b'2 kg'", "uplink    telemetry"]
    {
        assert!(out.contains(want), "{want:?} is missing:\n{all}");
    }
}

/// The commands that need no hub: what they name must be there.
#[test]
fn the_other_commands_exist() {
    let readme = include_str!("../README.md");
    let plain: Vec<String> = blocks(readme).into_iter().filter(|(info, _)| info.is_empty()).map(|(_, b)| b).collect();
    assert_eq!(plain, ["cargo run --release\n", "cargo run --release -- demo\n", "tests/run\n"]);
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run").exists());
    let help = Command::new(env!("CARGO_BIN_EXE_leafd")).args(["demo", "--help"]).output().expect("runs");
    assert!(help.status.success());
}
