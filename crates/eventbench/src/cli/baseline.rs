//! `eventbench baseline`: names for runs that later ones are held against.

use super::report::{Output, options, render};
use super::{Failure, Global, error, out, records};
use crate::exit::Exit;
use clap::{Args, Subcommand};
use eventbench_core::judge::Verdict;
use eventbench_core::judge::compare::fingerprint;
use eventbench_core::record::{Ended, RunRecord};
use eventbench_report::{printable, utc};
use eventbench_store::{Baseline, History, baseline_name};
use std::path::{Path, PathBuf};

/// Arguments of `baseline`.
#[derive(Debug, Args)]
#[command(after_help = "\
A name stands for one run of each suite; `run --save-baseline NAME` gives it as well.

Examples:
  eventbench run --save-baseline main          measure, and keep the run as \"main\"
  eventbench run --baseline main               measure, and compare with it
  eventbench baseline save v1.2 latest~3       a name for a run of the history
  eventbench baseline export main main.json    for another machine, or to keep beside the code
  eventbench baseline import main.json")]
pub struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
enum BaselineCommand {
    /// Show the baselines
    List,
    /// Show which run a baseline is, and where it was measured
    Show {
        /// Its name
        name: String,
    },
    /// Take a name away; its run stays in the history
    Delete {
        /// Its name
        name: String,
    },
    /// Give a run of the history a name
    Save {
        /// The name: letters, digits and . _ - + /
        #[arg(value_parser = name)]
        name: String,
        /// A run's id or the beginning of it, latest, or latest~N
        #[arg(default_value = "latest")]
        run: String,
    },
    /// Write a baseline's record to a file
    Export {
        /// Its name
        name: String,
        /// The file; - for standard output
        file: PathBuf,
        /// The suite, where the name stands for runs of several
        #[arg(long)]
        suite: Option<String>,
    },
    /// Read a record from a file into the history, and give it a name
    Import {
        /// A file that `baseline export` or `report -o json=FILE` wrote
        file: PathBuf,
        /// The name; the file's own without .json if absent
        #[arg(long, value_parser = name)]
        name: Option<String>,
    },
}

/// Reads the name of a baseline from the command line.
pub fn name(text: &str) -> Result<String, String> {
    baseline_name(text).map(|()| text.to_owned())
}

/// Runs the command.
pub fn run(args: &BaselineArgs, global: &Global) -> Result<Exit, Failure> {
    match &args.command {
        BaselineCommand::List => list(&existing(global)?),
        BaselineCommand::Show { name } => show(&existing(global)?, name),
        BaselineCommand::Delete { name } => {
            let mut history = existing(global)?;
            named(&history, name)?;
            history.delete_baseline(name).map_err(Failure::environment)?;
            Ok(Exit::Ok)
        }
        BaselineCommand::Save { name, run } => {
            let mut history = existing(global)?;
            let id = history.find(run).map_err(Failure::environment)?;
            let record = history.load(&id).map_err(Failure::environment)?;
            save(&mut history, name, &record, global)
        }
        BaselineCommand::Export { name, file, suite } => export(name, file, suite.as_deref(), global),
        BaselineCommand::Import { file, name } => import(file, name.as_deref(), global),
    }
}

fn existing(global: &Global) -> Result<History, Failure> {
    History::open_existing(&global.history).map_err(Failure::environment)
}

/// The baselines of a name; an error that tells what there is where there is none.
fn named(history: &History, name: &str) -> Result<Vec<Baseline>, Failure> {
    let mut all = history.baselines().map_err(Failure::environment)?;
    all.retain(|b| b.name == name);
    if all.is_empty() {
        return Err(Failure::usage(miette::miette!(
            "there is no baseline \"{}\"; {}",
            printable(name),
            records::there_is(history, None)?
        )));
    }
    Ok(all)
}

fn list(history: &History) -> Result<Exit, Failure> {
    let all = history.baselines().map_err(Failure::environment)?;
    if all.is_empty() {
        out(records::there_is(history, None)? + "\n");
    }
    let widest = |of: fn(&Baseline) -> &str| all.iter().map(|b| printable(of(b)).chars().count()).max().unwrap_or(0);
    let (name, suite, profile) = (widest(|b| &b.name), widest(|b| &b.suite), widest(|b| &b.profile));
    for b in &all {
        out(format!(
            "{:<name$}  {:<suite$}  {:<profile$}  {}  {}  saved {}\n",
            printable(&b.name),
            printable(&b.suite),
            printable(&b.profile),
            printable(&b.run),
            utc(b.started_unix_ms),
            utc(b.saved_unix_ms),
        ));
    }
    Ok(Exit::Ok)
}

