//! Judgement: limits, statistics behind them, verdicts.

mod figure;
mod limit;
pub mod statistics;
mod verdict;

pub use figure::{Figure, figure, standard_figures};
pub use limit::{Comparison, EnvironmentLimit, Limit, LimitResult, from_environment, judge_limit};
pub use verdict::Verdict;
