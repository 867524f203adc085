//! From files to a [`Config`]: parse each, merge them, fill in what depends on the machine, check.

use super::{Config, check};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What is wrong with a configuration: every finding, each with file and place where it is known.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Reads `path` and `conf.d/*.toml` beside it, in the order of their names; without a path, the defaults. `name` goes
/// before the configured `server_name`.
///
/// # Errors
/// Everything that is wrong, as far as it can be told at once.
pub fn load(path: Option<&Path>, name: Option<&str>) -> Result<Config, ConfigError> {
    let mut errors = Vec::new();
    let mut merged = Table::new();
    for file in path.map(files).transpose().map_err(|e| ConfigError(vec![e]))?.unwrap_or_default() {
        match read(&file) {
            Ok(table) => merge(&mut merged, table, "", &file, &mut errors),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(ConfigError(errors));
    }
    let mut config: Config = Value::Table(merged).try_into().map_err(|e| ConfigError(vec![format!("{e}")]))?;
    if let Some(name) = name {
        config.server_name = name.to_owned();
    }
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

/// Where the daemon with the configuration in `path` has its data: only `data_dir` is looked at, so that a daemon can be
/// asked for its status while its files are being edited. `None` if no file sets it.
///
/// # Errors
/// A file cannot be read, is no TOML, or its `data_dir` is not a string.
pub fn data_dir(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let one = |error| ConfigError(vec![error]);
    for file in files(path).map_err(one)? {
        let text = text(&file).map_err(one)?;
        let table: Table = toml::from_str(&text).map_err(|e| one(explain(&file, &text, &e)))?;
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

/// Parses one file. It is read as a whole [`Config`] too, only to have errors with their place in the file.
fn read(file: &Path) -> Result<Table, String> {
    let text = text(file)?;
    let explain = |error| explain(file, &text, &error);
    toml::from_str::<Config>(&text).map_err(explain)?;
    toml::from_str::<Table>(&text).map_err(explain)
}

fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))
}

/// An error with its place in the file.
fn explain(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let (line, column) = place(text, error.span().map_or(0, |s| s.start));
    format!("{}:{line}:{column}: {}", file.display(), hint(error.message()))
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1)
}

/// Adds the nearest known name to "unknown field `x`, expected one of `a`, `b`".
fn hint(message: &str) -> String {
    let message = message.trim_end();
    let mut names = message.split('`').skip(1).step_by(2);
    match names.next() {
        Some(unknown) if message.starts_with("unknown field") || message.starts_with("unknown variant") => {
            match names.map(|known| (distance(unknown, known), known)).min() {
                Some((near, known)) if near <= known.len().max(3) / 2 => {
                    format!("{}; did you mean `{known}`?", message.replace("field", "key"))
                }
                _ => message.replace("field", "key"),
            }
        }
        _ => message.to_owned(),
    }
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
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
        load(Some(&main), None).expect_err("refused").to_string()
    }

    #[test]
    fn defaults_need_no_file() {
        let config = load(None, None).expect("valid");
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
        let config = load(Some(&main), None).expect("valid");
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
        let error = load(Some(Path::new("/nowhere/leafd.toml")), None).expect_err("refused").to_string();
        assert!(error.contains("/nowhere/leafd.toml"), "{error}");
        let (_dir, main) = dir(&[("leafd.toml", "[listen]\nport = 1\n"), ("conf.d/a.toml", "[listen]\nport = 2\n")]);
        let error = load(Some(&main), None).expect_err("refused").to_string();
        assert!(error.contains("listen.port") && error.contains("a.toml"), "{error}");
    }
}
