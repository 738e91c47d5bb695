//! What a server says of itself in INFO.

use serde::Deserialize;

/// The fields of INFO that matter here; a field that the server leaves out has
/// its type's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// The server's public key.
    pub server_id: String,
    /// Its configured or generated name.
    pub server_name: String,
    /// Its version, as `2.11.0`.
    pub version: String,
    /// Protocol version; 1 sends INFO again when the cluster changes.
    pub proto: i64,
    /// Whether headers are taken.
    pub headers: bool,
    /// The largest message, headers included, in bytes.
    pub max_payload: u64,
    /// The number that this server gave to the connection.
    pub client_id: u64,
    /// Our address as the server sees it.
    pub client_ip: String,
    /// Whether it asks for credentials.
    pub auth_required: bool,
    /// Whether it insists on TLS.
    pub tls_required: bool,
    /// Whether it offers TLS.
    pub tls_available: bool,
    /// What to sign with an nkey.
    pub nonce: String,
    /// Whether JetStream is enabled.
    pub jetstream: bool,
    /// The name of its cluster; empty for a single server.
    pub cluster: String,
    /// The JetStream domain; empty if none.
    pub domain: String,
    /// Other addresses of the cluster.
    pub connect_urls: Vec<String>,
    /// Lame duck mode: the server is about to stop.
    #[serde(rename = "ldm")]
    pub lame_duck: bool,
}
