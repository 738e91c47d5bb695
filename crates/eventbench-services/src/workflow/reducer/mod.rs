//! The reducer: adds up what the workflows found, and stores it so that nothing counts twice.
//!
//! | method | request → reply |
//! |---|---|
//! | `rpc.reducer.stamp` | a [`Stamp`](crate::workflow::stamp::Stamp) → `{"stored","duplicate","work_ns","hops"}`, once its row is committed |
//! | `rpc.reducer.aggregate` | a batch → what it adds up to, by namespace, type, size, window of event time and workflow |
//! | `rpc.reducer.window` | a batch of a stream → the windows that it closed, once they are committed |
//! | `rpc.reducer.stats` | `{"dimension"?}` → what is stored, with the totals of a dimension |
//!
//! A batch is `{"items": [[id, namespace, file_type, bytes, at_ns], …]}`, or `{"generate": {"items","seed","seq",
//! "namespaces"}}` for the items of a recipe ([`batch`]). An aggregate's batch that is larger than the broker's limit comes
//! in several requests with `"parts": {"batch": NAME, "part": i, "of": n}`; the last that arrives is answered with the
//! aggregate. A stream's batch says `"stream": NAME` and `"batch": NUMBER`, may ask to be reduced and committed in groups
//! of `"batch_items"`, and ends the stream with `"last": true`.
//!
//! What makes no sense is refused with code 422 and a reason, and noted in the table `refused`. A stamp or a batch that
//! comes again changes nothing and is told to be a duplicate. `work_ns` is the reducer's own time, a list so that it can be
//! read as samples; an instant is `CLOCK_MONOTONIC` in nanoseconds.

pub mod aggregate;
mod args;
pub mod batch;
mod methods;
mod parts;
mod reduce;
mod reply;
mod run;
mod stamp;
mod store;
pub mod window;
mod writer;

pub use args::Args;
pub use run::{SERVICE, run_until};
