//! Observation: what is kept of a run while it goes on, without a lock, an allocation or a message per event.

mod causes;
mod hops;
mod latency;
mod ledger;
mod recorder;
mod seqset;

pub use causes::Causes;
pub use hops::{HopTimes, Sum as HopSum};
pub use latency::{Latency, LatencyError};
pub use ledger::{Close, Ledger, StreamLedger, StreamSeen, StreamSent};
pub use recorder::{Interval, Recorder, SLICE_NS, Timeline, Window};
pub use seqset::SeqSet;
