//! `leafd run`.

use super::args::Args;
use crate::daemon;
use crate::system::{self, logging};

/// Runs the daemon until it is told to end.
pub fn run(args: &Args) -> Result<(), String> {
    let config = args.load()?;
    logging::start(&config.log).map_err(|e| e.to_string())?;
    system::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("leafd")
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    let scratch = args.scratch_dir().filter(|dir| *dir == config.data_dir);
    let result = runtime.block_on(daemon::run(config, &|| args.load()));
    if let Some(dir) = scratch {
        let _ = std::fs::remove_dir_all(dir);
    }
    result.map_err(|error| {
        tracing::error!(target: logging::FATAL, "{error}");
        error.to_string()
    })
}
