//! Under the name of nats-server: what programs rely on that start a nats-server, read its log and its files, and signal it.

mod common;

use common::certificates::Authority;
use common::{LIMIT, LOOK};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// A process that is called nats-server; killed when dropped.
struct NatsServer {
    child: Child,
    dir: PathBuf,
}

fn command(dir: &Path) -> Command {
    let program = dir.join("nats-server");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_leafd"), &program).expect("a link");
    }
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    command
}

impl NatsServer {
    /// Starts it with `-p -1 -l log -P pid` and more.
    fn start(dir: &Path, more: &[&str]) -> NatsServer {
        let mut command = command(dir);
        command.args(["-p", "-1", "-l", "log", "-P", "pid"]).args(more);
        NatsServer { child: command.spawn().expect("leafd is built"), dir: dir.to_owned() }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Waits for a line with `text`; returns it.
    fn wait_log(&self, text: &str) -> String {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(line) = self.log().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < until, "no {text:?} in the log:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(dir: &Path, what: &str) -> ExitStatus {
    command(dir).args(["--signal", what]).status().expect("runs")
}

#[test]
fn its_log_and_its_files_are_those_of_nats_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let conf = "# comment\nserver_name = gw1\njetstream { store_dir: \"sd\" }\nserver_tags: [a]\nport: 1\n";
    std::fs::write(dir.path().join("a.conf"), conf).expect("written");
    let server = NatsServer::start(dir.path(), &["-c", "a.conf", "--ports_file_dir", "."]);
    server.wait_log("[INF] Server is ready");
    let line = server.wait_log("Listening for client connections on ");
    let address = line.rsplit(' ').next().expect("an address");
    assert!(address.starts_with("0.0.0.0:") && !address.ends_with(":1"), "the flag goes before the file: {line}");
    let pid = std::fs::read_to_string(dir.path().join("pid")).expect("a pid file");
    assert_eq!(pid, server.child.id().to_string());
    assert!(line.starts_with(&format!("[{pid}] 20")), "{line}");
    assert!(server.wait_log("`server_tags` is ignored").contains("[WRN] a.conf:4:1:"));
    let ports = std::fs::read_to_string(dir.path().join(format!("nats-server_{pid}.ports"))).expect("a ports file");
    let ports: serde_json::Value = serde_json::from_str(&ports).expect("JSON");
    let url = ports["nats"][0].as_str().expect("an URL").to_owned();
    assert_eq!(url, address.replace("0.0.0.0", "nats://127.0.0.1"));
    let mut info = String::new();
    let client = TcpStream::connect(&url["nats://".len()..]).expect("it listens");
    BufReader::new(client).read_line(&mut info).expect("INFO");
    assert!(info.contains("\"server_name\":\"gw1\"") && info.contains("\"jetstream\":true"), "{info}");

    std::fs::rename(dir.path().join("log"), dir.path().join("log.1")).expect("moved");
    assert!(signal(dir.path(), "reopen=pid").success());
    server.wait_log("File log re-opened");
    assert!(signal(dir.path(), &format!("quit={pid}")).success());
    assert_eq!(server.end().code(), Some(0));
    assert!(!dir.path().join(format!("nats-server_{pid}.ports")).exists());
}

#[test]
fn a_start_that_fails_says_so_and_ends_with_1() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = NatsServer::start(dir.path(), &["-a", "127.0.0.1"]);
    let line = first.wait_log("Listening for client connections on ");
    let port = line.rsplit(':').next().expect("a port");
    let second = command(dir.path()).args(["-a", "127.0.0.1", "-p", port]).output().expect("runs");
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(text.contains("[FTL] ") && text.contains(&format!("127.0.0.1:{port}")), "{text}");
    std::fs::write(dir.path().join("bad.conf"), "port: 4222\nprot = 1\ncluster { port: 1 }\n").expect("written");
    for flags in [["-c", "bad.conf"].as_slice(), &["-t", "-c", "bad.conf"], &["config", "check", "bad.conf"]] {
        let output = command(dir.path()).args(flags).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(text.contains("bad.conf:2:1: unknown field `prot`"), "{text}");
        assert!(text.contains("bad.conf:3:1: `cluster` is not supported"), "{text}");
    }
}

#[test]
fn tls_by_flags_leaves_in_who_comes_without_where_the_file_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Authority::new(dir.path()).server("server");
    let (cert, key) = (server.cert.to_string_lossy(), server.key.to_string_lossy());
    let flags = ["-a", "127.0.0.1", "-tls", "-tlscert", &cert, "-tlskey", &key];
    for (conf, key) in [("allow_non_tls: true", "\"tls_available\":true"), ("", "\"tls_required\":true")] {
        std::fs::write(dir.path().join("a.conf"), conf).expect("written");
        let _ = std::fs::remove_file(dir.path().join("log"));
        let server = NatsServer::start(dir.path(), &[flags.as_slice(), &["-c", "a.conf"]].concat());
        let line = server.wait_log("Listening for client connections on ");
        let mut info = String::new();
        let client = TcpStream::connect(line.rsplit(' ').next().expect("an address")).expect("it listens");
        BufReader::new(client).read_line(&mut info).expect("INFO");
        assert!(info.contains(key) && info.matches("\"tls_").count() == 1, "{conf}: {info}");
    }
}

