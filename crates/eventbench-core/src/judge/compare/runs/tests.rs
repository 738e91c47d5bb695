use super::*;
use crate::judge::compare::Session;
use crate::judge::statistics::median;
use crate::judge::{Figure, Verdict};
use crate::metric::Values;
use crate::mix::{mix3, unit};
use crate::observe::{Latency, Ledger};
use crate::record::{Ended, Environment, RECORD_VERSION, TrialRecord};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(in crate::judge::compare) fn head(id: &str) -> RunHead {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    RunHead {
        id: id.to_owned(),
        suite: "s".to_owned(),
        about: None,
        profile: "standard".to_owned(),
        started_unix_ms: 1_700_000_000_000,
        seconds: Some(1.0),
        ended: Ended::Complete,
        overrides: Vec::new(),
        seed: 1,
        warn_margin: 0.2,
        planned: Vec::new(),
        plan: Value::Null,
        environment: Environment {
            os: "Linux".to_owned(),
            kernel: "6.8".to_owned(),
            cpu: "Example CPU".to_owned(),
            cores: 2,
            memory_bytes: 8 << 30,
            versions: text(&[("eventbench", "0.1.0"), ("nats-server", "2.15.1")]),
            facts: text(&[("governor", "performance")]),
        },
        source: None,
        placement: None,
        pair: None,
        notes: Vec::new(),
    }
}

fn run(id: &str, benchmarks: Vec<BenchmarkRecord>) -> RunRecord {
    let mut head = head(id);
    head.planned = benchmarks.iter().map(|b| b.name.clone()).collect();
    RunRecord {
        version: RECORD_VERSION,
        run: head,
        benchmarks,
        comparison: None,
    }
}

fn trial(number: u32, values: Values) -> TrialRecord {
    TrialRecord {
        variant: String::new(),
        number,
        warmup_s: 1.0,
        measured_s: 5.0,
        drain_s: 0.1,
        values,
        ledger: Ledger::default(),
        timeline: Vec::new(),
        marks: Vec::new(),
        errors: Vec::new(),
        causes: Vec::new(),
        hops: Vec::new(),
    }
}

fn benchmark(name: &str, figures: Vec<Figure>) -> BenchmarkRecord {
    let trials = figures.iter().map(|f| f.trials.len()).max().unwrap_or(3) as u32;
    BenchmarkRecord {
        name: name.to_owned(),
        about: None,
        requirement: None,
        category: "latency".to_owned(),
        tags: Vec::new(),
        load: "100/s".to_owned(),
        closed_loop: false,
        observed_by: Vec::new(),
        verdict: Verdict::Pass,
        figures,
        baseline: None,
        limits: Vec::new(),
        checks: Vec::new(),
        warnings: Vec::new(),
        trials: (1..=trials).map(|n| trial(n, Values::default())).collect(),
        error: None,
        interrupted: false,
        grade: None,
    }
}

fn figure(metric: &str, process: Option<&str>, stat: &str, trials: &[f64]) -> Figure {
    let def = definition(metric).unwrap();
    Figure {
        metric: metric.to_owned(),
        tags: process
            .map(|p| ("process".to_owned(), p.to_owned()))
            .into_iter()
            .collect(),
        stat: stat.to_owned(),
        unit: (Statistic::parse(stat).unwrap().definition().unwrap().unit)(def.unit),
        better: def.better,
        value: median(trials),
        range: None,
        spread: None,
        interval: None,
        trials: trials.iter().map(|v| Some(*v)).collect(),
        samples: 100,
    }
}

/// Values around `centre` that vary by `spread`, evenly.
fn around(seed: u64, n: u64, centre: f64, spread: f64) -> Vec<f64> {
    (0..n)
        .map(|i| centre * (1.0 + spread * (2.0 * unit(mix3(seed, i, 0)) - 1.0)))
        .collect()
}

