//! The service kit and the RPC service against a real broker and a real database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy takes only functions with #[test] for tests"
)]

mod drain;
mod fixture;
mod jetstream;
mod kit;
