//! What the table of services holds of each one.

use crate::ServiceError;

/// One service: how it is called, how its arguments are described, how it is run.
#[derive(Clone, Copy, Debug)]
pub struct ServiceDef {
    /// The name on the command line (`eventbench service NAME`), in kebab-case.
    pub name: &'static str,
    /// One line for a listing.
    pub about: &'static str,
    /// The arguments that it takes, with their help.
    pub command: fn() -> clap::Command,
    /// Runs the service in this process until SIGTERM or SIGINT; returns once everything accepted is stored.
    pub run: fn(&clap::ArgMatches) -> Result<(), ServiceError>,
}
