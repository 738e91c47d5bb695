//! `eventbench doctor`: is this machine fit to measure on, and what does each finding mean for the figures?
//!
//! [`read`] is the only part that touches the machine; what it gives is judged by the pure functions of [`mod@rows`].

mod rows;

use super::{Failure, Global, out, stdout_color};
use crate::exit::Exit;
use crate::host::{self, Machine};
use clap::Args;
use eventbench_core::host::Host as _;
use eventbench_engine::probes::machine::{
    CpuShares, DiskTrial, MachineReading, SleepTrial, cpu_shares_over, disk_trial, sleep_trial,
};
use eventbench_engine::provision::{FindError, Search, find_nats_server, find_on_path};
use eventbench_store::History;
use rows::{Mark, Row, rows, worst};
use serde::Serialize;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Takes about a second. Ends with 0 also when there is something to mind, and with 3 only when no run could be made at all.

Examples:
  eventbench doctor               what this machine is, and what that means for the figures
  eventbench doctor --quiet       only what is not ok
  eventbench doctor --json        for programs; `jq '.rows[] | select(.verdict != \"ok\")'`")]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &DoctorArgs, global: &Global) -> Result<Exit, Failure> {
    let rows = rows(&read(&global.history));
    if args.json {
        let text = serde_json::to_string_pretty(&Findings {
            verdict: worst(&rows),
            rows: &rows,
        })
        .map_err(Failure::environment)?;
        out(text + "\n");
    } else {
        let width = console::Term::stdout()
            .size_checked()
            .map_or(100, |(_, columns)| usize::from(columns).clamp(60, 120));
        out(text(&rows, width, stdout_color(), global.quiet > 0));
    }
    Ok(if rows.iter().any(|r| r.prevents_runs) {
        Exit::Environment
    } else {
        Exit::Ok
    })
}

/// How long the CPUs are watched. Their ticks are 10 ms long, so that on two cores a share is known to 2.5 points.
const WINDOW: Duration = Duration::from_millis(200);
const SLEEPS: usize = 200;
const SLEEP_NS: u64 = 1_000_000;
const WRITES: usize = 30;

/// Everything that was read of the machine, without judgement.
#[derive(Debug)]
struct Readings {
    machine: MachineReading,
    cpu: Option<CpuShares>,
    precise_sleep: Result<SleepTrial, String>,
    default_sleep: Result<SleepTrial, String>,
    temporary: Disk,
    history_disk: Disk,
    broker: Broker,
    history: HistoryState,
}

#[derive(Debug)]
struct Disk {
    dir: PathBuf,
    trial: Result<DiskTrial, String>,
}

#[derive(Debug)]
enum Broker {
    Found {
        program: PathBuf,
        version: String,
        origin: &'static str,
        notes: Vec<String>,
    },
    /// None is here, but a run will fetch one with this program.
    Fetchable { with: String, cache: PathBuf, why: String },
    /// None is here and none can be fetched, or the one that was named does not work.
    None { why: String },
}

#[derive(Debug)]
enum HistoryState {
    NotYet(PathBuf),
    Readable { path: PathBuf, runs: usize },
    Unreadable(String),
}

fn read(history: &Path) -> Readings {
    // The CPUs first: the trials below would show in their shares.
    let cpu = cpu_shares_over(WINDOW);
    let machine = MachineReading::take();
    let disk = |dir: PathBuf| Disk {
        trial: disk_trial(&dir, WRITES).map_err(|e| e.to_string()),
        dir,
    };
    Readings {
        machine,
        cpu,
        precise_sleep: sleep_trial(SLEEPS, SLEEP_NS, NonZeroU64::new(1)).map_err(|e| e.to_string()),
        default_sleep: sleep_trial(SLEEPS, SLEEP_NS, None).map_err(|e| e.to_string()),
        temporary: disk(std::env::temp_dir()),
        history_disk: disk(nearest_directory(history)),
        broker: broker(),
        history: history_state(history),
    }
}

/// The directory in which a file lies or, as long as that is not there, the nearest above it: nothing is made here.
fn nearest_directory(file: &Path) -> PathBuf {
    let found = file.ancestors().skip(1).find(|dir| dir.is_dir());
    found.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn broker() -> Broker {
    let environment = Machine.env("EVENTBENCH_NATS_SERVER").map(PathBuf::from);
    let (path, cache) = (host::path(), host::cache_dir());
    let search = Search {
        explicit: None,
        environment: environment.as_deref(),
        path: path.as_deref(),
        cache_dir: cache.as_deref(),
        may_install: false,
    };
    match find_nats_server(&search, &mut |_| ()) {
        Ok(found) => Broker::Found {
            program: found.program,
            version: found.version.to_string(),
            origin: found.origin.words(),
            notes: found.notes,
        },
        Err(e @ FindError::Missing { .. }) => {
            let tools = ["python3", "python", "pip3", "pip", "uv"];
            let tool = path
                .as_deref()
                .and_then(|path| tools.iter().find(|tool| find_on_path(path, tool).is_some()));
            match (tool, cache) {
                (Some(tool), Some(cache)) => Broker::Fetchable {
                    with: (*tool).to_owned(),
                    cache,
                    why: e.to_string(),
                },
                _ => Broker::None { why: e.to_string() },
            }
        }
        Err(e) => Broker::None { why: e.to_string() },
    }
}

fn history_state(path: &Path) -> HistoryState {
    if !path.exists() {
        return HistoryState::NotYet(path.to_owned());
    }
    match History::open_existing(path).and_then(|history| history.list(usize::MAX)) {
        Ok(runs) => HistoryState::Readable {
            path: path.to_owned(),
            runs: runs.len(),
        },
        Err(e) => HistoryState::Unreadable(e.to_string()),
    }
}

/// The document of `--json`.
#[derive(Serialize)]
struct Findings<'a> {
    verdict: Mark,
    rows: &'a [Row],
}

