//! Runs that were measured or written elsewhere, read into records: pure functions from text, which touch no database.

mod criterion;
mod detect;
mod error;
mod foreign;
mod identity;
mod instant;
mod otava;
mod pytest;
mod quantity;
mod record;
mod tidy;

pub use criterion::{CriterionBenchmark, read_criterion};
pub use detect::{ImportFormat, read};
pub use error::ImportError;
pub use foreign::Origin;

#[cfg(test)]
mod tests;
