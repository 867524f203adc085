//! A hub of several nodes: nats-servers in one cluster with JetStream on disk, joined to other clusters by gateways if wished.
//! Each keeps its ports and its files when it is killed and started again.

use super::{LIMIT, Port, hub, wait_for};
use rustix::process::Signal;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The nodes of one cluster, or of several joined by gateways; killed when dropped.
pub struct Cluster {
    pub nodes: Vec<Node>,
}

/// One nats-server of a cluster.
pub struct Node {
    dir: tempfile::TempDir,
    child: Option<Child>,
    /// `server_name`: the cluster's name and its number in it, from 1.
    pub name: String,
    /// Where clients connect.
    pub clients: SocketAddr,
    /// Where leaf nodes connect.
    pub leafs: SocketAddr,
    _ports: Vec<Port>,
}

impl Cluster {
    /// Clusters of these names and numbers of nodes, with gateways between them if there are several, and a JetStream meta leader.
    pub async fn start(clusters: &[(&str, usize)]) -> Cluster {
        // Of each node of each cluster: for routes, gateways, clients and leafs.
        let ports: Vec<Vec<[Port; 4]>> =
            clusters.iter().map(|(_, size)| (0..*size).map(|_| [(); 4].map(|()| Port::free())).collect()).collect();
        let of_kind = |kind: usize| -> Vec<Vec<SocketAddr>> {
            ports.iter().map(|nodes| nodes.iter().map(|ports| ports[kind].at).collect()).collect()
        };
        let (routes, gateways) = (of_kind(0), of_kind(1));
        let list = |scheme: &str, all: &[SocketAddr]| {
            all.iter().map(|at| format!("\"{scheme}://{at}\"")).collect::<Vec<_>>().join(", ")
        };
        let others: Vec<String> = clusters
            .iter()
            .zip(&gateways)
            .map(|((name, _), all)| format!("{{ name: {name}, urls: [{}] }}", list("nats", all)))
            .collect();
        let mut nodes = Vec::new();
        for (c, ((cluster, _), ports)) in clusters.iter().zip(ports).enumerate() {
            for (n, ports) in ports.into_iter().enumerate() {
                let dir = tempfile::tempdir().expect("a folder");
                let name = format!("{cluster}-{}", n + 1);
                let (clients, leafs) = (ports[2].at, ports[3].at);
                let gateway = match clusters.len() {
                    1 => String::new(),
                    _ => format!(
                        "gateway {{ name: {cluster}, listen: \"{}\", gateways: [{}] }}\n\
                         accounts {{ $SYS {{ users: [ {{ user: sys, password: sys }} ] }} }}\nsystem_account: \"$SYS\"\n",
                        gateways[c][n],
                        others.join(", ")
                    ),
                };
                let config = format!(
                    "server_name: {name}\nlisten: \"{clients}\"\njetstream {{ store_dir: {:?}, domain: hub }}\n\
                     lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\nleafnodes {{ listen: \"{leafs}\" }}\n\
                     cluster {{ name: {cluster}, listen: \"{}\", routes: [{}] }}\n{gateway}",
                    dir.path().join("data"),
                    routes[c][n],
                    list("nats-route", &routes[c]),
                );
                fs::write(dir.path().join("server.conf"), config).expect("written");
                nodes.push(Node { dir, child: None, name, clients, leafs, _ports: ports.into() });
            }
        }
        let mut cluster = Cluster { nodes };
        cluster.nodes.iter_mut().for_each(Node::start);
        for node in &cluster.nodes {
            node.ready().await;
        }
        cluster
    }

    /// The node of this name.
    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).expect("a node of the cluster")
    }

    /// A client that knows all nodes, and goes to another when its own goes.
    pub async fn client(&self) -> async_nats::Client {
        let nodes: Vec<String> = self.nodes.iter().map(|node| node.clients.to_string()).collect();
        wait_for("a client's connection to the cluster", LIMIT, || async { async_nats::connect(&nodes[..]).await.ok() })
            .await
    }
}

impl Node {
    /// Starts it (again) without waiting.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = Command::new(hub::binary());
        command.arg("-c").arg(self.dir.path().join("server.conf")).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.stderr(log).spawn().expect("nats-server starts; NATS_SERVER names its binary"));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it was not killed.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        super::signal(self.child.as_ref().expect("it runs").id(), signal);
    }

    /// Waits until it answers for JetStream, which takes a meta leader.
    pub async fn ready(&self) {
        wait_for(&format!("JetStream of {}", self.name), LIMIT, || async {
            let client = async_nats::connect(self.clients.to_string()).await.ok()?;
            async_nats::jetstream::new(client).query_account().await.ok()
        })
        .await;
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- {}, last lines ---\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
