//! Placement is what the plan says: in the affinity of every process and thread while a run goes on, after a restart, and
//! in the record; and the process that keeps cores awake gives way to everybody and outlives nobody.
#![cfg(target_os = "linux")]

use crate::common::*;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

/// The cores that this test may use, in ascending order.
fn allowed() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// A core for the broker and one for everybody else; the same one on a machine with no second.
fn two_cores() -> (usize, usize) {
    let cores = allowed();
    (cores[0], cores[cores.len() - 1])
}

/// The threads of a process, by name, with the cores that each may run on.
fn threads(pid: u32) -> Vec<(String, String)> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let one = |task: &Path| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let status = std::fs::read_to_string(task.join("status")).ok()?;
        let cores = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?;
        Some((name.trim().to_owned(), cores.trim().to_owned()))
    };
    tasks.flatten().filter_map(|task| one(&task.path())).collect()
}

/// Asserts that every thread of a process is kept to one core.
#[track_caller]
fn kept_to(pid: u32, core: usize) {
    let threads = threads(pid);
    assert!(
        !threads.is_empty() && threads.iter().all(|(_, cores)| *cores == core.to_string()),
        "process {pid} is to be on core {core}: {threads:?}"
    );
}

/// The words that a process was started with.
fn words(pid: u32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned());
    words.filter(|w| !w.is_empty()).collect()
}

/// The child of the tool whose command line holds `word`.
fn child_with(tool: u32, word: &str) -> Option<Started> {
    children(tool)
        .into_iter()
        .find(|p| words(p.pid).iter().any(|w| w == word))
}

