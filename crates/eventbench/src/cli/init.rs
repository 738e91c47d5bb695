//! `eventbench init`: a first suite for a system of one's own.

use super::{Failure, out};
use crate::exit::Exit;
use clap::Args;
use std::io::Write as _;
use std::path::PathBuf;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file to write; one that exists is left alone
    #[arg(value_name = "FILE", default_value = "suite.toml")]
    file: PathBuf,
}

/// The suite that is written.
pub const TEMPLATE: &str = r#"# A first suite: events published to NATS must arrive at a subscriber.
# Replace the subject by one of yours, the observer by where your events end,
# and [service.NAME] by the command that starts your service.
[suite]
name = "my-system"

[broker.nats]                 # a real nats-server of its own; url = "nats://host:4222" attaches instead

# [service.mine]
# run = ["./my-service", "--nats", "{broker.nats.url}"]
# ready = { subject = "my.health" }

[[benchmark]]
name = "delivery-latency"
about = "How long does an event take to its subscriber?"
tags = ["latency"]
drive = { driver = "nats", subject = "orders.created", payload = '{"id":{seq},"mark":"{stamp}","at":{now_ms}}' }
observe = { driver = "nats", subject = "orders.>" }
load = { arrival = "constant", rate = "500/s", duration = "3s", warmup = "500ms" }
limits = ["p(99) < 20ms", "lost == 0"]
"#;

/// Runs the command.
pub fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let shown = args.file.display();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.file);
    let mut file = file.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage(miette::miette!(
            "{shown} exists and is left as it is; name another file"
        )),
        _ => Failure::environment(format!("{shown}: {e}")),
    })?;
    file.write_all(TEMPLATE.as_bytes())
        .map_err(|e| Failure::environment(format!("{shown}: {e}")))?;
    out(format!("{shown} written. Try it: eventbench run {shown}\n"));
    Ok(Exit::Ok)
}
