//! The workflow system: an orchestrator that has files looked at by workers and hands what they found to a reducer.
//!
//! | service | what it does |
//! |---|---|
//! | `orchestrator` | takes workflows, keeps their states, calls the workers, sends a stamp of each to the reducer |
//! | `worker` | stamps content (`metadata`), classifies it (`tree`), delivers to a subscriber (`hook`) |
//! | `reducer` | adds up stamps, batches and streams, and stores what they come to |
//! | `registry` | knows which nodes are there, by their heartbeats |
//! | `node-host` | many logical nodes in one process that beat and read their machine's resources |
//!
//! What the services say to each other is in [`subjects`], [`stamp`] and [`hops`]; all of it is JSON.

pub mod hops;
pub mod node_host;
pub mod orchestrator;
pub mod reducer;
pub mod registry;
pub mod request;
mod router;
pub mod stamp;
pub mod subjects;
pub mod worker;
