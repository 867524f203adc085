//! What programs that drive the daemon read: the process number, and the ports that the kernel picked.

use super::StartError;
use crate::config::Config;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Writes the number of this process into `pid_file`, alone, as nats-server does. It stays when the process ends.
pub(super) fn write_pid(config: &Config) -> Result<(), StartError> {
    let Some(path) = &config.pid_file else { return Ok(()) };
    std::fs::write(path, std::process::id().to_string()).map_err(|error| StartError::File { path: path.clone(), error })
}

/// The ports file that was asked for, which is there while we listen.
pub(super) struct PortsFiles(Option<PathBuf>);

impl PortsFiles {
    /// Writes `leafd.ports` in the data directory and, where one is asked for, `<program>_PID.ports` in
    /// `ports_file_dir`. The former is a convenience: a full disk must not be in the way of a start.
    pub fn write(config: &Config, ports: &Value) -> Result<PortsFiles, StartError> {
        let own = config.data_dir.join("leafd.ports");
        if let Err(error) = write(&own, ports) {
            tracing::warn!("cannot write {}: {error}", own.display());
            // It names the ports of an earlier process.
            let _ = std::fs::remove_file(&own);
        }
        let asked_for = config.ports_file_dir.as_ref().map(|dir| dir.join(file_name()));
        if let Some(path) = &asked_for {
            write(path, ports).map_err(|error| StartError::File { path: path.clone(), error })?;
        }
        Ok(PortsFiles(asked_for))
    }

    /// Removes the one that names this process.
    pub fn remove(&self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

/// `leafd_1234.ports`; under another name of the program, that name.
fn file_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name).map_or("leafd".into(), |name| name.to_string_lossy());
    format!("{name}_{}.ports", std::process::id())
}

/// By way of a new name, so that nobody reads half of it.
fn write(path: &Path, ports: &Value) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let written = std::fs::write(&new, ports.to_string()).and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}
