//! The orchestrator and its workers against a real broker, a real registry and a real reducer, each a process of its
//! own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy takes only functions with #[test] for tests"
)]

mod durable;
mod failing;
mod fixture;
mod process;
mod running;
