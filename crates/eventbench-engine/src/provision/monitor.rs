//! What a NATS server tells of itself over its monitoring endpoint.
//!
//! Every structure takes what it knows and passes over the rest, so that older and newer servers both are read. The
//! meaning of the fields is documented by the server: <https://docs.nats.io/running-a-nats-service/nats_admin/monitoring>.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How many connections are asked for at a time; the server gives no more.
const PAGE: usize = 1024;
/// The largest answer that is read, in bytes: a page of 1,024 connections is about 700 kB.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Why a monitoring endpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// No answer.
    #[error("no monitoring at {url}: {cause}; a server offers it when started with -m PORT")]
    Unreachable {
        /// The address asked.
        url: String,
        /// What went wrong.
        cause: Box<ureq::Error>,
    },
    /// An answer with another status than 200.
    #[error("{url} answered {status}: {body}")]
    Status {
        /// The address asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// An answer that is not what a NATS server says.
    #[error("{url} gave an answer that is not understood: {cause}; is it the monitoring of a NATS server?")]
    Format {
        /// The address asked.
        url: String,
        /// Where the reading stopped.
        cause: serde_json::Error,
    },
}

/// Counters and state of a server (`/varz`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServerReading {
    /// Identity of this start of the server: a restart has another.
    pub server_id: String,
    /// The name it gives itself.
    pub server_name: String,
    /// Its version.
    pub version: String,
    /// The version of Go it was built with.
    pub go: String,
    /// When it started, RFC 3339.
    pub start: String,
    /// Cores of its machine.
    pub cores: u32,
    /// Cores that its runtime uses.
    pub gomaxprocs: u32,
    /// The largest message it takes.
    #[serde(rename = "max_payload")]
    pub max_payload_bytes: u64,
    /// Messages taken in since its start, from clients and other servers.
    pub in_msgs: u64,
    /// Messages given out since its start.
    pub out_msgs: u64,
    /// Messages taken in from clients alone; `None` of servers that do not count them apart.
    pub in_client_msgs: Option<u64>,
    /// Messages given out to clients alone; `None` of servers that do not count them apart.
    pub out_client_msgs: Option<u64>,
    /// Payload bytes taken in.
    pub in_bytes: u64,
    /// Payload bytes given out.
    pub out_bytes: u64,
    /// Open client connections.
    pub connections: u64,
    /// Client connections since its start.
    pub total_connections: u64,
    /// Subscriptions, its own included.
    pub subscriptions: u64,
    /// Clients cut off since its start because they did not keep up: each has lost messages.
    pub slow_consumers: u64,
    /// Clients cut off because they did not answer.
    pub stale_connections: u64,
    /// How often a publisher was held back because a consumer did not keep up.
    pub stalled_clients: u64,
    /// Routes to other servers; several to each.
    pub routes: u64,
    /// Its resident memory as it says itself.
    #[serde(rename = "mem")]
    pub mem_bytes: u64,
    /// Its CPU use as it says itself, in percent of one core; averaged since its start. Prefer the process probe.
    #[serde(rename = "cpu")]
    pub cpu_percent: f64,
}

/// What a server tells of its subscriptions (`/subsz`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SubscriptionReading {
    /// Subscriptions, its own included.
    pub num_subscriptions: u64,
    /// Subjects in the routing cache.
    pub num_cache: u64,
    /// Subscriptions made since its start.
    pub num_inserts: u64,
    /// Subscriptions ended since its start.
    pub num_removes: u64,
    /// Subjects routed since its start.
    pub num_matches: u64,
    /// Share of them answered from the cache, 0 to 1.
    pub cache_hit_rate: f64,
    /// The most receivers of one cached subject.
    pub max_fanout: u64,
    /// The mean of receivers over the cached subjects.
    pub avg_fanout: f64,
}

/// What a server tells of JetStream (`/jsz`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct JetStreamReading {
    /// Whether JetStream is off on this server.
    pub disabled: bool,
    /// Bytes of streams kept in memory.
    #[serde(rename = "memory")]
    pub memory_bytes: u64,
    /// Bytes of streams kept in files.
    #[serde(rename = "storage")]
    pub storage_bytes: u64,
    /// Streams.
    pub streams: u64,
    /// Consumers.
    pub consumers: u64,
    /// Messages in all streams.
    pub messages: u64,
    /// Bytes of these messages.
    pub bytes: u64,
    /// Requests to its API.
    pub api: JetStreamApi,
    /// The group of servers that places streams and consumers; `None` of a single server.
    #[serde(rename = "meta_cluster")]
    pub meta: Option<Group>,
    #[serde(rename = "account_details")]
    accounts: Vec<Account>,
}

/// Servers that keep something together, as one of them sees it (`meta_cluster`, a stream's `cluster`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The name of the server that leads; `None` while there is none, or none is known.
    pub leader: Option<String>,
    /// The others that are known to the server that tells; a leader does not name itself.
    pub replicas: Vec<Replica>,
    /// How many servers the group has; told of the meta group only.
    pub cluster_size: u64,
}

