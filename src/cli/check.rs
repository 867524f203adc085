//! `leafd check`: whether the configuration is right, and what each hub accepts of it.

use super::args::Args;
use crate::auth::ServerKeys;
use crate::config::Config;
use crate::config::leaf::RemoteConfig;
use crate::config::uplink::UplinkConfig;
use crate::leaf::{Crossing, Identity, Probe, bare};
use crate::subject::{is_subset, overlap};
use crate::system::control::{self, Request};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a hub may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

/// Says whether the configuration is right; unless `offline`, connects to the hubs and says what they accept.
pub fn check(args: &Args, offline: bool) -> Result<(), String> {
    let config = args.load()?;
    for warning in &config.warnings {
        println!("Warning: {warning}");
    }
    println!(
        "The configuration is right: {} with {} remotes, {} uplinks, {} adapters, data in {}.",
        config.server_name,
        config.leaf.remote.len(),
        config.uplink.len(),
        config.adapter.serial.len() + config.adapter.mqtt.len(),
        config.data_dir.display()
    );
    if offline || config.leaf.remote.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start the runtime: {e}"))?;
    let mut report = Report::default();
    runtime.block_on(report.run(&config));
    match report.refused {
        0 => Ok(()),
        1 => Err("one thing is refused: see the line that begins with REFUSED".into()),
        n => Err(format!("{n} things are refused: see the lines that begin with REFUSED")),
    }
}

/// What is printed, and how much of it is bad news.
#[derive(Default)]
struct Report {
    refused: usize,
}

/// A mirror or source of a local stream.
struct Origin {
    local: String,
    mirror: bool,
    name: String,
    api: String,
    deliver: String,
    /// The consumer that it is read through, and where that delivers to.
    consumer: Option<(String, String)>,
}

impl Report {
    fn accepted(&self, what: &str) {
        println!("  accepted  {what}");
    }

    fn note(&self, what: &str) {
        println!("  note      {what}");
    }

    fn refuse(&mut self, what: &str) {
        println!("  REFUSED   {what}");
        self.refused += 1;
    }

    fn crossing(&mut self, what: &str, crossing: Crossing, advice: &str) {
        let list = |subjects: &[Box<str>]| subjects.join(", ");
        match crossing {
            Crossing::Whole => self.accepted(what),
            Crossing::Partly { allow, deny } if deny.is_empty() => {
                self.refuse(&format!("{what}: in part; only {}; {advice}", list(&allow)));
            }
            Crossing::Partly { allow, deny } => {
                self.refuse(&format!("{what}: in part; {} without {}; {advice}", list(&allow), list(&deny)));
            }
            Crossing::Refused => self.refuse(&format!("{what}: {advice}")),
        }
    }

    async fn run(&mut self, config: &Config) {
        let identity = Identity {
            server_name: config.server_name.clone(),
            server_id: ServerKeys::generate().id(),
            domain: config.jetstream.enabled.then(|| config.domain()),
            jetstream: config.jetstream.enabled,
        };
        let origins = origins(config);
        if let Err(why) = &origins {
            println!("Mirrors and sources are not looked at: {why}");
        }
        let mut origins = origins.unwrap_or_default();
        for remote in &config.leaf.remote {
            println!("[[leaf.remote]] {:?}", remote.name);
            let mut hub = None;
            for url in &remote.urls {
                match Probe::dial(url, remote, &identity).await {
                    Ok(probe) => {
                        let domain = if probe.domain.is_empty() { "none" } else { &probe.domain };
                        let (name, version) = (&probe.server_name, &probe.version);
                        self.accepted(&format!("{}: {name} {version}, JetStream domain {domain}", bare(url)));
                        hub.get_or_insert(probe);
                    }
                    Err(error) => self.refuse(&format!("{}: {error}", bare(url))),
                }
            }
            let Some(mut hub) = hub else { continue };
            if !hub.domain.is_empty() && identity.domain.as_ref() == Some(&hub.domain) {
                self.refuse(&format!(
                    "JetStream domain {}: it is the hub's and ours, so that neither can ask the other; set another [jetstream] domain",
                    hub.domain
                ));
            }
            self.lists(config, remote, &hub);
            for uplink in &config.uplink {
                if config.remote_of(uplink).is_some_and(|of| of.name == remote.name) {
                    self.uplink(config, uplink, &mut hub).await;
                }
            }
            let here =
                |origin: &Origin| config.leaf.remote.len() == 1 || origin.api == format!("$JS.{}.API", hub.domain);
            let (here, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut origins).into_iter().partition(here);
            origins = rest;
            for origin in &here {
                self.origin(origin, remote, &mut hub).await;
            }
        }
        for origin in &origins {
            self.note(&format!(
                "{} reads {} at {}: no hub that was reached has this domain",
                origin.local, origin.name, origin.api
            ));
        }
    }

