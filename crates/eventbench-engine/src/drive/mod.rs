//! Driving: lanes that send, observers that watch, and a conductor that waits, reads and injures.

mod conductor;
mod faults;
mod watch;

pub use conductor::{Conducted, conduct};
pub use faults::{FaultLog, Outage};
