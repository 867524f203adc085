//! From a request to its answer.

use super::filter::Filter;
use super::service::Service;
use super::{answer, info};
use crate::account::OwnedMessage;
use crate::events::Events;
use crate::monitor::heartbeat;
use crate::monitor::pages::{self, AccountConnections, accountz, connz, healthz, jsz, leafz, subsz, varz};
use crate::monitor::query::BadQuery;
use crate::monitor::sources::Sources;
use crate::system::control;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Whom a request asks.
pub(in crate::monitor) struct Site {
    pub sources: Arc<Sources>,
    pub events: Arc<Events>,
}

/// Why something asked for is not said.
enum Refusal {
    /// It is answered by others, or by nobody.
    Silence,
    /// A page that failed.
    Page(BadQuery),
    /// An order that was not carried out.
    Order(String),
}

impl From<BadQuery> for Refusal {
    fn from(error: BadQuery) -> Refusal {
        Refusal::Page(error)
    }
}

/// No options but those of [`Filter`].
#[derive(Default, Deserialize)]
struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Connection {
    cid: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
}

#[derive(Serialize)]
struct NoProfile {
    profile: Option<()>,
    error: String,
}

impl Site {
    /// Answers `message`, which asks for `service`, while `waiting` others wait.
    pub(super) async fn answer(&self, service: Service, message: &OwnedMessage, waiting: usize) {
        match service {
            Service::Reload => {
                let result = self.reload().await;
                self.order(message, |_: Nothing| result);
            }
            Service::AccountClaims | Service::Claims | Service::DeleteClaims => self.change(service, message).await,
            // The pages read from memory and a little from disk.
            _ => tokio::task::block_in_place(|| self.answer_now(service, message, waiting)),
        }
    }

    fn answer_now(&self, service: Service, message: &OwnedMessage, waiting: usize) {
        let (sources, events) = (&*self.sources, &*self.events);
        let account = message.subject.split('.').nth(3).unwrap_or_default().to_owned();
        match service {
            Service::Idz => {
                let server = events.identity();
                let id = json!({ "name": server.name, "host": server.host, "id": server.id });
                self.say(message, &id);
            }
            Service::Statsz => self.statsz(message),
            Service::Varz => self.page(message, |_: Nothing| Ok(varz::page(sources))),
            Service::Connz => self.page(message, |options| Ok(connz::page(&options, sources)?)),
            Service::Subsz => self.page(message, |options| Ok(subsz::page(&options, sources)?)),
            Service::Leafz => self.page(message, |options| Ok(leafz::page(&options, sources))),
            Service::Accountz => self.page(message, |options| Ok(accountz::page(&options, sources)?)),
            Service::Jsz => self.page(message, |options: jsz::Options| Ok(jsz::page(&options, sources)?)),
            Service::Healthz => self.page(message, |options| Ok(healthz::page(&options, sources))),
            Service::Routez => self.page(message, |_: Nothing| Ok(pages::routez(sources))),
            Service::Gatewayz => self.page(message, |_: Nothing| Ok(pages::gatewayz(sources))),
            Service::Expvarz => self.page(message, |_: Nothing| Ok(pages::expvarz())),
            // leafd has one queue of this kind, and no consensus groups.
            Service::Ipqueuesz => {
                self.page(message, |_: Nothing| Ok(json!({ "System recvQ": { "pending": waiting, "in_progress": 1 } })))
            }
            Service::Raftz => self.page(message, |_: Nothing| Ok(json!({}))),
            Service::Profilez => self.page(message, |profile: Profile| Ok(no_profile(&profile.name))),
            Service::Kick => self.order(message, |Connection { cid }| {
                let is_leaf = || sources.leafs.as_ref().is_some_and(|leafs| leafs.kick(cid));
                match sources.clients.kick(cid) || is_leaf() {
                    true => Ok(()),
                    false => Err("no such client or leafnode id".into()),
                }
            }),
            Service::LameDuck => {
                self.order(message, |connection: Connection| match sources.clients.lame_duck(connection.cid) {
                    Some(true) => Ok(()),
                    Some(false) => Err(NOT_READY.into()),
                    None => Err("no such client id".into()),
                })
            }
            Service::AccountConnz => self.page(message, |mut options: connz::Options| {
                options.acc = account;
                Ok(connz::page(&options, sources)?)
            }),
            Service::AccountSubsz => self.page(message, |mut options: subsz::Options| {
                (options.account, options.subscriptions) = (account, true);
                Ok(subsz::page(&options, sources)?)
            }),
            Service::AccountLeafz => self.page(message, |mut options: leafz::Options| {
                options.account = account;
                Ok(leafz::page(&options, sources))
            }),
            Service::AccountJsz => self.page(message, |mut options: jsz::Options| {
                options.account = account;
                Ok(jsz::account(&options, sources)?)
            }),
            Service::AccountInfo => self.page(message, |_: Nothing| Ok(accountz::detail(&account, sources)?)),
            // Each account asks for itself by this subject; all together have their own.
            Service::AccountStatz if account == "PING" => {}
            Service::AccountStatz => self.page(message, |options: accountz::StatisticsOptions| {
                self.statz(accountz::StatisticsOptions { accounts: vec![account], ..options })
            }),
            Service::AllAccountsStatz => self.page(message, |options| self.statz(options)),
            Service::AccountConnections => self.connections(message, &account),
            Service::UserInfo if message.reply.is_empty() => {}
            Service::UserInfo => match info::user(self, &message.headers) {
                Some(user) => answer::data(events, &message.reply, &[], Some(user)),
                None => answer::error(events, &message.reply, 400, String::new(), false),
            },
            Service::Subscribers => {
                if let Some(count) = info::subscribers(self, &message.headers, &message.payload) {
                    self.say(message, &count);
                }
            }
            Service::AccountSubscribers => {
                if let Some(count) = info::account_subscribers(self, &message.payload) {
                    self.say(message, &count);
                }
            }
            Service::ListClaims | Service::LookUpClaims | Service::PackClaims => self.tell_claims(service, message),
            Service::Reload | Service::AccountClaims | Service::Claims | Service::DeleteClaims => {}
        }
    }

