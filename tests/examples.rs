//! The configurations in config/ and the unit in systemd/ are right as they stand, once the files that they name are there.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_example_configuration_passes_the_check() {
    let mut seen = 0;
    for entry in fs::read_dir("config").expect("it is there") {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("readable");
        let dir = tempfile::tempdir().expect("a folder");
        let text = text.replace("/etc/leafd/", &format!("{}/", dir.path().display()));
        named_files(&text, dir.path());
        let file = dir.path().join("leafd.toml");
        fs::write(&file, text).expect("written");
        let run = Command::new(env!("CARGO_BIN_EXE_leafd"))
            .args(["check", "--offline"])
            .arg("-c")
            .arg(&file)
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && !said.contains("Warning"), "{}: {said}", path.display());
        seen += 1;
    }
    assert!(seen >= 2, "there are {seen} examples");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let dir = tempfile::tempdir().expect("a folder");
    let unit = dir.path().join("leafd.service");
    let text = fs::read_to_string("systemd/leafd.service").expect("readable");
    fs::write(&unit, text.replace("/usr/bin/leafd", env!("CARGO_BIN_EXE_leafd"))).expect("written");
    let Ok(run) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        return eprintln!("passed over: systemd-analyze is not installed");
    };
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && !said.contains("leafd.service"), "{said}");
}

/// Creates the files in `dir` that `text` names: certificates and keys as such, others with some text.
fn named_files(text: &str, dir: &Path) {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    for path in text.split('"').skip(1).step_by(2).map(Path::new).filter(|path| path.starts_with(dir)) {
        let name = path.file_name().expect("a file").to_string_lossy();
        let content = match () {
            () if name.ends_with("key.pem") => &key,
            () if name.ends_with(".pem") => &certificate,
            () => "secret\n",
        };
        fs::write(path, content).expect("written");
    }
}
