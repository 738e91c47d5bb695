//! The settings of the drivers "http" and "sse", as they stand in a suite.

use super::target::{Target, UrlError};
use super::task::Tasks;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Settings of the driver. Texts of `url`, `path` and `headers` may name variables such as {port.agent}; `path`,
/// `headers` and `body` may hold the fields of payload templates such as {seq}.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where the server is: "http://HOST:PORT" or "https://HOST", with a path that all others are put behind.
    pub url: String,
    /// The method; POST if there is a body, else GET.
    pub method: Option<String>,
    /// The path, put behind that of `url`.
    pub path: Option<String>,
    /// Headers of every request: a table of names and values, or a list of "Name: value".
    pub headers: Option<Headers>,
    /// The body's template, JSON unless `headers` name another Content-Type.
    pub body: Option<String>,
    /// Several requests in proportion, each in place of `method`, `path` and `body`.
    #[serde(default)]
    pub tasks: Vec<TaskEntry>,
    /// Whether the response is a stream of events; true with the driver "sse", false with "http".
    pub stream: Option<bool>,
    /// What the events of streams mean: "ag-ui" checks each stream by the rules of that protocol.
    pub protocol: Option<Protocol>,
    /// How long a request may take until the end of its response; 60 s if absent.
    pub timeout: Option<Duration>,
    /// "1.1" (if absent) or "2", which puts many requests on one connection.
    #[serde(default)]
    pub http: Version,
    /// "keep-alive" (if absent), or "per-request" for a fresh connection each.
    #[serde(default)]
    pub connection: Reuse,
    /// The most connections at one time; the load's `connections` when they are more than one, else as many as are needed.
    /// A request that is due while all of them are busy is sent late, and counts as late.
    pub pool: Option<u32>,
    /// Addresses to connect from, in turn: a list, or how many of 127.0.0.2 and so on. One address has ports for about
    /// 14,000 connections; a loopback target is asked from several when there are more than 10,000.
    pub sources: Option<Sources>,
    /// A PEM file with the certificates to trust; those of the system if absent.
    pub ca: Option<String>,
    /// Accept any certificate.
    #[serde(default)]
    pub insecure: bool,
    /// The status, or a list of those, that counts as success; 200 to 299 if absent.
    pub expect_status: Option<Statuses>,
    /// A text that the response must hold; with a stream, the data of one of its events.
    pub expect: Option<String>,
    /// How many events each stream must bring; another number is a violation.
    pub events: Option<u32>,
    /// The largest event of a stream; 1 MiB if absent.
    pub max_event_bytes: Option<u32>,
}

/// One kind of request of several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// The name under which its books are kept.
    pub name: String,
    /// Its share: of the sum of all weights; 1 if absent.
    #[serde(default = "one")]
    pub weight: u32,
    /// The method; POST if there is a body, else GET.
    pub method: Option<String>,
    /// The path, put behind that of `url`.
    pub path: Option<String>,
    /// Headers beside those of the driver; the same name takes their place.
    pub headers: Option<Headers>,
    /// The body's template.
    pub body: Option<String>,
    /// Whether the response is a stream of events; as the driver says if absent.
    pub stream: Option<bool>,
    /// The status that counts as success; as the driver says if absent.
    pub expect_status: Option<Statuses>,
    /// A text that the response must hold; as the driver says if absent.
    pub expect: Option<String>,
    /// How many events each stream must bring; as the driver says if absent.
    pub events: Option<u32>,
}

fn one() -> u32 {
    1
}

/// Headers of requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Headers {
    /// Name and value.
    Table(BTreeMap<String, String>),
    /// "Name: value".
    List(Vec<String>),
}

/// Statuses that count as success.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Statuses {
    /// One.
    One(u16),
    /// Any of these.
    Any(Vec<u16>),
}

/// Addresses to connect from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Sources {
    /// So many loopback addresses.
    Count(u8),
    /// These.
    List(Vec<IpAddr>),
}

/// What the events of a stream mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Protocol {
    /// AG-UI.
    #[serde(rename = "ag-ui")]
    AgUi,
}

/// The version of HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Version {
    /// 1.1.
    #[default]
    #[serde(rename = "1.1")]
    One,
    /// 2, without an upgrade.
    #[serde(rename = "2")]
    Two,
}

/// How connections are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// One request after the other.
    #[default]
    KeepAlive,
    /// One request.
    PerRequest,
}

/// Reads the settings and checks what can be checked without a server.
pub fn read(settings: &Settings, streams: bool) -> Result<(Http, Tasks), SettingsError> {
    let own: Http = settings.read()?;
    match Target::parse(&own.url) {
        Ok(target) if !target.tls && (own.ca.is_some() || own.insecure) => {
            let key = if own.ca.is_some() { "ca" } else { "insecure" };
            return Err(settings.error(
                key,
                "the url begins with http://, so there is no certificate to look at",
            ));
        }
        // What a variable will say is not known yet.
        Ok(_) => {}
        Err(UrlError::Wrong(_)) if own.url.contains('{') => {}
        Err(e) => return Err(settings.error("url", e.to_string())),
    }
    if own.ca.is_some() && own.insecure {
        return Err(settings.error(
            "insecure",
            "either `ca` or `insecure`: with the latter nothing is checked",
        ));
    }
    if own.pool == Some(0) {
        return Err(settings.error("pool", "expected at least 1 connection"));
    }
    match &own.sources {
        Some(Sources::Count(0)) => return Err(settings.error("sources", "expected at least 1 address")),
        Some(Sources::List(list)) if list.is_empty() => {
            return Err(settings.error("sources", "expected at least 1 address"));
        }
        Some(_) if own.http == Version::Two => {
            return Err(settings.error(
                "sources",
                "HTTP/2 needs few connections; `sources` go with http = \"1.1\"",
            ));
        }
        _ => {}
    }
    if own.http == Version::Two && own.connection == Reuse::PerRequest {
        return Err(settings.error(
            "connection",
            "HTTP/2 puts many requests on one connection; \"per-request\" goes with http = \"1.1\"",
        ));
    }
    if own.timeout.is_some_and(|t| t.ns() == 0) {
        return Err(settings.error("timeout", "expected more than 0"));
    }
    let tasks = Tasks::read(settings, &own, streams)?;
    for (key, is_set) in [
        ("protocol", own.protocol.is_some()),
        ("max_event_bytes", own.max_event_bytes.is_some()),
        ("events", own.events.is_some()),
    ] {
        if is_set && !tasks.any_stream() {
            return Err(settings.error(
                key,
                format!("`{key}` is about streams of events, and no task reads one"),
            ));
        }
    }
    Ok((own, tasks))
}
