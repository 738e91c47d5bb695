//! `broker`: the message broker that a run starts, or attaches to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Managed: how many servers; 1 if absent.
    pub nodes: Option<u32>,
    /// Managed: the client port; a free one if absent.
    pub port: Option<u16>,
    /// Managed: more lines for the server's configuration file.
    pub config: Option<String>,
}
