//! `broker`: the message broker that a run starts, or attaches to.

use super::{At, Benchmark};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The brokers of a suite.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Brokers {
    /// A NATS server.
    pub nats: Option<NatsBroker>,
}

/// A NATS server: managed unless `url` is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsBroker {
    /// Attach to this server instead of starting one, such as "nats://host:4222".
    pub url: Option<String>,
    /// Attached: where its monitoring answers, such as "http://host:8222".
    pub monitor: Option<String>,
    /// Attached: a credentials file.
    pub creds: Option<String>,
    /// Attached: user name.
    pub user: Option<String>,
    /// Attached: password.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// Attached: token.
    #[serde(skip_serializing)]
    pub token: Option<String>,
    /// Attached: a file with the certificate authority to trust.
    pub tls_ca: Option<String>,
    /// Managed: the nats-server program to run; found or installed if absent.
    pub server: Option<String>,
    /// Managed: with JetStream, in a scratch directory.
    #[serde(default)]
    pub jetstream: bool,
    /// Managed: how many servers: 1, or 3 or 5 that form a cluster; 1 if absent.
    pub nodes: Option<At<u32>>,
    /// Managed: the client port of the first server, the others have those after it; free ones if absent.
    pub port: Option<u16>,
    /// Managed: more lines for the configuration file of every server.
    pub config: Option<String>,
}

/// How many servers a managed broker may have. They decide by majority: two tolerate no more failures than one, and four
/// no more than three.
const SIZES: [u32; 3] = [1, 3, 5];

impl NatsBroker {
    /// The broker as a benchmark has it, which may ask for another number of servers.
    pub fn of(&self, benchmark: &Benchmark) -> NatsBroker {
        NatsBroker {
            nodes: benchmark.nodes.clone().or_else(|| self.nodes.clone()),
            ..self.clone()
        }
    }

    /// How many servers are started.
    pub fn size(&self) -> u32 {
        self.nodes.as_ref().map_or(1, |nodes| nodes.value)
    }

    /// Refuses what can't be started, and tells where that stands.
    pub(super) fn check(&self) -> Result<(), (Range<usize>, String)> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let refused = |why: String| Err((nodes.span.clone(), format!("nodes: {why}")));
        match (nodes.value, &self.url, self.port) {
            (_, Some(_), _) => refused(
                "a broker at `url` has as many servers as it has; leave `nodes` out, or leave out `url` to have a cluster started"
                    .to_owned(),
            ),
            (n, ..) if !SIZES.contains(&n) => refused(format!(
                "expected 1, 3 or 5, not {n}: the servers of a cluster decide by majority, and an even number tolerates no more failures than one server less"
            )),
            (n, None, Some(port)) if u32::from(port) + n > 65_536 => refused(format!(
                "{n} servers take the ports from {port} on, and there are none beyond 65535"
            )),
            _ => Ok(()),
        }
    }
}
