//! Judgement: limits, statistics behind them, verdicts.

pub mod change_points;
pub mod compare;
mod figure;
mod limit;
pub mod series;
pub mod statistics;
pub mod trend;
mod verdict;

pub use figure::{Figure, figure, standard_figures};
pub use limit::{Comparison, ENVIRONMENT, EnvironmentLimit, Limit, LimitResult, from_environment, judge_limit};
pub use verdict::Verdict;
