//! `eventbench history export`: the runs of the history for other tools.

use crate::cli::{Failure, Global, error, out};
use crate::exit::Exit;
use clap::{Args, ValueEnum};
use eventbench_core::record::RunRecord;
use eventbench_report::otava::{Otava, OtavaTable, Test, configuration};
use eventbench_report::tidy::Tidy;
use eventbench_report::{RenderOptions, ReportError, printable};
use eventbench_store::History;
use std::path::{Path, PathBuf};

/// Arguments of `history export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eventbench history export -o runs.csv                       every figure of every run and trial
  eventbench history export --suite event-bus --last 50 --branch main
  eventbench history export --format otava -o otava/          a CSV a benchmark, and otava.yaml
  eventbench history export --format pytest-benchmark -o runs/
  eventbench history export --format json -o backup.json      whole records, for `history import`")]
pub struct ExportArgs {
    /// The format
    #[arg(long, value_name = "FORMAT", default_value = "tidy")]
    format: ExportFormat,
    /// Only runs of this suite
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Only this benchmark
    #[arg(long, value_name = "NAME")]
    benchmark: Option<String>,
    /// Only runs of this branch
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Only the last N of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// A file, or a directory for a file each; standard output if absent
    #[arg(short, long = "output", value_name = "FILE|DIR")]
    output: Option<PathBuf>,
}

/// What the history can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// CSV with one row a value, for data frames and spreadsheets
    Tidy,
    /// CSV with one row a run and one column a metric, for Apache Otava
    Otava,
    /// JSON that `pytest-benchmark compare` reads, one file a run
    PytestBenchmark,
    /// A list of whole records
    Json,
}

/// Runs the command.
pub fn run(args: &ExportArgs, global: &Global) -> Result<Exit, Failure> {
    if args.format == ExportFormat::Json && args.benchmark.is_some() {
        return Err(Failure::usage(miette::miette!(
            "--benchmark cannot go with --format json: a record is whole, and a part of it under the same id would not \
             be; leave one of them out"
        )));
    }
    let history = History::open_existing(&global.history).map_err(Failure::environment)?;
    let ids = chosen(args, &history)?;
    if ids.is_empty() {
        return Err(Failure {
            exit: Exit::NoData,
            report: miette::miette!(
                "no run of the history {} is what was asked for; `eventbench report --list` shows the runs",
                global.history.display()
            ),
        });
    }
    match args.format {
        ExportFormat::Tidy => tidy(args, &history, &ids),
        ExportFormat::Otava => otava(args, &history, &ids),
        ExportFormat::PytestBenchmark => pytest(args, &history, &ids),
        ExportFormat::Json => json(args, &history, &ids),
    }?;
    Ok(Exit::Ok)
}

fn load(args: &ExportArgs, history: &History, id: &str) -> Result<RunRecord, Failure> {
    let mut record = history.load(id).map_err(Failure::environment)?;
    if let Some(name) = &args.benchmark {
        record.benchmarks.retain(|b| b.name == *name);
    }
    Ok(record)
}

/// The ids of the runs asked for, the oldest first.
fn chosen(args: &ExportArgs, history: &History) -> Result<Vec<String>, Failure> {
    let most = args.last.map_or(usize::MAX, |n| n as usize);
    let mut ids = Vec::new();
    for summary in history.list(usize::MAX).map_err(Failure::environment)? {
        if ids.len() == most {
            break;
        }
        if args.suite.as_ref().is_some_and(|s| *s != summary.suite) {
            continue;
        }
        // The rest of what can be asked for stands in the record alone.
        if args.branch.is_some() || args.benchmark.is_some() {
            let record = load(args, history, &summary.id)?;
            let branch = record.run.source.as_ref().and_then(|s| s.branch.as_ref());
            let other_branch = args.branch.is_some() && branch != args.branch.as_ref();
            if other_branch || (args.benchmark.is_some() && record.benchmarks.is_empty()) {
                continue;
            }
        }
        ids.push(summary.id);
    }
    ids.reverse();
    Ok(ids)
}

fn tidy(args: &ExportArgs, history: &History, ids: &[String]) -> Result<(), Failure> {
    let mut table = Tidy::new().map_err(Failure::environment)?;
    for id in ids {
        table.add(&load(args, history, id)?).map_err(Failure::environment)?;
    }
    deliver(args.output.as_deref(), "history.csv", table.finish())
}

fn json(args: &ExportArgs, history: &History, ids: &[String]) -> Result<(), Failure> {
    let mut text = b"[\n".to_vec();
    for (i, id) in ids.iter().enumerate() {
        let record = crate::cli::report::render("json", &load(args, history, id)?, &RenderOptions::default())?;
        text.extend_from_slice(record.trim_ascii_end());
        text.extend_from_slice(if i + 1 < ids.len() { b",\n" } else { b"\n]\n" });
    }
    deliver(args.output.as_deref(), "history.json", Ok(text))
}

