//! The registry: which nodes are there, what they can do, and whether they still beat.
//!
//! | subject | request → reply |
//! |---|---|
//! | `rpc.registry.register` | `{"id","capabilities","subject"}` → `{"ok"}`; a node that registers again begins anew |
//! | `rpc.registry.leave` | `{"id"}` → `{"ok","known"}` |
//! | `rpc.registry.instances` | `{"capability"}` → `{"instances":[{"id","subject","capabilities","healthy","state","load","outstanding"}]}`, none if nobody has it |
//! | `rpc.registry.nodes` | `{"after"?,"limit"?}` → `{"states":{"alive","suspect","lost"},"beats":{"received",…},"nodes":[…]}`, at most 1,000 nodes by name |
//! | `registry.beat` | `{"id","seq","at_ns","load","outstanding","resources"?}` → `{"ok","seq","received_ns","registered","duplicate"}`, if the beat asks for a reply |
//!
//! What it knows is in memory and built up from beats within seconds. One instance is run: beats go to all of them, but a
//! registration only to one.

mod args;
mod beats;
pub mod membership;
mod run;

pub use args::Args;
pub use run::{SERVICE, run_until};