/// A benchmark with the three figures that decide by default and a few others.
fn usual(name: &str, seed: u64, slower: f64) -> BenchmarkRecord {
    let of = |i: u64, centre: f64| around(mix3(seed, i, 1), 10, centre, 0.02);
    benchmark(
        name,
        vec![
            figure("response_time", None, "count", &of(9, 1000.0)),
            figure("response_time", None, "med", &of(0, 1e6 * (1.0 + slower))),
            figure("response_time", None, "p(95)", &of(1, 2e6)),
            figure("response_time", None, "p(99)", &of(2, 4e6)),
            figure("cpu.per_event", Some("system"), "value", &of(3, 5e4)),
            figure("rss", Some("store"), "max", &of(4, 5e7)),
            figure("rss", Some("eventbench"), "max", &of(5, 5e7)),
            figure("lost", None, "value", &[0.0; 10]),
            figure("offered", None, "value", &of(6, 1000.0)),
            figure("delivered.rate", None, "value", &of(7, 100.0)),
        ],
    )
}

fn options() -> CompareOptions {
    CompareOptions {
        draws: 1000,
        ..CompareOptions::default()
    }
}

fn against(a: Vec<BenchmarkRecord>, b: Vec<BenchmarkRecord>, options: &CompareOptions) -> RunComparison {
    compare(&run("a", a), &run("b", b), &NoiseBook::new(), options)
}

fn row<'r>(comparison: &'r RunComparison, role: Role, metric: &str, stat: &str) -> &'r ComparedRow {
    let mut rows = comparison.rows.iter();
    rows.find(|r| r.role == role && r.metric == metric && r.stat == stat)
        .unwrap_or_else(|| panic!("no {metric} {stat} in {:#?}", comparison.rows))
}

#[test]
fn three_figures_decide_and_the_worst_stands_first() {
    let a = vec![usual("one", 1, 0.0), usual("two", 2, 0.0), usual("three", 3, 0.0)];
    let b = vec![usual("one", 4, 0.12), usual("two", 5, -0.2), usual("three", 6, 0.3)];
    let comparison = against(a, b, &options());
    let gates: Vec<_> = comparison.rows.iter().filter(|r| r.role == Role::Gate).collect();
    assert_eq!(gates.len(), 9);
    assert_eq!(
        (gates[0].benchmark.as_str(), gates[0].decision),
        ("three", Decision::Worse)
    );
    assert_eq!(
        (gates[1].benchmark.as_str(), gates[1].decision),
        ("one", Decision::Worse)
    );
    assert_eq!(
        (gates[8].benchmark.as_str(), gates[8].decision),
        ("two", Decision::Better)
    );
    assert!(gates[2..8].iter().all(|r| r.decision == Decision::Same), "{gates:#?}");
    assert_eq!(comparison.verdict(), Verdict::Fail);
    assert!(gates[1].words.starts_with("slower by 1"), "{}", gates[1].words);
    assert_eq!(
        (gates[1].stat.as_str(), gates[1].trials_a, gates[1].trials_b),
        ("p(50)", 10, 10)
    );
    // Shown beside them: what has a direction, is no gate, and moved at all.
    let advisory: Vec<String> = comparison
        .rows
        .iter()
        .filter(|r| r.role == Role::Advisory && r.benchmark == "one")
        .map(|r| format!("{} {}", r.metric, r.stat))
        .collect();
    assert_eq!(advisory.len(), 3, "{advisory:?}");
    for shown in ["response_time p(99)", "rss max", "delivered.rate value"] {
        assert!(advisory.iter().any(|a| a == shown), "{advisory:?}");
    }
    assert_eq!(
        comparison,
        against(
            vec![usual("one", 1, 0.0), usual("two", 2, 0.0), usual("three", 3, 0.0)],
            vec![usual("one", 4, 0.12), usual("two", 5, -0.2), usual("three", 6, 0.3)],
            &options(),
        )
    );
}