    /// What may cross as live traffic, and what the hub is told.
    fn lists(&mut self, config: &Config, remote: &RemoteConfig, hub: &Probe) {
        if let Some(bucket) = &remote.status_bucket {
            let subject = format!("$KV.{bucket}.{}.>", config.server_name);
            self.crossing(&format!("publish {subject}"), hub.sends(&subject), "status_bucket is not told the state");
        }
        for subject in &remote.export {
            let advice = "the hub's user may not publish it";
            self.crossing(&format!("export {subject}"), hub.sends(subject), advice);
        }
        for subject in &remote.import {
            let advice = "the hub's user may not subscribe to it";
            self.crossing(&format!("import {subject}"), hub.receives(subject), advice);
        }
    }

    async fn uplink(&mut self, config: &Config, uplink: &UplinkConfig, hub: &mut Probe) {
        println!("[[uplink]] {:?}", uplink.name);
        let captured = uplink.captured();
        for subject in &captured {
            let advice = "add it to the user's publish permissions at the hub";
            self.crossing(&format!("publish {subject}"), hub.sends(subject), advice);
        }
        if let Some(bucket) = &uplink.status_bucket {
            let subject = format!("$KV.{bucket}.{}.uplink.{}", config.server_name, uplink.name);
            self.crossing(&format!("publish {subject}"), hub.sends(&subject), "status_bucket is not told the state");
        }
        let advice = "no confirmation can come back; add it to the user's subscribe permissions at the hub";
        self.crossing("receive _INBOX.>", hub.receives("_INBOX.>"), advice);
        // As the uplink asks.
        let domain = uplink.hub_domain.as_ref().unwrap_or(&hub.domain);
        let api = if domain.is_empty() { "$JS.API".to_owned() } else { format!("$JS.{domain}.API") };
        let stream = match &uplink.hub_stream {
            Some(stream) => Some(stream.clone()),
            None => self.find(&api, &captured, hub).await,
        };
        let Some(stream) = stream else { return };
        let get = format!("{api}.STREAM.MSG.GET.{stream}");
        let exists = match hub.sends(&get) {
            Crossing::Whole => {
                let body = json!({ "last_by_subj": captured.first() }).to_string();
                let answer = self.ask(hub, &get, body.as_bytes()).await;
                answer.is_some_and(|answer| self.stream_is_there(&stream, &answer))
            }
            _ => {
                self.note(&format!(
                    "publish {get}: not allowed, so that after an interruption exactly once rests on the hub's duplicate window"
                ));
                true
            }
        };
        let info = format!("{api}.STREAM.INFO.{stream}");
        if exists && hub.sends(&info) == Crossing::Whole {
            let Some(answer) = self.ask(hub, &info, b"").await else { return };
            match answer["error"].is_null() {
                true => self.takes(&stream, &answer, &captured),
                false => self.refuse(&format!("stream {stream}: {}", said(&answer))),
            }
        } else if exists {
            self.note(&format!(
                "publish {info}: not allowed, so that nobody can say here which subjects {stream} takes"
            ));
        }
    }

    /// The hub's stream for the first subject, where the hub may be asked for it.
    async fn find(&mut self, api: &str, captured: &[String], hub: &mut Probe) -> Option<String> {
        let names = format!("{api}.STREAM.NAMES");
        let subject = captured.first()?;
        if hub.sends(&names) != Crossing::Whole {
            self.note("hub_stream is not set, and the hub may not be asked; the first acknowledgement will tell");
            return None;
        }
        let answer = self.ask(hub, &names, json!({ "subject": subject }).to_string().as_bytes()).await?;
        let found = answer["streams"][0].as_str().map(str::to_owned);
        match &found {
            Some(stream) => self.accepted(&format!("stream {stream} takes {subject}")),
            None => self.refuse(&format!("no stream of the hub takes {subject}: {}", said(&answer))),
        }
        found
    }

    fn stream_is_there(&mut self, stream: &str, answer: &Value) -> bool {
        // There is the stream, though no message yet on the subject.
        let there = answer["error"].is_null() || answer["error"]["err_code"] == 10037;
        match there {
            true => self.accepted(&format!("stream {stream} is there, and may be asked")),
            false => self.refuse(&format!("stream {stream}: {}", said(answer))),
        }
        there
    }

