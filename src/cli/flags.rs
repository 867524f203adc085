//! Long flags with a single dash, as nats-server's users write them: `-js`, `-sd DIR`, `-port=4222`, `-DV`.

use std::ffi::OsString;

/// What nats-server (`server/opts.go`) takes with one dash or two, and the flags of ours that mean the same.
const LONG: [(&str, &[&str]); 51] = [
    ("js", &["--jetstream"]),
    ("jetstream", &["--jetstream"]),
    ("sd", &["--store_dir"]),
    ("store_dir", &["--store_dir"]),
    ("addr", &["--addr"]),
    ("net", &["--addr"]),
    ("port", &["--port"]),
    ("name", &["--name"]),
    ("server_name", &["--name"]),
    ("config", &["--config"]),
    ("pid", &["--pid"]),
    ("ports_file_dir", &["--ports_file_dir"]),
    ("http_port", &["--http_port"]),
    ("ms", &["--https_port"]),
    ("https_port", &["--https_port"]),
    ("log", &["--log"]),
    ("logtime", &["--logtime"]),
    ("D", &["--debug"]),
    ("debug", &["--debug"]),
    ("V", &["--trace"]),
    ("VV", &["--trace"]),
    ("trace", &["--trace"]),
    ("DV", &["--debug", "--trace"]),
    ("DVV", &["--debug", "--trace"]),
    ("user", &["--user"]),
    ("pass", &["--pass"]),
    ("auth", &["--auth"]),
    ("tls", &["--tls"]),
    ("tlscert", &["--tlscert"]),
    ("tlskey", &["--tlskey"]),
    ("tlsverify", &["--tlsverify"]),
    ("tlscacert", &["--tlscacert"]),
    ("sl", &["--signal"]),
    ("signal", &["--signal"]),
    ("version", &["--version"]),
    ("help", &["--help"]),
    ("T", &["--logtime"]),
    ("logtime_utc", &["--logtime_utc"]),
    ("client_advertise", &["--client_advertise"]),
    ("syslog", &["--syslog"]),
    ("remote_syslog", &["--remote_syslog"]),
    ("log_size_limit", &["--log_size_limit"]),
    ("max_traced_msg_len", &["--max_traced_msg_len"]),
    ("profile", &["--profile"]),
    ("connect_retries", &["--connect_retries"]),
    ("no_advertise", &["--no_advertise"]),
    ("cluster", &["--cluster"]),
    ("cluster_listen", &["--cluster"]),
    ("routes", &["--routes"]),
    ("cluster_name", &["--cluster_name"]),
    ("cluster_advertise", &["--cluster_advertise"]),
];

/// The arguments with those flags as clap knows them; all others, and what follows `--`, unchanged.
pub(super) fn expand(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut ended = false;
    args.flat_map(|arg| {
        ended |= arg == "--";
        let known = if ended { None } else { arg.to_str().and_then(known) };
        known.unwrap_or_else(|| vec![arg])
    })
    .collect()
}

fn known(arg: &str) -> Option<Vec<OsString>> {
    let dashed = arg.strip_prefix('-')?;
    let flag = dashed.strip_prefix('-').unwrap_or(dashed);
    let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
    let Some((_, ours)) = LONG.iter().find(|(theirs, _)| *theirs == name) else {
        // A word is one flag, to be refused by that name, and no row of short ones.
        let is_word = name.len() > 1 && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        return is_word.then(|| vec![format!("--{flag}").into()]);
    };
    let with_value = |flag: &&str| value.map_or_else(|| (*flag).into(), |value| format!("{flag}={value}").into());
    Some(ours.iter().map(with_value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_flags_take_one_dash() {
        let given = ["leafd", "-js", "--sd", "/d", "-port=1", "-DV", "-p", "2", "-nosuch", "x-js", "--", "-js"];
        let wanted = [
            "leafd",
            "--jetstream",
            "--store_dir",
            "/d",
            "--port=1",
            "--debug",
            "--trace",
            "-p",
            "2",
            "--nosuch",
            "x-js",
            "--",
            "-js",
        ];
        assert_eq!(expand(given.iter().map(OsString::from)), wanted.map(OsString::from));
    }
}
