//! Which NATS server a driver talks to, from the run's variables.

use crate::wire::{Auth, Connection, Endpoint, WireError};
use eventbench_core::driver::DriverError;
use eventbench_core::trial::Variables;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The run's broker as an endpoint under a connection name.
pub fn endpoint(variables: &Variables, name: &str) -> Result<Endpoint, DriverError> {
    let url = variables.get("broker.nats.url").ok_or_else(|| {
        DriverError::new(
            "NATS",
            "the benchmark has no broker; add [broker.nats] to the suite, or remove `broker = false`",
        )
    })?;
    let mut endpoint = Endpoint::parse(url).map_err(|e| DriverError::new("NATS", e))?;
    endpoint.name = name.to_owned();
    if let Some(path) = variables.get("broker.nats.creds") {
        endpoint.auth = Auth::Creds(path.into());
    } else if let (Some(user), Some(password)) =
        (variables.get("broker.nats.user"), variables.get("broker.nats.password"))
    {
        endpoint.auth = Auth::UserPassword {
            user: user.to_owned(),
            password: password.to_owned(),
        };
    } else if let Some(token) = variables.get("broker.nats.token") {
        endpoint.auth = Auth::Token(token.to_owned());
    }
    if let Some(ca) = variables.get("broker.nats.tls_ca") {
        endpoint.tls.ca_file = Some(ca.into());
    }
    Ok(endpoint)
}

/// Connects to the run's broker.
pub fn connect(variables: &Variables, name: &str) -> Result<Connection, DriverError> {
    let endpoint = endpoint(variables, name)?;
    Connection::connect(&endpoint, CONNECT_TIMEOUT).map_err(|e| broken(&endpoint.url(), e))
}

/// A wire error in words for the user.
pub fn broken(address: &str, error: WireError) -> DriverError {
    DriverError::new(format!("NATS at {address}"), error)
}
