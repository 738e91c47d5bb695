//! Metrics: what is measured, under which name, in which unit, and what can be asked of it.

mod statistic;
mod table;
mod value;

pub use statistic::{Estimate, STATISTICS, StatDef, Statistic};
pub use table::{ALIASES, Better, Kind, METRICS, MetricDef, definition};
pub use value::{MetricKey, MetricValue, Series, Values};
