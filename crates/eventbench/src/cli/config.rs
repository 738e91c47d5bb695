//! `eventbench config`: what holds for a project, and where each setting comes from.

mod apply;
mod file;
mod keys;
mod layers;

pub use apply::apply;
pub use layers::Layers;

use self::file::NAME;
use self::keys::{KEYS, variables};
use self::layers::Origin;
use super::compare::Thresholds;
use super::report::Output;
use super::{Failure, Global, out};
use crate::exit::Exit;
use crate::host;
use clap::Args;
use eventbench_core::plan::PlacementSetting;
use eventbench_report::printable;
use std::io::Write as _;
use std::path::Path;

/// Arguments of `config`.
#[derive(Debug, Args)]
#[allow(dead_code, reason = "read back from the parser, which knows where each comes from")]
#[command(after_help = "\
A project's configuration is the nearest eventbench.toml from the working directory upwards, as far as the root of the
repository or the home directory. A setting of the file gives way to an environment variable, and that to a flag. Paths in
the file count from its directory.

Examples:
  eventbench config                       what `eventbench run` would use here, and why
  eventbench config --profile soak --json the same with a flag of `run`, for programs
  eventbench config --init                write a first eventbench.toml, with every key explained")]
pub struct ConfigArgs {
    /// Write an example here (or where --config says); a file that exists is left alone
    #[arg(long, conflicts_with_all = ["json", "suites", "profile", "output", "baseline", "fail_on", "placement", "open"])]
    pub init: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// As `run` takes it
    #[arg(value_name = "SUITE|FILE", help_heading = "As `run` takes them")]
    suites: Vec<String>,
    /// As `run` takes it
    #[arg(
        long,
        value_name = "PROFILE",
        env = "EVENTBENCH_PROFILE",
        help_heading = "As `run` takes them"
    )]
    profile: Option<String>,
    /// As `run` takes it
    #[arg(
        short,
        long = "output",
        value_name = "FORMAT=PATH",
        help_heading = "As `run` takes them"
    )]
    output: Vec<Output>,
    /// As `run` takes it
    #[arg(
        long,
        value_name = "NAME",
        env = "EVENTBENCH_BASELINE",
        help_heading = "As `run` takes them"
    )]
    baseline: Option<String>,
    /// As `run` takes it
    #[arg(long, value_name = "FIELD:N%", help_heading = "As `run` takes them")]
    fail_on: Vec<Thresholds>,
    /// As `run` takes it
    #[arg(
        long,
        value_name = "CORES",
        env = "EVENTBENCH_PLACEMENT",
        help_heading = "As `run` takes them"
    )]
    placement: Option<PlacementSetting>,
    /// As `run` takes it
    #[arg(long, help_heading = "As `run` takes them")]
    open: bool,
}

/// One row of what is shown.
struct Row {
    name: String,
    values: Vec<String>,
    list: bool,
    origin: Origin,
}

/// Runs the command.
pub fn run(args: &ConfigArgs, global: &Global, layers: Option<&Layers<'_>>) -> Result<Exit, Failure> {
    let Some(layers) = layers else {
        return init(global.config.as_deref().unwrap_or(Path::new(NAME)));
    };
    let rows = rows(layers);
    let file = layers.file().map(|f| f.path.as_path());
    let text = if args.json {
        serde_json::to_string_pretty(&json(file, &rows)).map_err(Failure::environment)? + "\n"
    } else {
        table(file, &rows)
    };
    out(text);
    Ok(Exit::Ok)
}

fn rows(layers: &Layers<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = KEYS
        .iter()
        .map(|key| {
            let (values, origin) = layers.value(key);
            Row {
                name: key.name.to_owned(),
                values: values.into_iter().filter(|v| !v.is_empty()).collect(),
                list: key.form == keys::Form::Texts,
                origin,
            }
        })
        .collect();
    for variable in variables() {
        let origin = match (host::own_env(variable), layers.file()) {
            (Some(_), _) => Origin::Environment(variable),
            (None, Some(file)) => match file.variables.iter().find(|(name, _)| *name == variable) {
                Some((_, value)) => Origin::File {
                    path: file.path.clone(),
                    line: file.line(value),
                },
                None => continue,
            },
            (None, None) => continue,
        };
        rows.push(Row {
            name: format!("{}.{variable}", keys::ENV),
            values: host::variable(variable).into_iter().collect(),
            list: false,
            origin,
        });
    }
    rows
}