#[test]
fn advice_has_no_say_and_chance_is_corrected_for() {
    let a = vec![usual("one", 1, 0.0)];
    let mut slow = usual("one", 4, 0.0);
    slow.figures[3] = figure("response_time", None, "p(99)", &around(8, 10, 9e6, 0.02));
    let comparison = against(a.clone(), vec![slow], &options());
    let p99 = row(&comparison, Role::Advisory, "response_time", "p(99)");
    assert_eq!(p99.decision, Decision::Worse);
    // 2 of 184,756 orders are as extreme; three rows.
    assert!((p99.p.unwrap() - 3.0 * 2.0 / 184_756.0).abs() < 1e-9, "{:?}", p99.p);
    assert_eq!(comparison.verdict(), Verdict::Pass);

    // Of 200 figures that did not change about ten look as if they had at 5 %: corrected, none does.
    let many = |seed: u64| {
        let mut b = usual("one", seed, 0.0);
        b.figures.extend((0..200).map(|i| {
            let mut f = figure("rss", None, "max", &around(mix3(seed, i, 5), 10, 1e6, 0.3));
            f.tags.insert("process".to_owned(), format!("p{i}"));
            f
        }));
        b
    };
    let comparison = against(vec![many(1)], vec![many(2)], &options());
    let called = comparison.rows.iter().filter(|r| r.role == Role::Advisory);
    assert!(called.clone().count() > 200);
    assert_eq!(
        called
            .filter(|r| matches!(r.decision, Decision::Worse | Decision::Better))
            .count(),
        0
    );
}

#[test]
fn swapping_the_runs_turns_worse_into_better() {
    let (a, b) = (vec![usual("one", 1, 0.0)], vec![usual("one", 4, 0.12)]);
    let there = against(a.clone(), b.clone(), &options());
    let back = against(b, a, &options());
    let of = |c: &RunComparison| {
        let r = row(c, Role::Gate, "response_time", "p(50)");
        (r.effect.unwrap(), r.interval.unwrap(), r.decision)
    };
    let ((effect, (low, high), worse), (mirror, (mirror_low, mirror_high), better)) = (of(&there), of(&back));
    assert_eq!((worse, better), (Decision::Worse, Decision::Better));
    for (x, y) in [(effect, mirror), (low, mirror_high), (high, mirror_low)] {
        assert!((1.0 / (1.0 + x) - 1.0 - y).abs() < 1e-9, "{x} {y}");
    }
}

#[test]
fn pairs_belong_together_by_their_number() {
    let values = around(1, 10, 1e6, 0.5);
    let slower: Vec<f64> = values.iter().map(|v| v * 1.2).collect();
    let a = benchmark("one", vec![figure("response_time", None, "p(50)", &values)]);
    let mut b = benchmark("one", vec![figure("response_time", None, "p(50)", &slower)]);
    // The same trials in another order, and one without a value.
    b.figures[0].trials.reverse();
    b.trials.reverse();
    b.figures[0].trials[3] = None;
    let comparison = against(
        vec![a.clone()],
        vec![b.clone()],
        &CompareOptions {
            paired: true,
            ..options()
        },
    );
    let paired = row(&comparison, Role::Gate, "response_time", "p(50)");
    assert_eq!(
        (paired.trials_a, paired.trials_b, paired.decision),
        (9, 9, Decision::Worse)
    );
    assert!((paired.effect.unwrap() - 0.2).abs() < 1e-9);
    // Apart, such noise hides it.
    let comparison = against(vec![a], vec![b], &options());
    let apart = row(&comparison, Role::Gate, "response_time", "p(50)");
    assert!(matches!(apart.decision, Decision::Inconclusive { .. }), "{apart:?}");
    assert_eq!(comparison.verdict(), Verdict::Warn);
}

