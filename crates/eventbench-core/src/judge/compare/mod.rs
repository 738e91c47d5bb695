//! Comparison of a run with an earlier one, or of two variants that were run in turn: by how much a figure has changed,
//! how sure that is, and what follows from it. The unit of replication is the trial.

mod advisory;
mod decide;
mod effect;
mod fail_on;
mod fingerprint;
mod gate;
mod holm;
mod noise;
mod notes;
mod rank;
mod resample;
mod row;
mod runs;
mod side;
mod words;

pub use fail_on::{FailOn, Tolerated, figure_name};
pub use fingerprint::{Mismatch, fingerprint, machine_key, mismatches};
pub use gate::{Gate, MOST_GATES, suite_gates};
pub use noise::{FigureId, Noise, NoiseBook, Session};
pub use row::{ComparedRow, ComparedRun, Decision, MarginSource, Role, RunComparison, Scale};
pub use runs::{CompareOptions, DEFAULT_MARGIN, compare};
