//! `eventbench run`: plan → preflight → provision → drive ⇄ observe → judge → record → report.

use super::progress::Progress;
use super::report::{Output, write_outputs};
use super::{Failure, Global, error, out, stdout_color, suites};
use crate::exit::Exit;
use crate::host::{self, Machine};
use clap::Args;
use eventbench_core::event::{Event, Sink};
use eventbench_core::host::Host as _;
use eventbench_core::judge::{Limit, from_environment};
use eventbench_core::mix::mix2;
use eventbench_core::plan::{Overrides, Plan, Selection, resolve};
use eventbench_core::record::{BenchmarkRecord, Ended, Environment, RECORD_VERSION, RunHead, RunRecord};
use eventbench_core::units::{Duration, Rate, Unit};
use eventbench_drivers::REGISTRY;
use eventbench_engine::provision::{Found, PINNED_VERSION, Progress as Fetching, Search, find_nats_server};
use eventbench_engine::{Engine, expected_seconds};
use eventbench_store::History;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Suites by name, or suite files; event-bus if none is given
    #[arg(value_name = "SUITE|FILE")]
    suites: Vec<String>,
    /// Only these benchmarks: a name, a tag, a category or a requirement id, with * and ?; may be given again
    #[arg(long, value_name = "NAME|TAG")]
    only: Vec<String>,
    /// None of these
    #[arg(long, value_name = "NAME|TAG")]
    skip: Vec<String>,
    /// How much of the suite: quick, standard, soak, or one of the suite's own
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    profile: String,
    /// Another rate for every benchmark that has one
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Overrides, written into the record")]
    rate: Option<Rate>,
    /// Another duration for every benchmark
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Overrides, written into the record")]
    duration: Option<Duration>,
    /// Another number of trials for every benchmark
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Overrides, written into the record")]
    trials: Option<u32>,
    /// Another seed for payloads and random arrivals
    #[arg(long, value_name = "N", help_heading = "Overrides, written into the record")]
    seed: Option<u64>,
    /// Also write a report, such as markdown=report.md; FORMAT alone writes to standard output; may be given again
    #[arg(short, long = "output", value_name = "FORMAT=PATH")]
    output: Vec<Output>,
    /// Make warnings fail
    #[arg(long)]
    strict: bool,
    /// Show what would be run, and end
    #[arg(long)]
    dry_run: bool,
    /// Keep nothing in the history
    #[arg(long)]
    no_history: bool,
}

const EXAMPLES: &str = "\
Examples:
  eventbench run                                    event-bus, quick: about a minute
  eventbench run --profile standard -o markdown=report.md -o json=run.json
  eventbench run --only latency --only EB-9         by tag, by requirement
  eventbench run --only sustained-throughput --rate 50k/s --duration 20s
  eventbench run --profile soak                     one hour of memory stability
  BENCHMARK_LATENCY_MAX=2 eventbench run --strict   a bound from the environment (ms, %, %, events/s:
                                                    BENCHMARK_LATENCY_MAX, _CPU_MAX, _MEMORY_MAX, _THROUGHPUT_MIN)";

