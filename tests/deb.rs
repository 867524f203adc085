//! The Debian package: what it says of itself, what is in it, and that it installs into an empty root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

#[test]
fn the_package_installs_and_what_it_installs_runs() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return eprintln!("passed over: dpkg-deb is not installed");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut build = Command::new("packaging/deb");
    // A binary with debugging information takes long to compress.
    build.env("DPKG_DEB_COMPRESSOR_TYPE", "none").arg(env!("CARGO_BIN_EXE_leafd")).arg(dir.path());
    let package = run(&mut build);
    let package = Path::new(package.trim());
    let (version, arch) = (env!("CARGO_PKG_VERSION"), run(Command::new("dpkg").arg("--print-architecture")));
    let name = format!("leafd_{version}_{}.deb", arch.trim());
    assert_eq!(package.file_name().expect("a file").to_string_lossy(), name);

    let info = run(Command::new("dpkg-deb").arg("--info").arg(package));
    for want in ["Package: leafd", &format!("Version: {version}"), &format!("Architecture: {arch}"), "conffiles"] {
        assert!(info.contains(want), "{want:?} is not in {info}");
    }
    let contents = run(Command::new("dpkg-deb").arg("--contents").arg(package));
    for want in [
        "-rwxr-xr-x root/root",
        "./usr/bin/leafd",
        "./usr/lib/systemd/system/leafd.service",
        "./usr/lib/sysusers.d/leafd.conf",
        "./usr/share/doc/leafd/examples/leafd-gateway.toml",
        "drwxr-x--- root/root",
        "-rw-r----- root/root",
    ] {
        assert!(contents.contains(want), "{want:?} is not in {contents}");
    }

    if rustix::process::getuid().is_root() {
        let root = dir.path().join("root");
        install(package, &root);
        // A second time: an upgrade.
        install(package, &root);
    }
}

fn install(package: &Path, root: &Path) {
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"] {
        fs::create_dir_all(root.join(folder)).expect("created");
    }
    let status = root.join("var/lib/dpkg/status");
    if !status.exists() {
        fs::write(status, "").expect("written");
    }
    run(Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .arg(format!("--log={}", root.join("dpkg.log").display()))
        .args(["--force-depends", "--force-script-chrootless", "--install"])
        .arg(package));
    let users = fs::read_to_string(root.join("etc/passwd")).expect("there is a user now");
    assert!(users.lines().any(|line| line.starts_with("leafd:") && line.contains("/var/lib/leafd")), "{users}");
    let config = root.join("etc/leafd/leafd.toml");
    let meta = fs::metadata(&config).expect("installed");
    assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    let groups = fs::read_to_string(root.join("etc/group")).expect("there is a group now");
    assert!(groups.lines().any(|line| line.starts_with("leafd:") && line.contains(&format!(":{}:", meta.gid()))));
    let said = run(Command::new(root.join("usr/bin/leafd")).arg("check").arg("-c").arg(&config));
    assert!(said.contains("data in /var/lib/leafd") && !said.contains("Warning"), "{said}");
}

/// What a command that succeeds writes.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