fn pytest(args: &ExportArgs, history: &History, ids: &[String]) -> Result<(), Failure> {
    let directory = args.output.as_deref().filter(|path| is_directory(path));
    if ids.len() > 1 && directory.is_none() {
        return Err(Failure::usage(miette::miette!(
            "pytest-benchmark has one run a file, and there are {}: name a directory (-o runs/), or take the last one \
             (--last 1)",
            ids.len()
        )));
    }
    for (i, id) in ids.iter().enumerate() {
        let record = load(args, history, id)?;
        let text = crate::cli::report::render("pytest-benchmark", &record, &RenderOptions::default())?;
        // As its own storage names them, so that its `list` and `compare` find them.
        deliver(args.output.as_deref(), &format!("{:04}_{id}.json", i + 1), Ok(text))?;
    }
    Ok(())
}

fn otava(args: &ExportArgs, history: &History, ids: &[String]) -> Result<(), Failure> {
    let directory = args.output.as_deref().filter(|path| is_directory(path));
    // Each benchmark of each suite that has a file of its own; none where all go into one.
    let mut tables: Vec<(String, Option<String>, Otava)> = Vec::new();
    for id in ids {
        let record = load(args, history, id)?;
        let suite = &record.run.suite;
        let names: Vec<Option<String>> = if directory.is_some() {
            record.benchmarks.iter().map(|b| Some(b.name.clone())).collect()
        } else {
            vec![args.benchmark.clone()]
        };
        for name in names {
            let place = tables.iter().position(|t| t.0 == *suite && t.1 == name);
            let place = place.unwrap_or_else(|| {
                tables.push((suite.clone(), name.clone(), Otava::new()));
                tables.len() - 1
            });
            tables[place].2.add(&record, name.as_deref());
        }
    }
    tables.retain(|t| !t.2.is_empty());
    if directory.is_none() && tables.len() > 1 {
        let suites: Vec<String> = tables.iter().map(|t| printable(&t.0)).collect();
        return Err(Failure::usage(miette::miette!(
            "a series of Otava has the runs of one suite, and there are {}: choose one with --suite, or name a directory \
             (-o otava/)",
            suites.join(", ")
        )));
    }
    let mut tests: Vec<Test> = Vec::new();
    for (suite, benchmark, table) in tables {
        let test = benchmark.map_or_else(|| suite.clone(), |b| format!("{suite}.{b}"));
        let OtavaTable { csv, metrics, left_out } = table.finish().map_err(Failure::environment)?;
        if !left_out.is_empty() {
            error(&format!(
                "{}: {} metrics are left out, which some of its runs do not have, since Otava takes no gaps: {}; --last N \
                 takes fewer runs",
                printable(&test),
                left_out.len(),
                shortened(&left_out)
            ));
        }
        let mut file = format!("{}.csv", plain(&test));
        if tests.iter().any(|t| t.1 == file) {
            file = format!("{}-{}.csv", plain(&test), tests.len() + 1);
        }
        deliver(args.output.as_deref(), &file, Ok(csv))?;
        tests.push((test, file, metrics));
    }
    if let Some(directory) = directory {
        let tests: Vec<_> = tests
            .into_iter()
            .map(|(test, file, metrics)| (test, directory.join(file).display().to_string(), metrics))
            .collect();
        deliver(Some(directory), "otava.yaml", Ok(configuration(&tests).into_bytes()))?;
    }
    Ok(())
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| printable(n)).collect();
    let more = if names.len() > SHOWN { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// A name of a file that every system takes.
fn plain(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(100)
        .collect();
    plain.trim_start_matches('.').to_owned()
}

fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/')
}

/// Writes to the file, to a file of that name in the directory, or to standard output.
fn deliver(output: Option<&Path>, name: &str, bytes: Result<Vec<u8>, ReportError>) -> Result<(), Failure> {
    let bytes = bytes.map_err(Failure::environment)?;
    let Some(path) = output.filter(|path| *path != Path::new("-")) else {
        out(bytes);
        return Ok(());
    };
    let failed = |path: &Path, e: std::io::Error| Failure::environment(format!("{}: {e}", path.display()));
    let path = if is_directory(path) {
        std::fs::create_dir_all(path).map_err(|e| failed(path, e))?;
        path.join(name)
    } else {
        path.to_owned()
    };
    std::fs::write(&path, bytes).map_err(|e| failed(&path, e))
}
