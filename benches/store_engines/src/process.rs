//! The processes that measure: this program again, once for each measurement.

use crate::{Kind, Result};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a process measured: numbers by name.
pub type Numbers = Vec<(String, f64)>;

/// A process that measures `what` of an engine in a folder.
pub fn child(kind: Kind, what: &str, dir: &Path) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "store_engines".into());
    let mut command = Command::new(program);
    command.args(["measure", what, kind.name()]).arg(dir).env("RUST_BACKTRACE", "0");
    command
}

/// What a measuring process says; its last words if it fails.
///
/// # Errors
/// The process cannot be started, or failed, with what it said of that.
pub fn speak(command: &mut Command) -> std::result::Result<Numbers, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with("note: "));
        return Err(last.unwrap_or("killed without a word").to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(number).collect())
}

/// What a measuring process says until it is done; then it is killed (SIGKILL, as the kernel's memory killer sends it).
///
/// # Errors
/// The process cannot be started, or ended before it was done.
pub fn kill_when_done(command: &mut Command) -> Result<Numbers> {
    let mut process = command.stdout(Stdio::piped()).spawn()?;
    let out = BufReader::new(process.stdout.take().ok_or("the process has no output")?);
    let (mut numbers, mut done) = (Numbers::new(), false);
    for line in out.lines().map_while(std::io::Result::ok) {
        done = line == "done";
        if done {
            break;
        }
        numbers.extend(number(&line));
    }
    process.kill()?;
    process.wait()?;
    if done { Ok(numbers) } else { Err("the process ended before it was done".into()) }
}

fn number(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.rsplit_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}
