//! `leafd demo`: the whole story in half a minute, with nothing but this binary.
//!
//! A sensor publishes numbered readings to a gateway, which forwards them to a hub over a link that is cut and restored,
//! while the gateway is killed with -9 and restarted. At the end every reading is looked up at the hub: none is missing,
//! none is there twice, and they are in order.

mod client;
mod link;
mod node;

use client::Client;
use link::Link;
use node::Node;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const SUBJECT: &str = "plant1.gw1.telemetry.temperature";
/// Between two readings.
const PACE: Duration = Duration::from_millis(4);
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// Runs the demo; an error says what went wrong or what is missing at the hub.
pub fn run() -> Result<(), String> {
    let dir = std::env::temp_dir().join(format!("leafd-demo-{}", std::process::id()));
    let result = play(&dir);
    match &result {
        Ok(()) => drop(std::fs::remove_dir_all(&dir)),
        Err(_) => eprintln!("Everything is kept in {} for a look.", dir.display()),
    }
    result
}

fn play(dir: &std::path::Path) -> Result<(), String> {
    let (hub, leafs, what) = Node::hub(&dir.join("hub")).map_err(|e| format!("the hub does not start: {e}"))?;
    println!("hub:     {what}, clients at {}, leaf nodes at {leafs}", hub.clients);
    let mut hub_client = Client::connect(hub.clients).map_err(|e| format!("the hub does not answer: {e}"))?;
    let config = br#"{"name":"TELEMETRY","subjects":["plant1.*.telemetry.>"],"storage":"file","num_replicas":1}"#;
    ask(&mut hub_client, "$JS.API.STREAM.CREATE.TELEMETRY", config)?;
    let link = Link::start(leafs).map_err(|e| format!("cannot make the link: {e}"))?;
    let gateway_dir = dir.join("gateway");
    let start = || Node::gateway(&gateway_dir, link.address()).map_err(|e| format!("the gateway does not start: {e}"));
    let mut gateway = start()?;
    println!("gateway: leafd, clients at {}, dials the hub over a link at {}", gateway.clients, link.address());
    let sensor = Sensor::start(gateway.clients);
    println!("sensor:  publishes {} readings a second on {SUBJECT}\n", 1000 / PACE.as_millis());
    println!("{:>6}  {:>6}  {:>8}  {:>9}  {:>9}  {:>9}", "time", "link", "gateway", "stored", "at hub", "buffered");

    let mut show = Display { began: Instant::now(), link: "up", gateway: "up" };
    show.watch(3, &sensor, &mut hub_client)?;
    show.event("the link is cut");
    link.cut();
    show.link = "DOWN";
    show.watch(3, &sensor, &mut hub_client)?;
    show.event("kill -9 of the gateway, and a restart while the link is down");
    gateway.kill();
    gateway = start()?;
    sensor.moved_to(gateway.clients);
    show.watch(3, &sensor, &mut hub_client)?;
    show.event("the link is restored");
    link.restore();
    show.link = "up";
    show.watch(2, &sensor, &mut hub_client)?;
    show.event("kill -9 of the gateway while everything is up, and a restart");
    gateway.kill();
    show.gateway = "KILLED";
    show.watch(1, &sensor, &mut hub_client)?;
    let _gateway = start()?;
    sensor.moved_to(_gateway.clients);
    show.gateway = "up";
    show.watch(3, &sensor, &mut hub_client)?;
    show.event("the sensor stops; what is buffered drains");
    let stored = sensor.stop();
    let until = Instant::now() + DRAIN_LIMIT;
    while at_hub(&mut hub_client)? < stored && Instant::now() < until {
        show.watch(1, &sensor, &mut hub_client)?;
    }
    verify(&mut hub_client, stored)?;
    println!(
        "\nThe gateway acknowledged {stored} readings; the hub holds {stored}: nothing lost, nothing twice, all in order."
    );
    println!("{} bytes crossed the link towards the hub.", link.bytes_to_hub());
    Ok(())
}

/// The live table.
struct Display {
    began: Instant,
    link: &'static str,
    gateway: &'static str,
}

impl Display {
    fn event(&self, text: &str) {
        println!("{:>5.1}s  -- {text}", self.began.elapsed().as_secs_f32());
    }