#[test]
fn a_statistic_that_no_report_shows_is_computed_from_the_trials() {
    let with = |us: u64| {
        let mut b = benchmark("one", Vec::new());
        for (i, t) in b.trials.iter_mut().enumerate() {
            let mut latency = Latency::new();
            (0..1000).for_each(|n| latency.record(us * 1000 + n * 100 + i as u64));
            t.values.latency("response_time", latency);
        }
        b
    };
    let gate = vec!["response_time p(90)".to_owned()];
    let comparison = against(vec![with(100)], vec![with(300)], &CompareOptions { gate, ..options() });
    let gates: Vec<_> = comparison.rows.iter().filter(|r| r.role == Role::Gate).collect();
    assert_eq!(gates.len(), 1);
    assert_eq!(gates[0].decision, Decision::Worse);
    assert!(
        (gates[0].effect.unwrap() - 390.0 / 190.0 + 1.0).abs() < 0.02,
        "{:?}",
        gates[0]
    );
}

fn passport(benchmark: &str, stat: &str, spread: f64) -> NoiseBook {
    let id = FigureId {
        suite: "s".to_owned(),
        benchmark: benchmark.to_owned(),
        metric: "response_time".to_owned(),
        tags: String::new(),
        stat: stat.to_owned(),
    };
    let session = Session {
        at_unix_ms: 0,
        pair_s: 0.0,
        a: around(21, 20, 1e6, spread),
        b: around(22, 20, 1e6, spread),
    };
    NoiseBook::from([(
        id,
        Noise {
            sessions: vec![session],
        },
    )])
}

#[test]
fn the_margin_is_the_larger_of_what_was_asked_for_and_the_noise() {
    let (a, mut b) = (
        run("a", vec![usual("one", 1, 0.0)]),
        run("b", vec![usual("one", 4, 0.0)]),
    );
    let gate = |b: &RunRecord, options: &CompareOptions, spread: f64| {
        let comparison = compare(&a, b, &passport("one", "p(50)", spread), options);
        row(&comparison, Role::Gate, "response_time", "p(50)").clone()
    };
    let noisy = gate(&b, &options(), 0.1);
    assert_eq!(
        (noisy.decision, noisy.margin_source),
        (Decision::Same, MarginSource::Noise)
    );
    assert_eq!(noisy.margin, noisy.visible);
    assert!(noisy.words.contains("smallest change visible here"), "{}", noisy.words);
    let quiet = gate(&b, &options(), 0.01);
    assert_eq!(
        (quiet.margin, quiet.margin_source),
        (Some(DEFAULT_MARGIN), MarginSource::Default)
    );
    // Asked for by flag or by the suite, less than is visible is refused in words.
    let asked = CompareOptions {
        margin: Some(0.02),
        ..options()
    };
    let refused = gate(&b, &asked, 0.1);
    assert_eq!(refused.decision, Decision::Underpowered);
    assert!(
        refused.words.contains("2 % was asked for") && refused.words.contains("pairs"),
        "{}",
        refused.words
    );
    b.run.plan = json!({ "suite": { "margin": "0.02" } });
    assert_eq!(gate(&b, &options(), 0.1).decision, Decision::Underpowered);
    let quiet = gate(&b, &options(), 0.001);
    assert_eq!((quiet.margin, quiet.margin_source), (Some(0.02), MarginSource::User));
    // What the records call `med` is found in the passport under either name.
    let comparison = compare(&a, &b, &passport("one", "med", 0.1), &options());
    assert!(row(&comparison, Role::Gate, "response_time", "p(50)").visible.is_some());
    assert!(
        comparison.notes.iter().any(|n| n.contains("one calibration only")),
        "{:?}",
        comparison.notes
    );
}

#[test]
fn a_single_trial_has_an_interval_only_by_its_passport() {
    let one = |value: f64| benchmark("one", vec![figure("response_time", None, "p(50)", &[value])]);
    let (a, b) = (run("a", vec![one(1e6)]), run("b", vec![one(1.5e6)]));
    let of = |noise: &NoiseBook| {
        row(
            &compare(&a, &b, noise, &options()),
            Role::Gate,
            "response_time",
            "p(50)",
        )
        .clone()
    };
    let blind = of(&NoiseBook::new());
    assert_eq!(
        (blind.interval, blind.decision),
        (None, Decision::Inconclusive { more_trials: None })
    );
    assert!(blind.words.contains("run five at least"), "{}", blind.words);
    let known = of(&passport("one", "p(50)", 0.05));
    let (low, high) = known.interval.unwrap();
    assert!(
        low < 0.5 && 0.5 < high && known.decision == Decision::Worse,
        "{known:?}"
    );
}

