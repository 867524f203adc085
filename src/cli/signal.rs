//! `--signal SIGNAL=PID`, as nats-server has it (`server/signal.go`).

use rustix::process::{Pid, Signal, kill_process};

/// Sends the signal that `text` names to the process that it names.
pub fn send(text: &str) -> Result<(), String> {
    let (command, target) = text.split_once('=').ok_or_else(|| {
        format!("--signal {text}: name the process too, by number or pid file, as in --signal {text}=1234")
    })?;
    let signal = match command {
        "stop" => Signal::KILL,
        "quit" => Signal::INT,
        "term" => Signal::TERM,
        "reopen" => Signal::USR1,
        "reload" => Signal::HUP,
        "ldm" => Signal::USR2,
        _ => return Err(format!("--signal {command}: use stop, quit, term, reopen, reload or ldm")),
    };
    let number = match target.parse::<i32>() {
        Ok(number) => number,
        Err(_) => {
            let text =
                std::fs::read_to_string(target).map_err(|e| format!("cannot read the pid file {target}: {e}"))?;
            text.trim().parse().map_err(|_| format!("the pid file {target} does not hold a process number"))?
        }
    };
    // Zero and below would mean groups of processes.
    let pid = Some(number).filter(|n| *n > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("{number} is no process"))?;
    kill_process(pid, signal).map_err(|e| format!("cannot signal process {number}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_told() {
        for (text, wanted) in [
            ("ldm", "ldm=1234"),
            ("jump=1", "use stop"),
            ("ldm=/no/such.pid", "/no/such.pid"),
            ("ldm=-1", "no process"),
        ] {
            let error = send(text).expect_err(text);
            assert!(error.contains(wanted), "{error}");
        }
    }
}