/// The findings for people: a mark, a name and a value, and below them what they mean; with `terse` only what is not ok.
fn text(rows: &[Row], width: usize, color: bool, terse: bool) -> String {
    const INDENT: usize = 6;
    let names = rows.iter().map(|r| r.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows.iter().filter(|r| !terse || r.verdict != Mark::Ok) {
        let mark = row
            .verdict
            .style(color)
            .apply_to(format!("{:<INDENT$}", row.verdict.word()));
        let value = wrapped(&row.value, width.saturating_sub(INDENT + names + 2), INDENT + names + 2);
        text.push_str(&format!("{mark}{:<names$}  {value}\n", row.name));
        text.push_str(&format!(
            "{:INDENT$}{}\n",
            "",
            wrapped(&row.meaning, width.saturating_sub(INDENT), INDENT)
        ));
    }
    let count = |mark| rows.iter().filter(|r| r.verdict == mark).count();
    let (mind, bad) = (count(Mark::Mind), count(Mark::Bad));
    let verdict = worst(rows);
    let sum = match verdict {
        Mark::Ok => "this machine is fit to measure on".to_owned(),
        _ if rows.iter().any(|r| r.prevents_runs) => format!("no run can be made here yet: {bad} bad, {mind} to mind"),
        Mark::Mind => format!(
            "fit to measure on, with {mind} thing{} to mind",
            if mind == 1 { "" } else { "s" }
        ),
        Mark::Bad => format!(
            "runs can be made, but mind what is said above before trusting small differences: {bad} bad, {mind} to mind"
        ),
    };
    text.push_str(&format!("{}\n", verdict.style(color).apply_to(sum)));
    text
}

/// Words set into lines of at most `width` characters, all but the first indented; a longer word stands alone.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use super::rows::tests::quiet;
    use super::*;

    #[test]
    fn the_text_keeps_to_its_width_and_colours_only_when_asked() {
        let mut readings = quiet();
        readings.machine.allowed_cpus = Some(vec![0, 1]);
        readings.history = HistoryState::Unreadable("a long story of why this file is no history ".repeat(4));
        let rows = rows(&readings);
        let plain = text(&rows, 60, false, false);
        assert!(
            plain
                .lines()
                .take(plain.lines().count() - 1)
                .all(|l| l.chars().count() <= 60),
            "{plain}"
        );
        assert!(plain.starts_with("mind  cores") && !plain.contains('\u{1b}'), "{plain}");
        assert!(text(&rows, 60, true, false).contains("\u{1b}[33m"));
        let terse = text(&rows, 60, false, true);
        assert!(terse.contains("mind  cores") && !terse.contains("ok    "), "{terse}");
    }

    #[test]
    fn json_holds_numbers_as_numbers_and_the_worst_verdict() {
        let mut readings = quiet();
        readings.cpu.iter_mut().for_each(|c| c.steal = 0.14);
        let rows = rows(&readings);
        let json = serde_json::to_value(Findings {
            verdict: worst(&rows),
            rows: &rows,
        })
        .unwrap();
        assert_eq!(json["verdict"], "bad");
        let steal = json["rows"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == "CPU stolen")
            .unwrap();
        assert_eq!(steal["figures"]["steal_ratio"], 0.14);
        assert_eq!(steal["verdict"], "bad");
    }

    #[test]
    fn the_nearest_directory_is_found_without_making_any() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("not/yet/history.db");
        assert_eq!(nearest_directory(&file), dir.path());
        assert!(!dir.path().join("not").exists());
        assert_eq!(nearest_directory(Path::new("history.db")), Path::new("."));
        assert!(matches!(history_state(&file), HistoryState::NotYet(_)));
        let rubbish = dir.path().join("rubbish.db");
        std::fs::write(
            &rubbish,
            "this is not a database, it is a sentence about one that is long enough",
        )
        .unwrap();
        assert!(matches!(history_state(&rubbish), HistoryState::Unreadable(_)));
    }

    #[test]
    fn the_last_line_says_whether_to_measure_here() {
        let said = |readings: &Readings| {
            text(&rows(readings), 100, false, true)
                .lines()
                .last()
                .unwrap()
                .to_owned()
        };
        let mut readings = quiet();
        assert_eq!(
            text(&rows(&readings), 100, false, true),
            "this machine is fit to measure on\n"
        );
        readings.machine.load_1m = Some(5.0);
        assert_eq!(said(&readings), "fit to measure on, with 1 thing to mind");
        readings.machine.clock_source = Some("hpet".to_owned());
        assert!(said(&readings).starts_with("runs can be made, but") && said(&readings).ends_with("1 bad, 1 to mind"));
        readings.broker = Broker::None {
            why: "none found".to_owned(),
        };
        assert_eq!(said(&readings), "no run can be made here yet: 2 bad, 1 to mind");
    }
}
