//! The rules that keep the workspace in shape: who may depend on whom, how long a file may be, which requirements are
//! run, what every crate declares, and what no file says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const OURS: &str = "eventbench";

/// Of each crate of the workspace, which others of it may be used by what is shipped. A crate without a row is refused.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "eventbench",
        &[
            "eventbench-core",
            "eventbench-drivers",
            "eventbench-engine",
            "eventbench-report",
            "eventbench-services",
            "eventbench-store",
        ],
    ),
    ("eventbench-core", &[]),
    ("eventbench-drivers", &["eventbench-core"]),
    ("eventbench-engine", &["eventbench-core"]),
    ("eventbench-report", &["eventbench-core"]),
    // The systems under test know nothing of the instrument.
    ("eventbench-services", &[]),
    ("eventbench-store", &["eventbench-core"]),
    // Never part of what is shipped; it starts brokers by the engine's means.
    ("eventbench-testkit", &["eventbench-core", "eventbench-engine"]),
];

/// What the vocabulary and pure logic must not bring in, not even through others.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "clap",
    "rusqlite",
    "ureq",
    "async-nats",
    "console",
    "axum",
    "rustls",
];

const MOST_LINES: usize = 700;

/// The requirements by family: how many ids each has.
const REQUIREMENTS: &[(&str, u32)] = &[("EB", 10), ("RP", 11), ("AG", 7), ("WF", 19)];

/// The families whose requirements are all run by built-in suites so far.
const RUN_SO_FAR: &[&str] = &["EB", "RP", "AG", "WF"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
}

/// Every file below `dir` that is text of ours, build output and fuzz inputs apart.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(
                name.as_str(),
                "target" | ".git" | ".eventbench" | "corpus" | "artifacts"
            ) {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn ours(package: &Package, kinds: &[DependencyKind]) -> BTreeSet<String> {
    let named = package
        .dependencies
        .iter()
        .filter(|d| d.name.starts_with(OURS) && kinds.contains(&d.kind));
    named.map(|d| d.name.clone()).collect()
}

#[test]
fn crates_use_each_other_in_one_direction() {
    let metadata = workspace();
    assert_eq!(metadata.packages.len(), MAY_USE.len(), "every crate has its row");
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = MAY_USE.iter().find(|row| row.0 == name) else {
            panic!("{name} has no row in MAY_USE")
        };
        for used in ours(package, &[DependencyKind::Normal, DependencyKind::Build]) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
        for used in ours(package, &[DependencyKind::Development]) {
            // Tests and benches may use the testkit beside what the crate itself uses.
            let fine = used == "eventbench-testkit" || allowed.contains(&used.as_str());
            assert!(fine, "{name} must not depend on {used}, not even in its tests");
        }
    }
}

#[test]
fn core_brings_in_no_runtime_no_database_no_terminal() {
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let dependencies = package.get("dependencies").and_then(|d| d.as_array());
        // "name", or "name version" where there are several; one entry a name is more than enough here.
        let names = dependencies
            .into_iter()
            .flatten()
            .map(|d| d.as_str().unwrap().split(' ').next().unwrap());
        uses.entry(package["name"].as_str().unwrap()).or_default().extend(names);
    }
    // Cargo.lock does not tell what only tests use; the direct dependencies do.
    let metadata = workspace();
    let core = metadata
        .packages
        .iter()
        .find(|p| p.name.as_str() == "eventbench-core")
        .unwrap();
    let direct = core
        .dependencies
        .iter()
        .filter(|d| d.kind != DependencyKind::Development);
    let mut next: Vec<&str> = direct.map(|d| d.name.as_str()).collect();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(uses.get(name).into_iter().flatten());
        }
    }
    assert!(reached.len() > 10, "the lock file was not understood: {reached:?}");
    let wrong: Vec<&&str> = NOT_IN_CORE.iter().filter(|name| reached.contains(**name)).collect();
    assert!(wrong.is_empty(), "eventbench-core reaches {wrong:?}");
}

#[test]
fn no_source_file_is_long() {
    let mut count = 0;
    for package in workspace().packages {
        let mut sources = Vec::new();
        files(
            &package.manifest_path.parent().unwrap().join("src").into_std_path_buf(),
            &mut sources,
        );
        for path in sources.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
            let lines = std::fs::read_to_string(path).unwrap().lines().count();
            assert!(
                lines <= MOST_LINES,
                "{}: {lines} lines; at most {MOST_LINES}: divide it by what it does",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count > 50, "only {count} files were looked at");
}

/// The suites: name, and the requirement of each benchmark.
fn suites() -> BTreeMap<String, Vec<(String, Option<String>)>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("suites")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let suite: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let benchmarks = suite["benchmark"].as_array().unwrap().iter().map(|b| {
            let text = |key: &str| b.get(key).and_then(|v| v.as_str()).map(str::to_owned);
            (text("name").unwrap(), text("requirement"))
        });
        let name = suite["suite"]["name"].as_str().unwrap().to_owned();
        assert_eq!(
            path.file_stem().unwrap().to_str(),
            Some(name.as_str()),
            "a suite is named as its file"
        );
        found.insert(name, benchmarks.collect());
    }
    found
}

