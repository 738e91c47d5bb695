//! The agent service: an HTTP server that runs agent workflows on seeded accounts and streams what they do as AG-UI
//! events over server-sent events.

mod accounts;
mod analysis;
mod args;
mod event;
mod fault;
mod input;
mod kept;
mod listener;
mod metrics;
mod pipeline;
mod reference;
mod refusal;
mod run;
mod seed;
mod server;
mod stream;
mod worker;
mod workflow;

pub use args::Args;
pub use fault::Fault;
pub use run::{Agent, SERVICE, run_until};