#[test]
fn what_is_missing_or_cannot_be_trusted_is_no_data() {
    let a = vec![usual("one", 1, 0.0), usual("two", 2, 0.0)];
    let gone = against(a.clone(), vec![usual("one", 4, 0.0)], &options());
    assert_eq!(gone.verdict(), Verdict::NoData);
    assert!(
        gone.rows[0].words.contains("b does not have this benchmark"),
        "{}",
        gone.rows[0].words
    );
    type Spoil = fn(&mut BenchmarkRecord);
    for (spoil, says) in [
        ((|b| b.verdict = Verdict::Invalid) as Spoil, "cannot be trusted"),
        (|b| b.error = Some("the store died".to_owned()), "the store died"),
        (|b| b.interrupted = true, "cut off"),
        (|b| b.trials.clear(), "no trials"),
        (|b| b.figures.retain(|f| f.stat != "p(95)"), "no response_time p(95)"),
        (|b| b.figures[2].trials.fill(None), "no trial"),
    ] {
        for first in [true, false] {
            let (mut x, mut y) = (a.clone(), a.clone());
            spoil(&mut if first { &mut x } else { &mut y }[1]);
            let comparison = against(x, y, &options());
            assert_eq!(comparison.verdict(), Verdict::NoData, "{says}");
            let words: Vec<&str> = comparison.rows.iter().map(|r| r.words.as_str()).collect();
            assert!(words[0].contains(says), "{says}: {words:?}");
        }
    }
    // A gate that was asked for and that nobody has is no data; a default one is left out.
    let gate = vec!["recovery value".to_owned()];
    let asked = against(a.clone(), a.clone(), &CompareOptions { gate, ..options() });
    assert_eq!(asked.verdict(), Verdict::NoData);
    let bare = vec![benchmark("three", vec![figure("makespan", None, "value", &[1e9; 5])])];
    let nothing = against(bare.clone(), bare, &options());
    assert_eq!(nothing.verdict(), Verdict::NoData);
    assert!(
        nothing.notes.iter().any(|n| n.contains("nothing is judged of it")),
        "{:?}",
        nothing.notes
    );
}

#[test]
fn a_run_of_one_benchmark_compares_with_the_whole_suite() {
    let a = run("a", vec![usual("one", 1, 0.0), usual("two", 2, 0.0)]);
    let mut b = run("b", vec![usual("two", 4, 0.0), usual("new", 5, 0.0)]);
    b.run.plan = json!({ "source_text": "[[benchmark]]\nname = \"one\"\n[[benchmark]]\nname = \"two\"" });
    let comparison = compare(&a, &b, &NoiseBook::new(), &options());
    assert_eq!(comparison.verdict(), Verdict::Pass);
    assert!(
        comparison.notes.iter().any(|n| n.contains("started without: one")),
        "{:?}",
        comparison.notes
    );
    assert!(
        comparison.notes.iter().any(|n| n.contains("only b has new")),
        "{:?}",
        comparison.notes
    );
    // Planned and not there is missing, and so is what the suite no longer has.
    b.run.planned.push("one".to_owned());
    assert_eq!(
        compare(&a, &b, &NoiseBook::new(), &options()).verdict(),
        Verdict::NoData
    );
    b.run.planned.pop();
    b.run.plan = json!({ "source_text": "[[benchmark]]\nname = \"two\"" });
    assert_eq!(
        compare(&a, &b, &NoiseBook::new(), &options()).verdict(),
        Verdict::NoData
    );
}

