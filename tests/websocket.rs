//! The official client of Node and browsers, unmodified: over TCP, TLS and WebSocket in Node, and in a page that headless
//! Chromium shows. Its modules are in `target/node` (`tests/run` installs them), or where `LEAFD_NODE` says.

mod common;

use common::browser::Page;
use common::certificates::{Authority, Certificate};
use common::{Leafd, have};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where npm has installed what `tests/node/package.json` names; `None` if it has not.
fn modules() -> Option<PathBuf> {
    let named = std::env::var_os("LEAFD_NODE").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node"));
    let found = folder.join("node_modules/@nats-io").exists();
    assert!(found || std::env::var_os("LEAFD_REQUIRE_PEERS").is_none(), "no modules in {}", folder.display());
    if !found {
        eprintln!("skipped: no modules in {}", folder.display());
    }
    found.then_some(folder)
}

fn node(modules: &Path, url: &str, ca: Option<&Path>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/client.mjs");
    let output = Command::new("node").arg(script).arg(modules).arg(url).args(ca).output().expect("node runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("all as it should be"), "{url}: {text}");
}

fn started(dir: &Path, config: &str) -> Leafd {
    let mut leafd = Leafd::new(dir, config);
    leafd.start();
    leafd
}

fn files(certificate: &Certificate) -> String {
    format!("cert_file = {:?}\nkey_file = {:?}\n", certificate.cert, certificate.key)
}

#[test]
fn node_over_tcp_and_websocket() {
    let Some(modules) = modules() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    for compression in [false, true] {
        let config = format!("[websocket]\nport = 0\nno_tls = true\ncompression = {compression}\n");
        let leafd = started(dir.path(), &config);
        let url = leafd.port("websocket");
        leafd.wait_log(&format!("Listening for websocket clients on {url}"), 0);
        node(&modules, &url, None);
        node(&modules, &leafd.url(), None);
    }
}

#[test]
fn node_over_tls() {
    let Some(modules) = modules() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let files = files(&authority.server("server"));
    let config = format!("[tls]\n{files}[websocket]\nport = 0\ncompression = true\n[websocket.tls]\n{files}");
    let leafd = started(dir.path(), &config);
    let ca = authority.file();
    for url in [leafd.port("websocket"), leafd.port("nats").replace("nats://", "tls://")] {
        node(&modules, &url.replace("127.0.0.1", "localhost"), Some(&ca));
    }
}

#[test]
fn a_page_in_a_browser() {
    let Some(modules) = modules().filter(|_| have("chromium")) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let page = Page::new(dir.path(), &modules);
    let authority = Authority::new(dir.path());
    let tls = format!("[websocket.tls]\n{}", files(&authority.server("server")));
    let allowed = format!("compression = true\nallowed_origins = [{:?}]\n", page.origin());
    for (config, let_in) in [
        (format!("{allowed}no_tls = true"), true),
        (format!("{allowed}{tls}"), true),
        (tls, true),
        ("no_tls = true\nsame_origin = true".to_owned(), false),
        ("no_tls = true\nallowed_origins = [\"https://example.com\"]".to_owned(), false),
    ] {
        let leafd = started(dir.path(), &format!("[websocket]\nport = 0\n{config}"));
        let result = page.show(&leafd.port("websocket"));
        assert_eq!(result == "all as it should be", let_in, "{config}: {result}");
        if !let_in {
            leafd.wait_log("origin not allowed", 0);
        }
    }
}
