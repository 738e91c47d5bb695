//! The RPC service: methods that echo, wait, fail, compute and say who they are; with JetStream, a durable consumer of
//! events that writes what it handles to SQLite, and a worker for commands. It is built on the kit.

mod args;
mod event_log;
mod methods;
mod metrics;
mod run;

pub use args::Args;
pub use run::{SERVICE, run_until};