fn show(history: &History, name: &str) -> Result<Exit, Failure> {
    for baseline in named(history, name)? {
        let record = history.load(&baseline.run).map_err(Failure::environment)?;
        let mut text = format!(
            "{}: run {} of suite {} ({}), {}, saved {}\n{}  {} {}\n",
            printable(&baseline.name),
            printable(&baseline.run),
            printable(&baseline.suite),
            printable(&baseline.profile),
            utc(baseline.started_unix_ms),
            utc(baseline.saved_unix_ms),
            record.verdict().word(),
            record.benchmarks.len(),
            if record.benchmarks.len() == 1 {
                "benchmark"
            } else {
                "benchmarks"
            },
        );
        let facts = fingerprint(&record.run);
        let width = facts.keys().map(|k| printable(k).chars().count()).max().unwrap_or(0);
        for (what, value) in &facts {
            text.push_str(&format!("  {:<width$}  {}\n", printable(what), printable(value)));
        }
        text.push_str(&format!(
            "Its figures: `eventbench report {}`\n",
            printable(&baseline.run)
        ));
        out(text);
    }
    Ok(Exit::Ok)
}

/// Whether a run may be a baseline: not with the reason why not, and with a warning where it is a doubtful one.
fn fit(record: &RunRecord) -> Result<Vec<String>, String> {
    match record.run.ended {
        Ended::Complete => {}
        Ended::Interrupted => return Err("the run was interrupted, so benchmarks are missing".to_owned()),
        Ended::BrokenOff => return Err("the run broke off, so benchmarks are missing".to_owned()),
        Ended::Unfinished => return Err("the run has not come to its end".to_owned()),
    }
    if record.benchmarks.is_empty() {
        return Err("the run has no benchmarks".to_owned());
    }
    let of = |verdict: Verdict| -> Vec<String> {
        record
            .benchmarks
            .iter()
            .filter(|b| b.verdict == verdict)
            .map(|b| printable(&b.name))
            .collect()
    };
    let (invalid, blind, failed) = (of(Verdict::Invalid), of(Verdict::NoData), of(Verdict::Fail));
    if !invalid.is_empty() {
        return Err(format!(
            "the instrument could not be trusted in {}, so its figures say nothing",
            invalid.join(", ")
        ));
    }
    if !blind.is_empty() {
        return Err(format!(
            "there is no data for a limit of {}, so there would be nothing to compare with",
            blind.join(", ")
        ));
    }
    let mut doubts = Vec::new();
    if !failed.is_empty() {
        doubts.push(format!("{} failed a limit", failed.join(", ")));
    }
    if let Some(comparison) = &record.comparison
        && comparison.verdict() == Verdict::Fail
    {
        doubts.push(format!("it is worse than {}", printable(&comparison.a.label)));
    }
    Ok(doubts)
}

/// Gives a run that is in the history a name, and says so.
///
/// # Errors
/// When the run will not do as a baseline, with the reason.
pub fn save(history: &mut History, name: &str, record: &RunRecord, global: &Global) -> Result<Exit, Failure> {
    let doubts = fit(record).map_err(|why| {
        Failure::usage(miette::miette!(
            "run {} was not saved as baseline \"{}\": {why}",
            printable(&record.run.id),
            printable(name)
        ))
    })?;
    for doubt in doubts {
        error(&format!("warning: baseline \"{}\": {doubt}", printable(name)));
    }
    let before = history
        .save_baseline(name, &record.run.id)
        .map_err(Failure::environment)?;
    if global.quiet == 0 {
        let replaced = before.map(|b| format!(", in place of {b}")).unwrap_or_default();
        error(&format!(
            "run {} is baseline \"{}\" of suite {}{replaced}",
            printable(&record.run.id),
            printable(name),
            printable(&record.run.suite)
        ));
    }
    Ok(Exit::Ok)
}

fn export(name: &str, file: &Path, suite: Option<&str>, global: &Global) -> Result<Exit, Failure> {
    let history = existing(global)?;
    let all = named(&history, name)?;
    let suites: Vec<&str> = all.iter().map(|b| b.suite.as_str()).collect();
    let mut wanted = all.iter().filter(|b| suite.is_none_or(|s| s == b.suite));
    let (Some(baseline), None) = (wanted.next(), wanted.next()) else {
        return Err(Failure::usage(miette::miette!(
            "baseline \"{}\" stands for runs of the suites {}; say which with --suite",
            printable(name),
            suites.join(", ")
        )));
    };
    let record = history.load(&baseline.run).map_err(Failure::environment)?;
    let bytes = render("json", &record, &options(false, false))?;
    if file == Path::new("-") {
        out(bytes);
    } else {
        Output::file("json", file).check()?;
        std::fs::write(file, bytes).map_err(|e| Failure::environment(format!("{}: {e}", file.display())))?;
    }
    Ok(Exit::Ok)
}

fn import(file: &Path, given: Option<&str>, global: &Global) -> Result<Exit, Failure> {
    let record = records::from_file(file)?.record;
    let name = match given {
        Some(name) => name.to_owned(),
        None => {
            let stem = file
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default();
            name(&stem).map_err(|why| Failure::usage(miette::miette!("{why}; give another one with --name")))?
        }
    };
    // Looked at before anything is kept.
    fit(&record).map_err(|why| {
        Failure::usage(miette::miette!(
            "{}: run {} cannot be a baseline: {why}",
            file.display(),
            printable(&record.run.id)
        ))
    })?;
    let mut history = History::open(&global.history).map_err(Failure::environment)?;
    history.put_record(&record).map_err(Failure::environment)?;
    save(&mut history, &name, &record, global)
}

#[cfg(test)]
mod tests;
