//! The `leafd` program: one file per command.

mod args;
mod check;
mod config;
mod demo;
mod flags;
mod fsck;
mod run;
mod salvage;
mod settings;
mod signal;
mod status;

use args::{Args, Command, ConfigCommand};
use std::process::ExitCode;

/// Runs the command that the arguments name; returns the exit status: 0, 1 if it failed, 2 for wrong arguments.
pub fn main() -> ExitCode {
    let args = Args::read();
    let result = match &args.command {
        _ if args.signal.is_some() => signal::send(args.signal.as_deref().unwrap_or_default()),
        _ if args.test => config::test(&args),
        None | Some(Command::Run) => run::run(&args),
        Some(Command::Status { json }) => status::status(&args, *json),
        Some(Command::Reload) => status::reload(&args),
        Some(Command::Check { offline }) => check::check(&args, *offline),
        Some(Command::Config { command: ConfigCommand::Check { file } }) => config::check(file),
        Some(Command::Config { command: ConfigCommand::Convert { file } }) => config::convert(file),
        Some(Command::Fsck { dir, key_file }) => fsck::run(dir, key_file.as_deref()),
        Some(Command::Salvage { dir, new, key_file, new_key_file }) => {
            salvage::run(dir, key_file.as_deref(), new, new_key_file.as_deref())
        }
        Some(Command::Version) => args::print_version(),
        Some(Command::Demo) => demo::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leafd: {error}");
            ExitCode::FAILURE
        }
    }
}
