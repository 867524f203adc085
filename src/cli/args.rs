//! The command line.

use super::flags;
use super::settings::Settings;
use crate::config::{self, Config, Source};
use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What `nats-server --version` answers: whose behaviour this is, then who we are.
const NATS_SERVER_VERSION: &str = concat!("v2.15.1\nleafd ", env!("CARGO_PKG_VERSION"));

/// An edge leaf-node daemon: a complete NATS server for the gateway that stores and forwards to a hub.
#[derive(Debug, clap::Parser)]
#[command(version, disable_version_flag = true, args_override_self = true)]
pub struct Args {
    /// What to do; without it, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Configuration file: TOML, with `conf.d/*.toml` beside it, if it is called so, else nats-server's language.
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where streams and state lie; goes before the configuration.
    #[arg(long, visible_alias = "store_dir", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// What goes before the configuration.
    #[command(flatten)]
    pub settings: Settings,
    /// Check the configuration file and end.
    #[arg(short = 't')]
    pub test: bool,
    /// Send a signal to a running daemon and end: stop, quit, term, reopen, reload or ldm, with its number or pid file.
    #[arg(long, value_name = "SIGNAL=PID")]
    pub signal: Option<String>,
    /// Whether we run under the name of nats-server.
    #[arg(skip)]
    pub nats_server: bool,
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
    /// Check a configuration, connect to its hubs and print what they accept of it, and change nothing; exit status 1 if anything
    /// is wrong or refused.
    Check {
        /// Only read the files.
        #[arg(long)]
        offline: bool,
    },
    /// Read configuration files.
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Examine a data directory on which no daemon runs, and change nothing; exit status 1 if anything is damaged.
    Fsck {
        /// The data directory.
        dir: PathBuf,
        /// File with the key, if it is encrypted.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Write what is readable of a damaged data directory to a new one.
    Salvage {
        /// The damaged data directory.
        dir: PathBuf,
        /// The new one, which must be empty or not there.
        new: PathBuf,
        /// File with the key of the damaged one, if it is encrypted.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// File with a key: the new one is encrypted with it.
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
    },
    /// Print the version.
    Version,
    /// Show the whole story in half a minute: sensor, gateway, cut link, kill -9, hub.
    Demo,
}

/// What can be done with a configuration file.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with a file, each with line and column; exit status 1 if anything is.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print a file of nats-server as leafd's TOML.
    Convert {
        /// The file.
        file: PathBuf,
    },
}

/// Says which version this is.
///
/// # Errors
/// None.
pub fn print_version() -> Result<(), String> {
    print!("{}", Args::command().render_version());
    Ok(())
}

impl Args {
    /// Reads the command line; ends the process with its help or what is wrong with it.
    pub fn read() -> Args {
        Args::sound(flags::expand(std::env::args_os())).unwrap_or_else(|error| error.exit())
    }

    fn sound(line: Vec<OsString>) -> Result<Args, clap::Error> {
        let program = line.first().map(|program| Path::new(program).file_stem().unwrap_or_default().to_owned());
        let nats_server = program.is_some_and(|program| program.to_string_lossy().ends_with("nats-server"));
        let command = match nats_server {
            // Programs ask nats-server for its version to know what it can do.
            true => Args::command().display_name("nats-server:").version(NATS_SERVER_VERSION),
            false => Args::command(),
        };
        let mut args = Args::from_arg_matches(&command.try_get_matches_from(line)?)?;
        args.nats_server = nats_server;
        match &args.command {
            None | Some(Command::Run | Command::Check { .. }) => Ok(args),
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

    /// Where a server without streams that is started as nats-server would be keeps what it needs while it runs.
    pub fn scratch_dir(&self) -> Option<PathBuf> {
        let natively = match &self.config {
            Some(file) => config::is_toml(file),
            None => !self.nats_server,
        };
        (!natively).then(|| std::env::temp_dir().join(format!("leafd-{}", std::process::id())))
    }

    /// The configuration with what the command line says on top.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn load(&self) -> Result<Config, String> {
        let source = match &self.config {
            Some(file) => Source::File(file),
            None if self.nats_server => Source::NatsServerDefaults,
            None => Source::Defaults,
        };
        let change = |table: &mut toml::Table| {
            if let Some(dir) = &self.data_dir {
                table.insert("data_dir".into(), dir.to_string_lossy().into_owned().into());
            }
            self.settings.apply(self.nats_server, table)?;
            // Nothing is stored, so that any number of such servers may run beside each other.
            let stores =
                table.get("jetstream").is_none_or(|js| js.get("enabled").and_then(|e| e.as_bool()) != Some(false));
            if let (false, false, Some(dir)) = (stores, table.contains_key("data_dir"), self.scratch_dir()) {
                table.insert("data_dir".into(), dir.to_string_lossy().into_owned().into());
            }
            Ok(())
        };
        let mut config = config::load(source, change).map_err(|e| e.to_string())?;
        config.warnings.extend(self.settings.warnings());
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

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
    fn nats_servers_flags_mean_what_they_mean_there() {
        let args =
            parse("/usr/bin/nats-server -p -1 -m 0 -P /p -l /l -T=false --user u --pass s -n n").expect("understood");
        let mut table = config::conf::nats_server_defaults();
        args.settings.apply(args.nats_server, &mut table).expect("sound");
        let text = toml::to_string(&table).expect("TOML");
        for set in
            ["host = \"0.0.0.0\"", "port = 0", "pid_file = \"/p\"", "file = \"/l\"", "time = false", "user = \"u\""]
        {
            assert!(text.contains(set), "{set} is not in {text}");
        }
        let config = parse("nats-server -profile=1 --log_size_limit 5").expect("understood").load().expect("valid");
        assert_eq!(config.warnings, ["--log_size_limit is ignored", "--profile is ignored"]);
        let clustered = parse("nats-server -routes=nats://h:1 -cluster nats://h:2").expect("understood").load();
        assert!(clustered.expect_err("refused").contains("single server"));
        assert!(parse("nats-server --version").expect_err("ends").contains(crate::protocol::NATS_VERSION));
    }

    #[test]
    fn commands_for_a_running_daemon_refuse_them() {
        let status = parse("leafd status --json --data-dir /d").expect("understood");
        assert!(matches!(status.command, Some(Command::Status { json: true })));
        assert!(parse("leafd status -p 1").expect_err("refused").contains("leafd run"));
    }
}
