//! Where the services of the workflow system are reached.
//!
//! | subject | who serves it | request → reply |
//! |---|---|---|
//! | `rpc.orchestrator.run` | orchestrator | a workflow → its outcome, once it has ended |
//! | `rpc.orchestrator.submit` | orchestrator | a workflow → its id, once it is durable |
//! | `workflow.submit` | orchestrator | a workflow in JetStream, acknowledged once it is durable |
//! | `workflow.<id>.state` | whoever listens | an event for each state that a workflow enters |
//! | `rpc.worker.<instance>.<capability>` | that worker | the workflow as it came → what the worker found |
//! | `rpc.reducer.stamp` | reducer | a [`Stamp`](super::stamp::Stamp) → a [`Stored`](super::stamp::Stored), once its row is committed |
//! | `rpc.registry.register` | registry | `{"id","capabilities","subject"}` of a worker → nothing in particular |
//! | `rpc.registry.instances` | registry | `{"capability"}` → `{"instances":[{"id","subject","capabilities","healthy","load","outstanding"}]}` |
//! | `rpc.registry.leave` | registry | `{"id"}` of a worker that ends → nothing in particular |
//! | `registry.beat` | registry | `{"id","seq","at_ns","load","outstanding"}` of a worker or node, without reply |
//!
//! A registered `subject` is the beginning of where an instance is called: the capability follows after a dot.

/// Name of the orchestrator's service: `rpc.orchestrator.<method>`.
pub const ORCHESTRATOR: &str = "orchestrator";
/// Name of the workers' service: `rpc.worker.<instance>.<capability>`.
pub const WORKER: &str = "worker";
/// Name of the reducer's service: `rpc.reducer.<method>`.
pub const REDUCER: &str = "reducer";
/// Name of the registry's service: `rpc.registry.<method>`.
pub const REGISTRY: &str = "registry";

/// Where a stamp is sent; answered once the stamp's row is committed.
pub const REDUCER_STAMP: &str = "rpc.reducer.stamp";
/// Where an instance makes itself known.
pub const REGISTRY_REGISTER: &str = "rpc.registry.register";
/// Where the instances of a capability are asked for.
pub const REGISTRY_INSTANCES: &str = "rpc.registry.instances";
/// Where an instance that ends says so.
pub const REGISTRY_LEAVE: &str = "rpc.registry.leave";
/// Where heartbeats go.
pub const BEAT: &str = "registry.beat";

/// Where workflows are submitted through JetStream.
pub const SUBMIT: &str = "workflow.submit";

/// Where the states of a workflow are told.
pub fn state(workflow: &str) -> String {
    format!("workflow.{workflow}.state")
}

/// The beginning of where a worker is called.
pub fn worker(instance: &str) -> String {
    format!("rpc.{WORKER}.{instance}")
}

/// Where a capability of an instance is called, by the subject that the instance registered.
pub fn capability(subject: &str, capability: &str) -> String {
    format!("{subject}.{capability}")
}
