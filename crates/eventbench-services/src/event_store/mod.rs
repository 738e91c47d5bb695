//! The event store: takes chat, user, media, command and user-count events from a NATS event bus (core or JetStream)
//! or from a socket in direct mode, and commits them in batches to SQLite.

mod args;
mod batch;
mod commit_log;
mod direct;
pub mod event;
mod fault;
mod frame;
mod jetstream;
mod metrics;
mod nats;
mod query;
mod queue;
mod rate_limit;
mod run;
mod stats;
mod store;
mod writer;

pub use args::Args;
pub use frame::{Frame, FrameError, parse_header};
pub use run::{SERVICE, run_until};
