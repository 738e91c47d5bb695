//! `eventbench service NAME`: a system under test, as a process of its own.

use super::error;
use crate::exit::Exit;
use clap::{ArgMatches, Args, Command};
use eventbench_services::SERVICES;
use std::process::ExitCode;

/// Placeholder for the derive; the services bring their own arguments.
#[derive(Debug, Args)]
pub struct ServiceArgs {}

/// Puts every service's own command below `service`.
pub fn with_services(command: Command) -> Command {
    let mut command = command
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_flag(false);
    for service in SERVICES {
        command = command.subcommand((service.command)().about(service.about));
    }
    command
}

/// Runs the service that was named.
pub fn run(matches: &ArgMatches) -> ExitCode {
    let Some((name, matches)) = matches.subcommand() else {
        return Exit::Usage.into();
    };
    let Some(service) = SERVICES.iter().find(|s| s.name == name) else {
        return Exit::Usage.into();
    };
    match (service.run)(matches) {
        Ok(()) => Exit::Ok.into(),
        Err(e) => {
            error(&format!("error: {e}"));
            Exit::Environment.into()
        }
    }
}
