//! Recommendations that follow from the figures. A further one is one row of the table; each says which figures made it speak.

use eventbench_core::judge::{Figure, Verdict};
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use eventbench_core::units::{Unit, digits};
use serde::Serialize;

/// What to do about a benchmark, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The benchmark's name.
    pub benchmark: String,
    /// The rule's name in the table.
    pub rule: &'static str,
    /// What was found.
    pub finding: String,
    /// What to do next.
    pub action: &'static str,
}

struct Rule {
    name: &'static str,
    /// What it finds, in words with figures; `None` where it has nothing to say.
    find: fn(&BenchmarkRecord, &RunRecord) -> Option<String>,
    action: &'static str,
}

const fn rule(
    name: &'static str,
    find: fn(&BenchmarkRecord, &RunRecord) -> Option<String>,
    action: &'static str,
) -> Rule {
    Rule { name, find, action }
}

/// A share of one core from which on a process counts as saturated.
const SATURATED_CORES: f64 = 0.85;
/// A p99 so many times the median is a tail worth naming.
const TAIL: f64 = 5.0;
/// A tail below this is the machine's own scheduling.
const TAIL_FLOOR_NS: f64 = 1e6;
/// Response time so many times the service time means that events waited before they were sent.
const WAITED: f64 = 1.5;
/// The instrument's share of the machine from which on it competes with what it measures.
const INSTRUMENT_SHARE: f64 = 0.25;
/// Less than this share of the offered rate means that the system falls behind.
const BEHIND: f64 = 0.95;

/// The rules, the gravest first.
const RULES: &[Rule] = &[
    rule(
        "untrustworthy",
        untrustworthy,
        "Do not use these figures: give the instrument what it lacks (a quieter machine, fewer lanes, a lower rate) and run again; `eventbench doctor` looks at the machine.",
    ),
    rule(
        "broken-off",
        broken_off,
        "See the error above; what was recorded until then is kept.",
    ),
    rule(
        "lost-after-ack",
        lost_after_ack,
        "Confirm an event only after it is durable: acknowledge after the commit, not on receipt, and let the sender retry what is not confirmed.",
    ),
    rule(
        "lost-before-ack",
        lost_before_ack,
        "Nothing had promised these events. Where none may be lost, publish through a stream with acknowledgement (JetStream) and a durable consumer; else look for a full queue, a slow consumer or a restart.",
    ),
    rule(
        "corrupt",
        corrupt,
        "Look for a path that rewrites, truncates or mixes up payloads.",
    ),
    rule(
        "duplicates",
        duplicates,
        "Make the receiver idempotent, or look for redelivery: an acknowledgement that comes too late or goes to the wrong subject.",
    ),
    rule(
        "refused",
        refused,
        "Read the service's own log for the reason; raise its limits or lower the rate until none is refused.",
    ),
    rule(
        "slow-consumers",
        slow_consumers,
        "The broker cut off clients that did not keep up: drain faster, or raise `max_pending` and `write_deadline`.",
    ),
    rule(
        "falls-behind",
        falls_behind,
        "The offered rate is more than the system sustains: latencies of this benchmark grow with its length. Find the highest rate that it holds (a `steps` load), then look at the process with the most CPU.",
    ),
    rule(
        "bottleneck",
        bottleneck,
        "This process is the bottleneck: profile it first; a faster machine elsewhere will not help.",
    ),
    rule(
        "instrument",
        instrument,
        "The instrument competes with what it measures: lower the rate, use fewer lanes, or give it cores of its own.",
    ),
    rule(
        "tail",
        tail,
        "A few events wait for something that most do not meet: commits and checkpoints, garbage collection, batching timers, the scheduler. The timeline shows whether they come together (a stall) or evenly.",
    ),
    rule(
        "waited",
        waited,
        "Events waited before they were sent: a stalled sender or a full queue in front of the system. Service time alone hides this; response time is what a user sees.",
    ),
    rule(
        "memory-grows",
        memory_grows,
        "Memory grew through the whole measured phase: run the `soak` profile to tell a leak from caches that fill, and profile allocations if it goes on.",
    ),
    rule(
        "no-data",
        no_data,
        "Check that the observer looks where the events end, and run long enough for the statistic.",
    ),
    rule(
        "too-few-samples",
        too_few,
        "Run longer or at a higher rate for this percentile to mean something.",
    ),
    rule(
        "straddles",
        straddles,
        "Another run might say otherwise: run more or longer trials before relying on this verdict.",
    ),
    rule(
        "closed-loop",
        closed_loop,
        "A closed loop sends less when the system is slow, and so hides the waiting: judge latency with an open-loop load.",
    ),
];

