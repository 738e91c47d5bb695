//! Test fixtures of eventbench: broker, virtual host, golden records, redactor.

pub mod broker;
pub mod golden;
pub mod host;
pub mod redact;
