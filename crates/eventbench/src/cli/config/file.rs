//! `eventbench.toml`: where it is, and what it says, with the place of everything that is wrong in it.

use super::super::Failure;
use super::super::suites::refused;
use super::keys::{ENV, Form, KEYS, Key, key, variables};
use crate::host::Machine;
use eventbench_core::host::Host as _;
use eventbench_core::plan::{At, PlanError, PlanErrors, Source};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml_edit::{Document, Item, Key as TomlKey, Value};

/// The file's name.
pub const NAME: &str = "eventbench.toml";

/// What a project's file says.
#[derive(Debug, Clone)]
pub struct ProjectFile {
    /// The file, as it is named in messages.
    pub path: PathBuf,
    source: Source,
    /// Values by key; a key with one value has one entry.
    values: BTreeMap<&'static str, At<Vec<At<String>>>>,
    /// The variables of `[env]`, in the order of the file.
    pub variables: Vec<(&'static str, At<String>)>,
}

impl ProjectFile {
    /// The values of a key, empty where an empty list stands there; `None` where the file does not speak of it.
    pub fn get(&self, key: &Key) -> Option<&[At<String>]> {
        self.values.get(key.name).map(|values| values.as_slice())
    }

    /// The line of a key's value, from 1; 0 where the file does not speak of it.
    pub fn line_of(&self, key: &Key) -> usize {
        let values = self.values.get(key.name);
        values.map_or(0, |values| self.source.position(values.span.start).0)
    }

    /// The line of a value, from 1.
    pub fn line(&self, value: &At<String>) -> usize {
        self.source.position(value.span.start).0
    }

    /// The directory from which its paths are taken; empty where that is the working directory.
    pub fn directory(&self) -> PathBuf {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let same = directory.as_os_str().is_empty() || std::env::current_dir().is_ok_and(|here| here == directory);
        if same { PathBuf::new() } else { directory.to_owned() }
    }

    /// A path of the file, as it is from the working directory.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }

    /// An error at a value.
    pub fn refuse(&self, value: &At<String>, message: impl Into<String>) -> Failure {
        refused(PlanErrors {
            source: self.source.clone(),
            errors: vec![self.source.error(value.span.clone(), message)],
        })
    }
}

/// Finds the file from the working directory upwards, as far as the root of the repository or the home directory, and
/// reads it; `None` where there is none.
///
/// # Errors
/// Everything that is wrong in the file, with its line.
pub fn find() -> Result<Option<ProjectFile>, Failure> {
    let here = std::env::current_dir()
        .map_err(|e| Failure::environment(format!("the working directory cannot be told: {e}")))?;
    let home = Machine.env("HOME").map(PathBuf::from);
    nearest(&here, home.as_deref()).map(|path| read(&path)).transpose()
}

/// The nearest file from `from` upwards. The last directory that is looked at is the one with `.git`, or the home.
fn nearest(from: &Path, home: Option<&Path>) -> Option<PathBuf> {
    for directory in from.ancestors() {
        let path = directory.join(NAME);
        if path.is_file() {
            return Some(path);
        }
        if directory.join(".git").exists() || Some(directory) == home {
            return None;
        }
    }
    None
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, or everything that is wrong in it, with its line.
pub fn read(path: &Path) -> Result<ProjectFile, Failure> {
    let shown = eventbench_report::printable(&path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::usage(miette::miette!(
            help = "`eventbench config --init` writes a first one; --no-config goes without",
            "{shown}: the project's configuration cannot be read: {e}"
        ))
    })?;
    let source = Source { name: shown, text };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    parse(path, source).map_err(refused)
}

fn parse(path: PathBuf, source: Source) -> Result<ProjectFile, PlanErrors> {
    let document = Document::parse(source.text.clone()).map_err(|e| PlanErrors {
        errors: vec![source.error(e.span().unwrap_or(0..0), e.message().replace('\n', "; "))],
        source: source.clone(),
    })?;
    let mut reading = Reading {
        source: &source,
        errors: Vec::new(),
        values: BTreeMap::new(),
        variables: Vec::new(),
    };
    let table = document.as_table();
    for (name, item) in table.iter() {
        let named = table.key(name).and_then(TomlKey::span).unwrap_or(0..0);
        if name == ENV {
            reading.env(named, item);
        } else {
            reading.entry(name, named, item);
        }
    }
    let Reading {
        mut errors,
        values,
        variables,
        ..
    } = reading;
    if errors.is_empty() {
        return Ok(ProjectFile {
            path,
            source,
            values,
            variables,
        });
    }
    errors.sort_by_key(|e| e.span.start);
    Err(PlanErrors { source, errors })
}

struct Reading<'a> {
    source: &'a Source,
    errors: Vec<PlanError>,
    values: BTreeMap<&'static str, At<Vec<At<String>>>>,
    variables: Vec<(&'static str, At<String>)>,
}

impl Reading<'_> {
    fn wrong(&mut self, span: Range<usize>, message: String) {
        self.errors.push(self.source.error(span, message));
    }

