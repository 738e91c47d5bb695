//! The process guard on real processes: what it starts it stops, on every way out.

#![allow(
    clippy::disallowed_methods,
    reason = "a test binary is its own host: it reads its environment itself"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eventbench_engine::linux;
use eventbench_engine::probes::process::{Depth, ProcessProbe, ProcessReading};
use eventbench_engine::provision::{Child, ProcessError, Spec};

const LONG: Duration = Duration::from_secs(20);

fn shell(text: &str, dir: &Path) -> Spec {
    Spec {
        name: "shell".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), text.into()],
        log: Some(dir.join("log")),
        ..Spec::default()
    }
}

/// Waits for a condition that another process brings about; panics when it never comes.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end_ns = linux::monotonic_ns() + LONG.as_nanos() as u64;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(linux::monotonic_ns() < end_ns, "never came: {what}");
        linux::sleep_until_ns(linux::monotonic_ns() + 1_000_000);
    }
}

fn said(child: &Child, start: &str) -> String {
    eventually(start, || {
        child
            .tail(10)
            .into_iter()
            .find_map(|line| line.strip_prefix(start).map(str::to_owned))
    })
}

fn is_gone(pid: u32) -> bool {
    ProcessReading::read(pid, Depth::Light).unwrap().is_none()
}

#[test]
fn a_process_that_ends_by_itself_is_told_in_words_with_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("exit 0", "ended normally"),
        ("exit 7", "ended with code 7"),
        ("exit 127", "ended with code 127 (command not found)"),
        ("kill -SEGV $$", "was ended by SIGSEGV (bad memory access)"),
        ("kill -USR1 $$", "was ended by signal 10"),
    ];
    for (text, expected) in cases {
        let mut child = Child::spawn(shell(&format!("echo out; echo err >&2; {text}"), dir.path())).unwrap();
        let exit = child.wait(LONG).unwrap().unwrap();
        assert_eq!(exit.to_string(), expected);
        assert_eq!(child.tail(5), ["out", "err"], "only what this start wrote");
        assert_eq!(child.try_wait().unwrap(), Some(exit));
        let report = child.stop(LONG).unwrap();
        assert_eq!(
            (report.signal_sent_at_ns, report.exit, report.killed),
            (None, exit, false)
        );
        assert!(matches!(child.pause(), Err(ProcessError::Control { .. })));
    }
}

#[test]
fn environment_and_directory_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = shell("echo \"$WORD:$(pwd -P)\"", dir.path());
    spec.env = vec![("WORD".into(), "a b".into())];
    spec.cwd = Some(dir.path().to_owned());
    let mut child = Child::spawn(spec).unwrap();
    child.wait(LONG).unwrap().unwrap();
    assert_eq!(
        child.tail(1),
        [format!("a b:{}", dir.path().canonicalize().unwrap().display())]
    );
}

#[test]
fn what_cannot_be_started_says_what_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let no_program = Spec {
        name: "store".into(),
        program: dir.path().join("absent"),
        ..Spec::default()
    };
    let said = Child::spawn(no_program).unwrap_err().to_string();
    assert!(
        said.contains("store") && said.contains("absent") && said.contains("check the path"),
        "{said}"
    );
    let no_log = Spec {
        log: Some(dir.path().join("no/log")),
        ..shell("", dir.path())
    };
    assert!(matches!(Child::spawn(no_log), Err(ProcessError::Log { .. })));
    let no_dir = Spec {
        cwd: Some(dir.path().join("no")),
        ..shell("", dir.path())
    };
    assert!(matches!(Child::spawn(no_dir), Err(ProcessError::Directory { .. })));
    let no_cpus = Spec {
        cpus: Some(vec![]),
        ..shell("", dir.path())
    };
    assert!(matches!(Child::spawn(no_cpus), Err(ProcessError::Spawn { .. })));
}

#[test]
fn asked_to_stop_it_ends_and_one_that_does_not_listen_is_killed_with_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let mut willing = Child::spawn(shell(
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done",
        dir.path(),
    ))
    .unwrap();
    said(&willing, "ready");
    let report = willing.stop(LONG).unwrap();
    assert_eq!((report.exit.code, report.killed), (Some(3), false));
    assert!(report.signal_sent_at_ns.unwrap() + report.took_ns == report.exit.seen_at_ns);

    let deaf = "trap '' TERM; sleep 1000 & echo worker=$!; while :; do sleep 0.01; done";
    let mut deaf = Child::spawn(shell(deaf, dir.path())).unwrap();
    let worker: u32 = said(&deaf, "worker=").parse().unwrap();
    let report = deaf.stop(Duration::from_millis(50)).unwrap();
    assert!(report.killed && report.exit.signal == Some(9), "{report:?}");
    assert!(report.took_ns >= 50_000_000, "the grace was given");
    eventually("the worker of the killed group is gone", || {
        is_gone(worker).then_some(())
    });
}

