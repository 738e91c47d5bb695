//! `eventbench report`: a stored run, rendered again.

use super::open::Wish;
use super::{Failure, Global, out, records, stdout_color};
use crate::exit::Exit;
use clap::Args;
use eventbench_core::record::{Ended, RunRecord};
use eventbench_report::{DIRECTORY_REPORTS, REPORTS, RenderOptions, find_directory};
use eventbench_store::History;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eventbench report                            the latest run, as the terminal showed it
  eventbench report latest~1 -o markdown       the one before, as Markdown on standard output
  eventbench report 20261121 -o json=run.json -o csv=raw.csv
  eventbench report --list                     the runs in the history")]
pub struct ReportArgs {
    /// A run's id or the beginning of it, latest, latest~N, a baseline's name, or a record's JSON file
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// FORMAT=PATH, or FORMAT alone for standard output; may be given again
    #[arg(short, long = "output", value_name = "FORMAT=PATH")]
    output: Vec<Output>,
    /// Open the HTML report in the browser, unless CI is set; without -o html=PATH it is written beside the history
    #[arg(long, conflicts_with = "list")]
    open: bool,
    /// List the runs instead
    #[arg(long)]
    list: bool,
}

/// A format and where it goes.
#[derive(Debug, Clone)]
pub struct Output {
    format: String,
    path: Option<PathBuf>,
}

impl FromStr for Output {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (format, path) = match text.split_once('=') {
            Some((format, path)) => (format, Some(path)),
            None => (text, None),
        };
        let directories = DIRECTORY_REPORTS.iter().map(|r| r.name);
        let known: Vec<&str> = REPORTS.iter().map(|r| r.name).chain(directories).collect();
        if !known.contains(&format) {
            return Err(format!(
                "unknown format \"{format}\", expected one of {}, as in markdown=report.md",
                known.join(", ")
            ));
        }
        match path {
            Some("") => Err(format!("\"{text}\" names no file")),
            Some("-") | None if find_directory(format).is_some() => Err(format!(
                "{format} writes several files: name a directory, as in {format}=report/"
            )),
            Some("-") | None => Ok(Output {
                format: format.to_owned(),
                path: None,
            }),
            Some(path) => Ok(Output {
                format: format.to_owned(),
                path: Some(PathBuf::from(path)),
            }),
        }
    }
}

impl Output {
    /// Whether it goes to standard output.
    pub fn is_stdout(&self) -> bool {
        self.path.is_none()
    }

    /// A format of the table that goes to a file.
    pub fn file(format: &str, path: &Path) -> Output {
        Output {
            format: format.to_owned(),
            path: Some(path.to_owned()),
        }
    }

    /// The file or directory that it goes to; none where that is standard output.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The format's name.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// Writes what was rendered to where it goes.
    pub fn write(&self, bytes: Vec<u8>) -> Result<(), String> {
        match &self.path {
            None => {
                out(bytes);
                Ok(())
            }
            Some(path) => std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display())),
        }
    }

    /// Writes files into the directory that is named, which is made where it is missing; others in it stay.
    fn write_directory(&self, files: Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let Some(directory) = &self.path else { return Ok(()) };
        let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        if !directory.is_dir() {
            std::fs::create_dir(directory).map_err(|e| failed(directory, e))?;
        }
        for (name, bytes) in files {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|e| failed(&path, e))?;
        }
        Ok(())
    }

    /// Refuses a file that cannot be written, before anything is measured.
    pub fn check(&self) -> Result<(), Failure> {
        self.path.as_deref().map_or(Ok(()), |path| {
            let checked = match find_directory(&self.format) {
                Some(_) => writable_directory(path),
                None => writable(path),
            };
            checked.map_err(|e| Failure::usage(miette::miette!("report {}: {e}", self.format)))
        })
    }
}

/// How text reports are rendered here.
pub fn options(color: bool, verbose: bool) -> RenderOptions {
    let width = console::Term::stdout()
        .size_checked()
        .map_or(100, |(_, columns)| columns.clamp(60, 160));
    RenderOptions {
        color,
        width,
        verbose,
        ..RenderOptions::default()
    }
}

