//! The layers of a setting: built in, the project's file, the environment, a flag. The last one that speaks is taken.

use super::super::Failure;
use super::file::{self, ProjectFile};
use super::keys::{Key, NATS_SERVER};
use crate::host;
use clap::ArgMatches;
use clap::parser::ValueSource;
use eventbench_core::plan::At;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was said.
    BuiltIn,
    /// A line of the project's file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// The command line.
    Flag(&'static str),
}

/// The project's file, if there is one, and what was said beside it.
pub struct Layers<'a> {
    file: Option<ProjectFile>,
    given: &'a ArgMatches,
}

impl<'a> Layers<'a> {
    /// Reads the file that counts: the one that was named, none, or the nearest.
    ///
    /// # Errors
    /// Everything that is wrong in the file.
    pub fn read(named: Option<&PathBuf>, none: bool, given: &'a ArgMatches) -> Result<Layers<'a>, Failure> {
        let file = match named {
            _ if none => None,
            Some(path) => Some(file::read(path)?),
            None => file::find()?,
        };
        Ok(Layers { file, given })
    }

    /// The project's file.
    pub fn file(&self) -> Option<&ProjectFile> {
        self.file.as_ref()
    }

    /// What the command line and the environment say of a key, whether or not the command takes it.
    fn said(&self, key: &Key) -> Option<(Vec<String>, Origin)> {
        // A command without the argument knows nothing of it, which is no mistake here.
        if !self.given.try_contains_id(key.id).ok()? {
            return None;
        }
        let origin = match self.given.value_source(key.id)? {
            ValueSource::CommandLine => Origin::Flag(key.flag),
            ValueSource::EnvVariable => Origin::Environment(key.variable?),
            _ => return None,
        };
        let raw = self.given.try_get_raw(key.id).ok()??;
        Some((raw.map(|v| v.to_string_lossy().into_owned()).collect(), origin))
    }

    /// What the file says of a key, unless something goes before it.
    pub fn of_file(&self, key: &Key) -> Option<(&ProjectFile, &[At<String>])> {
        let file = self.file.as_ref()?;
        let values = file.get(key)?;
        self.said(key).is_none().then_some((file, values))
    }

    /// The value that counts, and where it comes from.
    pub fn value(&self, key: &Key) -> (Vec<String>, Origin) {
        if let Some((file, values)) = self.of_file(key) {
            let line = file.line_of(key);
            let path = file.path.clone();
            return (
                values.iter().map(|v| v.value.clone()).collect(),
                Origin::File { path, line },
            );
        }
        self.said(key)
            .unwrap_or_else(|| (vec![key.built_in.to_owned()], Origin::BuiltIn))
    }

    /// Lays the variables of `[env]` under those of the environment.
    pub fn lay_variables(&self) {
        let Some(file) = &self.file else { return };
        let origin = |value| format!("{}:{}", file::NAME, file.line(value));
        host::lay_under(
            file.variables
                .iter()
                .map(|(name, value)| {
                    let text = match *name {
                        NATS_SERVER => file.resolve(&value.value).display().to_string(),
                        _ => value.value.clone(),
                    };
                    ((*name).to_owned(), (text, origin(value)))
                })
                .collect(),
        );
    }
}