/// Everything that the figures of a run suggest, benchmark by benchmark, the gravest first within each.
pub fn advise(record: &RunRecord) -> Vec<Advice> {
    let of = |b: &BenchmarkRecord| -> Vec<Advice> {
        let found = RULES.iter().filter_map(|rule| {
            let finding = (rule.find)(b, record)?;
            Some(Advice {
                benchmark: b.name.clone(),
                rule: rule.name,
                finding,
                action: rule.action,
            })
        });
        found.collect()
    };
    record.benchmarks.iter().flat_map(of).collect()
}

fn value(b: &BenchmarkRecord, metric: &str, stat: &str) -> Option<f64> {
    b.figure(metric, &[], stat)?.value
}

fn time(ns: f64) -> String {
    Unit::Nanoseconds.show(ns)
}

fn share(ratio: f64) -> String {
    Unit::Ratio.show(ratio)
}

/// The total of a field of the books over the benchmark's own trials.
fn books(b: &BenchmarkRecord, field: fn(&eventbench_core::observe::StreamLedger) -> u64) -> u64 {
    b.trials
        .iter()
        .filter(|t| t.variant.is_empty())
        .map(|t| field(&t.ledger.total))
        .sum()
}

fn count(n: u64) -> String {
    Unit::Count.show(n as f64)
}

fn untrustworthy(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let failed: Vec<String> = b
        .checks
        .iter()
        .filter(|c| c.holds == Some(false))
        .map(|c| format!("\"{}\" does not hold ({})", c.name, c.detail))
        .collect();
    match (failed.is_empty(), b.verdict) {
        (false, _) => Some(failed.join("; ")),
        (true, Verdict::Invalid) => Some("the benchmark is invalid".to_owned()),
        _ => None,
    }
}

fn broken_off(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    match (&b.error, b.interrupted) {
        (Some(error), false) => Some(format!("it could not be run to its end: {error}")),
        (_, true) => Some("it was interrupted, so its figures are those of a part".to_owned()),
        _ => None,
    }
}

fn lost_after_ack(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let (lost, acked) = (books(b, |l| l.lost_after_ack), books(b, |l| l.acked));
    (lost > 0).then(|| {
        format!(
            "{} of {} confirmed events were never seen{}",
            count(lost),
            count(acked),
            examples(b)
        )
    })
}

fn lost_before_ack(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let (lost, sent) = (books(b, |l| l.lost_before_ack), books(b, |l| l.sent));
    (lost > 0).then(|| {
        format!(
            "{} of {} events were sent and never seen, without having been confirmed{}",
            count(lost),
            count(sent),
            examples(b)
        )
    })
}

fn examples(b: &BenchmarkRecord) -> String {
    let some: Vec<&str> = b
        .trials
        .iter()
        .flat_map(|t| &t.ledger.lost_examples)
        .take(3)
        .map(String::as_str)
        .collect();
    if some.is_empty() {
        String::new()
    } else {
        format!(" (such as {})", some.join(", "))
    }
}

fn corrupt(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let own = b.trials.iter().filter(|t| t.variant.is_empty());
    let n: u64 = own.map(|t| t.ledger.corrupt).sum();
    (n > 0).then(|| {
        format!(
            "{} sightings were without an intact stamp, or with content that was not sent",
            count(n)
        )
    })
}

fn duplicates(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let n = books(b, |l| l.duplicates);
    (n > 0).then(|| {
        format!(
            "{} sightings were of events seen before ({} of those delivered)",
            count(n),
            share(n as f64 / books(b, |l| l.delivered).max(1) as f64)
        )
    })
}

fn refused(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let parts: Vec<String> = [
        ("rejected", "refused"),
        ("timed_out", "not answered in time"),
        ("disconnected", "under way when the connection was lost"),
        ("abandoned", "not finished at the deadline"),
    ]
    .iter()
    .filter_map(|(metric, words)| {
        value(b, metric, "value")
            .filter(|n| *n > 0.0)
            .map(|n| format!("{} {words}", Unit::Count.show(n)))
    })
    .collect();
    (!parts.is_empty()).then(|| format!("events a trial: {}", parts.join(", ")))
}

