//! The systems under test that eventbench ships: real services on a real broker and a real database.
//!
//! A service is one entry of [`SERVICES`]; `eventbench service NAME` runs it as a process of its own. Nothing in here
//! knows of the instrument that measures it: a service takes its events, stores or answers them, and tells about
//! itself only what any production service would (health, statistics, metrics).

pub mod agent;
pub mod connection;
pub mod duration;
pub mod error;
pub mod event_store;
pub mod kit;
mod log;
mod platform;
pub mod rpc;
mod service;
pub mod workflow;

pub use error::ServiceError;
pub use service::ServiceDef;

/// Every service that the binary can run, in the order in which they are listed. One line each.
pub const SERVICES: &[ServiceDef] = &[
    event_store::SERVICE,
    rpc::SERVICE,
    agent::SERVICE,
    workflow::orchestrator::SERVICE,
    workflow::worker::SERVICE,
    workflow::reducer::SERVICE,
    workflow::registry::SERVICE,
    workflow::node_host::SERVICE,
];

#[cfg(test)]
mod tests {
    use super::SERVICES;

    #[test]
    fn each_service_has_a_distinct_name_an_about_and_a_sound_command() {
        let mut names: Vec<_> = SERVICES.iter().map(|service| service.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVICES.len(), "two services share a name");
        for service in SERVICES {
            assert!(!service.about.is_empty(), "{} says nothing of itself", service.name);
            let command = (service.command)();
            assert_eq!(command.get_name(), service.name);
            command.debug_assert();
        }
    }
}
