//! Drivers and observers of eventbench: one file a protocol, one row a table.

mod agui;
mod codec;
mod direct;
mod endpoint;
mod fake;
mod http;
mod jetstream;
mod mix;
mod nats;
mod nats_floor;
mod nats_request;
mod nats_subscription;
mod ready;
mod requests;
mod sqlite;
pub mod sse;
mod told;
pub mod wire;

use eventbench_core::driver::{DriverDef, ObserverDef, ReadyDef, Registry};

/// Everything that can send events.
pub const DRIVERS: &[DriverDef] = &[
    nats::DRIVER,
    nats_request::DRIVER,
    nats_floor::DRIVER,
    jetstream::DRIVER,
    direct::DRIVER,
    http::HTTP,
    http::SSE,
    fake::DRIVER,
];

/// Everything that can see where events end.
pub const OBSERVERS: &[ObserverDef] = &[sqlite::OBSERVER, nats_subscription::OBSERVER, jetstream::OBSERVER];

/// Everything that can tell whether a service is ready.
pub const READY: &[ReadyDef] = &[ready::SUBJECT, ready::SOCKET, ready::TCP, http::READY];

/// All of it.
pub const REGISTRY: Registry = Registry {
    drivers: DRIVERS,
    observers: OBSERVERS,
    ready: READY,
};

/// The version of the SQLite library that observers read databases with.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
