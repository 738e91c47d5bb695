//! `--set KEY=VALUE`: changes to a suite file, made in its text before it is read, so that whatever refuses a wrong file
//! refuses a wrong flag as well.

use super::Failure;
use super::suites::{self, parse_and_check};
use eventbench_core::plan::{Plan, PlanErrors, Source, Suite};
use std::str::FromStr;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table, Value};

/// One change to a suite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The way to the value: tables, names of list entries, numbers of list entries from 0.
    pub path: Vec<String>,
    /// What to put there, as it was written.
    pub value: String,
    /// Whether it is added to the list that stands there.
    pub add: bool,
    /// As it was written, for messages and the record.
    pub written: String,
    /// The flag it came with.
    pub flag: &'static str,
}

/// What an error about the form ends with.
const FORM: &str = "expected KEY=VALUE with the way to a value of the suite file, such as benchmark.NAME.load.rate=200/s, \
     or KEY+=WORD,WORD to add to a list";

impl FromStr for Setting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("{why}; {FORM}");
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| refused(&format!("\"{text}\" has no =")))?;
        let (key, add) = key.strip_suffix('+').map_or((key, false), |key| (key, true));
        let path: Vec<String> = Key::parse(key.trim())
            .map_err(|_| refused(&format!("\"{key}\" is no key")))?
            .iter()
            .map(|k| k.get().to_owned())
            .collect();
        Ok(Setting {
            path,
            value: value.to_owned(),
            add,
            written: text.to_owned(),
            flag: "--set",
        })
    }
}

impl Setting {
    /// As it is shown and kept: without what must stay a secret.
    pub fn shown(&self) -> String {
        match self.path.last().map(String::as_str) {
            Some("password" | "token") => format!("{}=(not shown)", self.path.join(".")),
            _ => self.written.clone(),
        }
    }

    fn named(&self) -> String {
        format!("{} {}", self.flag, self.shown())
    }

    /// The value to put in the place of another.
    fn value(&self, old: Option<&Value>) -> Result<Value, String> {
        let parsed = self.value.trim().parse::<Value>().ok();
        let words = matches!(self.path.as_slice(), [service, _, run] if service == "service" && run == "run");
        let mut new = match (parsed, self.add) {
            (parsed, true) => {
                let Some(Value::Array(old)) = old else {
                    return Err("there is no list to add to; leave the + away to set it".to_owned());
                };
                let mut list = old.clone();
                match parsed {
                    Some(Value::Array(more)) => more.into_iter().for_each(|v| list.push(plain(v))),
                    _ => self.value.split(',').for_each(|word| list.push(word)),
                }
                Value::Array(list)
            }
            (Some(value @ Value::Array(_)), false) => value,
            (_, false) if words => shlex::split(&self.value)
                .map(|words| Value::Array(words.into_iter().collect::<Array>()))
                .ok_or("a quotation mark is not closed")?,
            (Some(value), false) => value,
            (None, false) => Value::from(self.value.as_str()),
        };
        match old {
            Some(old) => *new.decor_mut() = old.decor().clone(),
            None => new.decor_mut().clear(),
        }
        Ok(new)
    }
}

/// A value without the white space and comments that stood around it.
fn plain(mut value: Value) -> Value {
    value.decor_mut().clear();
    value
}

/// Reads and checks a suite with the changes made.
///
/// # Errors
/// Of the file as [`suites::load`]; of a change, with the flag that made it.
pub fn load_with(name: &str, settings: &[Setting]) -> Result<(Suite, Source), Failure> {
    let (suite, source) = suites::load(name)?;
    if settings.is_empty() {
        return Ok((suite, source));
    }
    let changed = applied(&source, settings)?;
    match parse_and_check(&changed) {
        Ok(suite) => Ok((suite, changed)),
        Err(errors) => Err(suites::refused(blamed(errors, &source, settings))),
    }
}

/// The text of a suite with the changes made.
fn applied(source: &Source, settings: &[Setting]) -> Result<Source, Failure> {
    let mut document: DocumentMut = source
        .text
        .parse()
        .map_err(|e| Failure::usage(miette::miette!("{}: {e}", source.name)))?;
    for setting in settings {
        apply(&mut document, setting)
            .map_err(|why| Failure::usage(miette::miette!("{}: {}: {why}", setting.named(), source.name)))?;
    }
    Ok(Source {
        name: source.name.clone(),
        text: document.to_string(),
    })
}

/// Puts the flags to blame before each message: those that alone are refused, else all of them.
fn blamed(mut errors: PlanErrors, source: &Source, settings: &[Setting]) -> PlanErrors {
    let alone = |s: &&Setting| {
        applied(source, std::slice::from_ref(*s)).is_ok_and(|changed| parse_and_check(&changed).is_err())
    };
    let mut guilty: Vec<String> = settings.iter().filter(alone).map(Setting::named).collect();
    if guilty.is_empty() {
        guilty = settings.iter().map(Setting::named).collect();
    }
    errors.source.name = format!("{} as changed by {}", source.name, guilty.join(" "));
    for error in &mut errors.errors {
        error.message = format!("{}: {}", guilty.join(" "), error.message);
    }
    errors
}