fn slow_consumers(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    value(b, "broker.slow_consumers", "value")
        .filter(|n| *n > 0.0)
        .map(|n| format!("{} slow consumers", Unit::Count.show(n)))
}

fn falls_behind(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let (offered, delivered) = (value(b, "offered.rate", "value")?, value(b, "delivered.rate", "value")?);
    (!b.closed_loop && offered > 0.0 && delivered < BEHIND * offered).then(|| {
        format!(
            "{} of {} offered were delivered",
            Unit::PerSecond.show(delivered),
            Unit::PerSecond.show(offered)
        )
    })
}

fn cores(b: &BenchmarkRecord) -> impl Iterator<Item = (&str, f64)> {
    b.figures
        .iter()
        .filter(|f| f.metric == "cpu" && f.stat == "value")
        .filter_map(|f| Some((f.tags.get("process")?.as_str(), f.value?)))
        // The sum of services and broker, and the instrument, stand apart.
        .filter(|(process, _)| !["system", "eventbench"].contains(process))
}

fn bottleneck(b: &BenchmarkRecord, record: &RunRecord) -> Option<String> {
    let (process, most) = cores(b).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let all = cores(b).map(|c| c.1).sum::<f64>() + value(b, "instrument.cpu", "value").unwrap_or(0.0);
    let machine = f64::from(record.run.environment.cores);
    if most >= SATURATED_CORES {
        return Some(format!("{process} takes {} % of a core", digits(most * 100.0)));
    }
    (machine > 0.0 && all >= 0.9 * machine).then(|| {
        format!(
            "the machine's {machine} cores are {} busy; of the processes {process} takes the most, {} % of a core",
            share(all / machine),
            digits(most * 100.0)
        )
    })
}

fn instrument(b: &BenchmarkRecord, record: &RunRecord) -> Option<String> {
    let own = value(b, "instrument.cpu", "value")?;
    let machine = f64::from(record.run.environment.cores);
    (machine > 0.0 && own / machine >= INSTRUMENT_SHARE).then(|| {
        format!(
            "the instrument itself takes {} of the machine's CPU",
            share(own / machine)
        )
    })
}

fn tail(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let (p99, med) = (value(b, "response_time", "p(99)")?, value(b, "response_time", "med")?);
    (p99 >= TAIL * med && p99 >= TAIL_FLOOR_NS).then(|| {
        let times = if med > 0.0 {
            format!(", {} times the median of {}", digits(p99 / med), time(med))
        } else {
            String::new()
        };
        format!("p99 is {}{times}{}", time(p99), worst_second(b))
    })
}

fn worst_second(b: &BenchmarkRecord) -> String {
    let trial = b.trials.iter().filter(|t| t.variant.is_empty() && t.timeline.len() > 2);
    let worst = trial
        .flat_map(|t| t.timeline.iter().filter_map(|i| Some((t.number, i.second, i.max_ns?))))
        .max_by(|a, b| a.2.total_cmp(&b.2));
    worst
        .map(|(trial, second, ns)| format!("; the longest, {}, in second {second} of trial {trial}", time(ns)))
        .unwrap_or_default()
}

fn waited(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let (response, service) = (value(b, "response_time", "mean")?, value(b, "service_time", "mean")?);
    (service > 0.0 && response >= WAITED * service && response - service >= TAIL_FLOOR_NS).then(|| {
        let late = value(b, "lateness", "mean")
            .map(|l| format!("; the generator was late by {} on average", time(l)))
            .unwrap_or_default();
        format!(
            "response time is {} and service time {} on average{late}",
            time(response),
            time(service)
        )
    })
}

fn memory_grows(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    // In less time, caches that fill look just like a leak.
    const LONG_ENOUGH_S: f64 = 30.0;
    if b.trials.iter().all(|t| t.measured_s < LONG_ENOUGH_S) {
        return None;
    }
    let grows = |f: &&Figure| {
        f.metric == "rss" && f.stat == "slope" && f.interval.is_some_and(|(low, _)| low > 0.0) && f.value.is_some()
    };
    // A slope of which less than 1 % comes to pass in the time that was measured is a page or two.
    let matters = |f: &&Figure| {
        let increase = b
            .figures
            .iter()
            .find(|i| i.metric == "rss" && i.stat == "increase" && i.tags == f.tags)
            .and_then(|i| i.value);
        increase.is_none_or(|i| i > 0.01)
    };
    let f = b.figures.iter().filter(grows).find(matters)?;
    let (low, high) = f.interval?;
    let process = f.tags.get("process").map_or("a process", String::as_str);
    Some(format!(
        "{process} grows by {} (95 % interval {} … {})",
        f.show(),
        f.unit.show(low),
        f.unit.show(high)
    ))
}

