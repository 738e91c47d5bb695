//! `eventbench history import`: runs that were measured elsewhere, into the history.

use crate::cli::{Failure, Global, out};
use crate::exit::Exit;
use clap::Args;
use eventbench_core::record::{Revision, RunRecord};
use eventbench_report::printable;
use eventbench_report::tidy::Tidy;
use eventbench_store::import::{CriterionBenchmark, ImportFormat, Origin, read, read_criterion};
use eventbench_store::{History, HistoryError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// No file is larger; one of these would be a mistake.
const LARGEST_BYTES: u64 = 1 << 30;
/// Criterion's directories lie as deep as its groups, functions and values.
const DEEPEST: usize = 16;
const CRITERION: &str = "criterion";

/// Arguments of `history import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads what `history export` and `report -o json=FILE` write, pytest-benchmark's JSON, CSV as Apache Otava reads it, and
the directory that criterion leaves. All files are read before anything is kept; what is there already is left as it is.

Examples:
  eventbench history import runs.csv
  eventbench history import .benchmarks/*/0001_*.json
  eventbench history import target/criterion --commit $(git rev-parse HEAD) --branch main
  eventbench history import series.csv --suite nightly --benchmark ingest")]
pub struct ImportArgs {
    /// Files, or criterion's directory
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// The format, where it cannot be seen: tidy, pytest-benchmark, criterion, json, otava
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<String>,
    /// The suite to count the runs to, for formats without suites
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// The benchmark that the rows belong to, for Otava's CSV; the file's name if absent
    #[arg(long, value_name = "NAME")]
    benchmark: Option<String>,
    /// The commit that was measured, where a file does not say
    #[arg(long, value_name = "ID")]
    commit: Option<String>,
    /// The branch of --commit
    #[arg(long, value_name = "NAME", requires = "commit")]
    branch: Option<String>,
}

fn format(text: &str) -> Result<String, String> {
    let known: Vec<&str> = ImportFormat::names().chain([CRITERION]).collect();
    if known.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected one of {}", known.join(", ")))
    }
}

/// A run with the file that it comes from.
struct Given {
    file: PathBuf,
    record: RunRecord,
    /// Whether the file names its runs, so that two files may disagree about one.
    names_runs: bool,
}

/// Runs the command.
pub fn run(args: &ImportArgs, global: &Global) -> Result<Exit, Failure> {
    let mut given: BTreeMap<String, Given> = BTreeMap::new();
    let mut order = Vec::new();
    let mut there = 0_usize;
    for file in &args.files {
        let (records, names_runs) = read_file(args, file)?;
        for record in records {
            let (id, file) = (record.run.id.clone(), file.clone());
            let new = Given {
                file,
                record,
                names_runs,
            };
            match given.get(&id) {
                Some(earlier) => {
                    agree(&new, &earlier.record, &earlier.file.display().to_string())?;
                    there += 1;
                }
                None => {
                    order.push(id.clone());
                    given.insert(id, new);
                }
            }
        }
    }
    let mut history = History::open(&global.history).map_err(Failure::environment)?;
    let mut new = Vec::new();
    for id in order {
        let Some(run) = given.remove(&id) else { continue };
        match history.load(&id) {
            Ok(earlier) => {
                agree(&run, &earlier, "the history")?;
                there += 1;
            }
            Err(HistoryError::UnknownRun { .. }) => new.push(run.record),
            Err(error) => return Err(Failure::environment(error)),
        }
    }
    for record in &new {
        history.put_record(record).map_err(Failure::environment)?;
    }
    if global.quiet == 0 {
        let were = match there {
            0 => String::new(),
            1 => "; 1 was there already".to_owned(),
            n => format!("; {n} were there already"),
        };
        let runs = if new.len() == 1 { "run" } else { "runs" };
        out(format!("imported {} {runs}{were}\n", new.len()));
    }
    Ok(Exit::Ok)
}

/// Refuses a run whose id stands for other figures elsewhere. An id that is made of what a run holds cannot.
fn agree(new: &Given, earlier: &RunRecord, whose: &str) -> Result<(), Failure> {
    let rows = |record: &RunRecord| {
        let mut table = Tidy::new()?;
        table.add(record)?;
        table.finish()
    };
    let same = !new.names_runs
        || rows(&new.record).map_err(Failure::environment)? == rows(earlier).map_err(Failure::environment)?;
    if same {
        return Ok(());
    }
    Err(refused(
        &new.file,
        &format!(
            "run {} has other figures than the run of that id in {whose}; a record is never overwritten, and nothing was \
             imported",
            new.record.run.id
        ),
    ))
}

fn refused(file: &Path, why: &str) -> Failure {
    Failure::usage(miette::miette!("{}: {}", file.display(), printable(why)))
}

fn read_file(args: &ImportArgs, file: &Path) -> Result<(Vec<RunRecord>, bool), Failure> {
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned());
    let origin = Origin {
        name: file
            .file_name()
            .unwrap_or(file.as_os_str())
            .to_string_lossy()
            .into_owned(),
        suite: args.suite.clone(),
        benchmark: args.benchmark.clone().or(stem),
        source: args.commit.clone().map(|commit| Revision {
            commit,
            branch: args.branch.clone(),
        }),
    };
    let wanted = args.format.as_deref();
    if file.is_dir() {
        if wanted.is_some_and(|w| w != CRITERION) {
            return Err(refused(file, "a directory; only criterion's is read as one"));
        }
        let (benchmarks, newest) = criterion_files(file)?;
        let record = read_criterion(&benchmarks, newest, &origin).map_err(|e| refused(file, &e.to_string()))?;
        return Ok((vec![record], false));
    }
    let text = text_of(file)?;
    let format = match wanted {
        Some(CRITERION) => {
            let why = "a file; give the directory that criterion writes, such as target/criterion";
            return Err(refused(file, why));
        }
        Some(name) => ImportFormat::named(name),
        None => ImportFormat::of(&text),
    };
    let format = format.ok_or_else(|| {
        let known: Vec<&str> = ImportFormat::names().collect();
        refused(
            file,
            &format!(
                "it is in none of the formats that are known ({}, or criterion's directory); --format says which one it \
                 is meant to be",
                known.join(", ")
            ),
        )
    })?;
    let records = read(format, &text, &origin).map_err(|e| {
        refused(
            file,
            &format!("not read as {}: {e}; nothing was imported", format.name()),
        )
    })?;
    Ok((records, format.names_runs()))
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let unreadable = |e: std::io::Error| Failure::environment(format!("{}: {e}", file.display()));
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > LARGEST_BYTES {
        return Err(refused(
            file,
            &format!("{size} bytes; at most {LARGEST_BYTES} are read"),
        ));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        refused(file, &format!("line {line}: not UTF-8; nothing was imported"))
    })
}

/// What criterion keeps of each benchmark below a directory, and when the newest of it was written, in milliseconds
/// since the Unix epoch.
fn criterion_files(root: &Path) -> Result<(Vec<CriterionBenchmark>, i64), Failure> {
    let mut found = Vec::new();
    let mut newest = 0;
    let mut next = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = next.pop() {
        let unreadable = |e: std::io::Error| Failure::environment(format!("{}: {e}", directory.display()));
        let estimates = directory.join("new").join("estimates.json");
        if estimates.is_file() {
            let optional = |name: &str| {
                let path = directory.join("new").join(name);
                path.is_file().then(|| text_of(&path)).transpose()
            };
            let path = directory.strip_prefix(root).unwrap_or(&directory);
            found.push(CriterionBenchmark {
                path: path.to_string_lossy().into_owned(),
                estimates: text_of(&estimates)?,
                benchmark: optional("benchmark.json")?,
                sample: optional("sample.json")?,
            });
            let written = std::fs::metadata(&estimates)
                .and_then(|m| m.modified())
                .map_err(unreadable)?;
            let since = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            newest = newest.max(i64::try_from(since.as_millis()).unwrap_or(0));
        }
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            // A link is not followed, so that there are no circles.
            if depth < DEEPEST && entry.file_type().map_err(unreadable)?.is_dir() {
                next.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((found, newest))
}
