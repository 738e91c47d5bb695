//! Runs the pairs of two variants and keeps both records in the history.

use super::variant::Variant;
use crate::cli::progress::Progress;
use crate::cli::run::head::head;
use crate::cli::{Failure, error};
use crate::exit::Exit;
use crate::host::Machine;
use eventbench_core::event::{Event, Sink};
use eventbench_core::host::Host as _;
use eventbench_core::plan::{PlacementName, PlacementSetting, Plan};
use eventbench_core::record::{Ended, Pair, RECORD_VERSION, RunRecord};
use eventbench_core::units::Unit;
use eventbench_drivers::REGISTRY;
use eventbench_engine::placement::settle;
use eventbench_engine::{Bout, Dueled, Engine, Side, duel, expected_pair_seconds};
use eventbench_store::History;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// What came of all pairs.
pub struct Fought {
    /// Record of the first variant.
    pub a: RunRecord,
    /// Record of the second.
    pub b: RunRecord,
    /// What a pair took, in seconds, by benchmark.
    pub pair_s: BTreeMap<String, f64>,
    /// The code of what kept it from its end.
    pub exit: Option<Exit>,
}

/// Pins both plans where neither a flag (`asked`) nor the suite says anything of placement, and tells in one line what holds.
///
/// # Errors
/// When core lists cannot be had on this machine.
pub fn place(variants: &mut [Variant; 2], asked: bool, progress: &mut Progress) -> Result<(), Failure> {
    let refused = |e| Failure::usage(miette::miette!("{e}"));
    let unsaid = |plan: &Plan| plan.suite.placement.is_free() && plan.suite.placement.span.is_empty();
    let chosen = !asked && variants.iter().all(|v| unsaid(&v.plan));
    if chosen {
        for variant in variants.iter_mut() {
            let mut pinned = variant.plan.clone();
            pinned.suite.placement.value = PlacementSetting::Named(PlacementName::Pinned);
            let settled = settle(&pinned).map_err(refused)?;
            match settled.placement {
                Some(_) => {
                    pinned
                        .overrides
                        .push("placement = pinned (the default of a duel)".to_owned());
                    variant.plan = pinned;
                }
                None => {
                    progress.hear(Event::Note(settled.notices.join("; ")));
                    return Ok(());
                }
            }
        }
    }
    let settled = settle(&variants[0].plan).map_err(refused)?;
    progress.hear(Event::Preparing(match settled.placement {
        Some(placement) if chosen => format!("placement: {placement}; --placement free leaves it to the kernel"),
        Some(placement) => format!("placement: {placement}"),
        None => "placement: free; --placement pinned makes small changes visible".to_owned(),
    }));
    for notice in settled.notices {
        progress.hear(Event::Note(notice));
    }
    Ok(())
}

/// Runs the pairs. Finished ones are kept whatever happens.
///
/// # Errors
/// When nothing could be begun.
pub fn fight(
    variants: &[Variant; 2],
    pairs: u32,
    mut history: Option<&mut History>,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<Fought, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::environment(format!("this program's own path is unknown: {e}")))?;
    let mut records = [0, 1].map(|i: usize| RunRecord {
        version: RECORD_VERSION,
        run: head(&variants[i].plan, variants[i].nats.as_ref()),
        benchmarks: Vec::new(),
        comparison: None,
    });
    let ids = [records[0].run.id.clone(), records[1].run.id.clone()];
    for (i, record) in records.iter_mut().enumerate() {
        if let Some(source) = &variants[i].source {
            record.run.source.clone_from(source);
        }
        record.run.pair = Some(Pair {
            partner: ids[1 - i].clone(),
            label: variants[i].label.clone(),
            first: i == 0,
            settings: variants[i].settings.clone(),
        });
        if let Some(history) = history.as_deref_mut() {
            history.begin(&record.run).map_err(Failure::environment)?;
        }
    }
    let engines = [0, 1].map(|i: usize| Engine {
        registry: REGISTRY,
        host: &Machine,
        program: program.clone(),
        nats_server: variants[i].nats.as_ref().map(|f| f.program.clone()),
        placement: records[i].run.placement.clone(),
        stop,
    });
    let sides = [0, 1].map(|i: usize| Side {
        label: &variants[i].label,
        engine: &engines[i],
        plan: &variants[i].plan,
    });
    let plan = &variants[0].plan;
    let mut telling = Telling::new(progress, plan, pairs);
    telling.hear(Event::RunStarted {
        run: ids.join(" and "),
        suite: plan.suite.name.clone(),
        profile: plan.profile.clone(),
        benchmarks: plan.benchmarks.len(),
        expected_s: telling.left_s(),
        head: None,
    });
    let begun_ns = Machine.clock().now_ns();
    let mut pair_s = BTreeMap::new();
    let mut bouts = Vec::new();
    let kept = duel(sides, pairs, plan.suite.seed, &mut telling, |index, bout: Bout| {
        pair_s.insert(bout.a.name.clone(), bout.pair_s);
        let stored = history.as_deref_mut().map_or(Ok(()), |h| {
            h.put(&ids[0], index, &bout.a)?;
            h.put(&ids[1], index, &bout.b)
        });
        // Kept in memory as well: what could not be stored can still be compared.
        bouts.push(bout);
        stored
    });
    let seconds = (Machine.clock().now_ns() - begun_ns) as f64 / 1e9;
    for bout in bouts {
        records[0].benchmarks.push(bout.a);
        records[1].benchmarks.push(bout.b);
    }
    let mut exit = None;
    let ended = match kept {
        Ok(dueled) => ended(dueled, &mut records, &mut exit),
        Err(e) => {
            error(&format!(
                "error: {e}\n  the duel ends here; what was measured is compared below"
            ));
            for record in &mut records {
                record.run.notes.push(format!("the history could not be written: {e}"));
            }
            exit = Some(Exit::Environment);
            Ended::BrokenOff
        }
    };
    for record in &mut records {
        record.run.ended = ended;
        record.run.seconds = Some(seconds);
        if let Some(history) = history.as_deref_mut()
            && let Err(e) = history.finish(&record.run)
        {
            error(&format!("error: {e}"));
            exit = Some(Exit::Environment);
        }
    }
    let [a, b] = records;
    Ok(Fought { a, b, pair_s, exit })
}

