//! Where suites come from: built in, or a file.

use super::Failure;
use eventbench_core::plan::{PlanError, PlanErrors, Source, Suite, check};
use eventbench_drivers::REGISTRY;
use miette::{Diagnostic, LabeledSpan, SourceCode};

/// The suites that the binary carries.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("event-bus", include_str!("../../../../suites/event-bus.toml")),
    ("rpc-events", include_str!("../../../../suites/rpc-events.toml")),
    ("agent-stream", include_str!("../../../../suites/agent-stream.toml")),
    ("workflow", include_str!("../../../../suites/workflow.toml")),
];

/// Finds a suite by name or by path, reads and checks it.
pub fn load(name: &str) -> Result<(Suite, Source), Failure> {
    let source = source(name)?;
    let suite = parse_and_check(&source).map_err(refused)?;
    Ok((suite, source))
}

/// Reads and checks the text of a suite.
pub fn parse_and_check(source: &Source) -> Result<Suite, PlanErrors> {
    let suite = Suite::parse(source)?;
    check(&suite, source, &REGISTRY)?;
    Ok(suite)
}

/// The text of a suite.
pub fn source(name: &str) -> Result<Source, Failure> {
    if let Some((name, text)) = BUILT_IN.iter().find(|s| s.0 == name) {
        return Ok(Source {
            name: format!("built-in:{name}"),
            text: (*text).to_owned(),
        });
    }
    match std::fs::read(name) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(|text| Source {
                name: name.to_owned(),
                text,
            })
            .map_err(|e| no_text(name, e.as_bytes(), e.utf8_error().valid_up_to())),
        Err(e) => {
            let known: Vec<&str> = BUILT_IN.iter().map(|s| s.0).collect();
            Err(Failure::usage(miette::miette!(
                help = format!(
                    "built-in suites are {}; `eventbench init my-suite.toml` writes a first one of your own",
                    known.join(", ")
                ),
                "no suite \"{name}\": it is not built in, and as a file: {e}"
            )))
        }
    }
}

/// A file that is no text, with the place of the first byte that shows it.
fn no_text(name: &str, bytes: &[u8], valid: usize) -> Failure {
    let before = Source {
        name: name.to_owned(),
        text: String::from_utf8_lossy(&bytes[..valid]).into_owned(),
    };
    let (line, column) = before.position(valid);
    Failure::usage(miette::miette!(
        "{name}:{line}:{column}: the file is no text in UTF-8, as a suite must be"
    ))
}

/// A plan's errors as a report that points into the file.
pub fn refused(errors: PlanErrors) -> Failure {
    Failure::usage(PlanReport(errors))
}

/// Longer lines are not shown beside an error.
const LONGEST_LINE_BYTES: usize = 1_000;

#[derive(Debug)]
struct PlanReport(PlanErrors);

impl std::fmt::Display for PlanReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n = self.0.errors.len();
        write!(
            f,
            "{}: {n} thing{} wrong",
            self.0.source.name,
            if n == 1 { "" } else { "s" }
        )?;
        for e in &self.0.errors {
            write!(f, "\n{}:{}:{}: {}", e.file, e.line, e.column, e.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanReport {}

impl Diagnostic for PlanReport {
    fn help(&self) -> Option<Box<dyn std::fmt::Display + '_>> {
        let help: Vec<&str> = self.0.errors.iter().filter_map(|e| e.help.as_deref()).collect();
        if help.is_empty() {
            None
        } else {
            Some(Box::new(help.join("\n")))
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        // A line is shown whole, so one that nobody could read is better only named.
        let shown = |e: &PlanError| {
            self.0
                .source
                .text
                .lines()
                .skip(e.line.saturating_sub(2))
                .take(3)
                .all(|line| line.len() <= LONGEST_LINE_BYTES)
        };
        self.0
            .errors
            .iter()
            .all(shown)
            .then_some(&self.0.source.text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels: Vec<LabeledSpan> = self
            .0
            .errors
            .iter()
            .filter(|e| !e.span.is_empty())
            .map(|e| LabeledSpan::new(None, e.span.start, e.span.len()))
            .collect();
        Some(Box::new(labels.into_iter()))
    }
}
