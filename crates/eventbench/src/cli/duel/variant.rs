//! One variant of a duel: what is set for it, and the plan and the programs that follow.

use crate::cli::progress::Progress;
use crate::cli::run::drive::{needs_server, provision};
use crate::cli::settings::Setting;
use crate::cli::{Failure, run::preflight::plan_of};
use crate::host;
use crate::revision::from_repository;
use eventbench_core::event::{Event, Sink as _};
use eventbench_core::plan::{Overrides, Plan, Selection};
use eventbench_core::record::Revision;
use eventbench_engine::provision::{Found, Progress as Fetching, Search, find_nats_version};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// One thing that is set for a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The program that `{self}` stands for.
    Program(PathBuf),
    /// A directory of this project's source with a release build in it, whose program `{self}` stands for.
    Worktree(PathBuf),
    /// A version of nats-server, fetched when it is not there.
    NatsVersion(String),
    /// A change to the suite file.
    Plan(Setting),
}

impl Choice {
    /// Reads what stands behind `--a` or `--b`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str, flag: &'static str) -> Result<Choice, String> {
        let setting = |text: &str| {
            text.parse::<Setting>().map(|mut setting| {
                setting.flag = flag;
                setting
            })
        };
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if ["program", "worktree", "nats-server", "nats-version"].contains(&key) && value.is_empty() {
            return Err(format!("\"{text}\" names nothing; expected {key}=…"));
        }
        Ok(match key {
            "program" => Choice::Program(value.into()),
            "worktree" => Choice::Worktree(value.into()),
            "nats-version" => Choice::NatsVersion(value.to_owned()),
            "nats-server" => Choice::Plan(Setting {
                path: ["broker", "nats", "server"].map(str::to_owned).to_vec(),
                value: value.to_owned(),
                add: false,
                written: text.to_owned(),
                flag,
            }),
            _ => Choice::Plan(setting(text)?),
        })
    }

    /// As it was written, without what must stay a secret.
    pub fn shown(&self) -> String {
        match self {
            Choice::Program(path) => format!("program={}", path.display()),
            Choice::Worktree(path) => format!("worktree={}", path.display()),
            Choice::NatsVersion(version) => format!("nats-version={version}"),
            Choice::Plan(setting) => setting.shown(),
        }
    }
}

/// A variant that can be run.
#[derive(Debug, Clone)]
pub struct Variant {
    /// What people call it.
    pub label: String,
    /// What was set for it.
    pub settings: Vec<String>,
    /// Its plan.
    pub plan: Plan,
    /// Which nats-server it wants by version.
    nats_version: Option<String>,
    /// Its nats-server, once it is provisioned.
    pub nats: Option<Found>,
    /// Which state of the source its program was built from, where that is another than that of this directory: unknown
    /// of a program at a path.
    pub source: Option<Option<Revision>>,
}

/// Which suite both variants are of, and what holds for both.
pub struct Common<'a> {
    /// Name or path.
    pub suite: &'a str,
    /// The profile.
    pub profile: &'a str,
    /// Which benchmarks.
    pub selection: Selection,
    /// What flags change.
    pub overrides: Overrides,
    /// What `--set` changes.
    pub settings: &'a [Setting],
}

impl Variant {
    /// Makes a variant's plan and refuses what can be refused before any load.
    ///
    /// # Errors
    /// Of the suite, of a setting with its flag, and of a program that is not there.
    pub fn new(common: &Common<'_>, choices: &[Choice], label: Option<&str>) -> Result<Variant, Failure> {
        let mut settings = common.settings.to_vec();
        let (mut program, mut nats_version, mut source) = (None, None, None);
        for choice in choices {
            match choice {
                Choice::Plan(setting) => settings.push(setting.clone()),
                Choice::NatsVersion(version) => nats_version = Some(version.clone()),
                Choice::Program(path) => {
                    program = Some(runnable(path, &choice.shown())?);
                    source = Some(None);
                }
                Choice::Worktree(dir) => {
                    program = Some(built(dir)?);
                    source = Some(std::fs::canonicalize(dir).ok().and_then(|dir| from_repository(&dir)));
                }
            }
        }
        let mut plan = plan_of(
            common.suite,
            &settings,
            common.profile,
            &common.selection,
            &common.overrides,
        )?;
        if let Some(program) = program {
            replace_program(&mut plan, &program)?;
        }
        if let Some(version) = &nats_version {
            let nats = plan.broker.nats.as_mut().filter(|n| n.url.is_none());
            if nats.is_none() {
                return Err(Failure::usage(miette::miette!(
                    "nats-version={version}: the suite starts no nats-server, so there is none to choose"
                )));
            }
        }
        let shown: Vec<String> = choices.iter().map(Choice::shown).collect();
        plan.overrides.extend(
            choices
                .iter()
                .filter(|c| !matches!(c, Choice::Plan(_)))
                .map(Choice::shown),
        );
        Ok(Variant {
            label: label.map_or_else(|| derived(&shown), str::to_owned),
            settings: shown,
            plan,
            nats_version,
            nats: None,
            source,
        })
    }

