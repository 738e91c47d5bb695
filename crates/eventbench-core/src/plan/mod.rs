//! The plan: a suite file, read, checked and resolved for one run. Whatever can change a result is in it.

mod benchmark;
mod broker;
mod check;
mod fault;
mod grade;
mod limit;
mod load;
mod placement;
mod profile;
mod schema;
mod search;
mod select;
mod service;
mod settings;
mod source;
mod suite;
mod sweep;

pub use benchmark::{Against, Benchmark};
pub use broker::{Brokers, NatsBroker};
pub use check::check;
pub use fault::{Fault, FaultAction, Node};
pub use grade::Grading;
pub use limit::{LimitEntry, Severity};
pub use load::{Load, StepEntry};
pub use placement::{Placement, PlacementName, PlacementSetting};
pub use profile::{Profile, ProfileOverride};
pub use schema::json_schema;
pub use search::{Halving, MOST_STEPS, Search};
pub use select::{Overrides, Plan, Selection, SelectionError, resolve};
pub use service::Service;
pub use settings::{Settings, SettingsError};
pub use source::{At, PlanError, PlanErrors, Source};
pub use suite::{Suite, SuiteHead};
pub use sweep::Sweep;