#[test]
fn a_dropped_guard_leaves_nothing_and_so_does_a_leader_that_ends_first() {
    let dir = tempfile::tempdir().unwrap();
    let child = Child::spawn(shell("sleep 1000 & echo worker=$!; wait", dir.path())).unwrap();
    let worker: u32 = said(&child, "worker=").parse().unwrap();
    let pid = child.pid();
    drop(child);
    assert!(is_gone(pid), "reaped before the drop returns");
    eventually("the worker is gone", || is_gone(worker).then_some(()));

    let mut child = Child::spawn(shell("sleep 1000 & echo worker=$!", dir.path())).unwrap();
    assert!(child.wait(LONG).unwrap().unwrap().is_success());
    let worker: u32 = said(&child, "worker=").parse().unwrap();
    eventually("the orphan is gone", || is_gone(worker).then_some(()));
}

#[test]
fn a_paused_process_stands_still_goes_on_and_can_be_stopped_while_paused() {
    let dir = tempfile::tempdir().unwrap();
    let text = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = Child::spawn(shell(text, dir.path())).unwrap();
    said(&child, "ready");
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let pid = child.pid();
    let paused_at_ns = child.pause().unwrap();
    assert_eq!(state(pid), 'T', "it stands still when the call returns");
    assert!(child.resume().unwrap() > paused_at_ns);
    eventually("running again", || (state(pid) != 'T').then_some(()));
    child.pause().unwrap();
    eventually("stopped", || (state(pid) == 'T').then_some(()));
    let report = child.stop(LONG).unwrap();
    assert_eq!(
        (report.exit.code, report.killed),
        (Some(3), false),
        "woken to hear the question"
    );
}

#[test]
fn a_process_is_bound_to_its_cpus_and_has_the_usual_timer_slack() {
    let dir = tempfile::tempdir().unwrap();
    let cpu = *linux::affinity().unwrap().last().unwrap();
    let mut spec = shell(
        "echo slack=$(cat /proc/self/timerslack_ns); grep Cpus_allowed_list /proc/self/status",
        dir.path(),
    );
    spec.cpus = Some(vec![cpu]);
    let mut child = Child::spawn(spec).unwrap();
    child.wait(LONG).unwrap().unwrap();
    assert_eq!(said(&child, "slack="), "50000");
    assert_eq!(said(&child, "Cpus_allowed_list:").trim(), cpu.to_string());
}

#[test]
fn a_probe_follows_its_process_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::spawn(shell("echo ready; while :; do :; done", dir.path())).unwrap();
    said(&child, "ready");
    let probe = ProcessProbe::attach(child.pid()).unwrap().unwrap();
    let first = probe.read(Depth::Full).unwrap().unwrap();
    let later = eventually("CPU time grows", || {
        probe
            .read(Depth::Light)
            .unwrap()
            .filter(|r| r.cpu_ns > first.cpu_ns + 20_000_000)
    });
    assert!(later.user_ns > 0 && later.at_ns > first.at_ns && later.rss_bytes > 0 && later.fds.unwrap() >= 3);
    assert_eq!(later.threads, 1);
    assert!(first.pss_bytes.is_some() && first.involuntary_switches.is_some());
    child.kill().unwrap();
    assert_eq!(probe.read(Depth::Full).unwrap(), None);
    assert_eq!(ProcessProbe::attach(child.pid()).unwrap(), None);
}

#[test]
fn a_process_of_which_only_the_exit_status_is_left_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::spawn(shell("exit 5", dir.path())).unwrap();
    let stat = format!("/proc/{}/stat", child.pid());
    // Nobody has asked for its end yet, so it stays a zombie.
    eventually("a zombie", || {
        std::fs::read_to_string(&stat).unwrap().contains(") Z ").then_some(())
    });
    assert!(is_gone(child.pid()));
    assert_eq!(child.try_wait().unwrap().unwrap().code, Some(5));
}

/// Under this variable the test below is not a test but a program that starts a child and never stops it.
const HELPER: &str = "EVENTBENCH_TEST_HELPER_WRITES_PID_TO";

/// The program to be killed. Run as a test it has nothing to do.
#[test]
fn helper_that_starts_a_child_and_hangs() {
    let Some(file) = std::env::var_os(HELPER).map(PathBuf::from) else {
        return;
    };
    // The thread that asks for the child ends at once: that must not end the child.
    let asked = std::thread::spawn(|| {
        Child::spawn(Spec {
            name: "child".into(),
            program: "sleep".into(),
            args: vec!["1000".into()],
            ..Spec::default()
        })
    });
    let child = asked.join().unwrap().unwrap();
    let written = file.with_extension("new");
    std::fs::write(&written, child.pid().to_string()).unwrap();
    std::fs::rename(&written, &file).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_spawner_killed_without_warning_takes_its_child_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut helper = Child::spawn(Spec {
        name: "helper".into(),
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "helper_that_starts_a_child_and_hangs", "--nocapture"]
            .map(OsString::from)
            .to_vec(),
        env: vec![(HELPER.into(), file.clone().into())],
        log: Some(dir.path().join("log")),
        ..Spec::default()
    })
    .unwrap();
    let pid: u32 = eventually("the helper's child", || std::fs::read_to_string(&file).ok())
        .parse()
        .unwrap();
    let grandchild = ProcessProbe::attach(pid).unwrap();
    let grandchild = grandchild.expect("the child outlives the thread that asked for it");
    // The child is in a group of its own, so this signal does not reach it: only the kernel's tie does.
    let report = helper.kill().unwrap();
    assert_eq!(report.exit.signal, Some(9));
    eventually("the child of the killed spawner is gone", || {
        grandchild.read(Depth::Light).unwrap().is_none().then_some(())
    });
}
