//! Duels on virtual time: two variants without a system, so that what must come out is known to the digit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests end when their premises do not hold"
)]

use eventbench_core::event::{Event, Sink};
use eventbench_core::judge::Verdict;
use eventbench_core::plan::{Overrides, Plan, Selection, Source, Suite, resolve};
use eventbench_drivers::REGISTRY;
use eventbench_engine::{Bout, Engine, Side, duel};
use eventbench_testkit::host::VirtualHost;
use std::sync::atomic::{AtomicBool, Ordering};

fn plan(drive: &str) -> Plan {
    let text = format!(
        r#"
[suite]
name = "one"
[[benchmark]]
name = "b"
drive = {{ driver = "fake", {drive} }}
load = {{ arrival = "poisson", rate = "1000/s", duration = "2s" }}
drain = "1s"
limits = ["abandoned == 0"]
"#
    );
    let source = Source {
        name: "one".to_owned(),
        text,
    };
    let suite = Suite::parse(&source).unwrap();
    resolve(
        &suite,
        &source,
        "standard",
        &Selection::default(),
        &Overrides::default(),
    )
    .unwrap()
}

/// Hears the trials in their order, and stops before the one of that number.
struct Listener<'a> {
    heard: Vec<String>,
    stop: Option<(&'a AtomicBool, usize)>,
}

impl Sink for Listener<'_> {
    fn hear(&mut self, event: Event) {
        if let Event::TrialStarted { number, variant, .. } = event {
            self.heard.push(format!("{number}{variant}"));
            if let Some((stop, at)) = self.stop
                && self.heard.len() == at
            {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Runs a duel of two drives; gives the trials in their order, what was kept, and whether all was run.
fn fight(drives: [&str; 2], pairs: u32, seed: u64, stop_at: Option<usize>) -> (Vec<String>, Option<Bout>, bool) {
    let (host, stop) = (VirtualHost::new(), AtomicBool::new(false));
    let engine = Engine {
        registry: REGISTRY,
        host: &host,
        program: "unused".into(),
        nats_server: None,
        placement: None,
        stop: &stop,
    };
    let plans = drives.map(plan);
    let side = |i: usize, label| Side {
        label,
        engine: &engine,
        plan: &plans[i],
    };
    let mut listener = Listener {
        heard: Vec::new(),
        stop: stop_at.map(|at| (&stop, at)),
    };
    let mut kept = None;
    let dueled = duel::<()>([side(0, "a"), side(1, "b")], pairs, seed, &mut listener, |_, bout| {
        kept = Some(bout);
        Ok(())
    })
    .unwrap();
    assert!(dueled.error.is_none());
    (listener.heard, kept, dueled.complete)
}

const QUICK: &str = "latency = \"1ms\"";

#[test]
fn the_sides_alternate_and_trial_n_of_one_stands_beside_trial_n_of_the_other() {
    let (heard, bout, complete) = fight([QUICK, "latency = \"2ms\""], 6, 3, None);
    assert!(complete);
    for (i, two) in heard.chunks(2).enumerate() {
        let mut two = two.to_vec();
        two.sort();
        assert_eq!(two, [format!("{}a", i + 1), format!("{}b", i + 1)], "{heard:?}");
    }
    let firsts = heard.iter().step_by(2).filter(|h| h.ends_with('a')).count();
    assert_eq!(firsts, 3, "{heard:?}");
    assert_ne!(heard, fight([QUICK, QUICK], 6, 4, None).0, "the seed draws the order");
    let bout = bout.unwrap();
    assert_eq!(bout.pairs, 6);
    for (record, mean) in [(&bout.a, 1e6), (&bout.b, 2e6)] {
        let numbers: Vec<u32> = record.trials.iter().map(|t| t.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        let figure = record.figure("response_time", &[], "mean").unwrap();
        assert_eq!(figure.value, Some(mean));
        assert_eq!(record.verdict, Verdict::Pass);
    }
}

#[test]
fn a_stop_drops_the_pair_under_way_and_keeps_the_others() {
    // The sixth trial is the second of the third pair.
    let (heard, bout, complete) = fight([QUICK, QUICK], 10, 1, Some(6));
    assert!(!complete);
    assert_eq!(heard.len(), 6);
    let bout = bout.unwrap();
    assert_eq!((bout.pairs, bout.a.trials.len(), bout.b.trials.len()), (2, 2, 2));
    for record in [&bout.a, &bout.b] {
        assert!(!record.interrupted, "two whole pairs are no half measurement");
        assert!(
            record.warnings.iter().any(|w| w.contains("after 2 of 10 pairs")),
            "{:?}",
            record.warnings
        );
    }
    let (_, none, _) = fight([QUICK, QUICK], 10, 1, Some(2));
    assert!(none.is_none(), "half a pair says nothing");
}