/// Renders a record in a format that the command line has checked.
pub fn render(format: &str, record: &RunRecord, options: &RenderOptions) -> Result<Vec<u8>, Failure> {
    let report = eventbench_report::find(format)
        .ok_or_else(|| Failure::usage(miette::miette!("unknown format \"{format}\"")))?;
    (report.render)(record, options).map_err(Failure::environment)
}

/// Writes every output; what cannot be written is named, and the others are still written.
pub fn write_outputs(outputs: &[Output], record: &RunRecord) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for output in outputs {
        if let Some(report) = find_directory(&output.format) {
            let files = (report.files)(record, &RenderOptions::default());
            let written = files
                .map_err(|e| e.to_string())
                .and_then(|files| output.write_directory(files));
            failed.extend(written.err().map(|e| format!("{}: {e}", output.format)));
            continue;
        }
        let bytes = match render(&output.format, record, &RenderOptions::default()) {
            Ok(bytes) => bytes,
            Err(e) => {
                failed.push(format!("{}: {}", output.format, e.report));
                continue;
            }
        };
        failed.extend(output.write(bytes).err());
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::environment(failed.join("\n")))
    }
}

/// Runs the command.
pub fn run(args: &ReportArgs, global: &Global) -> Result<Exit, Failure> {
    for output in &args.output {
        output.check()?;
    }
    if args.list {
        let history = History::open_existing(&global.history).map_err(Failure::environment)?;
        for run in history.list(1000).map_err(Failure::environment)? {
            let ended = match run.ended {
                Ended::Complete => "",
                Ended::Interrupted => "  interrupted",
                Ended::BrokenOff => "  broken off",
                Ended::Unfinished => "  unfinished",
            };
            let seconds = run.seconds.map_or_else(String::new, |s| format!("{s:.0} s"));
            let done = format!("{} of {}", run.counts.total(), run.planned);
            out(format!(
                "{}  {}  {:<12} {:<9} {:<8} {done:>9} benchmarks  {seconds:>7}{ended}\n",
                run.id,
                eventbench_report::utc(run.started_unix_ms),
                eventbench_report::printable(&run.suite),
                eventbench_report::printable(&run.profile),
                run.verdict.word(),
            ));
        }
        return Ok(Exit::Ok);
    }
    let record = records::load(&args.run, None, global)?.record;
    if args.output.is_empty() && !args.open {
        out(render(
            "terminal",
            &record,
            &options(stdout_color(), global.verbose > 0),
        )?);
    }
    write_outputs(&args.output, &record)?;
    super::open::open(Wish::of(args.open, false), &args.output, &record, global, true);
    Ok(Exit::Ok)
}

/// Whether files can be written into a directory, or the directory made.
fn writable_directory(path: &Path) -> Result<(), String> {
    if path.is_file() {
        return Err(format!("{} is a file; name a directory", path.display()));
    }
    if path.is_dir() {
        // Trying is the only way to know that holds for every file system and every user.
        return writable(&path.join(".eventbench-write-check"));
    }
    // Making it and taking it away again: a missing parent and a forbidden one are found alike.
    std::fs::create_dir(path).map_err(|e| format!("the directory {} cannot be made: {e}", path.display()))?;
    let _ = std::fs::remove_dir(path);
    Ok(())
}

/// Whether a path's directory is there and can be written to.
fn writable(path: &Path) -> Result<(), String> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if !dir.is_dir() {
        return Err(format!(
            "{}: the directory {} does not exist",
            path.display(),
            dir.display()
        ));
    }
    if path.is_dir() {
        return Err(format!("{} is a directory", path.display()));
    }
    // Opening without truncating leaves an earlier report as it is should the run fail.
    let existed = path.exists();
    match std::fs::OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) => {
            if !existed {
                let _ = std::fs::remove_file(path);
            }
            Ok(())
        }
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}
