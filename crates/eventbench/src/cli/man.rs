//! `eventbench man`: the manual page, in roff.

use super::{Failure, out};
use crate::exit::Exit;
use clap::Command;

/// Runs the command.
pub fn run(command: Command) -> Result<Exit, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(Failure::environment)?;
    out(page);
    Ok(Exit::Ok)
}
