//! The processes of the demo: a hub (a real nats-server where one is installed, else leafd itself) and the gateway.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to say on which ports it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running process and where it listens; killed when dropped.
pub struct Node {
    child: Child,
    /// For clients.
    pub clients: SocketAddr,
}

impl Node {
    /// The hub, where it accepts leaf nodes, and what it is.
    pub fn hub(dir: &Path) -> io::Result<(Node, SocketAddr, &'static str)> {
        fs::create_dir_all(dir)?;
        let with_leafs = |node, what| match leaf_address(dir) {
            Some(leafs) => Ok((node, leafs, what)),
            None => Err(io::Error::other("it does not say where it accepts leaf nodes")),
        };
        if Command::new("nats-server").arg("--version").output().is_ok_and(|o| o.status.success()) {
            let config = dir.join("hub.conf");
            fs::write(&config, nats_server_config(dir))?;
            let mut command = Command::new("nats-server");
            command.arg("-c").arg(&config);
            return with_leafs(Node::start(command, dir, PortsFile::NatsServer(dir.into()))?, "nats-server");
        }
        let config = dir.join("hub.toml");
        fs::write(&config, leafd_hub_config(dir))?;
        with_leafs(Node::leafd(&config, dir)?, "leafd, as a stand-in for nats-server")
    }

    /// The gateway, which dials the hub at `link`.
    pub fn gateway(dir: &Path, link: SocketAddr) -> io::Result<Node> {
        fs::create_dir_all(dir)?;
        let secret = dir.join("hub.pass");
        fs::write(&secret, "demo")?;
        let config = dir.join("gateway.toml");
        fs::write(&config, gateway_config(dir, link, &secret))?;
        Node::leafd(&config, dir)
    }

    fn leafd(config: &Path, dir: &Path) -> io::Result<Node> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("-c").arg(config);
        Node::start(command, dir, PortsFile::Leafd(dir.join("data/leafd.ports")))
    }

    fn start(mut command: Command, dir: &Path, ports: PortsFile) -> io::Result<Node> {
        if let PortsFile::Leafd(path) = &ports {
            // Of an earlier start; it would be taken for this one's.
            let _ = fs::remove_file(path);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let until = Instant::now() + START_LIMIT;
        loop {
            if let Some(clients) = ports.read(child.id()) {
                return Ok(Node { child, clients });
            }
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("it ended with {status}; its log says:\n{log}")));
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not say on which ports it listens"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

enum PortsFile {
    /// `nats-server_PID.ports` in this folder.
    NatsServer(PathBuf),
    /// This file.
    Leafd(PathBuf),
}

impl PortsFile {
    /// The clients' address, once the file is whole.
    fn read(&self, pid: u32) -> Option<SocketAddr> {
        let path = match self {
            PortsFile::NatsServer(dir) => dir.join(format!("nats-server_{pid}.ports")),
            PortsFile::Leafd(path) => path.clone(),
        };
        let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        ports["nats"][0].as_str()?.rsplit('/').next()?.parse().ok()
    }
}

/// Where the server that logs into `dir` accepts leaf nodes: nats-server's ports file does not tell, its log does, and
/// leafd says it in the same words.
fn leaf_address(dir: &Path) -> Option<SocketAddr> {
    let log = fs::read_to_string(dir.join("log")).ok()?;
    let (_, rest) = log.rsplit_once("Listening for leafnode connections on ")?;
    rest.lines().next()?.trim().parse().ok()
}

fn nats_server_config(dir: &Path) -> String {
    format!(
        r#"server_name: hub
listen: "127.0.0.1:-1"
ports_file_dir: "{dir}"
jetstream {{ store_dir: "{dir}/data" }}
accounts {{
  PLANT {{
    jetstream: enabled
    users: [
      {{ user: demo, password: demo }}
      {{ user: gw1, password: demo, permissions: {{
          publish: ["plant1.gw1.>", "$JS.API.STREAM.MSG.GET.TELEMETRY"]
          subscribe: ["_INBOX.>", "plant1.gw1.cmd.>"] }} }}
    ]
  }}
}}
no_auth_user: demo
leafnodes {{ listen: "127.0.0.1:-1" }}
"#,
        dir = dir.display()
    )
}

fn leafd_hub_config(dir: &Path) -> String {
    format!(
        r#"server_name = "hub"
data_dir = "{dir}/data"
[listen]
port = 0
[leaf.listen]
host = "127.0.0.1"
port = 0
[[leaf.listen.users]]
user = "gw1"
password = "demo"
publish = ["plant1.gw1.>", "$JS.API.STREAM.MSG.GET.TELEMETRY"]
subscribe = ["_INBOX.>", "plant1.gw1.cmd.>"]
"#,
        dir = dir.display()
    )
}

fn gateway_config(dir: &Path, link: SocketAddr, secret: &Path) -> String {
    format!(
        r#"server_name = "gw1"
data_dir = "{dir}/data"
[listen]
port = 0
[[leaf.remote]]
name = "hub"
urls = ["nats-leaf://{link}"]
user = "gw1"
password = {{ file = "{secret}" }}
export = ["plant1.gw1.>"]
import = ["plant1.gw1.cmd.>"]
reconnect = {{ min = "100ms", max = "1s" }}
[[uplink]]
name = "telemetry"
subjects = ["plant1.gw1.telemetry.>"]
hub_stream = "TELEMETRY"
"#,
        dir = dir.display(),
        secret = secret.display()
    )
}