fn no_data(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let missing: Vec<&str> = b
        .limits
        .iter()
        .filter(|l| l.outcome == Verdict::NoData)
        .map(|l| l.that.as_str())
        .collect();
    (!missing.is_empty()).then(|| format!("nothing to judge {} by", missing.join(" and ")))
}

fn too_few(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let n = value(b, "response_time", "count").filter(|n| *n > 0.0)?;
    let p99 = b.figure("response_time", &[], "p(99)")?;
    p99.value.is_none().then(|| {
        format!(
            "{} samples a trial do not carry a p99, which takes 300",
            Unit::Count.show(n)
        )
    })
}

fn straddles(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    let limits: Vec<&str> = b
        .limits
        .iter()
        .filter(|l| l.straddles)
        .map(|l| l.that.as_str())
        .collect();
    (!limits.is_empty()).then(|| format!("the interval contains the bound of {}", limits.join(" and of ")))
}

fn closed_loop(b: &BenchmarkRecord, _: &RunRecord) -> Option<String> {
    (b.closed_loop && b.limits.iter().any(|l| l.metric == "response_time"))
        .then(|| "a limit on latency is judged by a closed loop".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn rules(record: &RunRecord, benchmark: usize) -> Vec<&'static str> {
        let name = &record.benchmarks[benchmark].name;
        advise(record)
            .into_iter()
            .filter(|a| a.benchmark == *name)
            .map(|a| a.rule)
            .collect()
    }

    #[test]
    fn advice_follows_from_the_figures() {
        let pass = golden::all_pass();
        assert_eq!(
            advise(&pass)
                .iter()
                .map(|a| a.rule)
                .filter(|r| *r != "closed-loop")
                .collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
        let losses = rules(&golden::fail_with_losses(), 1);
        for rule in [
            "lost-after-ack",
            "lost-before-ack",
            "duplicates",
            "bottleneck",
            "tail",
            "falls-behind",
        ] {
            assert!(losses.contains(&rule), "{rule} is not among {losses:?}");
        }
        let warn = rules(&golden::warn(), 0);
        assert!(warn.contains(&"straddles"), "{warn:?}");
        let invalid = rules(&golden::invalid(), 0);
        assert!(
            invalid.contains(&"untrustworthy") && invalid.contains(&"waited") && invalid.contains(&"instrument"),
            "{invalid:?}"
        );
        let no_data = golden::no_data();
        assert!(rules(&no_data, 0).contains(&"too-few-samples") && rules(&no_data, 0).contains(&"no-data"));
        assert!(rules(&golden::interrupted(), 1).contains(&"broken-off"));
    }

    #[test]
    fn growing_memory_is_named_with_its_interval() {
        let mut record = golden::all_pass();
        let memory = &mut record.benchmarks[3];
        for trial in &mut memory.trials {
            trial.measured_s = 60.0;
        }
        for figure in memory.figures.iter_mut().filter(|f| f.metric == "rss") {
            match figure.stat.as_str() {
                "slope" => (figure.value, figure.interval) = (Some(60e6), Some((40e6, 80e6))),
                "increase" => figure.value = Some(0.3),
                _ => {}
            }
        }
        let advice = advise(&record);
        let grows = advice.iter().find(|a| a.rule == "memory-grows").unwrap();
        assert!(
            grows.finding.contains("60 MB/h") && grows.finding.contains("40 MB/h … 80 MB/h"),
            "{grows:?}"
        );
    }

    #[test]
    fn the_figures_speak_for_themselves() {
        let losses = advise(&golden::fail_with_losses());
        let lost = losses.iter().find(|a| a.rule == "lost-after-ack").unwrap();
        let books: u64 = golden::fail_with_losses().benchmarks[1]
            .trials
            .iter()
            .map(|t| t.ledger.total.lost_after_ack)
            .sum();
        assert!(lost.finding.starts_with(&format!("{books} of ")), "{lost:?}");
        assert!(
            RULES
                .iter()
                .enumerate()
                .all(|(i, r)| RULES[..i].iter().all(|o| o.name != r.name))
        );
    }
}
