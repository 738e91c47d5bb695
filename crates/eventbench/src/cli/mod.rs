//! The command line: one file a command.

mod awake;
mod baseline;
mod calibrate;
mod check;
mod compare;
mod completions;
mod config;
mod doctor;
mod duel;
mod history;
mod init;
mod list;
mod man;
mod open;
mod progress;
mod records;
mod report;
mod run;
mod schema;
mod serve_metrics;
mod service;
mod settings;
mod suites;

use crate::exit::{EXIT_CODES, Exit};
use clap::{ArgMatches, Args, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Performance validation for event-driven systems.
///
/// Starts the real broker and services, drives them at a true rate, follows every event to where it must end, reads what
/// it cost, injures the system when asked, and judges.
#[derive(Debug, Parser)]
#[command(name = "eventbench", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// What every command takes.
#[derive(Debug, Args, Clone)]
pub struct Global {
    /// The history database
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = ".eventbench/history.db",
        env = "EVENTBENCH_HISTORY"
    )]
    pub history: PathBuf,
    /// The project's configuration, instead of the nearest eventbench.toml
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "no_config")]
    pub config: Option<PathBuf>,
    /// Go without the project's configuration
    #[arg(long, global = true)]
    pub no_config: bool,
    /// Colour: auto takes it on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Say less; twice: nothing but errors
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,
    /// Say more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  eventbench run                           the event-bus suite, quick profile
  eventbench run event-bus --profile standard
  eventbench run my-suite.toml --only latency -o markdown=report.md
  eventbench run agent-stream --only load-test --users 200 --spawn-rate 20/s --open
  eventbench run --serve-metrics 9464      watch the run in a browser, or with Prometheus
  eventbench run --baseline main           fail on what is slower than the run saved as main
  eventbench list event-bus                its benchmarks, tags and requirement ids
  eventbench report latest -o csv=raw.csv  render a stored run again
  eventbench config                        what holds here, and why
  eventbench doctor                        is this machine quiet enough?

`eventbench help COMMAND` tells more of each.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run suites and judge them
    Run(run::RunArgs),
    /// Run two variants in turn and tell which is faster
    Duel(duel::DuelArgs),
    /// Run the same against itself and tell the smallest change that can be seen on this machine
    Calibrate(calibrate::CalibrateArgs),
    /// Show suites and benchmarks, drivers, metrics
    List(list::ListArgs),
    /// Check suite files without running them
    Check(check::CheckArgs),
    /// Hold one run against another: what is slower, what is faster, what cannot be told
    Compare(compare::CompareArgs),
    /// Names for runs that later ones are compared with
    Baseline(baseline::BaselineArgs),
    /// How figures have moved from run to run, and the runs for other tools and from them
    History(history::HistoryArgs),
    /// Render a stored run again
    Report(report::ReportArgs),
    /// Run a system under test that eventbench ships, as a process of its own
    #[command(disable_help_flag = true)]
    Service(service::ServiceArgs),
    /// Write a first suite for a system of one's own
    Init(init::InitArgs),
    /// Show what holds for this project, and where each setting comes from
    Config(config::ConfigArgs),
    /// Print the JSON Schema of suite files, for editors
    Schema,
    /// Tell whether this machine is fit to measure on
    Doctor(doctor::DoctorArgs),
    /// Print shell completions
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
    /// Keep cores from falling asleep, for a run that asks for it
    #[command(hide = true)]
    Awake(awake::AwakeArgs),
}

/// An error with the code it ends with.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What to print.
    pub report: miette::Report,
}

impl Failure {
    /// An error of the command line or the plan.
    pub fn usage(report: impl Into<miette::Report>) -> Self {
        Self {
            exit: Exit::Usage,
            report: report.into(),
        }
    }

    /// An error of the environment.
    pub fn environment(error: impl std::fmt::Display) -> Self {
        Self {
            exit: Exit::Environment,
            report: miette::miette!("{error}"),
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    // The service is dispatched before anything else: it must start fast and parses its own arguments.
    let mut command = Cli::command();
    command = command.mut_subcommand("service", service::with_services);
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(e) => {
            let code = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = e.print();
            return code.into();
        }
    };
    if let Some(("service", matches)) = matches.subcommand() {
        return service::run(matches);
    }
    let mut cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return Exit::Usage.into();
        }
    };
    set_color(cli.global.color);
    let result = configured(&matches, &mut cli).and_then(|layers| dispatch(&cli, layers));
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            error(&format!("{:?}", failure.report));
            failure.exit.into()
        }
    }
}

/// Reads the project's configuration, for those commands that it says something of, and fills in their arguments.
fn configured<'a>(matches: &'a ArgMatches, cli: &mut Cli) -> Result<Option<config::Layers<'a>>, Failure> {
    let concerned = match &cli.command {
        Command::Run(_)
        | Command::Duel(_)
        | Command::Calibrate(_)
        | Command::Compare(_)
        | Command::Baseline(_)
        | Command::History(_)
        | Command::Report(_)
        | Command::Doctor(_) => true,
        Command::Config(args) => !args.init,
        _ => false,
    };
    let Some((_, given)) = matches.subcommand().filter(|_| concerned) else {
        return Ok(None);
    };
    let layers = config::Layers::read(cli.global.config.as_ref(), cli.global.no_config, given)?;
    config::apply(&layers, &mut cli.command, &mut cli.global)?;
    Ok(Some(layers))
}

fn dispatch(cli: &Cli, layers: Option<config::Layers<'_>>) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Run(args) => run::run(args, &cli.global),
        Command::Duel(args) => duel::run(args, &cli.global),
        Command::Calibrate(args) => calibrate::run(args, &cli.global),
        Command::List(args) => list::run(args),
        Command::Check(args) => check::run(args),
        Command::Compare(args) => compare::run(args, &cli.global),
        Command::Baseline(args) => baseline::run(args, &cli.global),
        Command::History(args) => history::run(args, &cli.global),
        Command::Report(args) => report::run(args, &cli.global),
        Command::Init(args) => init::run(args),
        Command::Config(args) => config::run(args, &cli.global, layers.as_ref()),
        Command::Schema => schema::run(),
        Command::Doctor(args) => doctor::run(args, &cli.global),
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Man => man::run(Cli::command()),
        Command::Awake(args) => Err(awake::run(args)),
        Command::Service(_) => Ok(Exit::Usage),
    }
}

fn set_color(choice: ColorChoice) {
    let forced = match choice {
        ColorChoice::Always => Some(true),
        ColorChoice::Never => Some(false),
        // `console` itself looks for a terminal and at NO_COLOR.
        ColorChoice::Auto => None,
    };
    if let Some(on) = forced {
        console::set_colors_enabled(on);
        console::set_colors_enabled_stderr(on);
    }
    let stderr_color = console::colors_enabled_stderr();
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(
            miette::MietteHandlerOpts::new()
                .color(stderr_color)
                .unicode(true)
                .width(120)
                .build(),
        )
    }));
}

/// Whether standard output is a terminal that wants colour.
pub fn stdout_color() -> bool {
    console::colors_enabled()
}

/// Whether standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Writes to standard output; a reader that has gone away is no error.
pub fn out(text: impl AsRef<[u8]>) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_ref()).and_then(|()| stdout.flush());
}

/// Writes a line to standard error.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}
