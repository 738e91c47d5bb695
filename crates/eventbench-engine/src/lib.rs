//! Provisioning, load and probes of eventbench: from a plan to the record of each benchmark.

mod benchmark;
mod crosscheck;
pub mod drive;
mod duel;
mod engine;
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
pub mod linux;
pub mod placement;
pub mod probes;
pub mod provision;
mod run;
mod search;
mod stage;
mod trial;

pub use duel::{Bout, Dueled, Side, duel, expected_pair_seconds};
pub use engine::Engine;
pub use run::{Finished, expected_seconds};
pub use stage::StageError;
pub use trial::RunError;