    fn watch(&self, seconds: u64, sensor: &Sensor, hub: &mut Client) -> Result<(), String> {
        for _ in 0..seconds * 2 {
            thread::sleep(Duration::from_millis(500));
            let (stored, at_hub) = (sensor.stored(), at_hub(hub)?);
            println!(
                "{:>5.1}s  {:>6}  {:>8}  {stored:>9}  {at_hub:>9}  {:>9}",
                self.began.elapsed().as_secs_f32(),
                self.link,
                self.gateway,
                stored.saturating_sub(at_hub)
            );
            let _ = io::stdout().flush();
        }
        Ok(())
    }
}

/// Publishes reading after reading, each until it is acknowledged.
struct Sensor {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Shared {
    gateway: Mutex<SocketAddr>,
    stored: AtomicU64,
    stop: AtomicBool,
}

impl Sensor {
    fn start(gateway: SocketAddr) -> Sensor {
        let shared =
            Arc::new(Shared { gateway: Mutex::new(gateway), stored: AtomicU64::new(0), stop: AtomicBool::new(false) });
        let thread = thread::spawn({
            let shared = shared.clone();
            move || shared.publish()
        });
        Sensor { shared, thread: Mutex::new(Some(thread)) }
    }

    fn moved_to(&self, gateway: SocketAddr) {
        *self.shared.gateway.lock().unwrap_or_else(PoisonError::into_inner) = gateway;
    }

    /// Readings that the gateway has acknowledged.
    fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::SeqCst)
    }

    fn stop(&self) -> u64 {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        self.stored()
    }
}

impl Shared {
    fn publish(&self) {
        let mut client = None;
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.stored.load(Ordering::SeqCst) + 1;
            match self.try_publish(&mut client, number) {
                Ok(true) => self.stored.store(number, Ordering::SeqCst),
                // Not acknowledged: the same reading again, under the same id, so that it cannot be stored twice.
                Ok(false) => {}
                Err(_) => client = None,
            }
            thread::sleep(PACE);
        }
    }

    fn try_publish(&self, client: &mut Option<Client>, number: u64) -> io::Result<bool> {
        if client.is_none() {
            *client = Some(Client::connect(*self.gateway.lock().unwrap_or_else(PoisonError::into_inner))?);
        }
        let Some(client) = client else { return Ok(false) };
        let answer = client.request(SUBJECT, Some(&format!("reading-{number}")), number.to_string().as_bytes())?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(answer["seq"].is_u64() && answer["error"].is_null())
    }
}

fn ask(hub: &mut Client, subject: &str, payload: &[u8]) -> Result<serde_json::Value, String> {
    let answer =
        hub.request(subject, None, payload).map_err(|e| format!("the hub does not answer on {subject}: {e}"))?;
    let answer: serde_json::Value =
        serde_json::from_slice(&answer).map_err(|e| format!("the hub says nonsense: {e}"))?;
    match answer["error"]["description"].as_str() {
        Some(error) => Err(format!("the hub refuses {subject}: {error}")),
        None => Ok(answer),
    }
}

fn at_hub(hub: &mut Client) -> Result<u64, String> {
    ask(hub, "$JS.API.STREAM.INFO.TELEMETRY", b"")?["state"]["messages"]
        .as_u64()
        .ok_or_else(|| "the hub does not tell what its stream holds".to_owned())
}

/// Looks every message of the hub's stream up: it must hold the readings 1 to `stored`, each once, in order.
fn verify(hub: &mut Client, stored: u64) -> Result<(), String> {
    use base64::Engine;
    let count = at_hub(hub)?;
    for seq in 1..=count {
        let answer = ask(hub, "$JS.API.STREAM.MSG.GET.TELEMETRY", format!("{{\"seq\":{seq}}}").as_bytes())?;
        let data = answer["message"]["data"].as_str().unwrap_or_default();
        let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default();
        if data != seq.to_string().into_bytes() {
            let data = String::from_utf8_lossy(&data);
            return Err(format!("message {seq} at the hub is reading {data}: something was lost or came twice"));
        }
    }
    match count == stored {
        true => Ok(()),
        false => Err(format!("the gateway acknowledged {stored} readings, the hub holds {count}")),
    }
}
