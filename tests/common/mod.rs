//! Parts that the tests share: real peers (nats-server, mosquitto, a pty) and leafd itself as processes, and a proxy that
//! breaks the link between them.
//!
//! Everything listens on ports that the kernel picks and lives in temporary folders. Nothing here waits by sleeping for a
//! fixed time: [`wait_for`] asks again until its condition holds or the deadline has passed.

// Each test file uses its own part of this.
#![allow(dead_code, unused_imports)]

pub mod browser;
pub mod certificates;
pub mod cluster;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod leafd;
pub mod mosquitto;
pub mod nats_server;
pub mod play;
pub mod port;
pub mod proxy;
pub mod pty;
pub mod slow;

pub use cluster::Cluster;
pub use gateway::Gateway;
pub use hub::Hub;
pub use leafd::Leafd;
pub use mosquitto::Mosquitto;
pub use nats_server::NatsServer;
pub use port::Port;
pub use proxy::Proxy;
pub use pty::Pty;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a thing may take that should be quick; generous, for a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
pub const LOOK: Duration = Duration::from_millis(10);

/// Asks until `condition` gives something; panics with `what` when `limit` has passed.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < until, "after {limit:?} still not: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The same for threads.
pub fn wait_blocking<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "after {limit:?} still not: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Waits for `event`; panics with `what` when it does not come in time.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, event).await.unwrap_or_else(|_| panic!("after {LIMIT:?} still not: {what}"))
}

/// Sends a signal by number's name (`TERM`, `HUP`, `KILL`) to a process of ours.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process is ours and alive");
}

/// A seed for this run, printed; `LEAFD_SEED` replays one.
pub fn seed() -> u64 {
    let seed = match std::env::var("LEAFD_SEED") {
        Ok(text) => text.parse().expect("LEAFD_SEED is a number"),
        Err(_) => fastrand::u64(..1 << 32),
    };
    eprintln!("LEAFD_SEED={seed}");
    seed
}

/// Whether real peers are here; a test that needs one that is missing says so and passes, unless `LEAFD_REQUIRE_PEERS` is set.
pub fn have(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("-h")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok();
    assert!(found || std::env::var_os("LEAFD_REQUIRE_PEERS").is_none(), "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
