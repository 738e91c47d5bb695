use super::super::reduce::{Fate, reduce};
use super::super::stamp::Poison;
use super::super::window::Kind;
use super::*;
use std::num::NonZeroU64;

const POLICY: Policy = Policy {
    count: NonZeroU64::new(7).unwrap(),
    span_ns: NonZeroU64::new(1_000_000_000).unwrap(),
    lateness_ns: 300_000_000,
};

fn stamp(n: u64) -> Stamp {
    let hash = super::super::batch::splitmix64(n);
    Stamp {
        id: format!("s{n}"),
        tag: format!("t{n}"),
        workflow: format!("w{}", n / 2),
        namespace: format!("ns{}", n % 3),
        content_type: "image/png".to_owned(),
        bytes: hash % 5_000_000,
        // Mostly onward, at times behind, at times far enough behind to be late.
        event_ms: 1_000_000 + n * 100 - hash % 700,
        ..Stamp::default()
    }
}

/// Reduces and stores a group as the writer does.
fn write(store: &mut Store, windows: &mut Windows, stamps: &[Stamp]) -> Vec<Fate> {
    let (after, fates) = store
        .transaction(|connection| {
            let mut inputs = Vec::new();
            for stamp in stamps {
                inputs.push(Input::Stamp(stamp.clone(), known(connection, stamp)?));
            }
            let reduced = reduce(windows, &POLICY, &inputs);
            carry_out(connection, &reduced.intents, &inputs, &[])?;
            Ok((reduced.windows, reduced.fates))
        })
        .unwrap();
    *windows = after;
    fates
}

#[test]
fn the_open_windows_are_found_again_after_any_number_of_stamps_and_nothing_counts_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reducer.db");
    let (mut store, mut windows) = Store::open(&path, &POLICY).unwrap();
    let all: Vec<Stamp> = (0..200).map(stamp).collect();
    let mut late = 0;
    for (round, group) in all.chunks(3).enumerate() {
        let fates = write(&mut store, &mut windows, group);
        assert!(fates.iter().all(|fate| *fate == Fate::Stored), "{fates:?}");
        late = windows.late;
        // Opened a second time while the first is still there, which is what a kill leaves behind.
        let (mut second, found) = Store::open(&path, &POLICY).unwrap();
        assert_eq!(found, windows, "after group {round}");
        let mut again = found;
        let fates = write(&mut second, &mut again, group);
        assert!(fates.iter().all(|fate| *fate == Fate::Duplicate), "{fates:?}");
        assert_eq!(again, windows, "a redelivery changed something");
    }
    assert!(late > 0, "no stamp was late: the test tests too little");
    let reader = open_reader(&path).unwrap();
    let counts = counts(&reader).unwrap();
    assert_eq!((counts.stamps, counts.late), (200, late));
    for dimension in Dimension::ALL {
        let sum: u64 = totals(&reader, dimension)
            .unwrap()
            .values()
            .map(|total| total.count)
            .sum();
        assert_eq!(sum, 200, "{}", dimension.name());
    }
    let bytes: u64 = all.iter().map(|stamp| stamp.bytes).sum();
    assert_eq!(totals(&reader, Dimension::All).unwrap()[""].bytes, bytes);
    let in_windows = |kind: Kind| -> u64 {
        let sql = "SELECT coalesce(sum(count), 0) FROM windows WHERE kind = ?1";
        reader
            .query_row(sql, [kind.name()], |row| row.get(0).map(unsigned))
            .unwrap()
    };
    let open_by_time: u64 = windows.by_time.values().map(|tally| tally.total.count).sum();
    assert_eq!(in_windows(Kind::Count) + windows.by_count.total.count, 200);
    assert_eq!(in_windows(Kind::Time) + open_by_time + late, 200);
}

#[test]
fn a_transaction_that_fails_leaves_nothing_and_may_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reducer.db");
    let (mut store, _) = Store::open(&path, &POLICY).unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON totals BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    let inputs = [Input::Stamp(stamp(1), Known::No)];
    let reduced = reduce(&Windows::default(), &POLICY, &inputs);
    let mut attempt = || store.transaction(|connection| carry_out(connection, &reduced.intents, &inputs, &[]));
    attempt().unwrap_err();
    assert_eq!(counts(&other).unwrap(), Counts::default());
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    attempt().unwrap();
    assert_eq!(counts(&other).unwrap().stamps, 1);
}

#[test]
fn poison_that_comes_again_is_one_row_with_a_higher_count() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&directory.path().join("reducer.db"), &POLICY).unwrap();
    let poison = Poison {
        id: "p".to_owned(),
        reason: "no stamp".to_owned(),
    };
    let long = vec![b'x'; 10_000];
    for payload in [&b"{}"[..], b"{}", &long] {
        let inputs = [Input::Poison(poison.clone())];
        let reduced = reduce(&Windows::default(), &POLICY, &inputs);
        store
            .transaction(|connection| carry_out(connection, &reduced.intents, &inputs, &[payload]))
            .unwrap();
    }
    let counts = store.transaction(counts).unwrap();
    assert_eq!((counts.refused, counts.refused_deliveries, counts.stamps), (2, 3, 0));
    let kept: i64 = store
        .connection
        .query_row("SELECT max(length(payload)) FROM refused", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 4_096);
}

#[test]
fn databases_that_cannot_be_used_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reducer.db");
    let told = |path: &Path, policy: &Policy| Store::open(path, policy).unwrap_err().to_string();
    let missing = told(&directory.path().join("absent").join("x.db"), &POLICY);
    assert!(missing.contains("check that the directory exists"), "{missing}");
    drop(Store::open(&path, &POLICY).unwrap());
    let other = Policy {
        lateness_ns: 1,
        ..POLICY
    };
    let changed = told(&path, &other);
    assert!(changed.contains("another --db"), "{changed}");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = told(&path, &POLICY);
    assert!(locked.contains("holds its lock"), "{locked}");
    connection.execute_batch("ROLLBACK; PRAGMA user_version = 77").unwrap();
    let newer = told(&path, &POLICY);
    assert!(newer.contains("schema version 77"), "{newer}");
}