/// Writes the changes into the plan, so that the record tells of them.
pub fn note(plan: &mut Plan, settings: &[Setting]) {
    plan.overrides.extend(settings.iter().map(Setting::shown));
}

fn apply(document: &mut DocumentMut, setting: &Setting) -> Result<(), String> {
    let path: Vec<&str> = setting.path.iter().map(String::as_str).collect();
    if let ["service", name, ..] = path[..] {
        // A new table would be a service of its own, which nobody means who misspells a name.
        let known: Vec<&str> = document
            .get("service")
            .and_then(Item::as_table_like)
            .map(|t| t.iter().map(|(k, _)| k).collect())
            .unwrap_or_default();
        if !known.contains(&name) {
            return Err(format!("there is no service \"{name}\"{}", listed(&known)));
        }
    }
    in_table(document.as_table_mut(), &path, setting)?;
    // A profile's own figure goes before the benchmark's, so the change would be without effect.
    let profiled = match path[..] {
        [
            "benchmark",
            name,
            "load",
            key @ ("duration" | "warmup" | "rate" | "events"),
        ] => Some((name, key)),
        ["benchmark", name, key @ "trials"] => Some((name, key)),
        _ => None,
    };
    let Some((name, key)) = profiled else { return Ok(()) };
    let Some(benchmark) = document.get_mut("benchmark").and_then(|list| entry(list, name)) else {
        return Ok(());
    };
    let profiles = benchmark.get_mut("profile").and_then(Item::as_table_like_mut);
    for (_, profile) in profiles.into_iter().flat_map(|t| t.iter_mut()) {
        if let Some(item) = profile.as_table_like_mut().and_then(|t| t.get_mut(key)) {
            in_item(item, &[], setting)?;
        }
    }
    Ok(())
}

/// The entry of a list of tables that has this name.
fn entry<'a>(list: &'a mut Item, name: &str) -> Option<&'a mut Table> {
    let list = list.as_array_of_tables_mut()?;
    let place = list.iter().position(|t| named_so(t.get("name"), name))?;
    list.get_mut(place)
}

fn named_so(item: Option<&Item>, name: &str) -> bool {
    item.and_then(Item::as_str) == Some(name)
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() {
        String::new()
    } else {
        format!(
            "; there {} {}",
            if known.len() == 1 { "is" } else { "are" },
            known.join(", ")
        )
    }
}

fn in_item(item: &mut Item, path: &[&str], setting: &Setting) -> Result<(), String> {
    if path.is_empty() {
        let new = setting.value(item.as_value())?;
        *item = Item::Value(new);
        return Ok(());
    }
    match item {
        Item::None => {
            let mut table = Table::new();
            in_table(&mut table, path, setting)?;
            *item = Item::Table(table);
            Ok(())
        }
        Item::Table(table) => in_table(table, path, setting),
        Item::ArrayOfTables(list) => in_list_of_tables(list, path, setting),
        Item::Value(value) => in_value(value, path, setting),
    }
}

fn in_table(table: &mut Table, path: &[&str], setting: &Setting) -> Result<(), String> {
    match path {
        [] => Ok(()),
        [key, rest @ ..] => in_item(table.entry(key).or_insert(Item::None), rest, setting),
    }
}

fn in_list_of_tables(list: &mut ArrayOfTables, path: &[&str], setting: &Setting) -> Result<(), String> {
    let [name, rest @ ..] = path else { return Ok(()) };
    let names: Vec<&str> = list.iter().filter_map(|t| t.get("name")?.as_str()).collect();
    let unknown = format!("there is no entry \"{name}\"{}", listed(&names));
    let place = list
        .iter()
        .position(|t| named_so(t.get("name"), name))
        .or_else(|| name.parse().ok());
    let table = place.and_then(|p| list.get_mut(p)).ok_or(unknown)?;
    if rest.is_empty() {
        return Err(format!("\"{name}\" is a table; name the key in it that is to be set"));
    }
    in_table(table, rest, setting)
}

fn in_value(value: &mut Value, path: &[&str], setting: &Setting) -> Result<(), String> {
    let [key, rest @ ..] = path else {
        *value = setting.value(Some(value))?;
        return Ok(());
    };
    match value {
        Value::InlineTable(table) => match table.get_mut(key) {
            Some(inner) => in_value(inner, rest, setting),
            None => {
                let new = if rest.is_empty() {
                    setting.value(None)?
                } else {
                    let mut inner = Value::InlineTable(InlineTable::new());
                    in_value(&mut inner, rest, setting)?;
                    inner
                };
                table.insert(*key, new);
                Ok(())
            }
        },
        Value::Array(list) => {
            let named = |v: &Value| v.as_inline_table().and_then(|t| t.get("name")?.as_str()) == Some(*key);
            let place = list.iter().position(named).or_else(|| key.parse().ok());
            let many = list.len();
            let inner = place
                .and_then(|p| list.get_mut(p))
                .ok_or_else(|| format!("the list has no entry \"{key}\": it has {many}, numbered from 0"))?;
            in_value(inner, rest, setting)
        }
        _ => Err(format!("\"{key}\" stands behind a value that is no table")),
    }
}

#[cfg(test)]
mod tests;
