//! Logging: lines on stderr, or the journal when systemd has connected stderr to it.

use crate::config::LogLevel;
use std::os::unix::fs::MetadataExt;

/// Sets the process's logger; once.
pub fn start(level: LogLevel) {
    if to_journal()
        && let Ok(journal) = systemd_journal_logger::JournalLog::new()
        && journal.with_syslog_identifier("leafd".to_owned()).install().is_ok()
    {
        // No tracing subscriber is set, so tracing's events go to the `log` crate, and with it to the journal.
        log::set_max_level(log_level(level));
        return;
    }
    let _ = tracing_subscriber::fmt()
        .with_max_level(trace_level(level))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(rustix::termios::isatty(std::io::stderr()))
        .try_init();
}

/// Whether `JOURNAL_STREAM` names the device and inode of stderr (systemd.exec(5)).
fn to_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|meta| named == format!("{}:{}", meta.dev(), meta.ino()))
}

fn trace_level(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

fn log_level(level: LogLevel) -> log::LevelFilter {
    match level {
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    }
}
