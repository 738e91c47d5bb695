//! What the project's file gives to the arguments of a command that were not given otherwise.

use super::super::compare::{CompareArgs, Thresholds};
use super::super::report::Output;
use super::super::run::RunArgs;
use super::super::suites::BUILT_IN;
use super::super::{Command, Failure, Global};
use super::keys::key;
use super::layers::Layers;
use eventbench_core::plan::{At, PlacementSetting};
use std::str::FromStr;

/// Fills in what the file says.
///
/// # Errors
/// When the directory of a report cannot be made.
pub fn apply(layers: &Layers<'_>, command: &mut Command, global: &mut Global) -> Result<(), Failure> {
    layers.lay_variables();
    if let Some((file, [value])) = of(layers, "history") {
        global.history = file.resolve(&value.value);
    }
    match command {
        Command::Run(args) => run(layers, args),
        Command::Compare(args) => compare(layers, args),
        _ => Ok(()),
    }
}

fn run(layers: &Layers<'_>, args: &mut RunArgs) -> Result<(), Failure> {
    if let Some((file, values)) = of(layers, "suite") {
        let built_in = |name: &str| BUILT_IN.iter().any(|suite| suite.0 == name);
        let suite = |value: &At<String>| match value.value.as_str() {
            name if built_in(name) => name.to_owned(),
            path => file.resolve(path).display().to_string(),
        };
        args.suites = values.iter().map(suite).collect();
    }
    if let Some((_, [value])) = of(layers, "profile") {
        args.profile.clone_from(&value.value);
    }
    if let Some((_, [value])) = of(layers, "baseline") {
        args.baseline = Some(value.value.clone());
        args.baseline_of_file = true;
    }
    if args.baseline.is_some() {
        args.judging.fail_on.extend(thresholds(layers)?);
    }
    if let Some((file, [value])) = of(layers, "placement") {
        args.placement = Some(PlacementSetting::from_str(&value.value).map_err(|e| file.refuse(value, e))?);
    }
    if let Some((_, [value])) = of(layers, "open") {
        args.open_from_terminal = value.value == "true";
    }
    let Some((file, values)) = of(layers, "reports") else {
        return Ok(());
    };
    for value in values {
        let refused = |why: String| file.refuse(value, format!("reports: {why}"));
        let output = Output::from_str(&value.value).map_err(refused)?;
        let Some(path) = output.path() else { continue };
        let path = file.directory().join(path);
        if let (Some(directory), false) = (path.parent().filter(|d| !d.as_os_str().is_empty()), args.dry_run) {
            let shown = directory.display();
            std::fs::create_dir_all(directory)
                .map_err(|e| refused(format!("the directory {shown} cannot be made: {e}")))?;
        }
        args.output.push(Output::file(output.format(), &path));
    }
    Ok(())
}

fn compare(layers: &Layers<'_>, args: &mut CompareArgs) -> Result<(), Failure> {
    if let Some((_, [value])) = of(layers, "baseline")
        && args.compares_nothing_yet()
    {
        args.baseline = Some(value.value.clone());
    }
    args.judging.fail_on.extend(thresholds(layers)?);
    Ok(())
}

fn thresholds(layers: &Layers<'_>) -> Result<Vec<Thresholds>, Failure> {
    let Some((file, values)) = of(layers, "fail_on") else {
        return Ok(Vec::new());
    };
    let parsed = values
        .iter()
        .map(|v| Thresholds::from_str(&v.value).map_err(|e| file.refuse(v, format!("fail_on: {e}"))));
    parsed.collect()
}

/// What the file says of a key.
fn of<'a>(layers: &'a Layers<'_>, name: &str) -> Option<(&'a super::file::ProjectFile, &'a [At<String>])> {
    layers.of_file(key(name)?)
}
