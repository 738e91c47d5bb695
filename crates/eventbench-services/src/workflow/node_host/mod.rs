//! The node host: many logical nodes in one process. Each has a name, capabilities, heartbeats and readings of its
//! machine's resources; all share one runtime, whose hold-ups a task that ticks every millisecond makes visible.
//!
//! | method | request → reply |
//! |---|---|
//! | `rpc.nodes.beat` | `{"nodes"?,"rounds"?,"for_ms"?,"mode":"parallel"\|"sequential","resources"?}` → `{"work_ns","sent","confirmed","error","elapsed_ns","beat_ns","beat_max_ns","rounds","rounds_ns","second_half","second_half_median","ticks","tick_late_ns","tick_late_max_ns"}` |
//! | `rpc.nodes.collect` | `{"nodes"?,"fresh"?}` → `{"work_ns","collected","failed","error","elapsed_ns","read_fresh_ns","read_cached_ns","ticks","tick_late_ns","tick_late_max_ns"}` |
//!
//! A beat is a request to the registry and counts once the registry has confirmed that very beat. Its duration includes the
//! reading of resources, if it carries any. `for_ms` goes on with rounds until that time has passed. Lists of durations are
//! thinned out evenly beyond 10,000, those of the ticks beyond 20,000; the greatest is told apart. `second_half` is the mean
//! time of a round in the second half of the rounds over that in the first, `second_half_median` the same of the medians,
//! which a single stall of the machine does not move.

mod args;
mod host;
mod methods;
mod node;
mod resources;
mod run;
mod sample;
mod ticks;

pub use args::{Args, Switch};
pub use resources::How;
pub use run::{SERVICE, run_until};
