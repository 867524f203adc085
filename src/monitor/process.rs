//! What the system says of the process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Resident memory in bytes, if the system tells.
pub(super) fn rss() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The threads: number, name and state.
pub(super) fn threads() -> Vec<(String, String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let about = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned());
        Some((task.file_name().to_string_lossy().into_owned(), field("Name:")?, field("State:")?))
    };
    tasks.filter_map(about).collect()
}

/// Processor time used so far.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in brackets, which may contain anything; utime and stime are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// The share of one processor in use, measured between two questions.
pub(super) struct Processor(Mutex<Sample>);

struct Sample {
    at: Instant,
    used: Duration,
    percent: f64,
}

impl Default for Processor {
    fn default() -> Self {
        Processor(Mutex::new(Sample { at: Instant::now(), used: processor_time().unwrap_or_default(), percent: 0.0 }))
    }
}

impl Processor {
    /// Percent of one processor since the last question, or as told then if that is less than a second ago.
    pub fn percent(&self) -> f64 {
        let mut sample = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = sample.at.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let used = processor_time().unwrap_or_default();
            let share = used.saturating_sub(sample.used).as_secs_f64() / elapsed.as_secs_f64();
            *sample = Sample { at: Instant::now(), used, percent: (share * 1000.0).round() / 10.0 };
        }
        sample.percent
    }
}
