//! The real binary, run as a user runs it: on a real nats-server and SQLite, each test in a directory of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start the binary, wait for it with deadlines, and end when their premises do not hold"
)]

mod agent;
mod baselines;
mod ci;
mod cluster;
mod commands;
mod common;
mod config;
mod duel;
mod environment;
mod history;
mod interchange;
mod limits;
mod placement;
mod processes;
mod refusals;
mod reports;
mod rpc;
mod serve_metrics;
mod trends;
mod truth;
mod workflow;
