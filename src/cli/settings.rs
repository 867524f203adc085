//! Flags that go before the configuration. They mean what they mean to nats-server (`server/opts.go`, ConfigureOptions),
//! in front of `run` and behind it, and become the same TOML as a file's keys, so that they are checked with it.

use crate::config;
use std::path::PathBuf;
use toml::{Table, Value};

/// nats-server's flags.
#[derive(Debug, Default, PartialEq, clap::Args)]
pub struct Settings {
    /// Host that clients connect to (--net).
    #[arg(short = 'a', long = "addr", value_name = "HOST", global = true)]
    host: Option<String>,
    /// Port that clients connect to; -1: the kernel picks one.
    #[arg(short = 'p', long, value_name = "PORT", global = true, allow_negative_numbers = true)]
    port: Option<i32>,
    /// Name of this server (--server_name).
    #[arg(short = 'n', long, value_name = "NAME", global = true)]
    name: Option<String>,
    /// File for the process number.
    #[arg(short = 'P', long = "pid", value_name = "FILE", global = true)]
    pid_file: Option<PathBuf>,
    /// Folder for the file PROGRAM_PID.ports, which says on which ports we listen.
    #[arg(long = "ports_file_dir", value_name = "DIR", global = true)]
    ports_file_dir: Option<PathBuf>,
    /// Port of the monitoring pages; -1: the kernel picks one.
    #[arg(short = 'm', long = "http_port", value_name = "PORT", global = true, allow_negative_numbers = true)]
    http_port: Option<i32>,
    /// The same with TLS (-ms).
    #[arg(long = "https_port", value_name = "PORT", global = true, allow_negative_numbers = true)]
    https_port: Option<i32>,
    /// Offer streams, also where the configuration has them off (-js).
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    jetstream: Option<bool>,
    /// File for the log.
    #[arg(short = 'l', long = "log", value_name = "FILE", global = true)]
    log_file: Option<PathBuf>,
    /// Begin log lines with the time (default: true).
    #[arg(short = 'T', long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    logtime: Option<bool>,
    /// Log connections and requests too.
    #[arg(short = 'D', long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    debug: Option<bool>,
    /// Log each protocol line too (-VV, -DV, -DVV: likewise).
    #[arg(short = 'V', long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    trace: Option<bool>,
    /// User that clients must give.
    #[arg(long, global = true, value_name = "USER")]
    user: Option<String>,
    /// Password that clients must give.
    #[arg(long, global = true, value_name = "PASSWORD")]
    pass: Option<String>,
    /// Token that clients must give.
    #[arg(long, global = true, value_name = "TOKEN")]
    auth: Option<String>,
    /// TLS for clients, with --tlscert and --tlskey.
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls: Option<bool>,
    /// Certificate for TLS.
    #[arg(long, global = true, value_name = "FILE")]
    tlscert: Option<String>,
    /// Its key.
    #[arg(long, global = true, value_name = "FILE")]
    tlskey: Option<String>,
    /// TLS, and clients show certificates.
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tlsverify: Option<bool>,
    /// Authorities of those certificates.
    #[arg(long, global = true, value_name = "FILE")]
    tlscacert: Option<String>,
    /// What nats-server has and leafd has no part for.
    #[command(flatten)]
    elsewhere: Elsewhere,
}

/// Flags of nats-server that say nothing to a single server which logs to a file or the journal. They are taken with a
/// warning, so that a start script works; those that make a cluster are refused.
#[derive(Debug, Default, PartialEq, clap::Args)]
struct Elsewhere {
    #[arg(long = "client_advertise", global = true, hide = true)]
    client_advertise: Option<String>,
    #[arg(short = 's', long, global = true, hide = true)]
    syslog: bool,
    #[arg(short = 'r', long = "remote_syslog", global = true, hide = true)]
    remote_syslog: Option<String>,
    #[arg(long = "log_size_limit", global = true, hide = true)]
    log_size_limit: Option<String>,
    #[arg(long = "max_traced_msg_len", global = true, hide = true)]
    max_traced_msg_len: Option<String>,
    #[arg(long, global = true, hide = true)]
    profile: Option<String>,
    #[arg(long = "logtime_utc", global = true, hide = true)]
    logtime_utc: bool,
    #[arg(long = "connect_retries", global = true, hide = true)]
    connect_retries: Option<String>,
    #[arg(long = "no_advertise", global = true, hide = true)]
    no_advertise: bool,
    #[arg(long, global = true, hide = true)]
    cluster: Option<String>,
    #[arg(long, global = true, hide = true)]
    routes: Option<String>,
    #[arg(long = "cluster_name", global = true, hide = true)]
    cluster_name: Option<String>,
    #[arg(long = "cluster_advertise", global = true, hide = true)]
    cluster_advertise: Option<String>,
}

