//! Preflight of a plan: everything that can be refused before any load, with file, line and what was expected.

use super::{Benchmark, PlacementSetting, PlanError, PlanErrors, Settings, Source, Suite};
use crate::arrival::ARRIVALS;
use crate::driver::Registry;
use crate::judge::Limit;
use crate::judge::compare::{Gate, MOST_GATES};
use std::ops::Range;

/// Checks what the file's form alone cannot tell.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn check(suite: &Suite, source: &Source, registry: &Registry) -> Result<(), PlanErrors> {
    let mut wrong = Wrong {
        source,
        errors: Vec::new(),
    };
    if suite.benchmark.is_empty() {
        wrong.at(0..0, "there is no [[benchmark]] in this suite");
    }
    placement(suite, &mut wrong);
    for gate in &suite.suite.gate {
        if let Err(message) = Gate::parse(gate) {
            wrong.at(gate.span.clone(), message);
        }
    }
    if let Some(beyond) = suite.suite.gate.get(MOST_GATES) {
        wrong.at(
            beyond.span.clone(),
            format!("gate: {MOST_GATES} figures decide at most, since each is a chance of a false alarm"),
        );
    }
    if let Some(Err((span, message))) = suite.broker.nats.as_ref().map(super::NatsBroker::check) {
        wrong.at(span, message);
    }
    for (name, service) in &suite.service {
        if service.run.is_empty() {
            wrong.at(
                service.span.clone(),
                format!("[service.{name}] run: expected a program and its arguments"),
            );
        }
        if let Some(ready) = &service.ready {
            match ready.keys().find_map(|key| registry.ready(key)) {
                Some(def) => wrong.settings((def.check)(ready)),
                None => {
                    let known: Vec<&str> = registry.ready.iter().map(|d| d.name).collect();
                    wrong.at(
                        ready.span(),
                        format!("[service.{name}] ready: expected one of {}", known.join(", ")),
                    );
                }
            }
        }
    }
    for (name, profile) in &suite.profile {
        for scale in [profile.duration_scale, profile.rate_scale].into_iter().flatten() {
            if !(scale.is_finite() && scale > 0.0) {
                wrong.at(
                    0..0,
                    format!("[profile.{name}]: a scale must be above zero, not {scale}"),
                );
            }
        }
    }
    let mut names: Vec<String> = Vec::new();
    for benchmark in &suite.benchmark {
        for name in benchmark.swept().into_iter().map(|b| b.name.value) {
            if names.contains(&name) {
                wrong.at(
                    benchmark.name.span.clone(),
                    format!("there are two benchmarks named \"{name}\""),
                );
            }
            names.push(name);
        }
        one(suite, benchmark, registry, &mut wrong);
        if let Some(baseline) = benchmark.baseline() {
            one_variant(suite, &baseline, registry, &mut wrong);
        }
    }
    wrong.errors.sort_by_key(|e| e.span.start);
    wrong.errors.dedup();
    if wrong.errors.is_empty() {
        Ok(())
    } else {
        Err(PlanErrors {
            source: source.clone(),
            errors: wrong.errors,
        })
    }
}

struct Wrong<'a> {
    source: &'a Source,
    errors: Vec<PlanError>,
}

impl Wrong<'_> {
    fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.errors.push(self.source.error(span, message));
    }

    fn settings(&mut self, result: Result<(), super::SettingsError>) {
        if let Err(error) = result {
            self.at(error.span, error.message);
        }
    }
}

fn placement(suite: &Suite, wrong: &mut Wrong<'_>) {
    let placement = &suite.suite.placement;
    if let Err(message) = placement.check() {
        wrong.at(placement.span.clone(), message);
    }
    let attached = suite.broker.nats.as_ref().and_then(|nats| nats.url.as_deref());
    if let (PlacementSetting::Cores(cores), Some(_)) = (&placement.value, attached)
        && !cores.broker.is_empty()
    {
        wrong.at(
            placement.span.clone(),
            "placement: the broker at `url` was started by somebody else and cannot be kept to cores; leave `broker` out",
        );
    }
}

