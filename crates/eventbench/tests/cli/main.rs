//! The real binary, run as a user runs it: on a real nats-server and SQLite, each test in a directory of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start the binary, wait for it with deadlines, and end when their premises do not hold"
)]

mod commands;
mod common;
mod environment;
mod history;
mod limits;
mod processes;
mod refusals;
mod reports;
mod truth;
