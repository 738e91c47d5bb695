//! A worker: looks at the files of workflows in the ways that it is asked to offer.

mod args;
mod classify;
mod hook;
mod methods;
mod presence;
mod run;

pub use args::{Args, Capability};
pub use run::{SERVICE, run_until};