    /// Finds the broker's program, or fetches it.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn provide(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        if !needs_server(&self.plan) {
            return Ok(());
        }
        let Some(version) = &self.nats_version else {
            self.nats = Some(provision(std::slice::from_ref(&self.plan), progress)?);
            return Ok(());
        };
        let (cache, path) = (host::cache_dir(), host::path());
        let search = Search {
            path: path.as_deref(),
            cache_dir: cache.as_deref(),
            may_install: true,
            ..Search::default()
        };
        let mut tell = |step| {
            if let Fetching::Downloading { with } = step {
                progress.hear(Event::Preparing(format!(
                    "nats-server {version} is being fetched with {with}"
                )));
            }
        };
        self.nats = Some(find_nats_version(version, &search, &mut tell).map_err(Failure::environment)?);
        Ok(())
    }

    /// Whether both use the same nats-server.
    pub fn shares_server_with(&self, other: &Variant) -> bool {
        let wanted = |v: &Variant| {
            let named = v.plan.broker.nats.as_ref().and_then(|n| n.server.clone());
            (needs_server(&v.plan), named, v.nats_version.clone())
        };
        wanted(self) == wanted(other)
    }

    /// Whether nothing tells this variant from another.
    pub fn same_as(&self, other: &Variant) -> bool {
        // What was written where in which file makes no difference to what is run.
        let run = |v: &Variant| {
            let mut plan = serde_json::to_value(&v.plan).ok()?;
            let map = plan.as_object_mut()?;
            map.retain(|key, _| !["overrides", "source_name", "source_text"].contains(&key.as_str()));
            Some((plan, v.nats.as_ref().map(|f| f.program.clone()), v.nats_version.clone()))
        };
        run(self) == run(other)
    }
}

/// What a variant is called when nobody names it.
fn derived(settings: &[String]) -> String {
    if settings.is_empty() {
        return "as it is".to_owned();
    }
    let text = settings.join(", ");
    if text.chars().count() <= 40 {
        return text;
    }
    text.chars().take(39).chain(['…']).collect()
}

/// The program at a path, made absolute since services have a directory of their own.
fn runnable(path: &Path, named: &str) -> Result<PathBuf, Failure> {
    let found =
        std::fs::canonicalize(path).map_err(|e| Failure::usage(miette::miette!("{named}: {}: {e}", path.display())))?;
    let may_run = std::fs::metadata(&found).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if !may_run {
        return Err(Failure::usage(miette::miette!(
            "{named}: {} is no program that may be run",
            found.display()
        )));
    }
    Ok(found)
}

/// The release build in a source directory.
fn built(dir: &Path) -> Result<PathBuf, Failure> {
    let program = dir.join("target/release/eventbench");
    if !program.exists() {
        return Err(Failure::usage(miette::miette!(
            help = format!(
                "build it: cargo build --release -p eventbench --manifest-path {}",
                dir.join("Cargo.toml").display()
            ),
            "worktree={}: there is no release build in it ({} does not exist)",
            dir.display(),
            program.display()
        )));
    }
    runnable(&program, &format!("worktree={}", dir.display()))
}

/// Writes a program into every service command that begins with `{self}`. The instrument itself stays this program, or
/// two instruments would be compared instead of two systems.
fn replace_program(plan: &mut Plan, program: &Path) -> Result<(), Failure> {
    let program = program.display().to_string();
    let mut used = false;
    for word in plan.services.values_mut().flat_map(|s| &mut s.run) {
        if word.contains("{self}") {
            *word = word.replace("{self}", &program);
            used = true;
        }
    }
    if used {
        Ok(())
    } else {
        Err(Failure::usage(miette::miette!(
            "{program}: no service of suite \"{}\" is run from {{self}}, so this program would not be used; set service.NAME.run instead",
            plan.suite.name
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests end when their premises do not hold")]

    use super::*;

    fn common(selection: &str) -> Common<'_> {
        Common {
            suite: "event-bus",
            profile: "quick",
            selection: Selection {
                only: vec![selection.to_owned()],
                skip: Vec::new(),
            },
            overrides: Overrides::default(),
            settings: &[],
        }
    }

    fn variant(choices: &[&str]) -> Result<Variant, String> {
        let choices: Vec<Choice> = choices.iter().map(|c| Choice::parse(c, "--b").unwrap()).collect();
        Variant::new(&common("EB-1"), &choices, None).map_err(|f| f.report.to_string())
    }

    #[test]
    fn settings_reach_the_plan_and_name_the_variant() {
        let b = variant(&["service.store.run+=--burn,30us", "suite.seed=7"]).unwrap();
        assert_eq!(b.label, "service.store.run+=--burn,30us, suite.s…");
        assert_eq!(b.plan.services["store"].run.last().unwrap(), "30us");
        assert_eq!(b.plan.suite.seed, 7);
        let a = variant(&[]).unwrap();
        assert_eq!(a.label, "as it is");
        assert!(a.same_as(&variant(&["suite.seed=1"]).unwrap()));
        assert!(!a.same_as(&b));
        let server = variant(&["nats-server=/opt/n"]).unwrap();
        assert_eq!(server.plan.broker.nats.unwrap().server.as_deref(), Some("/opt/n"));
    }

    #[test]
    fn another_program_stands_where_the_tool_itself_stood() {
        let b = variant(&["program=/bin/sh"]).unwrap();
        let program = std::fs::canonicalize("/bin/sh").unwrap();
        assert_eq!(Path::new(&b.plan.services["store"].run[0]), program);
        assert!(b.plan.overrides.contains(&"program=/bin/sh".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let said = |choice: &str| variant(&[choice]).unwrap_err();
        assert!(said("program=/absent/x").contains("program=/absent/x"));
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "x").unwrap();
        assert!(said(&format!("program={}", text.display())).contains("no program that may be run"));
        let tree = said(&format!("worktree={}", dir.path().display()));
        assert!(tree.contains("no release build"), "{tree}");
        assert!(said("service.stroe.run=x").contains("--b service.stroe.run=x"));
        assert!(Choice::parse("program=", "--a").unwrap_err().contains("names nothing"));
        assert!(Choice::parse("nonsense", "--a").unwrap_err().contains("KEY=VALUE"));
    }
}
