//! Provision and drive: the broker's program, then one plan, benchmark by benchmark, each kept at once.

use super::head::head;
use crate::cli::{Failure, error};
use crate::exit::Exit;
use crate::host::{self, Machine};
use eventbench_core::event::{Event, Sink};
use eventbench_core::host::Host as _;
use eventbench_core::judge::Verdict;
use eventbench_core::plan::Plan;
use eventbench_core::record::{BenchmarkRecord, Ended, RECORD_VERSION, RunRecord};
use eventbench_drivers::REGISTRY;
use eventbench_engine::provision::{Found, PINNED_VERSION, Progress as Fetching, Search, find_nats_server};
use eventbench_engine::{Engine, expected_seconds};
use eventbench_store::{History, HistoryError};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Whether a plan needs the program of a managed broker.
pub(crate) fn needs_server(plan: &Plan) -> bool {
    plan.broker.nats.as_ref().is_some_and(|nats| nats.url.is_none())
        && plan.benchmarks.iter().any(|b| b.broker != Some(false))
}

/// Finds the broker's program, or fetches it.
pub(crate) fn provision(plans: &[Plan], progress: &mut dyn Sink) -> Result<Found, Failure> {
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

/// Why a run ends before its last benchmark, if neither the user nor the engine ends it.
enum Cut {
    /// What was measured could not be kept.
    History(HistoryError),
    /// Enough benchmarks have failed, in words.
    Enough(String),
}

/// Runs one plan and keeps each benchmark at once. The run ends when `enough` gives a reason to, asked with each
/// benchmark's verdict.
pub(crate) fn drive(
    plan: &Plan,
    nats: Option<&Found>,
    mut history: Option<&mut History>,
    stop: &AtomicBool,
    progress: &mut dyn Sink,
    enough: &mut dyn FnMut(Verdict) -> Option<String>,
) -> Result<(RunRecord, Option<Exit>), Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::environment(format!("this program's own path is unknown: {e}")))?;
    let mut record = RunRecord {
        version: RECORD_VERSION,
        run: head(plan, nats),
        benchmarks: Vec::new(),
        comparison: None,
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
        head: Some(Box::new(record.run.clone())),
    });
    let engine = Engine {
        registry: REGISTRY,
        host: &Machine,
        program,
        nats_server: nats.map(|f| f.program.clone()),
        placement: record.run.placement.clone(),
        stop,
    };
    let begun_ns = engine.clock().now_ns();
    let id = record.run.id.clone();
    let mut benchmarks: Vec<BenchmarkRecord> = Vec::new();
    let kept = engine.run(plan, progress, |index, benchmark| {
        let stored = history.as_deref_mut().map_or(Ok(()), |h| h.put(&id, index, &benchmark));
        let (verdict, last) = (benchmark.verdict, index + 1 == plan.benchmarks.len());
        // Kept in memory as well: what could not be stored can still be reported.
        benchmarks.push(benchmark);
        stored.map_err(Cut::History)?;
        match enough(verdict) {
            Some(why) if !last => Err(Cut::Enough(why)),
            _ => Ok(()),
        }
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
        Err(Cut::Enough(why)) => {
            record.run.ended = Ended::BrokenOff;
            record.run.notes.push(why);
        }
        Err(Cut::History(e)) => {
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
