//! Periodic readings of processes, brokers and the machine.

pub mod broker;
pub mod machine;
pub mod process;
pub mod sampler;