/// A path as it is from the working directory, where it lies below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    printable(&path.strip_prefix(&here).unwrap_or(path).display().to_string())
}

fn table(file: Option<&Path>, rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let value = match row.values.as_slice() {
            [] => "–".to_owned(),
            values => values.iter().map(|v| printable(v)).collect::<Vec<_>>().join(", "),
        };
        let from = match &row.origin {
            Origin::BuiltIn => "built in".to_owned(),
            Origin::File { path, line } => format!("{}:{line}", shown(path)),
            Origin::Environment(variable) => format!("environment: {variable}"),
            Origin::Flag(flag) => format!("command line: {flag}"),
        };
        vec![row.name.clone(), value, from]
    });
    let title = match file {
        Some(path) => format!("Project configuration: {}", printable(&path.display().to_string())),
        None => format!("No project configuration ({NAME}); `eventbench config --init` writes a first one"),
    };
    super::list::table(&title, &["setting", "value", "from"], cells)
}

fn json(file: Option<&Path>, rows: &[Row]) -> serde_json::Value {
    let settings = rows.iter().map(|row| {
        let value = match (row.list, row.values.as_slice()) {
            (true, values) => serde_json::json!(values),
            (false, [value]) => serde_json::json!(value),
            (false, _) => serde_json::Value::Null,
        };
        let from = match &row.origin {
            Origin::BuiltIn => serde_json::json!({ "kind": "built_in" }),
            Origin::File { path, line } => {
                serde_json::json!({ "kind": "file", "path": path.display().to_string(), "line": line })
            }
            Origin::Environment(variable) => serde_json::json!({ "kind": "environment", "variable": variable }),
            Origin::Flag(flag) => serde_json::json!({ "kind": "flag", "flag": flag }),
        };
        serde_json::json!({ "key": row.name, "value": value, "from": from })
    });
    serde_json::json!({
        "file": file.map(|path| path.display().to_string()),
        "settings": settings.collect::<Vec<_>>(),
    })
}

/// Writes the example.
fn init(path: &Path) -> Result<Exit, Failure> {
    let shown = path.display();
    let created = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = created.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage(miette::miette!("{shown} exists and is left as it is")),
        _ => Failure::environment(format!("{shown}: {e}")),
    })?;
    file.write_all(example().as_bytes())
        .map_err(|e| Failure::environment(format!("{shown}: {e}")))?;
    out(format!("{shown} written. What holds now: eventbench config\n"));
    Ok(Exit::Ok)
}

/// The example: every key, commented out, so that it changes nothing as it is.
fn example() -> String {
    let mut text = format!(
        "# {NAME}: what holds for this project. A setting gives way to an environment variable, and that to a flag;\n\
         # `eventbench config` shows what holds and why. Paths count from this file's directory.\n"
    );
    for key in KEYS {
        let flag = key
            .variable
            .map_or_else(|| key.flag.to_owned(), |v| format!("{}, {v}", key.flag));
        text.push_str(&format!(
            "\n# {} ({flag}).\n# {} = {}\n",
            key.about, key.name, key.example
        ));
    }
    text.push_str("\n# Variables that eventbench reads, such as the bounds of limits.\n# [env]\n");
    for rule in eventbench_core::judge::ENVIRONMENT {
        text.push_str(&format!("# {} = 5    # {}\n", rule.variable, rule.unit));
    }
    text.push_str(&format!("# {} = \"tools/nats-server\"\n", keys::NATS_SERVER));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_changes_nothing_and_is_right_without_its_marks() {
        let example = example();
        assert!(example.lines().all(|line| line.is_empty() || line.starts_with('#')));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let set: Vec<&str> = example
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = ") || *line == "[env]")
            .collect();
        std::fs::write(&path, set.join("\n")).unwrap();
        let file = file::read(&path).map_err(|e| format!("{:?}", e.report)).unwrap();
        assert!(KEYS.iter().all(|key| file.get(key).is_some()));
        assert_eq!(file.variables.len(), variables().len());
    }
}
