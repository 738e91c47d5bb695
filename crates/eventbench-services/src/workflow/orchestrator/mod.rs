//! The orchestrator: takes workflows, brings each to its end whatever happens in between, and hands its stamp on.

mod args;
mod calls;
mod engine;
mod intake;
mod journal;
mod methods;
mod outbox;
mod outcome;
mod run;
mod schema;
mod state;

pub use args::Args;
pub use run::{SERVICE, run_until};
