//! Drivers of HTTP: requests and their responses, and streams of events.

mod body;
mod connection;
mod deadlines;
#[cfg_attr(not(target_os = "linux"), path = "poll.rs")]
mod epoll;
mod exchange;
mod h2;
mod head;
mod lane;
mod measures;
mod plan;
mod ready;
mod settings;
mod target;
mod task;
mod timer;
mod tls;

use eventbench_core::driver::DriverDef;

pub use ready::HTTP as READY;

/// Requests and responses.
pub const HTTP: DriverDef = DriverDef {
    name: "http",
    about: "asks an HTTP server and waits for the whole response; other statuses than success are rejections",
    check: |settings| settings::read(settings, false).map(drop),
    schema: || schemars::schema_for!(settings::Http).to_value(),
    open: |settings, trial| Ok(Box::new(plan::Http::open("http", false, settings, trial)?)),
};

/// Streams of events.
pub const SSE: DriverDef = DriverDef {
    name: "sse",
    about: "asks for streams of server-sent events, reads each to its end, and checks it by the rules of AG-UI if told to",
    check: |settings| settings::read(settings, true).map(drop),
    schema: || schemars::schema_for!(settings::Http).to_value(),
    open: |settings, trial| Ok(Box::new(plan::Http::open("sse", true, settings, trial)?)),
};
