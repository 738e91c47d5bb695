//! `eventbench schema`: the JSON Schema of suite files.

use super::{Failure, out};
use crate::exit::Exit;
use eventbench_core::plan::json_schema;
use eventbench_drivers::REGISTRY;

/// Runs the command.
pub fn run() -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(&json_schema(&REGISTRY)).map_err(Failure::environment)?;
    out(text + "\n");
    Ok(Exit::Ok)
}
