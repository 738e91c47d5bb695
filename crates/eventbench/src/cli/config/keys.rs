//! The keys of `eventbench.toml`: one row a key.

use super::super::compare::Thresholds;
use super::super::report::Output;
use eventbench_core::plan::PlacementSetting;
use std::str::FromStr as _;

/// What a value looks like in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// A string, or a list of strings.
    Texts,
    /// true or false.
    Switch,
}

impl Form {
    /// In words, for errors.
    pub fn words(self) -> &'static str {
        match self {
            Form::Text => "a string",
            Form::Texts => "a string or a list of strings",
            Form::Switch => "true or false",
        }
    }
}

/// One key.
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// The name of the argument that goes before it, as the command line's parser knows it.
    pub id: &'static str,
    /// That argument as people write it.
    pub flag: &'static str,
    /// The variable that goes before it, where there is one.
    pub variable: Option<&'static str>,
    /// What holds without all of these.
    pub built_in: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// What is wrong with a value, if anything.
    pub check: fn(&str) -> Result<(), String>,
    /// What it is for, in the example.
    pub about: &'static str,
    /// A value for the example, as it stands in the file.
    pub example: &'static str,
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "suite",
        id: "suites",
        flag: "SUITE",
        variable: None,
        built_in: "event-bus",
        form: Form::Texts,
        check: not_empty,
        about: "What `eventbench run` runs: names of built-in suites, or files (from this file's directory)",
        example: r#"["event-bus"]"#,
    },
    Key {
        name: "profile",
        id: "profile",
        flag: "--profile",
        variable: Some("EVENTBENCH_PROFILE"),
        built_in: "quick",
        form: Form::Text,
        check: not_empty,
        about: "How much of a suite: quick, standard, soak, or one of the suite's own",
        example: r#""standard""#,
    },
    Key {
        name: "reports",
        id: "output",
        flag: "-o",
        variable: None,
        built_in: "",
        form: Form::Texts,
        check: report,
        about: "Reports of every run, as FORMAT=PATH from this file's directory, which is made where it is missing",
        example: r#"["markdown=out/report.md", "json=out/run.json"]"#,
    },
    Key {
        name: "baseline",
        id: "baseline",
        flag: "--baseline",
        variable: Some("EVENTBENCH_BASELINE"),
        built_in: "",
        form: Form::Text,
        check: not_empty,
        about: "The baseline that a run is compared with: what is worse fails",
        example: r#""main""#,
    },
    Key {
        name: "fail_on",
        id: "fail_on",
        flag: "--fail-on",
        variable: None,
        built_in: "",
        form: Form::Texts,
        check: thresholds,
        about: "Plain thresholds of that comparison, whatever the noise",
        example: r#""mean:10%,p(99):15%""#,
    },
    Key {
        name: "placement",
        id: "placement",
        flag: "--placement",
        variable: Some("EVENTBENCH_PLACEMENT"),
        built_in: "the suite's",
        form: Form::Text,
        check: placement,
        about: "Which cores each role is kept to; written into the record",
        example: r#""pinned""#,
    },
    Key {
        name: "history",
        id: "history",
        flag: "--history",
        variable: Some("EVENTBENCH_HISTORY"),
        built_in: ".eventbench/history.db",
        form: Form::Text,
        check: not_empty,
        about: "The history database, from this file's directory",
        example: r#"".eventbench/history.db""#,
    },
    Key {
        name: "open",
        id: "open",
        flag: "--open",
        variable: None,
        built_in: "false",
        form: Form::Switch,
        check: |_| Ok(()),
        about: "Open the HTML report of a run, when it is started from a terminal",
        example: "false",
    },
];

/// A key by its name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The table of variables.
pub const ENV: &str = "env";

/// The program of the broker, which is looked up like a bound.
pub const NATS_SERVER: &str = "EVENTBENCH_NATS_SERVER";

/// The variables that `[env]` may set.
pub fn variables() -> Vec<&'static str> {
    let bounds = eventbench_core::judge::ENVIRONMENT.iter().map(|rule| rule.variable);
    bounds.chain([NATS_SERVER]).collect()
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("it is empty; leave the key out instead".to_owned())
    } else {
        Ok(())
    }
}

fn report(text: &str) -> Result<(), String> {
    let output = Output::from_str(text)?;
    if output.is_stdout() {
        return Err(format!(
            "\"{text}\" names no file; write it as {}=PATH",
            output.format()
        ));
    }
    Ok(())
}

fn thresholds(text: &str) -> Result<(), String> {
    Thresholds::from_str(text).map(|_| ())
}

fn placement(text: &str) -> Result<(), String> {
    PlacementSetting::from_str(text).map(|_| ())
}