#[test]
fn streams_in_memory_have_the_room_that_nats_server_gives_them() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.conf"), "jetstream: enabled").expect("written");
    for (more, refused) in [(["-js"].as_slice(), false), (&["-c", "a.conf"], false), (&["-c", "leafd.toml"], true)] {
        std::fs::write(dir.path().join("leafd.toml"), "[log]\nformat = \"nats-server\"\n").expect("written");
        let _ = std::fs::remove_file(dir.path().join("log"));
        let server = NatsServer::start(dir.path(), &[&["-a", "127.0.0.1", "-sd", "sd"], more].concat());
        let line = server.wait_log("Listening for client connections on ");
        let mut client = TcpStream::connect(line.rsplit(' ').next().expect("an address")).expect("it listens");
        client.set_read_timeout(Some(LIMIT)).expect("set");
        let stream = r#"{"name":"M","subjects":["m"],"storage":"memory","max_bytes":104857600}"#;
        let (subject, length) = ("$JS.API.STREAM.CREATE.M", stream.len());
        write!(client, "CONNECT {{}}\r\nSUB a 1\r\nPUB {subject} a {length}\r\n{stream}\r\n").expect("sent");
        let answer =
            BufReader::new(client).lines().map(|line| line.expect("answered")).find(|line| line.starts_with('{'));
        let answer = answer.expect("answered");
        assert_eq!(answer.contains("insufficient memory resources available"), refused, "{more:?}: {answer}");
        assert_eq!(answer.contains("\"did_create\":true"), !refused, "{more:?}: {answer}");
    }
}

#[test]
fn a_converted_file_starts_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.conf"), "listen: \"127.0.0.1:-1\", max_payload: 2K").expect("written");
    let output = command(dir.path()).args(["config", "convert", "a.conf"]).output().expect("runs");
    assert!(output.status.success());
    std::fs::write(dir.path().join("b.toml"), output.stdout).expect("written");
    for file in ["a.conf", "b.toml"] {
        let sd = format!("sd-{file}");
        let _ = std::fs::remove_file(dir.path().join("log"));
        let server = NatsServer::start(dir.path(), &["-c", file, "-sd", &sd]);
        let line = server.wait_log("[INF] Listening for client connections on 127.0.0.1:");
        let mut info = String::new();
        let client = TcpStream::connect(line.rsplit(' ').next().expect("an address")).expect("it listens");
        BufReader::new(client).read_line(&mut info).expect("INFO");
        assert!(info.contains("\"max_payload\":2000,") && !info.contains("jetstream"), "{info}");
    }
}

#[test]
fn a_lame_duck_tells_its_clients_lets_them_go_and_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let conf = "listen: '127.0.0.1:-1', lame_duck_duration: '30s', lame_duck_grace_period: '300ms'";
    std::fs::write(dir.path().join("a.conf"), conf).expect("written");
    let server = NatsServer::start(dir.path(), &["-c", "a.conf"]);
    let line = server.wait_log("Listening for client connections on ");
    let address = line.rsplit(' ').next().expect("an address");
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = BufReader::new(TcpStream::connect(address).expect("it listens"));
            client.get_mut().set_read_timeout(Some(LIMIT)).expect("set");
            client.read_line(&mut String::new()).expect("INFO");
            client
        })
        .collect();
    assert!(signal(dir.path(), "ldm=pid").success());
    server.wait_log("Entering lame duck mode, stop accepting new clients");
    let told = Instant::now();
    for mut client in clients {
        let mut rest = String::new();
        client.read_line(&mut rest).expect("told");
        assert!(rest.starts_with("INFO ") && rest.contains("\"ldm\":true"), "{rest}");
        assert_eq!(client.read_line(&mut rest).expect("closed in order"), 0);
    }
    assert!(told.elapsed().as_millis() >= 300, "the grace period is held");
    TcpStream::connect(address).expect_err("nobody is let in any more");
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn protocol_lines_are_traced_without_secrets() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = NatsServer::start(dir.path(), &["-a", "127.0.0.1", "-DV", "--user", "u", "--pass", "s3cret"]);
    let line = server.wait_log("Listening for client connections on ");
    let mut client = TcpStream::connect(line.rsplit(' ').next().expect("an address")).expect("it listens");
    let connect =
        "CONNECT {\"user\":\"u\",\"pass\":\"s3cret\",\"verbose\":true,\"lang\":\"go\",\"version\":\"1.2\"}\r\n";
    write!(client, "{connect}SUB a 1\r\nPUB a 6\r\nh\"\x01llo\r\nSUB b..c 2\r\nUNSUB 1\r\nPING\r\n").expect("sent");
    let label = client.local_addr().expect("connected");
    for traced in [
        "->> [OK]",
        "<<- [SUB a 1]",
        "<<- [PUB a 6]",
        r#"<<- MSG_PAYLOAD: ["h\"\x01llo"]"#,
        "->> [MSG a 1 6]",
        "->> [-ERR Invalid Subject]",
        "<-> [DELSUB 1]",
        "->> [PONG]",
    ] {
        let line = server.wait_log(traced);
        let (head, tail) = line.split_once(" - cid:").expect("a number");
        assert!(head.ends_with(&format!("[TRC] {label}")), "{line}");
        let (number, said) = tail.split_once(" - ").expect("more than a number");
        assert!(number.parse::<u64>().is_ok() && said == format!(r#""v1.2:go" - "$G/user:u" - {traced}"#), "{line}");
    }
    let connect = server.wait_log("<<- [CONNECT ");
    assert!(connect.contains(r#" - <<- [CONNECT {"user":"u","pass":"[REDACTED]","verbose":true,"#), "{connect}");
    assert!(!server.log().contains("s3cret"), "{connect}");
}
