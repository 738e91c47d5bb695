//! The agent service over real connections: HTTP/1.1, HTTP/2, TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy takes only functions with #[test] for tests"
)]

mod client;
mod drain;
mod faults;
mod fixture;
mod limits;
mod resume;
mod runs;
mod transport;
mod verify;