    fn entry(&mut self, name: &str, named: Range<usize>, item: &Item) {
        let Some(key) = key(name) else {
            let known: Vec<&str> = KEYS.iter().map(|k| k.name).chain([ENV]).collect();
            let error = self.source.error(named, unknown("key", name, &known));
            self.errors
                .push(error.with_help("`eventbench config --init` writes an example with every key"));
            return;
        };
        let span = item.span().unwrap_or(named);
        let whole = span.clone();
        let texts = match (key.form, item.as_value()) {
            (Form::Switch, Some(Value::Boolean(b))) => vec![At {
                value: b.value().to_string(),
                span,
            }],
            (Form::Text | Form::Texts, Some(Value::String(text))) => vec![At {
                value: text.value().clone(),
                span,
            }],
            (Form::Texts, Some(Value::Array(list))) => {
                let mut texts = Vec::new();
                for value in list {
                    let span = value.span().unwrap_or(span.clone());
                    match value.as_str() {
                        Some(text) => texts.push(At {
                            value: text.to_owned(),
                            span,
                        }),
                        None => self.wrong(
                            span,
                            format!("{name}: expected a string in this list, found {}", value.type_name()),
                        ),
                    }
                }
                texts
            }
            _ => {
                let found = item.type_name();
                return self.wrong(span, format!("{name}: expected {}, found {found}", key.form.words()));
            }
        };
        for text in &texts {
            if let Err(why) = (key.check)(&text.value) {
                self.wrong(text.span.clone(), format!("{name}: {why}"));
            }
        }
        let whole = At {
            value: texts,
            span: whole,
        };
        self.values.insert(key.name, whole);
    }

    fn env(&mut self, named: Range<usize>, item: &Item) {
        let Some(table) = item.as_table_like() else {
            let span = item.span().unwrap_or(named);
            return self.wrong(
                span,
                format!("{ENV}: expected a table of variables, found {}", item.type_name()),
            );
        };
        let known = variables();
        for (name, item) in table.iter() {
            let span = item.span().unwrap_or(named.clone());
            let Some(variable) = known.iter().find(|k| **k == name) else {
                let at = table.key(name).and_then(TomlKey::span).unwrap_or(span);
                let error = self.source.error(at, unknown("variable", name, &known));
                self.errors.push(error.with_help(
                    "[env] sets what eventbench itself reads; a service's environment belongs into its suite: [service.NAME] env",
                ));
                continue;
            };
            let value = match item.as_value() {
                Some(Value::String(text)) => text.value().clone(),
                Some(Value::Integer(number)) => number.value().to_string(),
                Some(Value::Float(number)) => number.value().to_string(),
                _ => {
                    let found = item.type_name();
                    self.wrong(span, format!("{name}: expected a string or a number, found {found}"));
                    continue;
                }
            };
            self.variables.push((variable, At { value, span }));
        }
    }
}

/// What is said of a name that is none of those known.
fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let shown = eventbench_report::printable(name);
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase()), *k))
        .min()
        .filter(|(distance, k)| *distance <= 3 && *distance < k.len());
    match near {
        Some((_, near)) => format!("unknown {what} \"{shown}\"; did you mean \"{near}\"?"),
        None => format!("unknown {what} \"{shown}\", expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;