#[test]
fn plain_thresholds() {
    let (a, b) = (vec![usual("one", 1, 0.0)], vec![usual("one", 4, 0.12)]);
    let of = |text: &str, a: &[BenchmarkRecord], b: &[BenchmarkRecord]| {
        let fail_on = FailOn::parse_list(text).unwrap();
        let comparison = against(a.to_vec(), b.to_vec(), &CompareOptions { fail_on, ..options() });
        let row = comparison
            .rows
            .iter()
            .find(|r| r.role == Role::Threshold)
            .unwrap()
            .clone();
        (row.decision, row.words)
    };
    for (text, expected) in [
        ("median:5%", Decision::Worse),
        ("median:20%", Decision::Same),
        ("median:100us", Decision::Worse),
        ("median:0.001", Decision::Same),
        ("lost:0%", Decision::Same),
        ("rate:5%", Decision::Same),
        ("recovery:5%", Decision::NoData),
    ] {
        assert_eq!(of(text, &a, &b).0, expected, "{text}");
    }
    assert!(of("median:5%", &a, &b).1.contains("more than med:5% lets pass"));
    // An improvement is no miss, and from nothing any loss is too much.
    assert_eq!(of("median:5%", &b, &a).0, Decision::Same);
    let mut lossy = b.clone();
    lossy[0].figures[7] = figure("lost", None, "value", &[1.0; 10]);
    assert_eq!(of("lost:50%", &a, &lossy).0, Decision::Worse);
    assert_eq!(of("lost:50%", &lossy, &a).0, Decision::Same);
}

#[test]
fn differences_of_machine_stand_beside_every_figure() {
    let (a, mut b) = (
        run("a", vec![usual("one", 1, 0.0)]),
        run("b", vec![usual("one", 4, 0.0)]),
    );
    b.run.environment.cpu = "Another CPU".to_owned();
    let comparison = compare(&a, &b, &NoiseBook::new(), &options());
    assert_eq!(comparison.mismatches.len(), 1);
    for row in &comparison.rows {
        assert!(row.words.ends_with("not the same CPU model"), "{}", row.words);
    }
}

#[test]
fn a_comparison_survives_storage() {
    let comparison = against(vec![usual("one", 1, 0.0)], vec![usual("one", 4, 0.12)], &options());
    let text = serde_json::to_string(&comparison).unwrap();
    assert_eq!(serde_json::from_str::<RunComparison>(&text).unwrap(), comparison);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Takes anything out of b: benchmarks, figures, values of trials, whole trials.
    #[test]
    fn nothing_that_is_missing_passes(
        benchmarks in proptest::collection::vec(any::<bool>(), 2), figures in proptest::collection::vec(any::<bool>(), 20),
        values in proptest::collection::vec(0u8..10, 20), paired: bool,
    ) {
        let a = vec![usual("one", 1, 0.0), usual("two", 2, 0.0)];
        let mut b = a.clone();
        for (i, benchmark) in b.iter_mut().enumerate() {
            for (j, figure) in benchmark.figures.iter_mut().enumerate() {
                if values[10 * i + j] == 0 {
                    figure.trials.fill(None);
                    figure.value = None;
                }
            }
            let mut keep = figures[10 * i..].iter();
            benchmark.figures.retain(|_| *keep.next().unwrap());
        }
        let mut keep = benchmarks.iter();
        b.retain(|_| *keep.next().unwrap());
        let decides = |f: &&Figure| f.value.is_some()
            && (["med", "p(95)"].contains(&f.stat.as_str()) || f.metric == "cpu.per_event");
        let whole = b.len() == 2 && b.iter().all(|b| b.figures.iter().filter(decides).count() == 3);
        let mut record = run("b", b);
        record.run.planned = vec!["one".to_owned(), "two".to_owned()];
        let comparison = compare(&run("a", a), &record, &NoiseBook::new(), &CompareOptions { paired, draws: 100, ..options() });
        prop_assert_eq!(comparison.verdict(), if whole { Verdict::Pass } else { Verdict::NoData });
        let gates = comparison.rows.iter().filter(|r| r.role == Role::Gate);
        prop_assert_eq!(gates.clone().count(), 6);
        for row in gates {
            prop_assert_eq!(row.decision == Decision::NoData, row.b.is_none(), "{:?}", row);
        }
    }
}
