//! From files to a [`Config`]: parse each, merge them, put the command line on top, fill in what depends on the machine,
//! check.

use super::{Config, check, conf, parse};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What is wrong with a configuration: every finding, each with file and place where it is known.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Where a configuration comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// leafd's defaults.
    Defaults,
    /// nats-server's: all interfaces, no streams.
    NatsServerDefaults,
    /// A file: TOML, with `conf.d/*.toml` beside it in the order of their names, if it is called `*.toml`; else
    /// nats-server's language.
    File(&'a Path),
}

/// Reads a configuration; `change` puts on top of it what goes before it, such as the command line.
///
/// # Errors
/// Everything that is wrong, as far as it can be told at once.
pub fn load(source: Source<'_>, change: impl FnOnce(&mut Table) -> Result<(), String>) -> Result<Config, ConfigError> {
    let Content { mut table, warnings, digest, allow_non_tls } = match source {
        Source::Defaults => Content::default(),
        Source::NatsServerDefaults => Content { table: conf::nats_server_defaults(), ..Content::default() },
        Source::File(path) => content(path)?,
    };
    change(&mut table).map_err(|e| ConfigError(vec![e]))?;
    if let (true, Some(Value::Table(tls))) = (allow_non_tls, table.get_mut("tls")) {
        tls.insert("allow_non_tls".into(), true.into());
    }
    let mut config: Config = Value::Table(table).try_into().map_err(|e| ConfigError(vec![format!("{e}")]))?;
    config.warnings = warnings;
    config.digest = digest;
    if config.server_name.is_empty() {
        config.server_name = crate::system::host_name();
    }
    if config.data_dir.as_os_str().is_empty() {
        config.data_dir = default_data_dir();
    }
    expand(&mut config);
    match check::all(&config) {
        errors if errors.is_empty() => Ok(config),
        errors => Err(ConfigError(errors)),
    }
}

/// What a configuration file says, as TOML, with the warnings about it; each table by itself is right.
///
/// # Errors
/// As far as can be told, everything that cannot be read.
pub fn table(path: &Path) -> Result<(Table, Vec<String>), ConfigError> {
    content(path).map(|content| (content.table, content.warnings))
}

/// What a configuration file says.
#[derive(Default)]
struct Content {
    table: Table,
    warnings: Vec<String>,
    digest: String,
    /// Said for all TLS of clients, be it the command line that asks for it.
    allow_non_tls: bool,
}

fn content(path: &Path) -> Result<Content, ConfigError> {
    match is_toml(path) {
        true => toml_content(path),
        false => conf_content(path),
    }
}

/// Whether a configuration file is TOML, by its name.
pub fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// A file in nats-server's language.
fn conf_content(path: &Path) -> Result<Content, ConfigError> {
    let tree = conf::parse_file(path).map_err(|e| ConfigError(vec![e.to_string()]))?;
    let (table, findings) = conf::to_toml(&tree);
    let told = |list: &[conf::ConfError]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !findings.errors.is_empty() {
        return Err(ConfigError(told(&findings.errors)));
    }
    // What the directives could not tell, such as a value out of range, has no place but the file.
    let whole = |e: toml::de::Error| ConfigError(vec![format!("{}: {}", path.display(), e.message())]);
    let config = Config::deserialize(Value::Table(table.clone())).map_err(whole)?;
    let mut warnings = told(&findings.warnings);
    warnings.extend(check::secrets::exposed(path, &config));
    Ok(Content { table, warnings, digest: conf::digest::of_tree(&tree), allow_non_tls: findings.allow_non_tls })
}

