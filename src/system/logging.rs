//! Logging: lines on stderr or in a file, in our form or nats-server's, or in the journal when systemd has connected
//! stderr to it.

use crate::config::{LogConfig, LogFormat, LogLevel};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use time::OffsetDateTime;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Target of the event that says why the daemon ends: `[FTL]` in nats-server's form.
pub const FATAL: &str = "fatal";

/// The log file, if lines go to one.
static LOG_FILE: OnceLock<Arc<LogFile>> = OnceLock::new();

/// Sets the process's logger; once.
///
/// # Errors
/// The log file cannot be opened.
pub fn start(config: &LogConfig) -> io::Result<()> {
    if let Some(path) = &config.file {
        let file = Arc::new(LogFile::open(path.clone()).map_err(|e| with_path(path, &e))?);
        let file = LOG_FILE.get_or_init(|| file);
        subscribe(config, file.clone(), false);
    } else if !to_journal(config) {
        subscribe(config, Arc::new(io::stderr()), rustix::termios::isatty(io::stderr()));
    }
    Ok(())
}

/// Opens the log file anew, after something has moved it away.
///
/// # Errors
/// It cannot be opened; lines still go to the old one.
pub fn reopen() -> io::Result<()> {
    match LOG_FILE.get() {
        None => Ok(()),
        Some(file) => file.reopen().map_err(|e| with_path(&file.path, &e)),
    }
}

fn with_path(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot open the log file {}: {error}", path.display()))
}

/// Lets lines go to `output`.
fn subscribe<W>(config: &LogConfig, output: Arc<W>, colours: bool)
where
    W: Send + Sync + 'static,
    for<'a> &'a W: Write,
{
    let lines =
        tracing_subscriber::fmt().with_max_level(trace_level(config.level)).with_ansi(colours).with_target(false);
    // A second logger in one process, as in tests, is none.
    let _ = match (config.format, config.time) {
        (LogFormat::NatsServer, time) => {
            lines.with_ansi(false).event_format(NatsServerLine { time }).with_writer(output).try_init()
        }
        (LogFormat::Leafd, true) => lines.with_writer(output).try_init(),
        (LogFormat::Leafd, false) => lines.without_time().with_writer(output).try_init(),
    };
}

/// A file that lines are appended to.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<LogFile> {
        let file = Mutex::new(append_to(&path)?);
        Ok(LogFile { path, file })
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn append_to(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines as nats-server's `logger/log.go` writes them: `[1234] 2026/11/21 08:00:00.123456 [INF] Server is ready`.
struct NatsServerLine {
    time: bool,
}

impl<S, N> FormatEvent<S, N> for NatsServerLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(line, "[{}] ", std::process::id())?;
        if self.time {
            let now = OffsetDateTime::now_utc();
            let (date, micros) = (now.date(), now.microsecond());
            let (hour, minute, second) = now.to_hms();
            write!(line, "{}/{:02}/{:02} ", date.year(), u8::from(date.month()), date.day())?;
            write!(line, "{hour:02}:{minute:02}:{second:02}.{micros:06} ")?;
        }
        line.write_str(match *event.metadata().level() {
            _ if event.metadata().target() == FATAL => "[FTL] ",
            tracing::Level::ERROR => "[ERR] ",
            tracing::Level::WARN => "[WRN] ",
            tracing::Level::INFO => "[INF] ",
            tracing::Level::DEBUG => "[DBG] ",
            tracing::Level::TRACE => "[TRC] ",
        })?;
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// Logs to the journal where stderr is connected to it: where `JOURNAL_STREAM` names its device and inode
/// (systemd.exec(5)).
fn to_journal(config: &LogConfig) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    if !stderr.is_ok_and(|meta| named == format!("{}:{}", meta.dev(), meta.ino())) {
        return false;
    }
    let Ok(journal) = systemd_journal_logger::JournalLog::new() else { return false };
    let installed = journal.with_syslog_identifier("leafd".to_owned()).install().is_ok();
    if installed {
        // No tracing subscriber is set, so tracing's events go to the `log` crate, and with it to the journal.
        log::set_max_level(log_level(config.level));
    }
    installed
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