/// A server of a [`Group`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Whether it has everything that the leader has, and was heard of lately.
    pub current: bool,
    /// Whether it is known to be away.
    pub offline: bool,
}

/// A stream as one server tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StreamReading {
    /// Its name.
    pub name: String,
    /// Who keeps it; `None` of a single server.
    #[serde(rename = "cluster")]
    pub group: Option<Group>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Account {
    stream_detail: Vec<StreamReading>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoutePage {
    routes: Vec<Route>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Route {
    remote_name: String,
}

/// Requests to the API of JetStream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamApi {
    /// Since the server's start.
    pub total: u64,
    /// Those answered by an error.
    pub errors: u64,
}

/// One client connection (`/connz`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// The server's number for it.
    pub cid: u64,
    /// The name that the client gave itself; empty without one.
    pub name: String,
    /// Its library's language.
    pub lang: String,
    /// Its library's version.
    pub version: String,
    /// Its address.
    pub ip: String,
    /// Its port.
    pub port: u16,
    /// When it connected, RFC 3339.
    pub start: String,
    /// When it was closed, RFC 3339; empty while it is open.
    pub stop: String,
    /// Why it was closed, in the server's words ("Slow Consumer (Write Deadline)"); empty while it is open.
    pub reason: String,
    /// The round trip that the server measured, as Go writes a duration ("153µs").
    pub rtt: String,
    /// Bytes that wait in the server to be sent to it.
    pub pending_bytes: u64,
    /// Messages that it published.
    pub in_msgs: u64,
    /// Messages sent to it.
    pub out_msgs: u64,
    /// Payload bytes that it published.
    pub in_bytes: u64,
    /// Payload bytes sent to it.
    pub out_bytes: u64,
    /// How often it was held back as a publisher because a consumer did not keep up.
    pub stalls: u64,
    /// Its subscriptions.
    pub subscriptions: u64,
}

/// Which connections are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Those that are open.
    Open,
    /// Those that were closed; a server remembers the last 10,000.
    Closed,
    /// Both.
    Any,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConnectionPage {
    total: usize,
    connections: Vec<Connection>,
}

/// A reader of one server's monitoring endpoint. Keeps its connection open between readings, so that a reading costs
/// the server one small request.
#[derive(Debug, Clone)]
pub struct Monitor {
    agent: ureq::Agent,
    base: String,
}

impl Monitor {
    /// A reader of the endpoint at `base` (`http://host:port`), each of whose requests may take `limit`. Nothing is
    /// asked yet. No proxy is used: a monitoring endpoint belongs to the test's own network.
    pub fn new(base: &str, limit: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(limit))
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// The base address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Counters and state.
    ///
    /// # Errors
    /// [`MonitorError`], as for all readings here.
    pub fn server(&self) -> Result<ServerReading, MonitorError> {
        self.get("/varz")
    }

