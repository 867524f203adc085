//! `leafd demo`, with a real hub and with its stand-in.

use std::process::Command;

fn demo(path: &str, hub: &str) {
    let run = Command::new(env!("CARGO_BIN_EXE_leafd")).arg("demo").env("PATH", path).output().expect("runs");
    let out = String::from_utf8_lossy(&run.stdout);
    let all = format!("{out}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{all}");
    assert!(out.lines().next().is_some_and(|l| l.starts_with(&format!("hub:     {hub}"))), "{all}");
    assert!(out.contains("nothing lost, nothing twice, all in order"), "{all}");
    assert!(out.contains("kill -9") && out.contains("DOWN"), "{all}");
}

#[test]
fn it_needs_nothing_but_the_binary() {
    demo("/nowhere", "leafd, as a stand-in");
}

#[test]
fn it_takes_a_real_hub_where_there_is_one() {
    let server = std::env::var("NATS_SERVER").unwrap_or_default();
    let folder = std::path::Path::new(&server).parent().map(|p| p.display().to_string()).unwrap_or_default();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    demo(&path, "nats-server");
}