fn one(suite: &Suite, benchmark: &Benchmark, registry: &Registry, wrong: &mut Wrong<'_>) {
    let name = &benchmark.name;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        wrong.at(
            name.span.clone(),
            "a benchmark's name is made of letters, digits, '-', '_' and '.'",
        );
    }
    if benchmark.trials == Some(0) {
        wrong.at(name.span.clone(), format!("\"{}\": trials must be above zero", **name));
    }
    load(benchmark, wrong);
    if let Some(sweep) = &benchmark.sweep
        && let Err(message) = sweep.check(&benchmark.load.arrival)
    {
        wrong.at(sweep.span.clone(), format!("sweep: {message}"));
    }
    if let Some(search) = &benchmark.search
        && let Err(message) = search.check(&benchmark.load.arrival)
    {
        wrong.at(search.span.clone(), format!("search: {message}"));
    }
    if let Some(grade) = &benchmark.grade
        && let Err(message) = grade.check()
    {
        wrong.at(grade.span.clone(), message);
    }
    one_variant(suite, benchmark, registry, wrong);
    for limit in &benchmark.limits {
        if let Err(message) = Limit::parse(limit) {
            wrong.at(limit.span.clone(), message);
        }
    }
    let broker = suite.broker.nats.as_ref().map(|nats| nats.of(benchmark));
    if benchmark.nodes.is_some()
        && let Some(Err((span, message))) = broker.as_ref().map(super::NatsBroker::check)
    {
        wrong.at(span, message);
    }
    for fault in &benchmark.fault {
        match &fault.service {
            Some(service) if !suite.service.contains_key(service) => {
                wrong.at(fault.span.clone(), unknown_service(suite, service));
            }
            _ => {}
        }
        if let Err(message) = fault.check(benchmark, broker.as_ref()) {
            wrong.at(fault.span.clone(), message);
        }
        let end = benchmark.load.duration.map_or(0, |d| d.ns());
        if end > 0 && fault.at.ns() >= end {
            wrong.at(
                fault.span.clone(),
                format!(
                    "a fault at {} comes after the load has ended ({})",
                    fault.at,
                    crate::units::Duration(end as f64)
                ),
            );
        }
    }
    for profile in benchmark.profile.keys() {
        if !suite.profile.contains_key(profile) {
            let known: Vec<&str> = suite.profile.keys().map(String::as_str).collect();
            wrong.at(
                name.span.clone(),
                format!(
                    "\"{}\" speaks of profile \"{profile}\", which is none of {}",
                    **name,
                    known.join(", ")
                ),
            );
        }
    }
}

fn one_variant(suite: &Suite, benchmark: &Benchmark, registry: &Registry, wrong: &mut Wrong<'_>) {
    let drivers: Vec<&str> = registry.drivers.iter().map(|d| d.name).collect();
    let observers: Vec<&str> = registry.observers.iter().map(|d| d.name).collect();
    named(&benchmark.drive, "drive", &drivers, wrong, |name| {
        registry.driver(name).map(|d| d.check)
    });
    for observe in &benchmark.observe {
        named(observe, "observe", &observers, wrong, |name| {
            registry.observer(name).map(|d| d.check)
        });
    }
    for service in benchmark.services.iter().flatten() {
        if !suite.service.contains_key(service.as_str()) {
            wrong.at(service.span.clone(), unknown_service(suite, service));
        }
    }
}

type Check = fn(&Settings) -> Result<(), super::SettingsError>;

fn named(settings: &Settings, what: &str, known: &[&str], wrong: &mut Wrong<'_>, find: impl Fn(&str) -> Option<Check>) {
    match settings.text("driver") {
        None => wrong.at(
            settings.span(),
            format!("{what}: expected driver = \"…\", one of {}", known.join(", ")),
        ),
        Some(name) => match find(name) {
            Some(check) => wrong.settings(check(&settings.without("driver"))),
            None => {
                let near = nearest(name, known)
                    .map(|n| format!("; did you mean \"{n}\"?"))
                    .unwrap_or_default();
                let error = settings.error(
                    "driver",
                    format!(
                        "{what}: unknown driver \"{name}\", expected one of {}{near}",
                        known.join(", ")
                    ),
                );
                wrong.at(error.span, error.message);
            }
        },
    }
}

fn load(benchmark: &Benchmark, wrong: &mut Wrong<'_>) {
    let load = &benchmark.load;
    let span = load.span.clone();
    let Some(def) = ARRIVALS.iter().find(|a| a.name == load.arrival) else {
        let known: Vec<&str> = ARRIVALS.iter().map(|a| a.name).collect();
        let near = nearest(&load.arrival, &known)
            .map(|n| format!("; did you mean \"{n}\"?"))
            .unwrap_or_default();
        wrong.at(
            span,
            format!(
                "unknown arrival \"{}\", expected one of {}{near}",
                load.arrival,
                known.join(", ")
            ),
        );
        return;
    };
    for field in load.shape_fields() {
        if !def.fields.contains(&field) {
            wrong.at(
                span.clone(),
                format!(
                    "arrival \"{}\" has no `{field}`; it takes {}",
                    def.name,
                    def.fields.join(", ")
                ),
            );
        }
    }
    if let Err(message) = (def.build)(load) {
        wrong.at(span.clone(), message);
    }
    let (connections, lanes) = (load.connections.unwrap_or(1), load.lanes.unwrap_or(1));
    if connections == 0 || lanes == 0 {
        wrong.at(span, "`connections` and `lanes` must be above zero");
    } else if connections % lanes != 0 {
        wrong.at(
            span,
            format!(
                "`connections` ({connections}) must be a multiple of `lanes` ({lanes}), so that each lane has as many"
            ),
        );
    }
}

fn unknown_service(suite: &Suite, name: &str) -> String {
    let known: Vec<&str> = suite.service.keys().map(String::as_str).collect();
    if known.is_empty() {
        return format!("unknown service \"{name}\": the suite has no [service.{name}]");
    }
    format!("unknown service \"{name}\", expected one of {}", known.join(", "))
}

/// The known name that is nearest to a misspelt one, if any is near.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k)).min()?;
    (best.0 <= 3 && best.0 < name.len()).then_some(best.1)
}
