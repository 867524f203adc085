//! How long a large log takes to open after kill -9, and how much memory.

use crate::{proc, setting};
use leafd::store::{LogOptions, Record, Store, StoreOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Fills a log in a process that is killed when it is done, and opens it in another.
pub fn measure(dir: &Path) {
    let me = std::env::current_exe().expect("known");
    let mut fill = Command::new(&me).arg("fill").arg(dir).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(fill.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
    print!("{line}");
    fill.kill().expect("killed");
    fill.wait().expect("ended");
    for _ in 0..3 {
        Command::new(&me).arg("open").arg(dir).status().expect("runs");
    }
}

/// Writes the messages, says so, and waits to be killed.
pub fn fill(dir: &Path) {
    let (messages, subjects) = (setting("MESSAGES", 10_000_000), setting("SUBJECTS", 100_000));
    let store = Store::open(dir, StoreOptions::default()).expect("opens");
    let log = store.create_log("s", LogOptions::default()).expect("creates");
    let begun = Instant::now();
    for n in 0..messages {
        let subject = format!("sensor.{:06}.value", n * 7919 % subjects);
        log.append(&Record { subject: &subject, headers: b"", payload: &[b'x'; 128] }).expect("staged");
        if n % 10_000 == 9_999 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    let seconds = begun.elapsed().as_secs_f64();
    let per_message = proc::written() / messages;
    println!("  {messages} messages over {subjects} subjects written in {seconds:.1} s, {per_message} bytes each");
    std::thread::park();
}

/// Opens the log and says how that went.
pub fn open(dir: &Path) {
    let begun = Instant::now();
    let store = Store::open(dir, StoreOptions::default()).expect("opens");
    let log = store.open_log("s", LogOptions::default()).expect("opens");
    let took = begun.elapsed();
    let (now, most) = proc::memory();
    let state = log.state();
    println!(
        "  opened in {:.0} ms, RSS {:.1} MB (at most {:.1} MB): {} messages, {} subjects",
        took.as_secs_f64() * 1e3,
        now as f64 / 1024.0,
        most as f64 / 1024.0,
        state.msgs,
        state.num_subjects
    );
    std::process::exit(0);
}