    fn takes(&mut self, stream: &str, info: &Value, captured: &[String]) {
        let strings = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect()
        };
        if info["config"]["mirror"].is_object() {
            return self.refuse(&format!("stream {stream} is a mirror: it takes nothing but what its origin has"));
        }
        let taken = strings(&info["config"]["subjects"]);
        for subject in captured {
            let whole = taken.iter().any(|t| t == subject || is_subset(subject, t));
            if whole {
                self.accepted(&format!("stream {stream} takes {subject}"));
            } else if taken.iter().any(|t| overlap(subject, t)) {
                self.refuse(&format!("stream {stream} takes {subject} in part: its subjects are {}", taken.join(", ")));
            } else {
                self.refuse(&format!("stream {stream} does not take {subject}: its subjects are {}", taken.join(", ")));
            }
        }
        if info["config"]["subject_transform"].is_object() {
            self.note(&format!(
                "stream {stream} changes subjects (subject_transform), so that after an interruption exactly once rests on the hub's duplicate window"
            ));
        }
        if info["config"]["sealed"] == true {
            self.refuse(&format!("stream {stream} is sealed"));
        }
    }

    async fn origin(&mut self, origin: &Origin, remote: &RemoteConfig, hub: &mut Probe) {
        let Origin { local, mirror, name, api, deliver, consumer } = origin;
        let (what, kind) = if *mirror { ("mirrors", "M") } else { ("sources", "S") };
        println!("stream {local}, which {what} {name} of {api}");
        let (asked, flow, delivered) = match consumer {
            Some((consumer, delivered)) => (
                format!("{api}.CONSUMER.RESET.{name}.{consumer}"),
                format!("$JS.FC.{name}.{consumer}.>"),
                delivered.clone(),
            ),
            None => {
                (format!("{api}.CONSUMER.CREATE.{name}.>"), format!("$JS.FC.{name}.>"), format!("{deliver}.{kind}.>"))
            }
        };
        for subject in [asked, flow] {
            let own = Crossing::of(&subject, Some(&remote.export), &remote.deny_export);
            self.crossing(&format!("export {subject}"), own, "add it to export of [[leaf.remote]]");
            let advice = "add it to the user's publish permissions at the hub";
            self.crossing(&format!("publish {subject}"), hub.sends(&subject), advice);
        }
        let own = Crossing::of(&delivered, Some(&remote.import), &remote.deny_import);
        self.crossing(&format!("import {delivered}"), own, "add it to import of [[leaf.remote]]");
        for subject in [&*delivered, "_INBOX.>"] {
            let advice = "add it to the user's subscribe permissions at the hub";
            self.crossing(&format!("receive {subject}"), hub.receives(subject), advice);
        }
        let info = format!("{api}.STREAM.INFO.{name}");
        if hub.sends(&info) == Crossing::Whole {
            if let Some(answer) = self.ask(hub, &info, b"").await {
                self.stream_is_there(name, &answer);
            }
        } else {
            self.note(&format!("publish {info}: not allowed, so that nobody can say here whether {name} is there"));
        }
    }

    async fn ask(&mut self, hub: &mut Probe, subject: &str, body: &[u8]) -> Option<Value> {
        match hub.ask(subject, body, ANSWER).await {
            Err(error) => self.refuse(&format!("{subject}: {error}")),
            Ok(None) => self.refuse(&format!(
                "{subject}: no answer; JetStream is off in the hub's account, or is in another domain"
            )),
            Ok(Some(answer)) => return serde_json::from_slice(&answer).ok(),
        }
        None
    }
}

/// What an answer of the JetStream API says is wrong.
fn said(answer: &Value) -> &str {
    answer["error"]["description"].as_str().unwrap_or("it has none")
}

/// The mirrors and sources of other domains, as the running daemon has them.
fn origins(config: &Config) -> Result<Vec<Origin>, String> {
    let status = control::ask(&config.data_dir, Request::Status)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut origins = Vec::new();
    for stream in list(&status["streams"]) {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim_end_matches('.').to_owned();
        let mirror = stream["mirror"].is_object().then(|| (true, stream["mirror"].clone()));
        let all = mirror.into_iter().chain(list(&stream["sources"]).into_iter().map(|source| (false, source)));
        for (mirror, of) in all.filter(|(_, of)| of["external"].is_object()) {
            let deliver = Some(text(&of["external"]["deliver"])).filter(|deliver| !deliver.is_empty());
            origins.push(Origin {
                local: text(&stream["name"]),
                mirror,
                name: text(&of["name"]),
                api: text(&of["external"]["api"]),
                deliver: deliver.unwrap_or_else(|| "$JS".into()),
                consumer: of["consumer"].is_object().then(|| {
                    let consumer = &of["consumer"];
                    (text(&consumer["name"]), text(&consumer["deliver_subject"]))
                }),
            });
        }
    }
    Ok(origins)
}