fn ended(dueled: Dueled, records: &mut [RunRecord; 2], exit: &mut Option<Exit>) -> Ended {
    for (record, version) in records.iter_mut().zip(dueled.broker_versions) {
        if let Some(version) = version {
            let versions = &mut record.run.environment.versions;
            versions.insert("nats-server".to_owned(), version);
        }
    }
    match dueled.error {
        Some((label, e)) => {
            error(&format!("error: variant \"{label}\": {e}"));
            for record in records {
                record
                    .run
                    .notes
                    .push(format!("variant \"{label}\" could not be run: {e}"));
            }
            *exit = Some(Exit::Environment);
            Ended::BrokenOff
        }
        None if dueled.complete => Ended::Complete,
        None => Ended::Interrupted,
    }
}

/// Tells of pairs what the display knows of trials, with the time that is left by what pairs have taken so far.
struct Telling<'a> {
    display: &'a mut Progress,
    pairs: u32,
    /// What a pair of each benchmark is expected to take, in seconds.
    expected_s: Vec<f64>,
    benchmark: usize,
    begun_ns: u64,
    pair: u32,
    variant: String,
}

impl<'a> Telling<'a> {
    fn new(display: &'a mut Progress, plan: &Plan, pairs: u32) -> Self {
        Telling {
            display,
            pairs,
            expected_s: plan.benchmarks.iter().map(expected_pair_seconds).collect(),
            benchmark: 0,
            begun_ns: 0,
            pair: 1,
            variant: String::new(),
        }
    }

    fn left_s(&self) -> f64 {
        let expected = |i: usize| self.expected_s.get(i).copied().unwrap_or(0.0);
        let finished = self.pair.saturating_sub(1);
        let a_pair_s = if finished > 0 {
            let elapsed_ns = Machine.clock().now_ns().saturating_sub(self.begun_ns);
            elapsed_ns as f64 / 1e9 / f64::from(finished)
        } else {
            expected(self.benchmark)
        };
        let here = f64::from(self.pairs - finished.min(self.pairs)) * a_pair_s;
        here + (self.benchmark + 1..self.expected_s.len())
            .map(|i| expected(i) * f64::from(self.pairs))
            .sum::<f64>()
    }

    fn tell(&mut self, more: &str) {
        let (pair, pairs, left_s) = (self.pair, self.pairs, self.left_s());
        let text = format!("pair {pair} of {pairs}, {}{more} · {left_s:.0} s left", self.variant);
        self.display.hear(Event::Marked(text));
    }
}

impl Sink for Telling<'_> {
    fn hear(&mut self, event: Event) {
        match event {
            Event::BenchmarkStarted { number, .. } => {
                self.benchmark = number - 1;
                self.begun_ns = Machine.clock().now_ns();
                self.pair = 1;
                self.display.hear(event);
            }
            Event::TrialStarted { number, variant, .. } => {
                self.pair = number;
                self.variant = variant;
                self.tell("");
            }
            Event::Tick { p99_ns, .. } if p99_ns > 0 => {
                self.tell(&format!(" · p99 {}", Unit::Nanoseconds.show(p99_ns as f64)));
            }
            Event::Tick { .. } => {}
            other => self.display.hear(other),
        }
    }
}
