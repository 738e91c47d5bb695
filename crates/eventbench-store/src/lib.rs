//! The history of runs: one SQLite file that keeps every record, and every figure of it in a form that can be queried.

mod error;
mod history;
mod migrations;
mod query;
mod tall;

pub use error::HistoryError;
pub use history::History;
pub use query::{RunSummary, VerdictCounts};

#[cfg(test)]
mod tests;
