//! What nats-server's monitoring shows of Go's runtime and of a cluster, as far as leafd has something of the kind:
//! `/stacksz`, `/debug/vars`, `/ipqueuesz`, `/raftz`.

use crate::monitor::process;
use crate::system::http::Response;
use serde_json::{Value, json};
use std::fmt::Write;

/// `/stacksz`: the threads and what they do. Stacks of tasks cannot be had.
pub(super) fn stacksz() -> Response {
    let mut text = String::new();
    for (id, name, state) in process::threads() {
        let _ = writeln!(text, "thread {id} [{name}]: {state}");
    }
    Response { status: 200, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: text.into_bytes() }
}

/// `/debug/vars`: what Go programs publish of themselves. Of the memory, which Go's runtime counts in many ways, leafd
/// knows how much it is.
pub(in crate::monitor) fn expvarz() -> Value {
    let command: Vec<_> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    json!({ "cmdline": command, "memstats": { "Sys": process::rss().unwrap_or(0) } })
}

/// `/ipqueuesz`: queues within the server that are not empty. Those of leafd are connections', streams' and consumers', which
/// have pages of their own.
pub(super) fn ipqueuesz() -> Value {
    json!({})
}

/// `/raftz`: there are no consensus groups in a single server.
pub(super) fn raftz() -> Response {
    Response { body: b"No Raft nodes registered".to_vec(), ..Response::status(404) }
}
