//! Provisioning, load and probes of eventbench: from a plan to the record of each benchmark.

mod benchmark;
pub mod drive;
mod engine;
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
pub mod linux;
pub mod probes;
pub mod provision;
mod run;
mod stage;
mod trial;

pub use engine::Engine;
pub use run::{Finished, expected_seconds};
pub use stage::StageError;
pub use trial::RunError;
