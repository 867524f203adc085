//! A real nats-server as the hub: TLS for leaf nodes, JetStream on disk, and a leaf user who may do only what a gateway needs.

use super::{LIMIT, Port, wait_for};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Name of the hub's stream for readings.
pub const STREAM: &str = "TELEMETRY";

/// A nats-server; killed when dropped.
pub struct Hub {
    dir: tempfile::TempDir,
    child: Option<Child>,
    /// What the gateway's user may publish besides.
    grants: Vec<String>,
    /// For clients; the same after each restart.
    pub clients: SocketAddr,
    /// For leaf nodes; the same after each restart.
    pub leafs: SocketAddr,
    _ports: [Port; 2],
}

/// The binary: `NATS_SERVER`, else the one on PATH.
pub fn binary() -> String {
    std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned())
}

impl Hub {
    /// Starts one on ports that the kernel picks.
    pub async fn start() -> Hub {
        Hub::start_with(&[]).await
    }

    /// The same; the gateway's user may publish `grants` as well.
    pub async fn start_with(grants: &[&str]) -> Hub {
        let dir = tempfile::tempdir().expect("a folder");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::generate_simple_self_signed(names).expect("a certificate");
        fs::write(dir.path().join("cert.pem"), certificate.cert.pem()).expect("written");
        fs::write(dir.path().join("key.pem"), certificate.signing_key.serialize_pem()).expect("written");
        let ports = [(); 2].map(|()| Port::free());
        let mut hub = Hub {
            dir,
            child: None,
            grants: grants.iter().map(|s| format!(", {s:?}")).collect(),
            clients: ports[0].at,
            leafs: ports[1].at,
            _ports: ports,
        };
        hub.restart().await;
        hub
    }

    /// The file that vouches for the hub's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Starts it (again), and waits until it listens.
    pub async fn restart(&mut self) {
        fs::write(self.dir.path().join("hub.conf"), self.config()).expect("written");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let child = Command::new(binary())
            .arg("-c")
            .arg(self.dir.path().join("hub.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts; NATS_SERVER names its binary");
        let ports = self.dir.path().join(format!("nats-server_{}.ports", child.id()));
        self.child = Some(child);
        // It is written when it listens for all of them.
        wait_for("the hub's ports file", LIMIT, || async { read_port(&ports) }).await;
    }

    /// Ends it, by kill -9 or in order.
    pub fn stop(&mut self, in_order: bool) {
        let Some(mut child) = self.child.take() else { return };
        match in_order {
            true => super::signal(child.id(), rustix::process::Signal::TERM),
            false => drop(child.kill()),
        }
        let _ = child.wait();
    }

    /// A client with all rights in the gateway's account.
    pub async fn client(&self) -> async_nats::Client {
        let address = self.clients.to_string();
        wait_for("a client's connection to the hub", LIMIT, || async {
            let options = async_nats::ConnectOptions::with_user_and_password("app".into(), "app".into());
            options.connect(&address).await.ok()
        })
        .await
    }

    /// The stream that takes the gateway's readings, made if it is not there.
    pub async fn stream(&self) -> async_nats::jetstream::stream::Stream {
        let context = async_nats::jetstream::new(self.client().await);
        wait_for("the hub's stream", LIMIT, || async {
            let config = async_nats::jetstream::stream::Config {
                name: STREAM.to_owned(),
                subjects: vec!["plant1.*.telemetry.>".to_owned()],
                // The least that nats-server takes as a window: exactly-once must not rest on it.
                duplicate_window: std::time::Duration::from_secs(1),
                ..Default::default()
            };
            context.get_or_create_stream(config).await.ok()
        })
        .await
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Its store directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("hub.log")
    }

    fn config(&self) -> String {
        format!(
            r#"server_name: hub
listen: "{clients}"
ports_file_dir: {dir:?}
jetstream {{ store_dir: {data:?} }}
accounts {{
  PLANT {{
    jetstream: enabled
    users: [
      {{ user: app, password: app }}
      {{ user: gw1, password: secret, permissions: {{
          publish: ["plant1.gw1.>", "$JS.API.STREAM.MSG.GET.{STREAM}", "$JS.API.STREAM.MSG.GET.ALARMS",
                    "$JS.API.STREAM.MSG.GET.KV_config", "$KV.config.>", "$KV.gateways.gw1.>"{grants}]
          subscribe: ["_INBOX.>", "plant1.gw1.cmd.>"] }} }}
    ]
  }}
}}
leafnodes {{
  listen: "{leafs}"
  tls {{ cert_file: {cert:?}, key_file: {key:?} }}
}}
"#,
            grants = self.grants.concat(),
            clients = self.clients,
            leafs = self.leafs,
            dir = self.dir.path(),
            data = self.data(),
            cert = self.dir.path().join("cert.pem"),
            key = self.dir.path().join("key.pem"),
        )
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop(false);
        if std::thread::panicking() {
            eprintln!("--- hub ---\n{}", self.log());
        }
    }
}

/// The client address of a ports file.
pub fn read_port(path: &Path) -> Option<SocketAddr> {
    let ports: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit('/').next()?.parse().ok()
}