/// A run of `duration` under `placement`.
fn suite(place: &Place, placement: &str, duration: &str) -> String {
    let suite = StoreSuite {
        place,
        store: &[],
        drive: CHAT,
        load: &format!(r#"arrival = "constant", rate = "100/s", duration = "{duration}""#),
        more: "limits = [\"corrupt == 0\"]\n",
    };
    let text = suite
        .text()
        .replacen("[suite]\n", &format!("[suite]\n{placement}\n"), 1);
    // On a busy machine a core to itself is not to be had at once, by whoever is kept to it.
    text.replacen("\nready = ", "\nready_within = \"60s\"\nready = ", 1)
}

/// Longer than any test waits.
const LONG: &str = "80s";

/// The tool with broker and service up, both as they are at the start of the load.
fn in_mid_run(place: &Place, suite: String) -> (Running, Started, Started) {
    place.write("suite.toml", suite);
    let running = Running::start(place, place.tool(&["run", "suite.toml"]));
    let mut found = (None, None);
    let up = within(Duration::from_secs(60), || {
        let broker = children(running.pid()).into_iter().find(|p| p.name == "nats-server");
        // The lane is there when everything else is.
        let driven = threads(running.pid()).iter().any(|(name, _)| name == "lane");
        found = (broker, child_with(running.pid(), "event-store"));
        driven && found.0.is_some() && found.1.is_some()
    });
    let (Some(broker), Some(store), true) = (found.0, found.1, up) else {
        panic!("not in mid-run:\n{}", running.err())
    };
    (running, broker, store)
}

#[test]
fn every_role_is_on_its_cores_and_a_restarted_service_too() {
    let (_load, place) = (load(), Place::new());
    let (first, last) = two_cores();
    let lists = format!("placement = {{ broker = [{first}], services = [{last}], instrument = [{last}] }}");
    // Often, so that a later one than the one that was seen first comes however late this test gets to look.
    let faults: Vec<String> = ["500ms", "5s", "10s", "20s", "30s", "40s", "50s"]
        .iter()
        .map(|at| format!("{{ at = \"{at}\", action = \"restart\", service = \"store\" }}"))
        .collect();
    let suite = format!("{}fault = [{}]\n", suite(&place, &lists, LONG), faults.join(", "));
    let (running, broker, store) = in_mid_run(&place, suite);
    kept_to(broker.pid, first);
    let instrument = threads(running.pid());
    for name in ["lane", "observer", "eventbench"] {
        assert!(
            instrument
                .iter()
                .any(|(n, cores)| n == name && *cores == last.to_string()),
            "{name}: {instrument:?}"
        );
    }
    let mut of_restarted = Vec::new();
    let again = within(Duration::from_secs(40), || {
        child_with(running.pid(), "event-store").is_some_and(|now| {
            of_restarted = threads(now.pid);
            now != store && !of_restarted.is_empty()
        })
    });
    assert!(again, "the service was not restarted:\n{}", running.err());
    assert!(
        of_restarted.iter().all(|(_, cores)| *cores == last.to_string()),
        "{of_restarted:?}"
    );
    // Without `awake` there is no such process.
    assert_eq!(child_with(running.pid(), "awake"), None);
    running.signal(Signal::INT);
    running.wait().exits(130);
    let json: serde_json::Value =
        serde_json::from_str(&place.run(&["report", "latest", "-o", "json"]).exits(0).out).unwrap();
    assert_eq!(
        json["run"]["placement"],
        serde_json::json!({ "broker": [first], "services": [last], "instrument": [last], "awake": false })
    );
}

#[test]
fn without_placement_nobody_is_kept_anywhere() {
    let (_load, place) = (load(), Place::new());
    let (running, broker, store) = in_mid_run(&place, suite(&place, "", LONG));
    let own = &threads(std::process::id())[0].1;
    for pid in [broker.pid, store.pid, running.pid()] {
        assert!(
            !threads(pid).is_empty() && threads(pid).iter().all(|(_, cores)| cores == own),
            "{:?}",
            threads(pid)
        );
    }
    running.signal(Signal::INT);
    running.wait().exits(130);
    let json: serde_json::Value =
        serde_json::from_str(&place.run(&["report", "latest", "-o", "json"]).exits(0).out).unwrap();
    assert_eq!(json["run"].get("placement"), None);
}

/// Field 41 of `/proc/PID/task/TID/stat`: 5 is SCHED_IDLE.
fn policies(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks
        .flatten()
        .filter_map(|t| std::fs::read_to_string(t.path().join("stat")).ok());
    stats
        .filter_map(|s| Some(s.rsplit_once(')')?.1.split_whitespace().nth(41 - 3)?.to_owned()))
        .collect()
}

#[test]
fn the_awake_process_gives_way_to_everybody_and_ends_with_a_killed_tool() {
    let (_load, place) = (load(), Place::new());
    let core = two_cores().1;
    let lists = format!("placement = {{ services = [{core}], instrument = [{core}], awake = true }}");
    let (running, broker, store) = in_mid_run(&place, suite(&place, &lists, LONG));
    let awake = child_with(running.pid(), "awake").unwrap();
    let idle = within(Duration::from_secs(30), || policies(awake.pid).iter().all(|p| p == "5"));
    assert!(idle, "{:?}", policies(awake.pid));
    assert_eq!(
        threads(awake.pid).iter().find(|(name, _)| name.starts_with("awake-")),
        Some(&(format!("awake-{core}"), core.to_string()))
    );
    assert!(policies(store.pid).iter().all(|p| p == "0"));
    // Where sessions are weighed before threads, idle priority alone would take half a core from the next session.
    if let Ok(weight) = std::fs::read_to_string(format!("/proc/{}/autogroup", awake.pid)) {
        let group = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/autogroup")).unwrap_or_default();
        assert!(weight.is_empty() || weight.contains("nice 19"), "{weight}");
        assert!(group(store.pid).is_empty() || group(store.pid) != weight, "{weight}");
    }
    // A role without cores is where the kernel puts it.
    assert_eq!(threads(broker.pid)[0].1, threads(std::process::id())[0].1);
    running.signal(Signal::KILL);
    let gone = within(Duration::from_secs(30), || {
        ![&awake, &broker, &store].into_iter().any(lives)
    });
    assert!(gone, "it outlived the tool");
}

#[test]
fn a_flag_places_a_finished_run_and_its_record_and_overrides_say_so() {
    let (_load, place) = (load(), Place::new());
    let (first, last) = two_cores();
    place.write("suite.toml", suite(&place, "placement = \"pinned\"", "300ms"));
    let flag = format!("broker={first},services={last},instrument={last},awake");
    place
        .run(&["run", "suite.toml", "--placement", &flag, "-o", "json=run.json"])
        .exits(0);
    let json: serde_json::Value = serde_json::from_str(&place.read("run.json")).unwrap();
    assert_eq!(
        json["run"]["placement"],
        serde_json::json!({ "broker": [first], "services": [last], "instrument": [last], "awake": true })
    );
    assert_eq!(json["run"]["plan"]["suite"]["placement"], json["run"]["placement"]);
    assert_eq!(
        json["run"]["overrides"],
        serde_json::json!([format!("placement = {flag}")])
    );
    checks_hold(&json);
    // What kept the cores awake is in no figure.
    let figures = json["benchmarks"][0]["figures"].as_array().unwrap();
    let processes: Vec<&str> = figures.iter().filter_map(|f| f["tags"]["process"].as_str()).collect();
    assert!(
        processes.contains(&"broker")
            && processes
                .iter()
                .all(|p| ["broker", "store", "eventbench", "system"].contains(p)),
        "{processes:?}"
    );
    assert_eq!(place.left_behind(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn pinned_means_what_this_machine_has() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", suite(&place, "", "300ms"));
    place
        .run(&["run", "suite.toml", "--placement", "pinned", "-o", "json=run.json"])
        .exits(0);
    let json: serde_json::Value = serde_json::from_str(&place.read("run.json")).unwrap();
    let (run, cores) = (&json["run"], allowed());
    if cores.len() > 1 {
        let kept: Vec<u64> = ["broker", "services", "instrument"]
            .iter()
            .flat_map(|role| run["placement"][role].as_array().unwrap())
            .map(|core| core.as_u64().unwrap())
            .collect();
        assert!(
            kept.len() >= 3 && kept.iter().all(|core| cores.contains(&(*core as usize))),
            "{kept:?}"
        );
    } else {
        assert_eq!(run.get("placement"), None);
        assert!(
            run["notes"][0].as_str().unwrap().contains("nothing to choose"),
            "{run:#}"
        );
    }
    assert_eq!(run["overrides"], serde_json::json!(["placement = pinned"]));
}

#[test]
fn a_placement_that_cannot_be_had_is_refused_at_its_place() {
    let spin = "`awake` without a role kept to its cores makes figures unsteadier";
    for (placement, says) in [
        ("placement = { awake = true }", &["suite.toml:2:13", spin][..]),
        ("placement = {}", &["suite.toml:2:13", "no role is kept to any core"]),
        (
            "placement = \"pined\"",
            &["suite.toml:2:13", "unknown placement \"pined\"", "\"pinned\""],
        ),
        ("placement = 3", &["suite.toml:2:13", "\"pinned\""]),
        (
            "placement = { brokers = [0] }",
            &["suite.toml:2:", "unknown field `brokers`", "`broker`"],
        ),
        (
            "placement = { broker = [0, 0] }",
            &["suite.toml:2:13", "broker names core 0 twice"],
        ),
        ("placement = { broker = [-1] }", &["suite.toml:2:"]),
    ] {
        let place = Place::new();
        place.write("suite.toml", suite(&place, placement, LONG));
        place.run(&["check", "suite.toml"]).exits(2).complains(says);
        place.run(&["run", "suite.toml"]).exits(2).complains(says);
        assert!(!place.history().exists());
    }
    let place = Place::new();
    let attached = suite(&place, "placement = { broker = [0] }", LONG)
        .replace("[broker.nats]", "[broker.nats]\nurl = \"nats://127.0.0.1:1\"");
    place.write("suite.toml", attached);
    place
        .run(&["check", "suite.toml"])
        .exits(2)
        .complains(&["suite.toml:2:13", "started by somebody else"]);
    // What only this machine can tell is refused before anything starts, too.
    place.write("suite.toml", suite(&place, "placement = { broker = [1023] }", LONG));
    place.run(&["check", "suite.toml"]).exits(0);
    place
        .run(&["run", "suite.toml"])
        .exits(2)
        .complains(&["broker is to be kept to core 1023, but eventbench may use"]);
    for (flag, says) in [
        ("awake", spin),
        ("brokers=0", "no role \"brokers\""),
        ("broker=x", "no core number"),
    ] {
        place
            .run(&["run", "suite.toml", "--placement", flag])
            .exits(2)
            .complains(&[says]);
    }
    assert!(!place.history().exists());
}

#[test]
fn cores_that_are_not_there_cannot_be_kept_awake() {
    let place = Place::new();
    let mut command = place.command(env!("CARGO_BIN_EXE_eventbench"));
    command.args(["awake", "--cpus", "1023"]);
    place.finish(command).exits(3).complains(&["cannot be kept awake"]);
}