impl Elsewhere {
    /// Those that are given and have no effect.
    fn ignored(&self) -> Vec<String> {
        let flags = [
            ("client_advertise", self.client_advertise.is_some()),
            ("syslog", self.syslog),
            ("remote_syslog", self.remote_syslog.is_some()),
            ("log_size_limit", self.log_size_limit.is_some()),
            ("max_traced_msg_len", self.max_traced_msg_len.is_some()),
            ("profile", self.profile.is_some()),
            ("connect_retries", self.connect_retries.is_some()),
            ("no_advertise", self.no_advertise),
            ("cluster_name", self.cluster_name.is_some()),
            ("cluster_advertise", self.cluster_advertise.is_some()),
        ];
        flags.iter().filter(|(_, given)| *given).map(|(flag, _)| format!("--{flag} is ignored")).collect()
    }

    fn refuse(&self) -> Result<(), String> {
        match self.cluster.is_some() || self.routes.is_some() {
            true => Err("--cluster and --routes are not supported: leafd is a single server; where one is not enough, its hub is a cluster".into()),
            false => Ok(()),
        }
    }
}

impl Settings {
    /// Puts them on a configuration. `nats_server`: whether they are given to `nats-server`, to which port 0 is the
    /// default and which logs in its own format.
    ///
    /// # Errors
    /// TLS without a certificate.
    pub fn apply(&self, nats_server: bool, table: &mut Table) -> Result<(), String> {
        self.elsewhere.refuse()?;
        config::overlay(table, &self.table(nats_server));
        self.complete(table)
    }

    /// Which of them have no effect.
    pub fn warnings(&self) -> Vec<String> {
        self.elsewhere.ignored()
    }

    /// What they set, as a configuration file would.
    fn table(&self, nats_server: bool) -> Table {
        let mut table = Table::new();
        let mut set = |path: &str, value: Option<Value>| {
            let Some(value) = value else { return };
            match path.split_once('.') {
                None => drop(table.insert(path.into(), value)),
                Some((first, key)) => {
                    if let Value::Table(inner) = table.entry(first).or_insert_with(|| Table::new().into()) {
                        inner.insert(key.into(), value);
                    }
                }
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| Value::from(p.to_string_lossy().into_owned()));
        let flag = |flag: Option<bool>| flag.map(Value::from);
        let port = |port: Option<i32>| match port {
            Some(-1) => Some(Value::from(0)),
            Some(0) if nats_server => None,
            port => port.map(|port| Value::from(i64::from(port))),
        };
        set("listen.host", text(&self.host));
        set("listen.port", port(self.port));
        set("server_name", text(&self.name));
        set("pid_file", path(&self.pid_file));
        set("ports_file_dir", path(&self.ports_file_dir));
        set("http.port", port(self.https_port.or(self.http_port)));
        set("jetstream.enabled", flag(self.jetstream));
        set("log.file", path(&self.log_file));
        set("log.time", flag(self.logtime));
        if self.debug == Some(true) {
            set("log.level", Some("debug".into()));
        }
        if self.trace == Some(true) {
            set("log.level", Some("trace".into()));
        }
        if nats_server {
            set("log.format", Some("nats-server".into()));
        }
        set("authorization.user", text(&self.user));
        set("authorization.password", text(&self.pass));
        set("authorization.token", text(&self.auth));
        if self.tls != Some(false) {
            set("tls.cert_file", text(&self.tlscert));
            set("tls.key_file", text(&self.tlskey));
            set("tls.verify", flag(self.tlsverify));
            set("tls.ca_file", text(&self.tlscacert));
        }
        table
    }

    /// What depends on flags and file together: where monitoring listens, and that it has the clients' TLS.
    fn complete(&self, table: &mut Table) -> Result<(), String> {
        if self.tls == Some(false) {
            table.remove("tls");
        }
        let tls = table.get("tls").cloned();
        if (self.tls == Some(true) || self.tlsverify == Some(true)) && tls.is_none() {
            return Err("TLS needs --tlscert and --tlskey".into());
        }
        let host = table.get("listen").and_then(|listen| listen.get("host")).cloned();
        if let Some(Value::Table(http)) = table.get_mut("http") {
            if let (Some(host), None) = (host, http.get("host")) {
                http.insert("host".into(), host);
            }
            if self.https_port.is_some() {
                http.insert("tls".into(), tls.ok_or("--https_port needs --tlscert and --tlskey")?);
            }
        }
        Ok(())
    }
}
