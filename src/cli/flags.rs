//! Long flags with a single dash, as nats-server's users write them: `-js`, `-sd DIR`, `-port=4222`.

use std::ffi::OsString;

/// What nats-server (`server/opts.go`) takes with one dash or two, and the flag of ours that means the same.
const LONG: [(&str, &str); 14] = [
    ("js", "--jetstream"),
    ("jetstream", "--jetstream"),
    ("sd", "--store_dir"),
    ("store_dir", "--store_dir"),
    ("addr", "--addr"),
    ("net", "--addr"),
    ("port", "--port"),
    ("name", "--name"),
    ("server_name", "--name"),
    ("config", "--config"),
    ("debug", "--debug"),
    ("trace", "--trace"),
    ("version", "--version"),
    ("help", "--help"),
];

/// The arguments with those flags as clap knows them; all others, and what follows `--`, unchanged.
pub(super) fn expand(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut ended = false;
    args.map(|arg| {
        ended |= arg == "--";
        let known = if ended { None } else { arg.to_str().and_then(known) };
        known.map_or(arg, OsString::from)
    })
    .collect()
}

fn known(arg: &str) -> Option<String> {
    let dashed = arg.strip_prefix('-')?;
    let flag = dashed.strip_prefix('-').unwrap_or(dashed);
    let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
    let (_, ours) = LONG.iter().find(|(theirs, _)| *theirs == name)?;
    Some(value.map_or_else(|| (*ours).to_owned(), |value| format!("{ours}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_flags_take_one_dash() {
        let given = ["leafd", "-js", "--sd", "/d", "-port=1", "-DV", "-p", "2", "x-js", "--", "-js"];
        let wanted = ["leafd", "--jetstream", "--store_dir", "/d", "--port=1", "-DV", "-p", "2", "x-js", "--", "-js"];
        assert_eq!(expand(given.iter().map(OsString::from)), wanted.map(OsString::from));
    }
}