    /// Subscriptions and routing.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn subscriptions(&self) -> Result<SubscriptionReading, MonitorError> {
        self.get("/subsz")
    }

    /// JetStream; `disabled` is set where it is off.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn jetstream(&self) -> Result<JetStreamReading, MonitorError> {
        self.get("/jsz")
    }

    /// The streams that this server keeps a copy of, in all accounts; none where JetStream is off.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn streams(&self) -> Result<Vec<StreamReading>, MonitorError> {
        let reading: JetStreamReading = self.get("/jsz?accounts=1&streams=1")?;
        Ok(reading.accounts.into_iter().flat_map(|a| a.stream_detail).collect())
    }

    /// The names of the servers that this one has routes to, each once.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn peers(&self) -> Result<Vec<String>, MonitorError> {
        let page: RoutePage = self.get("/routez")?;
        let mut names: Vec<String> = page.routes.into_iter().map(|r| r.remote_name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// All connections in `state`, each once, in the order of their numbers. More than 1,024 are read page by page;
    /// one that opens or closes meanwhile may be missing.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn connections(&self, state: ConnectionState) -> Result<Vec<Connection>, MonitorError> {
        let state = match state {
            ConnectionState::Open => "open",
            ConnectionState::Closed => "closed",
            ConnectionState::Any => "any",
        };
        let mut all = std::collections::BTreeMap::new();
        let mut offset = 0;
        loop {
            let page: ConnectionPage = self.get(&format!(
                "/connz?subs=0&sort=cid&state={state}&limit={PAGE}&offset={offset}"
            ))?;
            let received = page.connections.len();
            all.extend(page.connections.into_iter().map(|c| (c.cid, c)));
            offset += received;
            if received == 0 || offset >= page.total {
                return Ok(all.into_values().collect());
            }
        }
    }

    /// Whether the server says that it is well (`/healthz` answers 200, JetStream included).
    ///
    /// # Errors
    /// [`MonitorError::Status`] with the server's reason when it is not, [`MonitorError::Unreachable`] without answer.
    pub fn health(&self) -> Result<(), MonitorError> {
        self.text("/healthz").map(|_| ())
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, MonitorError> {
        let (url, text) = self.text(path)?;
        serde_json::from_str(&text).map_err(|cause| MonitorError::Format { url, cause })
    }

    fn text(&self, path: &str) -> Result<(String, String), MonitorError> {
        let url = format!("{}{path}", self.base);
        let read = self.agent.get(&url).call().and_then(|mut response| {
            let status = response.status().as_u16();
            Ok((
                status,
                response.body_mut().with_config().limit(MOST_BYTES).read_to_string()?,
            ))
        });
        match read {
            Ok((200, text)) => Ok((url, text)),
            Ok((status, text)) => {
                let body = super::tail::printable(text.lines().next().unwrap_or_default());
                Err(MonitorError::Status { url, status, body })
            }
            Err(cause) => Err(MonitorError::Unreachable {
                url,
                cause: Box::new(cause),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A server that answers requests for `path?…offset=N` from a list, as long as there are connections.
    fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Monitor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                while reader.read_line(&mut request).unwrap_or(0) > 0 {
                    let mut header = String::new();
                    while reader.read_line(&mut header).unwrap_or(0) > 2 {
                        header.clear();
                    }
                    let (status, body) = answer(request.split(' ').nth(1).unwrap());
                    request.clear();
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                    if stream.write_all((head + &body).as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        Monitor::new(&base, Duration::from_secs(5))
    }

    #[test]
    fn connections_beyond_one_page_are_all_read_and_each_once() {
        let monitor = serve(|path| {
            let offset: usize = path.rsplit_once("offset=").unwrap().1.parse().unwrap();
            // One connection closed between the pages: the second page begins one further.
            let from = if offset == 0 { 0 } else { offset - 1 };
            let list: Vec<String> = (from..2500)
                .take(1024)
                .map(|k| format!(r#"{{"cid":{k},"in_msgs":{k},"x":null}}"#))
                .collect();
            (
                200,
                format!(
                    r#"{{"total":2500,"offset":{offset},"connections":[{}]}}"#,
                    list.join(",")
                ),
            )
        });
        let all = monitor.connections(ConnectionState::Any).unwrap();
        assert_eq!(all.len(), 2500);
        assert!(
            all.iter()
                .enumerate()
                .all(|(k, c)| c.cid == k as u64 && c.in_msgs == k as u64)
        );
    }

    #[test]
    fn a_list_that_never_fills_its_total_ends() {
        let monitor = serve(|_| (200, r#"{"total":5000}"#.into()));
        assert!(monitor.connections(ConnectionState::Open).unwrap().is_empty());
    }

    #[test]
    fn unknown_and_missing_fields_are_tolerated_and_strangers_are_not() {
        let monitor = serve(|path| match path {
            "/varz" => (200, r#"{"in_msgs":7,"mem":9,"cpu":1.5,"new":{"a":[1]}}"#.into()),
            "/jsz" => (200, r#"{"disabled":true}"#.into()),
            "/jsz?accounts=1&streams=1" => (
                200,
                r#"{"account_details":[{"name":"$G","stream_detail":[{"name":"EVENTS","cluster":{"leader":"n1",
                    "replicas":[{"name":"n2","current":true,"active":5,"peer":"x"},{"name":"n3","offline":true}]}}]},
                    {"name":"B","stream_detail":[{"name":"OTHER"}]}]}"#
                    .into(),
            ),
            "/routez" => (
                200,
                r#"{"num_routes":3,"routes":[{"remote_name":"n3"},{"remote_name":"n2"},{"remote_name":"n3"}]}"#.into(),
            ),
            "/healthz" => (
                503,
                "{\"status\":\"unavailable\",\"error\":\"JetStream \u{1b}[1mis not ready\"}".into(),
            ),
            _ => (200, "<html>".into()),
        });
        let server = monitor.server().unwrap();
        assert_eq!(
            (server.in_msgs, server.mem_bytes, server.cpu_percent, server.out_msgs),
            (7, 9, 1.5, 0)
        );
        assert!(monitor.jetstream().unwrap().disabled);
        assert_eq!(
            (server.in_client_msgs, monitor.peers().unwrap()),
            (None, vec!["n2".to_owned(), "n3".to_owned()])
        );
        let streams = monitor.streams().unwrap();
        let group = streams[0].group.clone().unwrap();
        assert_eq!((group.leader.as_deref(), group.replicas.len()), (Some("n1"), 2));
        assert!(group.replicas[0].current && group.replicas[1].offline && !group.replicas[1].current);
        assert_eq!((streams[1].name.as_str(), &streams[1].group), ("OTHER", &None));
        let sick = monitor.health().unwrap_err().to_string();
        assert!(
            sick.contains("answered 503") && sick.contains("is not ready") && !sick.contains('\u{1b}'),
            "{sick}"
        );
        assert!(matches!(monitor.subscriptions(), Err(MonitorError::Format { .. })));
    }

    #[test]
    fn an_endpoint_that_is_not_there_is_named() {
        let port = crate::provision::free_loopback_port().unwrap();
        let monitor = Monitor::new(&format!("http://127.0.0.1:{port}"), Duration::from_secs(1));
        let said = monitor.server().unwrap_err().to_string();
        assert!(said.contains(&format!("http://127.0.0.1:{port}/varz")), "{said}");
    }
}