    /// Says `value` as it is.
    fn say(&self, message: &OwnedMessage, value: &impl Serialize) {
        if !message.reply.is_empty() {
            self.events.tell(&message.reply, value);
        }
    }

    /// Says what `page` makes of the options in the request.
    fn page<O: DeserializeOwned + Default, T: Serialize>(
        &self,
        message: &OwnedMessage,
        page: impl FnOnce(O) -> Result<T, Refusal>,
    ) {
        self.respond(message, |options| page(options).map(Some));
    }

    /// Does what is ordered.
    fn order<O: DeserializeOwned + Default>(
        &self,
        message: &OwnedMessage,
        order: impl FnOnce(O) -> Result<(), String>,
    ) {
        self.respond(message, |options| order(options).map(|()| None::<()>).map_err(Refusal::Order));
    }

    fn respond<O: DeserializeOwned + Default, T: Serialize>(
        &self,
        message: &OwnedMessage,
        respond: impl FnOnce(O) -> Result<Option<T>, Refusal>,
    ) {
        let (events, reply) = (&*self.events, &*message.reply);
        if reply.is_empty() {
            return;
        }
        let result = match self.options(&message.payload) {
            Err(error) => return answer::error(events, reply, 400, error.to_string(), false),
            Ok(None) => return,
            Ok(Some(options)) => respond(options),
        };
        match result {
            Ok(data) => answer::data(events, reply, &message.headers, data),
            Err(Refusal::Silence) => {}
            Err(Refusal::Page(error)) => answer::error(events, reply, 500, error.to_string(), true),
            Err(Refusal::Order(error)) => answer::error(events, reply, 500, error, false),
        }
    }

    /// The options of a request; `None` if it is not for this server.
    fn options<O: DeserializeOwned + Default>(&self, payload: &[u8]) -> Result<Option<O>, serde_json::Error> {
        if payload.is_empty() {
            return Ok(Some(O::default()));
        }
        let value: Value = serde_json::from_slice(payload)?;
        if value.is_null() {
            return Ok(Some(O::default()));
        }
        let filter = Filter::deserialize(&value)?;
        let options = O::deserialize(&value)?;
        Ok(filter.accepts(self.events.identity()).then_some(options))
    }

    fn statsz(&self, message: &OwnedMessage) {
        if message.reply.is_empty() {
            return heartbeat::broadcast_statsz(&self.sources, &self.events);
        }
        match self.options::<Nothing>(&message.payload) {
            Err(error) => answer::error(&self.events, &message.reply, 400, error.to_string(), false),
            Ok(None) => {}
            Ok(Some(_)) => self.say(message, &pages::statsz(&self.sources, self.events.server())),
        }
    }

    fn statz(&self, options: accountz::StatisticsOptions) -> Result<accountz::Accstatz, Refusal> {
        let page = accountz::statistics(&options, &self.sources);
        let nobody = page.account_statz.is_empty() && !options.include_unused;
        if nobody { Err(Refusal::Silence) } else { Ok(page) }
    }

    /// The connections of an account, if it has any; asked between servers, and so without an envelope.
    fn connections(&self, message: &OwnedMessage, name: &str) {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Named {
            acc: Option<String>,
        }
        let asked = match &*message.payload {
            b"" => Named::default(),
            json => match serde_json::from_slice(json) {
                Ok(asked) => asked,
                Err(_) => return,
            },
        };
        let Some(account) = self.sources.registry.get(name) else { return };
        let other = asked.acc.is_some_and(|asked| asked != name);
        if !other && self.sources.clients.accounts().get(name).is_some_and(|clients| clients.connections > 0) {
            let stat = pages::account_stat(&self.sources, &account);
            self.say(message, &AccountConnections::new(&self.events, stat));
        }
    }

    async fn reload(&self) -> Result<(), String> {
        self.ask(control::Request::Reload).await
    }

    /// Asks the daemon.
    pub(super) async fn ask(&self, request: control::Request) -> Result<(), String> {
        let (answer, result) = oneshot::channel();
        let ends = || "the server is ending".to_owned();
        self.sources.asked.send((request, answer)).await.map_err(|_| ends())?;
        match result.await.map_err(|_| ends())?.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(()),
        }
    }
}

/// What nats-server says of a client that cannot be asked to go elsewhere.
const NOT_READY: &str = "client does not support Lame Duck Mode or is not ready to receive the notification";

/// Profiles are made by Go's runtime, which leafd does not have.
fn no_profile(name: &str) -> NoProfile {
    let error = match name {
        "" => "Profile name not specified".to_owned(),
        name => format!("Profile {name:?} not found"),
    };
    NoProfile { profile: None, error }
}
