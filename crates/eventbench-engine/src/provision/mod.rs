//! Getting the stage ready: processes that never outlive the run, the broker and its monitoring endpoint.

mod broker;
mod cluster;
mod find;
mod injure;
mod install;
mod leader;
mod monitor;
mod nats_server;
mod node;
mod ports;
mod process;
mod spawner;
mod tail;

pub use broker::{Broker, BrokerError, Node};
pub use find::{FindError, Found, MINIMUM_VERSION, Origin, Search, find_nats_server, find_nats_version, find_on_path};
pub use injure::InjuryError;
pub use install::{InstallError, PINNED_VERSION, Progress, install_nats_server};
pub use leader::{Census, Holder, Led};
pub use monitor::{
    Connection, ConnectionState, Group, JetStreamReading, Monitor, MonitorError, Replica, ServerReading, StreamReading,
    SubscriptionReading,
};
pub use nats_server::{NatsServer, NatsSettings, StartError};
pub use ports::{PortHolder, free_loopback_port, loopback_port_is_free, port_holder, quiet_loopback_ports};
pub use process::{Child, Exit, ProcessError, Spec, StopReport};
pub use spawner::Spawner;