/// TOML files, merged.
fn toml_content(path: &Path) -> Result<Content, ConfigError> {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let mut merged = Table::new();
    for file in files(path).map_err(|e| ConfigError(vec![e]))? {
        match parse::read(&file) {
            Ok((table, config)) => {
                merge(&mut merged, table, "", &file, &mut errors);
                warnings.extend(check::secrets::exposed(&file, &config));
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        let digest = conf::digest::of_json(&serde_json::to_value(&merged).unwrap_or_default());
        Ok(Content { table: merged, warnings, digest, allow_non_tls: false })
    } else {
        Err(ConfigError(errors))
    }
}

/// Sets in `into` what `from` sets.
pub fn overlay(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => overlay(old, new),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

/// Where the daemon with the configuration in `path` has its data: only `data_dir` is looked at, so that a daemon can be
/// asked for its status while its files are being edited. `None` if no file sets it.
///
/// # Errors
/// A file cannot be read, or its `data_dir` is not a string.
pub fn data_dir(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let one = |error| ConfigError(vec![error]);
    if !is_toml(path) {
        let tree = conf::parse_file(path).map_err(|e| one(e.to_string()))?;
        let (table, _) = conf::to_toml(&tree);
        return Ok(table.get("data_dir").and_then(Value::as_str).map(PathBuf::from));
    }
    for file in files(path).map_err(one)? {
        let text = parse::text(&file).map_err(one)?;
        let table: Table = toml::from_str(&text).map_err(|e| one(parse::explain(&file, &text, &e)))?;
        match table.get("data_dir") {
            None => {}
            Some(Value::String(dir)) => return Ok(Some(dir.into())),
            Some(_) => return Err(one(format!("{}: data_dir is not a string", file.display()))),
        }
    }
    Ok(None)
}

/// The main file and those of its `conf.d`.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = vec![path.to_owned()];
    let dir = path.parent().unwrap_or(Path::new(".")).join("conf.d");
    match std::fs::read_dir(&dir) {
        Ok(entries) => {
            let toml = |p: &PathBuf| p.extension().is_some_and(|e| e == "toml");
            let mut more: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(toml).collect();
            more.sort();
            files.extend(more);
            Ok(files)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(files),
        Err(e) => Err(format!("{}: cannot be read: {e}", dir.display())),
    }
}

/// Adds `from` to `into`: tables are merged, lists joined; a value that is set twice is an error.
fn merge(into: &mut Table, from: Table, path: &str, file: &Path, errors: &mut Vec<String>) {
    for (key, value) in from {
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (into.get_mut(&key), value) {
            (None, value) => drop(into.insert(key, value)),
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new, &name, file, errors),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (Some(_), _) => errors.push(format!("{}: {name} is set in an earlier file already", file.display())),
        }
    }
}

/// Where data lies if nothing says otherwise.
pub(crate) fn default_data_dir() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("STATE_DIRECTORY")
        .or_else(|| Some(var("XDG_DATA_HOME")?.join("leafd")))
        .or_else(|| Some(var("HOME")?.join(".local/share/leafd")))
        .unwrap_or_else(|| "leafd-data".into())
}

/// Fills `{gateway}` into every subject.
fn expand(config: &mut Config) {
    let name = config.server_name.clone();
    let fill = |subject: &mut String| *subject = subject.replace("{gateway}", &name);
    for remote in &mut config.leaf.remote {
        remote.export.iter_mut().chain(&mut remote.import).for_each(fill);
    }
    for uplink in &mut config.uplink {
        uplink.subjects.iter_mut().for_each(fill);
        uplink.gap_subject.iter_mut().for_each(fill);
    }
    for serial in &mut config.adapter.serial {
        fill(&mut serial.subject);
        serial.command.iter_mut().for_each(fill);
    }
    for mqtt in &mut config.adapter.mqtt {
        fill(&mut mqtt.subject);
        mqtt.command.iter_mut().for_each(fill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            std::fs::write(path, text).expect("writes");
        }
        let main = dir.path().join("leafd.toml");
        (dir, main)
    }

    fn refused(text: &str) -> String {
        let (_dir, main) = dir(&[("leafd.toml", text)]);
        load(Source::File(&main), |_| Ok(())).expect_err("refused").to_string()
    }

    #[test]
    fn defaults_need_no_file() {
        let config = load(Source::Defaults, |_| Ok(())).expect("valid");
        assert_eq!((config.listen.port, &*config.listen.host), (4222, "127.0.0.1"));
        assert!(!config.server_name.is_empty() && config.jetstream.enabled);
    }

    #[test]
    fn files_are_merged_and_names_filled_in() {
        let (_dir, main) = dir(&[
            ("leafd.toml", "server_name = \"gw1\"\n[listen]\nport = 4333\n"),
            (
                "conf.d/10-scale.toml",
                "[[adapter.serial]]\nname = \"s1\"\nport = \"/dev/x\"\nsubject = \"p.{gateway}.s1\"\n",
            ),
            ("conf.d/20-scale.toml", "[[adapter.serial]]\nname = \"s2\"\nport = \"/dev/y\"\nsubject = \"p.s2\"\n"),
            ("conf.d/readme.txt", "not read"),
        ]);
        let config = load(Source::File(&main), |_| Ok(())).expect("valid");
        assert_eq!(config.listen.port, 4333);
        assert_eq!(config.adapter.serial.len(), 2);
        assert_eq!(config.adapter.serial[0].subject, "p.gw1.s1");
    }

    #[test]
    fn unknown_keys_are_named_with_place_and_neighbour() {
        let error = refused("server_name = \"a\"\n[listen]\nprot = 4222\n");
        assert!(
            error.contains("leafd.toml:3:1") && error.contains("`prot`") && error.contains("did you mean `port`"),
            "{error}"
        );
    }

    #[test]
    fn every_wrong_table_of_every_file_is_told_at_once() {
        let (_dir, main) = dir(&[
            (
                "leafd.toml",
                "sevrer_name = \"a\"\n[listen]\nprot = 1\n[[leaf.remote]]\nname = \"h\"\n\
                 [[leaf.remote]]\nname = \"i\"\nurls = []\npassword = { flie = \"/p\" }\n[leaf.listen]\nhots = \"x\"\n",
            ),
            ("conf.d/a.toml", "[[adapter.serial]]\nname = 1\n[[adapter.serial]]\nname = 2\n"),
        ]);
        let ConfigError(found) = load(Source::File(&main), |_| Ok(())).expect_err("refused");
        for (at, (place, word)) in [
            ("leafd.toml:1:1", "did you mean `server_name`"),
            ("leafd.toml:3:1", "did you mean `port`"),
            ("leafd.toml:4:1", "missing field `urls`"),
            ("leafd.toml:9:14", "did you mean `file`"),
            ("leafd.toml:11:1", "did you mean `host`"),
            ("a.toml:2:8", "expected a string"),
            ("a.toml:4:8", "expected a string"),
        ]
        .iter()
        .enumerate()
        {
            let text = found.get(at).map_or("", |text| text);
            assert!(text.contains(place) && text.contains(word), "{place} {word}: {found:#?}");
        }
        assert_eq!(found.len(), 7, "{found:#?}");
    }

    #[test]
    fn a_secret_lies_in_one_place() {
        let refused = |secret: &str| {
            refused(&format!("[[leaf.remote]]\nname = \"h\"\nurls = [\"tls://h\"]\npassword = {secret}\n"))
        };
        assert!(refused("{ file = \"/f\", env = \"E\" }").contains("in one place"));
        assert!(refused("{}").contains("{ file = PATH }") && refused("7").contains("{ file = PATH }"));
    }

    #[test]
    fn wrong_types_say_what_is_expected() {
        let error = refused("[listen]\nport = \"many\"\n");
        assert!(error.contains("leafd.toml:2:8") && error.contains("u16"), "{error}");
        let error = refused("[limits]\nping_interval = 10\n");
        assert!(error.contains("duration with unit"), "{error}");
        let error = refused("[listen\n");
        assert!(error.contains("leafd.toml:1:"), "{error}");
    }

    #[test]
    fn the_data_directory_is_found_in_files_that_are_otherwise_wrong() {
        let (_dir, main) = dir(&[("leafd.toml", "prot = 1\n[listen]\nport = \"x\"\n")]);
        assert_eq!(data_dir(&main).expect("readable"), None);
        let (_dir, main) = dir(&[("leafd.toml", "prot = 1\n"), ("conf.d/data.toml", "data_dir = \"/d\"\n")]);
        assert_eq!(data_dir(&main).expect("readable"), Some("/d".into()));
        let (_dir, main) = dir(&[("leafd.toml", "data_dir = 1\n")]);
        assert!(data_dir(&main).expect_err("refused").to_string().contains("leafd.toml: data_dir"));
    }

    #[test]
    fn a_missing_file_and_a_double_value_are_named() {
        let error = load(Source::File(Path::new("/nowhere/leafd.toml")), |_| Ok(())).expect_err("refused").to_string();
        assert!(error.contains("/nowhere/leafd.toml"), "{error}");
        let (_dir, main) = dir(&[("leafd.toml", "[listen]\nport = 1\n"), ("conf.d/a.toml", "[listen]\nport = 2\n")]);
        let error = load(Source::File(&main), |_| Ok(())).expect_err("refused").to_string();
        assert!(error.contains("listen.port") && error.contains("a.toml"), "{error}");
    }
}