fn rate(text: &str) -> Result<Rate, String> {
    Unit::PerSecond.parse(text).and_then(|v| {
        if v > 0.0 {
            Ok(Rate(v))
        } else {
            Err("a rate must be above zero".to_owned())
        }
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    Unit::Nanoseconds.parse(text).and_then(|v| {
        if v > 0.0 {
            Ok(Duration(v))
        } else {
            Err("a duration must be above zero".to_owned())
        }
    })
}

/// Runs the command.
pub fn run(args: &RunArgs, global: &Global) -> Result<Exit, Failure> {
    let plans = plan(args)?;
    if args.dry_run {
        plans.iter().for_each(|plan| out(describe(plan)));
        return Ok(Exit::Ok);
    }
    let mut history = preflight(args, global, &plans)?;
    let stop = stop_on_signals()?;
    let mut progress = Progress::new(global.quiet);
    let nats = if plans.iter().any(needs_server) {
        Some(provision(&plans, &mut progress)?)
    } else {
        None
    };
    let mut exit = Exit::Ok;
    for plan in &plans {
        let (record, ended) = drive(plan, nats.as_ref(), history.as_mut(), &stop, &mut progress)?;
        progress.finish();
        report(args, global, &record)?;
        exit = worse(
            exit,
            match ended {
                Some(other) => other,
                None => Exit::of(record.verdict(), args.strict),
            },
        );
        if stop.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
    }
    Ok(exit)
}

/// The plans of all suites asked for.
fn plan(args: &RunArgs) -> Result<Vec<Plan>, Failure> {
    let selection = Selection {
        only: args.only.clone(),
        skip: args.skip.clone(),
    };
    let overrides = Overrides {
        rate: args.rate,
        duration: args.duration,
        trials: args.trials,
        seed: args.seed,
    };
    let names = if args.suites.is_empty() {
        vec!["event-bus".to_owned()]
    } else {
        args.suites.clone()
    };
    let mut plans = Vec::new();
    for name in names {
        let (suite, source) = suites::load(&name)?;
        // A file of one's own need not have profiles; its durations are then what they are.
        let profile = if suite.profile.is_empty() && args.profile == "quick" {
            "standard"
        } else {
            &args.profile
        };
        if suite.profile.is_empty() && profile != "standard" {
            return Err(Failure::usage(miette::miette!(
                "suite \"{}\" has no profile \"{profile}\", nor any other; leave --profile out",
                suite.suite.name
            )));
        }
        let plan = resolve(&suite, &source, profile, &selection, &overrides)
            .map_err(|e| Failure::usage(miette::miette!("{e}")))?;
        faults_in_time(&plan)?;
        plans.push(plan);
    }
    Ok(plans)
}

/// Refuses a plan whose profile or flags have put a fault behind the end of its load, where it would never be done.
fn faults_in_time(plan: &Plan) -> Result<(), Failure> {
    for benchmark in &plan.benchmarks {
        let Some(end) = benchmark.load.duration else { continue };
        if let Some(fault) = benchmark.fault.iter().find(|f| f.at.ns() >= end.ns()) {
            return Err(Failure::usage(miette::miette!(
                "benchmark \"{}\": the fault \"{} {}\" at {} comes after the load has ended ({end}); run it longer, or leave it out with --skip",
                benchmark.name.value,
                fault.action.word(),
                fault.service,
                fault.at,
            )));
        }
    }
    Ok(())
}

/// Refuses what can be refused before any load: bounds of the environment that are no numbers, outputs that cannot be
/// written, a history that cannot be opened.
fn preflight(args: &RunArgs, global: &Global, plans: &[Plan]) -> Result<Option<History>, Failure> {
    for entry in plans.iter().flat_map(|p| &p.benchmarks).flat_map(|b| &b.limits) {
        Limit::parse(entry)
            .and_then(|mut limit| from_environment(&mut limit, |name| Machine.env(name)))
            .map_err(|e| Failure::usage(miette::miette!("{e}")))?;
    }
    if plans.len() > 1 && !args.output.is_empty() {
        return Err(Failure::usage(miette::miette!(
            "each suite has a report of its own, so the last of {} would overwrite the others; run them one at a time, or render each afterwards with `eventbench report`",
            plans.len()
        )));
    }
    for output in &args.output {
        output.check()?;
    }
    if args.no_history {
        return Ok(None);
    }
    History::open(&global.history).map(Some).map_err(Failure::environment)
}

fn needs_server(plan: &Plan) -> bool {
    plan.broker.nats.as_ref().is_some_and(|nats| nats.url.is_none())
        && plan.benchmarks.iter().any(|b| b.broker != Some(false))
}

/// Finds the broker's program, or fetches it.
fn provision(plans: &[Plan], progress: &mut Progress) -> Result<Found, Failure> {
    let explicit = plans
        .iter()
        .find_map(|p| p.broker.nats.as_ref().and_then(|n| n.server.clone()))
        .map(PathBuf::from);
    let environment = Machine.env("EVENTBENCH_NATS_SERVER").map(PathBuf::from);
    let cache = host::cache_dir();
    let path = host::path();
    let search = Search {
        explicit: explicit.as_deref(),
        environment: environment.as_deref(),
        path: path.as_deref(),
        cache_dir: cache.as_deref(),
        may_install: true,
    };
    let mut tell = |step: Fetching| {
        let doing = match step {
            Fetching::Downloading { with } => format!("fetched with {with}"),
            Fetching::Unpacking => "unpacked".to_owned(),
            Fetching::Ready { program } => format!("kept at {}", program.display()),
        };
        progress.hear(Event::Preparing(format!(
            "nats-server {PINNED_VERSION} is being {doing}"
        )));
    };
    let found = find_nats_server(&search, &mut tell).map_err(Failure::environment)?;
    for note in &found.notes {
        progress.hear(Event::Note(note.clone()));
    }
    progress.hear(Event::Preparing(format!(
        "nats-server {} from {}: {}",
        found.version,
        found.origin.words(),
        found.program.display()
    )));
    Ok(found)
}

/// Runs one plan and keeps each benchmark at once.
fn drive(
    plan: &Plan,
    nats: Option<&Found>,
    mut history: Option<&mut History>,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<(RunRecord, Option<Exit>), Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::environment(format!("this program's own path is unknown: {e}")))?;
    let mut record = RunRecord {
        version: RECORD_VERSION,
        run: head(plan, nats),
        benchmarks: Vec::new(),
    };
    if let Some(history) = history.as_deref_mut() {
        history.begin(&record.run).map_err(Failure::environment)?;
    }
    progress.hear(Event::RunStarted {
        run: record.run.id.clone(),
        suite: plan.suite.name.clone(),
        profile: plan.profile.clone(),
        benchmarks: plan.benchmarks.len(),
        expected_s: expected_seconds(plan),
    });
    let engine = Engine {
        registry: REGISTRY,
        host: &Machine,
        program,
        nats_server: nats.map(|f| f.program.clone()),
        stop,
    };
    let begun_ns = engine.clock().now_ns();
    let id = record.run.id.clone();
    let mut benchmarks: Vec<BenchmarkRecord> = Vec::new();
    let kept = engine.run(plan, progress, |index, benchmark| {
        let stored = history.as_deref_mut().map_or(Ok(()), |h| h.put(&id, index, &benchmark));
        // Kept in memory as well: what could not be stored can still be reported.
        benchmarks.push(benchmark);
        stored
    });
    record.benchmarks = benchmarks;
    record.run.seconds = Some((engine.clock().now_ns() - begun_ns) as f64 / 1e9);
    let mut exit = None;
    match kept {
        Ok(finished) => {
            if let Some(version) = finished.broker_version {
                record
                    .run
                    .environment
                    .versions
                    .insert("nats-server".to_owned(), version);
            }
            record.run.ended = if finished.complete {
                Ended::Complete
            } else {
                Ended::Interrupted
            };
            if let Some(e) = finished.error {
                record.run.ended = Ended::BrokenOff;
                error(&format!("error: {e}"));
                record.run.notes.push(format!("the run broke off: {e}"));
                exit = Some(Exit::Environment);
            }
        }
        Err(e) => {
            record.run.ended = Ended::BrokenOff;
            error(&format!(
                "error: {e}\n  the run ends here; the report below holds what was measured"
            ));
            record.run.notes.push(format!("the history could not be written: {e}"));
            exit = Some(Exit::Environment);
        }
    }
    if let Some(history) = history
        && let Err(e) = history.finish(&record.run)
    {
        error(&format!("error: {e}"));
        exit = Some(Exit::Environment);
    }
    Ok((record, exit))
}

/// Prints the report and writes those asked for.
fn report(args: &RunArgs, global: &Global, record: &RunRecord) -> Result<(), Failure> {
    let to_stdout = args.output.iter().any(Output::is_stdout);
    if global.quiet < 2 && !to_stdout {
        let mut options = super::report::options(stdout_color(), global.verbose > 0);
        options.history = (!args.no_history).then(|| global.history.display().to_string());
        out(super::report::render("terminal", record, &options)?);
        if args.suites.is_empty() && global.quiet == 0 {
            out(
                "\nThis was the event-bus suite in the quick profile. More: `eventbench run --profile standard` (under 5 minutes), \
                 `eventbench run --profile soak` (an hour of memory stability), `eventbench list` (everything there is), \
                 `eventbench init my-suite.toml` (a first suite for your own system).\n",
            );
        }
    }
    write_outputs(&args.output, record)
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |e: Exit| match e {
        Exit::Ok => 0,
        Exit::NoData => 1,
        Exit::Failed => 2,
        Exit::Invalid => 3,
        Exit::Environment => 4,
        Exit::Usage => 5,
        Exit::Interrupted => 6,
    };
    if rank(b) > rank(a) { b } else { a }
}

fn head(plan: &Plan, nats: Option<&Found>) -> RunHead {
    let started = Machine.wall_unix_ms();
    let mut environment = environment();
    if let Some(found) = nats {
        environment
            .versions
            .insert("nats-server".to_owned(), found.version.to_string());
    }
    let random = mix2(started as u64, Machine.clock().now_ns() ^ u64::from(std::process::id()));
    RunHead {
        id: run_id(started, random),
        suite: plan.suite.name.clone(),
        about: plan.suite.about.clone(),
        profile: plan.profile.clone(),
        started_unix_ms: started,
        seconds: None,
        ended: Ended::Unfinished,
        overrides: plan.overrides.clone(),
        seed: plan.suite.seed,
        warn_margin: plan.suite.warn_margin.0,
        planned: plan.benchmarks.iter().map(|b| b.name.value.clone()).collect(),
        plan: serde_json::to_value(plan).unwrap_or(serde_json::Value::Null),
        environment,
        notes: Vec::new(),
    }
}

/// Date and time, which sort, and four digits that keep runs of one second apart.
fn run_id(started_unix_ms: i64, random: u64) -> String {
    let digits: String = eventbench_report::utc(started_unix_ms)
        .chars()
        .filter(char::is_ascii_digit)
        .take(14)
        .collect();
    let (date, time) = digits.split_at(digits.len().min(8));
    format!("{date}-{time}-{:04x}", random & 0xffff)
}

fn environment() -> Environment {
    let machine = eventbench_engine::probes::machine::MachineReading::take();
    let mut environment = Environment {
        os: machine.os.clone().unwrap_or_else(|| std::env::consts::OS.to_owned()),
        kernel: machine.kernel.clone(),
        cpu: machine
            .cpu_model
            .clone()
            .unwrap_or_else(|| machine.architecture.clone()),
        cores: machine
            .allowed_cpus
            .as_ref()
            .map(|c| c.len() as u32)
            .or(machine.logical_cpus.map(|n| n as u32))
            .unwrap_or(0),
        memory_bytes: machine.memory_total_bytes.unwrap_or(0),
        ..Environment::default()
    };
    environment
        .versions
        .insert("eventbench".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    environment
        .versions
        .insert("sqlite".to_owned(), eventbench_drivers::sqlite_version().to_owned());
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            environment.facts.insert(name.to_owned(), value);
        }
    };
    fact("architecture", Some(machine.architecture));
    fact("clock source", machine.clock_source);
    fact("governor", machine.governors.first().cloned());
    fact("cgroup CPU limit (cores)", machine.cgroup_cpus.map(|c| c.to_string()));
    fact(
        "cgroup memory limit (bytes)",
        machine.cgroup_memory_bytes.map(|b| b.to_string()),
    );
    environment
}

