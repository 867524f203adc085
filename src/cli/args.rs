//! The command line.

use crate::config::{self, Config, LogLevel};
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
    /// Host that clients connect to; goes before the configuration.
    #[arg(short = 'a', long = "addr", value_name = "HOST")]
    pub host: Option<String>,
    /// Port that clients connect to, 0 for any; goes before the configuration.
    #[arg(short = 'p', long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Name of this server; goes before the configuration.
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub name: Option<String>,
    /// Log connections and requests too.
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Log everything.
    #[arg(short = 'V', long)]
    pub trace: bool,
    /// Print the version.
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
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
        let mut config = config::load(self.config.as_deref(), self.name.as_deref()).map_err(|e| e.to_string())?;
        if let Some(dir) = &self.data_dir {
            config.data_dir = dir.clone();
        }
        if let Some(host) = &self.host {
            config.listen.host = host.clone();
        }
        if let Some(port) = self.port {
            config.listen.port = port;
        }
        if self.debug {
            config.log.level = LogLevel::Debug;
        }
        if self.trace {
            config.log.level = LogLevel::Trace;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let args = Args::parse_from(["leafd", "-p", "0", "-a", "::1", "-n", "x", "-DV", "--store_dir", "/d"]);
        let config = args.load().expect("valid");
        assert_eq!((config.listen.port, &*config.listen.host, &*config.server_name), (0, "::1", "x"));
        assert_eq!((config.log.level, config.data_dir), (LogLevel::Trace, "/d".into()));
        assert!(matches!(
            Args::parse_from(["leafd", "status", "--json"]).command,
            Some(Command::Status { json: true })
        ));
    }
}
