use super::*;

fn setting(text: &str) -> PlacementSetting {
    text.parse().unwrap()
}

fn placement(text: &str) -> Placement {
    match setting(text) {
        PlacementSetting::Cores(placement) => placement,
        PlacementSetting::Named(name) => panic!("{name:?} names no cores"),
    }
}

#[test]
fn pinned_spreads_the_roles_over_what_is_allowed() {
    let pinned = |allowed: &[usize]| resolve(&setting("pinned"), allowed);
    for (allowed, expected) in [
        (&[0, 1][..], "broker=0,services=1,instrument=1,awake"),
        (&[2, 7], "broker=2,services=7,instrument=7,awake"),
        (&[0, 1, 2], "broker=0,services=1,instrument=2,awake"),
        (&[0, 1, 2, 3], "broker=0,services=1,instrument=2+3,awake"),
        (
            &[0, 1, 2, 3, 4, 5, 6, 7],
            "broker=0+1,services=2+3+4,instrument=5+6+7,awake",
        ),
    ] {
        assert_eq!(pinned(allowed), Ok(Some(placement(expected))), "{allowed:?}");
    }
    let many: Vec<usize> = (0..64).collect();
    let placement = pinned(&many).unwrap().unwrap();
    assert!(
        placement
            .roles()
            .iter()
            .all(|(_, cores)| cores.len() == MOST_CORES_A_ROLE)
    );
    assert_eq!(placement.cores().len(), 3 * MOST_CORES_A_ROLE, "no core has two roles");
    assert_eq!(pinned(&[3]), Err(PlacementError::OneCore { core: 3 }));
}

#[test]
fn core_lists_are_taken_as_they_are_or_refused() {
    let lists = "broker=0,services=3,instrument=0+3";
    assert_eq!(resolve(&setting(lists), &[0, 3]), Ok(Some(placement(lists))));
    assert_eq!(resolve(&setting("free"), &[0]), Ok(None));
    let refused = resolve(&setting(lists), &[0, 1]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "placement: services is to be kept to core 3, but eventbench may use cores 0, 1; name one of these, or write \"pinned\""
    );
    let senseless = PlacementSetting::Cores(Placement {
        awake: true,
        ..Placement::default()
    });
    assert!(matches!(
        resolve(&senseless, &[0, 1]),
        Err(PlacementError::Senseless(_))
    ));
}

#[test]
fn what_pinned_cannot_have_is_said_and_what_a_list_cannot_have_is_refused() {
    let lists = "broker=0,services=1,instrument=1,awake";
    let settle = |text: &str, allowed: Result<Vec<usize>, String>, quota, attached| {
        settle_on(&setting(text), &allowed, quota, attached)
    };
    let two = || Ok(vec![0, 1]);
    // Everything as asked for.
    for text in ["pinned", lists] {
        let settled = settle(text, two(), None, false).unwrap();
        assert_eq!(
            (settled.placement, settled.notices.len()),
            (Some(placement(lists)), 0),
            "{text}"
        );
        assert_eq!(
            settle(text, two(), Some(2.5), false).unwrap().notices.len(),
            0,
            "{text}"
        );
    }
    assert_eq!(
        settle("free", Err("no affinity".into()), Some(0.1), true),
        Ok(Settled::default())
    );
    // One core, no affinity.
    for allowed in [
        Ok(vec![0]),
        Err("CPU affinity is read and set on Linux only".to_owned()),
    ] {
        let settled = settle("pinned", allowed.clone(), None, false).unwrap();
        assert_eq!(settled.placement, None);
        assert!(
            settled.notices[0].contains("the kernel places every role"),
            "{settled:?}"
        );
        assert!(settle(lists, allowed, None, false).is_err());
    }
    // A control group that the spinner would use up.
    let settled = settle("pinned", two(), Some(2.0), false).unwrap();
    assert_eq!(settled.placement, Some(placement("broker=0,services=1,instrument=1")));
    assert!(settled.notices[0].contains("2.0 cores' worth"), "{settled:?}");
    assert!(matches!(
        settle(lists, two(), Some(1.5), false),
        Err(PlacementError::Quota { .. })
    ));
    // Somebody else's broker.
    let settled = settle("pinned", two(), None, true).unwrap();
    assert_eq!(settled.placement, Some(placement("services=1,instrument=1,awake")));
    assert!(settled.notices[0].contains("by somebody else"), "{settled:?}");
}

/// What the tests of affinity and idle priority need of the system.
#[cfg(target_os = "linux")]
mod linux_only {
    use super::*;

    fn stat_fields(thread: i32) -> Vec<String> {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        let after = stat.rsplit_once(')').unwrap().1.to_owned();
        // The first of them is field 3.
        after.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn spinners_stay_on_their_cores_at_idle_priority() {
        let allowed = linux::affinity().unwrap();
        // They wait for this to be dropped; the process ends first, so they never spin here.
        let go = spinners(&allowed).unwrap();
        assert_eq!(go.len(), allowed.len());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let thread: i32 = entry.file_name().to_string_lossy().parse().unwrap();
            let path = entry.path();
            let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
            if let Some(core) = read("comm").trim().strip_prefix("awake-") {
                assert_eq!(stat_fields(thread)[41 - 3], "5", "the policy of {thread} is SCHED_IDLE");
                let status = read("status");
                let list = status
                    .lines()
                    .find_map(|l| l.strip_prefix("Cpus_allowed_list:"))
                    .unwrap();
                assert_eq!(list.trim(), core);
                found.push(core.parse::<usize>().unwrap());
            }
        }
        found.sort_unstable();
        assert_eq!(found, allowed);
        std::mem::forget(go);
    }

    #[test]
    fn spinners_need_a_core_that_is_there() {
        assert_eq!(spinners(&[1023]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_thread_gets_its_cores_back() {
        std::thread::spawn(|| {
            let before = linux::affinity().unwrap();
            let first = before[0];
            Spawner::global().unwrap();
            linux::set_affinity(&[first]).unwrap();
            let placed = Placed {
                before: Some(before.clone()),
                awake: None,
                of_one_thread: PhantomData,
            };
            let child = std::thread::spawn(|| linux::affinity().unwrap()).join().unwrap();
            assert_eq!(child, [first], "threads that are made meanwhile stay there too");
            drop(placed);
            assert_eq!(linux::affinity().unwrap(), before);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_program_that_does_not_keep_awake_is_told_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        // A shell takes the word for a script that is not there, and says so.
        let error = keep_awake(Path::new("sh"), &[0], dir.path().join("log"), || false).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ended with code") && text.contains("\n  | "), "{text}");
    }
}