/// Sets a flag at SIGINT or SIGTERM; a second one ends the program at once, and the kernel its children.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|e| Failure::environment(format!("signals cannot be caught: {e}")))?;
    }
    Ok(stop)
}

fn describe(plan: &Plan) -> String {
    let mut text = format!(
        "{} ({}), about {:.0} s:\n",
        plan.suite.name,
        plan.profile,
        expected_seconds(plan)
    );
    for b in &plan.benchmarks {
        text.push_str(&format!(
            "  {:<28} {:>2} × {}\n",
            b.name.value,
            b.trials.unwrap_or(3),
            b.load.describe()
        ));
        for limit in &b.limits {
            text.push_str(&format!("      {}\n", limit.that));
        }
    }
    text
}

/// The verdict of nothing at all, so that `report` of an empty run is never a pass.
#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::judge::Verdict;

    #[test]
    fn an_id_sorts_by_time() {
        assert_eq!(run_id(1_795_247_999_000, 0xabcde), "20261121-075959-bcde");
        assert!(run_id(1_000, 1) < run_id(2_000, 0));
    }

    #[test]
    fn the_worst_of_several_suites_counts() {
        assert_eq!(worse(Exit::Ok, Exit::Failed), Exit::Failed);
        assert_eq!(worse(Exit::Invalid, Exit::Failed), Exit::Invalid);
        assert_eq!(Exit::of(Verdict::Pass, true), Exit::Ok);
    }
}
