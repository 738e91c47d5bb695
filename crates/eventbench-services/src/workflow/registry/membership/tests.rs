use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SECOND: u64 = 1_000_000_000;
const POLICY: Policy = Policy {
    every_ns: SECOND,
    suspect_after: 3,
    lost_after: 6,
};

fn registration(id: &str, capabilities: &[&str]) -> Registration {
    Registration {
        id: id.to_owned(),
        capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        subject: format!("rpc.worker.{id}"),
    }
}

fn beat(id: &str, seq: u64) -> Beat {
    Beat {
        id: id.to_owned(),
        seq,
        ..Beat::default()
    }
}

#[test]
fn a_node_is_suspect_and_then_lost_by_missed_beats_and_alive_again_by_one_that_comes() {
    let mut membership = Membership::new(POLICY);
    membership.register(10 * SECOND, registration("a", &["tree"])).unwrap();
    let state = |membership: &Membership, now_ns| membership.instances(now_ns, "tree")[0].2;
    for (now_ns, expected) in [
        (0, State::Alive),
        (10 * SECOND, State::Alive),
        (13 * SECOND - 1, State::Alive),
        (13 * SECOND, State::Suspect),
        (16 * SECOND - 1, State::Suspect),
        (16 * SECOND, State::Lost),
        (u64::MAX, State::Lost),
    ] {
        assert_eq!(state(&membership, now_ns), expected, "{now_ns}");
    }
    assert_eq!(
        membership.beat(20 * SECOND, &beat("a", 0)),
        Ok((Received::Newest, true))
    );
    assert_eq!(state(&membership, 20 * SECOND), State::Alive);
    // Neither a beat that comes again nor one that was overtaken is a sign of life.
    membership.beat(21 * SECOND, &beat("a", 5)).unwrap();
    membership.beat(23 * SECOND, &beat("a", 5)).unwrap();
    membership.beat(23 * SECOND, &beat("a", 4)).unwrap();
    assert_eq!(state(&membership, 24 * SECOND), State::Suspect);
    let states = membership.states(24 * SECOND);
    assert_eq!((states.alive, states.suspect, states.lost), (0, 1, 0));
}

#[test]
fn each_beat_is_received_once_whatever_the_order() {
    let mut membership = Membership::new(POLICY);
    let what: Vec<Received> = [3, 3, 5, 4, 3, 4, 69, 5, 6, 6, 1_000, 900, 1_000, 937]
        .map(|seq| membership.beat(0, &beat("a", seq)).unwrap().0)
        .to_vec();
    use Received::{Duplicate, Newest, OutOfOrder, TooOld};
    let expected = [
        Newest, Duplicate, Newest, OutOfOrder, Duplicate, Duplicate, Newest, TooOld, OutOfOrder, Duplicate, Newest,
        TooOld, Duplicate, OutOfOrder,
    ];
    assert_eq!(what, expected);
    let expected = Beats {
        received: 7,
        out_of_order: 3,
        duplicates: 5,
        too_old: 2,
        refused: 0,
    };
    assert_eq!(membership.beats, expected);
    assert_eq!(membership.nodes(0, "", 10)[0].1.beats, 7);
    // A node that was started again counts from 0 again.
    membership.register(1, registration("a", &[])).unwrap();
    assert_eq!(membership.beat(2, &beat("a", 0)), Ok((Newest, true)));
}

proptest! {
    #[test]
    fn within_the_window_exactly_the_distinct_beats_are_received(numbers in prop::collection::vec(0_u64..60, 0..200)) {
        let mut membership = Membership::new(POLICY);
        for seq in &numbers {
            membership.beat(0, &beat("a", *seq)).unwrap();
        }
        let distinct = numbers.iter().collect::<BTreeSet<_>>().len() as u64;
        prop_assert_eq!(membership.beats.received, distinct);
        prop_assert_eq!(membership.beats.received + membership.beats.duplicates, numbers.len() as u64);
        prop_assert_eq!(membership.beats.too_old, 0);
    }
}

#[test]
fn questions_are_answered_by_name_and_nodes_that_only_beat_are_no_instances() {
    let mut membership = Membership::new(POLICY);
    for (id, capabilities) in [("b", &["tree", "hook"][..]), ("a", &["tree"]), ("c", &[])] {
        membership.register(0, registration(id, capabilities)).unwrap();
    }
    assert_eq!(membership.beat(0, &beat("d", 0)), Ok((Received::Newest, false)));
    let names = |found: Vec<(&str, &Node, State)>| found.iter().map(|(id, _, _)| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(membership.instances(0, "tree")), ["a", "b"]);
    assert_eq!(names(membership.instances(0, "hook")), ["b"]);
    assert!(membership.instances(0, "absent").is_empty());
    membership.register(0, registration("a", &["hook"])).unwrap();
    assert_eq!(names(membership.instances(0, "tree")), ["b"], "what it could before");
    assert_eq!(names(membership.instances(0, "hook")), ["a", "b"]);
    assert_eq!(names(membership.nodes(0, "", 3)), ["a", "b", "c"]);
    assert_eq!(names(membership.nodes(0, "c", 3)), ["d"]);
    assert!(membership.leave("b") && !membership.leave("b"));
    assert_eq!(names(membership.instances(0, "hook")), ["a"]);
}

#[test]
fn nonsense_is_refused_with_a_reason_and_counted() {
    let mut membership = Membership::new(POLICY);
    for (wrong, word) in [
        (registration("", &[]), "id"),
        (registration("a\u{7}", &[]), "control"),
        (registration(&"x".repeat(300), &[]), "300 bytes"),
        (registration("a", &[""]), "capability"),
        (registration("a", &["x"; 65]), "65 capabilities"),
        (
            Registration {
                subject: "a.>".to_owned(),
                ..registration("a", &[])
            },
            "no subject",
        ),
    ] {
        let reason = membership.register(0, wrong).unwrap_err();
        assert!(reason.contains(word), "{reason}");
    }
    membership.beat(0, &beat("", 0)).unwrap_err();
    for load in [-1.0, f64::NAN, f64::INFINITY] {
        let wrong = Beat { load, ..beat("a", 0) };
        membership.beat(0, &wrong).unwrap_err();
    }
    assert_eq!((membership.beats.refused, membership.beats.received), (4, 0));
    assert_eq!(membership.states(0), States::default(), "nothing refused is known");
}

#[test]
fn when_there_is_no_room_lost_nodes_are_forgotten_and_others_are_not() {
    let mut membership = Membership::new(POLICY);
    for n in 0..MOST_NODES {
        membership.beat(0, &beat(&n.to_string(), 0)).unwrap();
    }
    assert!(membership.beat(SECOND, &beat("one more", 0)).is_err());
    membership.beat(9 * SECOND, &beat("7", 1)).unwrap();
    membership.beat(9 * SECOND, &beat("one more", 0)).unwrap();
    assert_eq!(membership.nodes(9 * SECOND, "", 10).len(), 2);
    assert_eq!(membership.forgotten, MOST_NODES as u64 - 1);
}
