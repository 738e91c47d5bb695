//! The history of runs: one SQLite file that keeps every record, and every figure of it in a form that can be queried.

mod baselines;
mod comparisons;
mod error;
mod history;
pub mod import;
mod migrations;
mod noise;
mod query;
mod tall;
mod trend;

pub use baselines::{Baseline, baseline_name};
pub use error::HistoryError;
pub use history::History;
pub use query::{RunSummary, VerdictCounts};
pub use trend::{Measured, StoredFigure, StoredPoint};

#[cfg(test)]
mod tests;
