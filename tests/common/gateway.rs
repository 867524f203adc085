//! Configuration of a gateway as the tests run it: hub by TLS through the proxy, an uplink, and adapters.

use super::{Hub, Leafd};
use std::net::SocketAddr;
use std::path::Path;

/// What stands in the configuration of a gateway.
#[derive(Default)]
pub struct Gateway {
    text: String,
}

impl Gateway {
    /// The link to `hub`, dialled at `address`, with an uplink of the telemetry subjects.
    pub fn linked(mut self, hub: &Hub, address: SocketAddr) -> Gateway {
        self.text += &format!(
            r#"
[[leaf.remote]]
name = "hub"
urls = ["tls://localhost:{port}"]
user = "gw1"
password = "secret"
tls = {{ ca_file = {ca:?} }}
export = ["plant1.gw1.>"]
import = ["plant1.gw1.cmd.>"]
ping_interval = "1s"
reconnect = {{ min = "50ms", max = "500ms" }}

[[uplink]]
name = "telemetry"
subjects = ["plant1.gw1.telemetry.>"]
hub_stream = "TELEMETRY"
ack_timeout = "2s"
"#,
            port = address.port(),
            ca = hub.ca_file(),
        );
        self
    }

    /// Over a link on which every byte costs.
    pub fn metered(mut self) -> Gateway {
        self.text = self.text.replace("ping_interval = \"1s\"\n", "metered = true\n");
        self
    }

    /// Over a link that is looked after as often as by default.
    pub fn unhurried(mut self) -> Gateway {
        self.text = self.text.replace("ping_interval = \"1s\"\n", "");
        self
    }

    /// Over a link that hardly ever looks whether the hub is still there.
    pub fn patient(mut self) -> Gateway {
        self.text = self.text.replace("ping_interval = \"1s\"", "ping_interval = \"5m\"");
        self
    }

    /// Further tables.
    pub fn text(mut self, tables: &str) -> Gateway {
        self.text += tables;
        self
    }

    /// A serial device.
    pub fn serial(mut self, name: &str, path: &Path) -> Gateway {
        self.text += &format!(
            r#"
[[adapter.serial]]
name = "{name}"
port = {path:?}
baud = 115200
subject = "plant1.{{gateway}}.telemetry.{name}"
command = "plant1.{{gateway}}.cmd.{name}"
"#
        );
        self
    }

    /// An MQTT broker.
    pub fn mqtt(mut self, name: &str, port: u16) -> Gateway {
        self.text += &format!(
            r#"
[[adapter.mqtt]]
name = "{name}"
url = "mqtt://127.0.0.1:{port}"
topics = [{{ filter = "sensors/#", qos = 1 }}]
subject = "plant1.{{gateway}}.telemetry.{{topic}}"
"#
        );
        self
    }

    /// A leafd with this configuration; not started.
    pub fn leafd(self, dir: &Path) -> Leafd {
        Leafd::new(dir, &self.text)
    }
}
