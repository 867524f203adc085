//! The command line.

use super::flags;
use crate::config::{self, Config, LogLevel};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// An edge leaf-node daemon: a complete NATS server for the gateway that stores and forwards to a hub.
#[derive(Debug, clap::Parser)]
#[command(version, disable_version_flag = true)]
pub struct Args {
    /// What to do; without it, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Configuration file; `conf.d/*.toml` beside it is read too.
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where streams and state lie; goes before the configuration.
    #[arg(long, visible_alias = "store_dir", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// What goes before the configuration.
    #[command(flatten)]
    pub settings: Settings,
    /// Print the version.
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
}

/// Flags that go before the configuration; they mean what they mean to nats-server, in front of `run` and behind it.
#[derive(Debug, Default, PartialEq, clap::Args)]
pub struct Settings {
    /// Host that clients connect to.
    #[arg(short = 'a', long = "addr", value_name = "HOST", global = true)]
    pub host: Option<String>,
    /// Port that clients connect to, 0 for any.
    #[arg(short = 'p', long, value_name = "PORT", global = true)]
    pub port: Option<u16>,
    /// Name of this server.
    #[arg(short = 'n', long = "name", value_name = "NAME", global = true)]
    pub name: Option<String>,
    /// Offer streams, also where the configuration has them off (-js).
    #[arg(long, global = true)]
    pub jetstream: bool,
    /// Log connections and requests too.
    #[arg(short = 'D', long, global = true)]
    pub debug: bool,
    /// Log everything.
    #[arg(short = 'V', long, global = true)]
    pub trace: bool,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run,
    /// Show links, uplinks, streams and adapters of the running daemon.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have the running daemon read its configuration again.
    Reload,
    /// Check a configuration, and change nothing.
    Check,
    /// Show the whole story in half a minute: sensor, gateway, cut link, kill -9, hub.
    Demo,
}

impl Args {
    /// Reads the command line; ends the process with its help or what is wrong with it.
    pub fn read() -> Args {
        Args::sound(flags::expand(std::env::args_os())).unwrap_or_else(|error| error.exit())
    }

    fn sound(line: Vec<OsString>) -> Result<Args, clap::Error> {
        let args = Args::try_parse_from(line)?;
        match &args.command {
            None | Some(Command::Run | Command::Check) => Ok(args),
            // It would say nothing to the daemon that runs.
            Some(_) if args.settings != Settings::default() => Err(Args::command().error(
                clap::error::ErrorKind::ArgumentConflict,
                "flags that go before the configuration are for `leafd run` and `leafd check`",
            )),
            Some(_) => Ok(args),
        }
    }

    /// The data directory of the daemon that these arguments mean, whatever else its files say.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn find_data_dir(&self) -> Result<PathBuf, String> {
        let configured = || self.config.as_deref().map(config::data_dir).transpose().map_err(|e| e.to_string());
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(configured()?.flatten().unwrap_or_else(config::default_data_dir)),
        }
    }

    /// The configuration with what the command line says on top.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn load(&self) -> Result<Config, String> {
        let Settings { host, port, name, jetstream, debug, trace } = &self.settings;
        let mut config = config::load(self.config.as_deref(), name.as_deref()).map_err(|e| e.to_string())?;
        if let Some(dir) = &self.data_dir {
            config.data_dir = dir.clone();
        }
        if let Some(host) = host {
            config.listen.host = host.clone();
        }
        if let Some(port) = port {
            config.listen.port = *port;
        }
        if *jetstream {
            config.jetstream.enabled = true;
        }
        if *debug {
            config.log.level = LogLevel::Debug;
        }
        if *trace {
            config.log.level = LogLevel::Trace;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::sound(flags::expand(line.split(' ').map(OsString::from))).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_go_before_the_configuration_wherever_they_stand() {
        Args::command().debug_assert();
        let flags = "-p 0 -a ::1 -n x -DV -js -sd /d";
        for line in [format!("leafd {flags}"), format!("leafd {flags} run"), format!("leafd run {flags}")] {
            let config = parse(&line).expect("understood").load().expect("valid");
            assert_eq!((config.listen.port, &*config.listen.host, &*config.server_name), (0, "::1", "x"), "{line}");
            assert_eq!((config.log.level, config.data_dir), (LogLevel::Trace, "/d".into()), "{line}");
            assert!(config.jetstream.enabled);
        }
        let config = parse("leafd run -c /nowhere.toml").expect("understood").load();
        assert!(config.expect_err("refused").contains("/nowhere.toml"));
    }

    #[test]
    fn commands_for_a_running_daemon_refuse_them() {
        let status = parse("leafd status --json --data-dir /d").expect("understood");
        assert!(matches!(status.command, Some(Command::Status { json: true })));
        assert!(parse("leafd status -p 1").expect_err("refused").contains("leafd run"));
    }
}
