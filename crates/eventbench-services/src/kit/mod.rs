//! A small kit for services on NATS: methods in queue groups, events and commands in JetStream, and everything around
//! them that a production service has.
//!
//! | subject | what |
//! |---|---|
//! | `rpc.<service>.<method>` | requests, in the queue group `rpc.<service>` |
//! | `events.<domain>.<type>` | events, in the stream `EVENTS` |
//! | `commands.<service>.<command>` | commands, in the work-queue stream `COMMANDS` |
//! | `commands.progress.<id>`, `commands.callback.<id>` | what a command's sender hears of it |
//! | `internal.heartbeat.<service>` | heartbeats |
//! | `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS` | the NATS service protocol |
//!
//! Requests and events are MessagePack or JSON, whichever a payload shows itself to be ([`codec`]).

pub mod caller;
pub mod codec;
pub mod commands;
pub mod events;
pub mod method;
pub mod pool;
mod protocol;
pub mod registry;
pub mod reply;
mod serve;
pub mod service;
pub mod streams;
mod work;

pub use serve::Cost;
pub use work::burn;
pub(crate) use work::unix_ms;