#[test]
fn every_requirement_is_run_by_exactly_one_suite() {
    let ids = |family: &str, n: u32| (1..=n).map(|i| format!("{family}-{i}")).collect::<Vec<_>>();
    let known: BTreeSet<String> = REQUIREMENTS.iter().flat_map(|(family, n)| ids(family, *n)).collect();
    let mut run_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let suites = suites();
    for (suite, benchmarks) in &suites {
        for (benchmark, requirement) in benchmarks {
            let Some(id) = requirement else {
                panic!("{suite}/{benchmark} names no requirement")
            };
            assert!(known.contains(id), "{suite}/{benchmark}: there is no requirement {id}");
            run_by.entry(id.clone()).or_default().insert(suite.clone());
        }
    }
    for (family, n) in REQUIREMENTS {
        for id in ids(family, *n) {
            let by = run_by.get(&id).map_or(0, BTreeSet::len);
            assert!(by <= 1, "{id} is run by several suites: {:?}", run_by[&id]);
            assert!(by == 1 || !RUN_SO_FAR.contains(family), "{id} is run by no suite");
        }
        let any = run_by.keys().any(|id| id.starts_with(&format!("{family}-")));
        assert_eq!(
            any,
            RUN_SO_FAR.contains(family),
            "{family}: say in RUN_SO_FAR whether its requirements are run"
        );
    }
}

#[test]
fn every_suite_is_built_in() {
    let table = std::fs::read_to_string(root().join("crates/eventbench/src/cli/suites.rs")).unwrap();
    let suites = suites();
    assert!(suites.contains_key("event-bus"));
    for name in suites.keys() {
        assert!(
            table.contains(&format!("/suites/{name}.toml\")")),
            "suites/{name}.toml is not in the table BUILT_IN"
        );
    }
}

#[test]
fn every_crate_declares_what_the_workspace_declares() {
    for package in workspace().packages {
        let name = &package.name;
        assert_eq!(
            package.rust_version.as_ref().map(ToString::to_string).as_deref(),
            Some("1.95.0"),
            "{name}: rust-version"
        );
        assert_eq!(package.license.as_deref(), Some("Apache-2.0 OR MIT"), "{name}: license");
        assert!(
            package.description.is_some_and(|d| !d.is_empty()),
            "{name}: description"
        );
        let manifest: toml::Table = std::fs::read_to_string(&package.manifest_path)
            .unwrap()
            .parse()
            .unwrap();
        let lints = manifest
            .get("lints")
            .and_then(|l| l.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(lints, Some(true), "{name}: [lints] workspace = true");
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (dependency, how) in manifest
                .get(table)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
            {
                let shared = how.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(
                    shared,
                    Some(true),
                    "{name}: {dependency} takes its version and features from the workspace"
                );
            }
        }
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        assert!(
            std::fs::read_to_string(root().join(licence)).unwrap().len() > 1000,
            "{licence}"
        );
    }
}

#[test]
fn the_files_speak_of_the_project_alone() {
    // Put together here, so that this file does not hold them.
    let words = [
        ["/wo", "rk/"].concat(),
        ["/tm", "p/"].concat(),
        ["/ro", "ot/"].concat(),
        ["issue", " #"].concat(),
        ["arti", "factory"].concat(),
        ["index.", "crates.io"].concat(),
        ["pypi", ".org"].concat(),
    ];
    let mut all = Vec::new();
    for dir in ["crates", "suites", "scripts", "fuzz", ".ci"] {
        files(&root().join(dir), &mut all);
    }
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "clippy.toml",
        "deny.toml",
        "rustfmt.toml",
        ".gitignore",
        "README.md",
    ] {
        all.extend(Some(root().join(name)).filter(|p| p.exists()));
    }
    let mut texts = 0;
    for path in &all {
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        texts += 1;
        let lower = text.to_lowercase();
        for word in &words {
            if let Some(at) = lower.find(word.as_str()) {
                let line = lower[..at].lines().count().max(1);
                panic!("{}:{line} holds {word:?}", path.display());
            }
        }
    }
    assert!(texts > 100, "only {texts} files were looked at");
}
