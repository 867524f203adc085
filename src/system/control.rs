//! The control socket: how `leafd status` and `leafd reload` speak to the running daemon.
//!
//! A Unix socket in the data directory, open to its owner only. One request, a line of JSON; one answer, likewise.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

/// Longest request.
const MAX_REQUEST: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// The state of everything.
    Status,
    /// Read the configuration again.
    Reload,
    /// Apply what has come to be known of accounts by JWT; asked by the server itself.
    #[serde(skip)]
    Accounts,
}

/// A request with where its answer goes.
pub type Asked = (Request, oneshot::Sender<Value>);

/// Where the socket lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("leafd.sock")
}

/// Asks the daemon that has `data_dir`.
///
/// # Errors
/// Nobody answers there, in an operator's words.
pub fn ask(data_dir: &Path, request: Request) -> Result<Value, String> {
    let path = path(data_dir);
    let explain = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!(
                "no leafd is running on {} ({e}); name its configuration with -c or its directory with --data-dir",
                data_dir.display()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{} may only be used by the user that runs leafd: {e}", path.display())
        }
        _ => format!("{}: {e}", path.display()),
    };
    let try_ask = || -> io::Result<Value> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        serde_json::to_writer(&mut stream, &request)?;
        stream.write_all(b"\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    try_ask().map_err(explain)
}

/// Listens on the socket. A stale one of a dead process is removed: the store's lock has shown that nobody else is here.
///
/// # Errors
/// The socket cannot be made, as where the path is too long for one.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = path(data_dir);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Passes requests on until the receiving side is gone.
pub async fn serve(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = asked.closed() => return,
        };
        // One after the other: the socket is for an operator, and a stuck one is cut off.
        let _ = tokio::time::timeout(PATIENCE, answer(stream, &asked)).await;
    }
}

async fn answer(stream: tokio::net::UnixStream, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Err(error) => serde_json::json!({ "error": format!("not a request: {error}") }),
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            if asked.send((request, sender)).await.is_err() {
                return Ok(());
            }
            receiver.await.unwrap_or_else(|_| serde_json::json!({ "error": "leafd is ending" }))
        }
    };
    writer.write_all(format!("{reply}\n").as_bytes()).await
}
