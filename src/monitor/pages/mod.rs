//! The pages of monitoring, one file each, with nats-server's options and JSON (`server/monitor.go`).

pub(super) mod accountz;
pub(super) mod connz;
pub(super) mod healthz;
pub(super) mod jsz;
pub(super) mod leafz;
mod metrics;
mod runtime;
mod sharing;
mod statsz;
pub(super) mod subsz;
pub(super) mod varz;

pub(super) use accountz::{AccountConnections, stat as account_stat};
pub(super) use runtime::expvarz;
pub(super) use statsz::page as statsz;

use super::query::{BadQuery, Query};
use super::sources::Sources;
use crate::system::http::{Request, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// What there is, as linked from the root page.
const PAGES: [(&str, &str); 12] = [
    ("/varz", "General"),
    ("/jsz", "JetStream"),
    ("/connz", "Connections"),
    ("/accountz", "Accounts"),
    ("/accstatz", "Account Stats"),
    ("/subsz", "Subscriptions"),
    ("/routez", "Routes"),
    ("/leafz", "LeafNodes"),
    ("/gatewayz", "Gateways"),
    ("/raftz", "Raft"),
    ("/healthz", "Health Probe"),
    ("/debug/vars", "Expvar"),
];

/// The answer to a request for `path`, which is without the configured base.
pub(super) async fn page(path: &str, request: &Request, sources: &Sources) -> Response {
    let query = Query::parse(&request.query);
    let status = match path {
        "/leafz" | "/jsz" => sources.status().await,
        _ => None,
    };
    let answer = match path {
        "" | "/" => {
            sources.count("/");
            return root();
        }
        "/metrics" => {
            sources.count("/metrics");
            return metrics::page(sources).await;
        }
        "/healthz" => {
            sources.count("/healthz");
            return healthz::Options::read(&query).map(|options| health(&options, sources)).unwrap_or_else(bad);
        }
        "/stacksz" => return tokio::task::block_in_place(runtime::stacksz),
        "/raftz" => return runtime::raftz(),
        "/ipqueuesz" => return json_response(200, &runtime::ipqueuesz()),
        "/debug/vars" => return json_response(200, &expvarz()),
        "/varz" => tell(sources, "/varz", |s| Ok(varz::page(s))),
        "/connz" => tell(sources, "/connz", |s| connz::page(&connz::Options::read(&query)?, s)),
        "/subsz" | "/subscriptionsz" => tell(sources, "/subsz", |s| subsz::page(&subsz::Options::read(&query)?, s)),
        "/leafz" => tell(sources, "/leafz", |s| {
            Ok(Synced::new(leafz::page(&leafz::Options::read(&query)?, s), status.as_ref()))
        }),
        "/accountz" => tell(sources, "/accountz", |s| accountz::page(&accountz::Options::read(&query), s)),
        "/accstatz" => {
            tell(sources, "/accstatz", |s| Ok(accountz::statistics(&accountz::StatisticsOptions::read(&query)?, s)))
        }
        "/jsz" => {
            tell(sources, "/jsz", |s| Ok(Synced::new(jsz::page(&jsz::Options::read(&query)?, s)?, status.as_ref())))
        }
        // leafd is in no cluster and behind no gateway: what nats-server says in that case.
        "/routez" => tell(sources, "/routez", |s| Ok(routez(s))),
        "/gatewayz" => tell(sources, "/gatewayz", |s| Ok(gatewayz(s))),
        _ => return Response { body: b"404 page not found\n".to_vec(), ..Response::status(404) },
    };
    answer.unwrap_or_else(bad)
}

/// A page of nats-server's, with what it has no word for: how uplinks, mirrors and sources stand, where there are some.
#[derive(Serialize)]
struct Synced<'a, T> {
    #[serde(flatten)]
    page: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    uplinks: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origins: Option<&'a Value>,
}

impl<'a, T> Synced<'a, T> {
    fn new(page: T, status: Option<&'a Value>) -> Self {
        let list = |key: &str| status?.get(key).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
        Synced { page, uplinks: list("uplinks"), origins: list("origins") }
    }
}

/// What nats-server says of no routes.
pub(super) fn routez(sources: &Sources) -> Value {
    let (id, name) = (&sources.server_id, &sources.server_name);
    json!({ "server_id": id, "server_name": name, "now": sources.now(), "num_routes": 0, "routes": [] })
}

/// What nats-server says of no gateways.
pub(super) fn gatewayz(sources: &Sources) -> Value {
    json!({ "server_id": sources.server_id, "now": sources.now(), "outbound_gateways": {}, "inbound_gateways": {} })
}

/// Its status is the answer's, in which it is left out.
fn health(options: &healthz::Options, sources: &Sources) -> Response {
    let mut health = healthz::page(options, sources);
    let status = health.status_code.take().unwrap_or(200);
    // In one line, which the other pages are not.
    let body = serde_json::to_vec(&health).unwrap_or_default();
    Response { body, ..json_response(status, &()) }
}

/// Counts the request and writes what `page` says as JSON.
fn tell<T: Serialize>(
    sources: &Sources,
    name: &'static str,
    page: impl FnOnce(&Sources) -> Result<T, BadQuery>,
) -> Result<Response, BadQuery> {
    sources.count(name);
    // The pages read from memory and a little from disk, at the pace of a person or a scraper.
    Ok(json_response(200, &tokio::task::block_in_place(|| page(sources))?))
}

fn json_response(status: u16, value: &impl Serialize) -> Response {
    // Structs of strings and numbers always serialise.
    let body = serde_json::to_vec_pretty(value).unwrap_or_default();
    let headers = vec![("Access-Control-Allow-Origin", "*".to_owned())];
    Response { status, content_type: "application/json", headers, body }
}

fn bad(error: BadQuery) -> Response {
    Response { body: error.to_string().into_bytes(), ..Response::status(400) }
}

fn root() -> Response {
    let link = |(path, name): &(&str, &str)| format!("<a href=\".{path}\">{name}</a><br/>\n");
    let links: String = PAGES.iter().map(link).collect();
    let version = env!("CARGO_PKG_VERSION");
    let body = format!(
        "<html lang=\"en\">\n<head><title>leafd</title></head>\n<body>\n<p>leafd {version}</p>\n{links}<a href=\"./metrics\">Metrics</a>\n</body>\n</html>\n"
    );
    Response { status: 200, content_type: "text/html; charset=utf-8", headers: Vec::new(), body: body.into_bytes() }
}
