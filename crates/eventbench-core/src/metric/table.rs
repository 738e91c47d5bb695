//! The table of metrics. A metric derived from what is recorded is one row here.

use crate::units::Unit;
use serde::{Deserialize, Serialize};

/// What a metric's value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number of events, added up.
    Count,
    /// One number for a trial.
    Gauge,
    /// A distribution of times.
    Latency,
    /// Readings over time.
    Series,
}

/// Which direction is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither.
    Neutral,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricDef {
    /// Its id, as limits and records name it.
    pub id: &'static str,
    /// What its value is made of.
    pub kind: Kind,
    /// The unit of that value.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// What it means, for reports.
    pub help: &'static str,
}

const fn row(id: &'static str, kind: Kind, unit: Unit, better: Better, help: &'static str) -> MetricDef {
    MetricDef {
        id,
        kind,
        unit,
        better,
        help,
    }
}

use Better::{Higher, Lower, Neutral};
use Kind::{Count as C, Gauge as G, Latency as L, Series as S};

/// Every metric.
#[rustfmt::skip] // A row takes two lines: what it is, and what it means.
pub const METRICS: &[MetricDef] = &[
    row("response_time", L, Unit::Nanoseconds, Lower,
        "intended instant to the end of the event (its row committed and visible, its reply received)"),
    row("service_time", L, Unit::Nanoseconds, Lower,
        "instant of sending to the end of the event"),
    row("lateness", L, Unit::Nanoseconds, Lower,
        "intended instant to the instant of sending: the generator's own delay"),
    row("resolution", L, Unit::Nanoseconds, Neutral,
        "time between two looks of the observer: by so much an event may have been seen late"),
    row("offered", C, Unit::Count, Neutral,
        "events that the schedule asked for in the measured phase"),
    row("knee.rate", G, Unit::PerSecond, Higher,
        "the highest offered rate at which everything that the search asks for held"),
    row("sent", C, Unit::Count, Neutral,
        "of those, events handed to the system"),
    row("acked", C, Unit::Count, Neutral,
        "of those, events that the system confirmed to the sender"),
    row("rejected", C, Unit::Count, Lower,
        "events that the system refused"),
    row("rejected.no_responder", C, Unit::Count, Lower,
        "of those, events for which nobody listened"),
    row("rejected.error", C, Unit::Count, Lower,
        "of those, events that a service or a stream answered with an error"),
    row("timed_out", C, Unit::Count, Lower,
        "events without an answer in time"),
    row("disconnected", C, Unit::Count, Lower,
        "events under way when the connection was lost"),
    row("wire.sent", C, Unit::Bytes, Neutral,
        "bytes that the instrument's connections wrote, warm-up included"),
    row("wire.received", C, Unit::Bytes, Neutral,
        "bytes that the instrument's connections read, warm-up included"),
    row("wire.per_event", G, Unit::Bytes, Lower,
        "bytes on the wire in both directions for each event, protocol included"),
    row("reconnects", C, Unit::Count, Lower,
        "connections of the instrument that were lost and made again"),
    row("acks.duplicate", C, Unit::Count, Lower,
        "acknowledged events that the stream held already, by their ids"),
    row("acks.wrong", C, Unit::Count, Lower,
        "acknowledgements of another stream, or with a number given twice"),
    row("redelivered", C, Unit::Count, Lower,
        "messages that the consumer was given again"),
    row("consumer.pending", C, Unit::Count, Lower,
        "messages in the stream that the consumer had not been given at the end"),
    row("consumer.unacked", C, Unit::Count, Lower,
        "messages given to the consumer and not acknowledged at the end"),
    row("abandoned", C, Unit::Count, Lower,
        "events not finished at the deadline"),
    row("delivered", C, Unit::Count, Neutral,
        "events seen where they must end, each counted once, warm-up included"),
    row("duplicates", C, Unit::Count, Lower,
        "sightings of an event beyond the first"),
    row("reordered", C, Unit::Count, Neutral,
        "events seen after a later one of their stream"),
    row("late", C, Unit::Count, Lower,
        "events seen later than the observer's `late_after`"),
    row("lost", C, Unit::Count, Lower,
        "events sent and never seen"),
    row("lost.acked", C, Unit::Count, Lower,
        "of those, events that the system had confirmed"),
    row("lost.unacked", C, Unit::Count, Lower,
        "of those, events that it had not confirmed"),
    row("unexpected", C, Unit::Count, Lower,
        "events seen that were not known to have been sent"),
    row("corrupt", C, Unit::Count, Lower,
        "sightings without an intact stamp or with content that was not sent"),
    row("foreign", C, Unit::Count, Lower,
        "sightings of another run's events"),
    row("offered.rate", G, Unit::PerSecond, Neutral,
        "offered events over the length of the measured phase"),
    row("sent.rate", G, Unit::PerSecond, Higher,
        "sent events over the length of the measured phase"),
    row("delivered.rate", G, Unit::PerSecond, Higher,
        "measured events over the time from the start of the phase until the last of them had ended"),
    row("delivered.ratio", G, Unit::Ratio, Higher,
        "events seen where they must end, of those sent"),
    row("acked.ratio", G, Unit::Ratio, Higher,
        "events confirmed, of those sent"),
    row("backlog.end", C, Unit::Count, Lower,
        "events sent and not yet seen when the last one was sent"),
    row("error_time", L, Unit::Nanoseconds, Lower,
        "intended instant to the refusal, or to the instant at which the sender gave up"),
    row("replies", C, Unit::Count, Neutral,
        "replies by the instance that gave them"),
    row("fairness", G, Unit::Ratio, Higher,
        "Jain's index of the instances' shares: 1 when all answer equally often, 1/n when one of n answers everything"),
    row("makespan", G, Unit::Nanoseconds, Lower,
        "start of the measured phase until the last of its events had ended"),
    row("cpu", G, Unit::Cores, Lower,
        "CPU time of a process over the measured phase, in cores"),
    row("cpu.user", G, Unit::Cores, Lower,
        "the part of it spent in the program"),
    row("cpu.system", G, Unit::Cores, Lower,
        "the part of it spent in the kernel"),
    row("cpu.per_event", G, Unit::Nanoseconds, Lower,
        "CPU time of a process for each measured event"),
    row("rss", S, Unit::Bytes, Lower,
        "resident memory of a process"),
    row("pss", S, Unit::Bytes, Lower,
        "resident memory with shared pages divided among those who share them"),
    row("vms", S, Unit::Bytes, Lower,
        "address space of a process"),
    row("fds", S, Unit::Count, Lower,
        "open file descriptors of a process"),
    row("threads", S, Unit::Count, Neutral,
        "threads of a process"),
    row("broker.in_msgs", C, Unit::Count, Neutral,
        "messages that the broker counted in from all clients"),
    row("broker.out_msgs", C, Unit::Count, Neutral,
        "messages that the broker counted out to all clients"),
    row("broker.slow_consumers", C, Unit::Count, Lower,
        "clients that the broker dropped because they did not keep up"),
    row("broker.subscriptions", G, Unit::Count, Neutral,
        "subscriptions at the end"),
    row("rate.ratio", G, Unit::Ratio, Higher,
        "events done per second over those of the baseline variant"),
    row("latency.ratio", G, Unit::Ratio, Lower,
        "median response time over that of the baseline variant"),
    row("cpu.overhead", G, Unit::Cores, Lower,
        "CPU of services and broker less that of the baseline variant, in cores (0.01 is one percentage point of a core)"),
    row("cpu.overhead.ratio", G, Unit::Ratio, Lower,
        "CPU of services and broker over that of the baseline variant, less one"),
    row("cpu.overhead.per_event", G, Unit::Nanoseconds, Lower,
        "CPU time for each event less that of the baseline variant"),
    row("rss.overhead", G, Unit::Ratio, Lower,
        "resident memory of the services over that of the baseline variant, less one"),
    row("pss.overhead", G, Unit::Ratio, Lower,
        "proportional memory of the services over that of the baseline variant, less one"),
    row("downtime", G, Unit::Nanoseconds, Lower,
        "the fault's beginning until the service or server was ready again"),
    row("restart", G, Unit::Nanoseconds, Lower,
        "start of the new process until it was ready"),
    row("recovery", G, Unit::Nanoseconds, Lower,
        "the fault's beginning until the first event sent after it was seen"),
    row("recovery.ack", G, Unit::Nanoseconds, Lower,
        "the fault's beginning until the first event sent after it was confirmed to its sender"),
    row("recovery.rate", G, Unit::Nanoseconds, Lower,
        "the fault's beginning until as many events were done per 100 ms as before (nine tenths, three times in a row)"),
    row("election", G, Unit::Nanoseconds, Lower,
        "the fault's beginning until a server led again in place of the one that it hit"),
    row("gap.sent", C, Unit::Count, Neutral,
        "events sent from the fault's beginning until the service or server was ready again"),
    row("gap.lost", C, Unit::Count, Lower,
        "of those, events never seen"),
    row("gap.recovered", G, Unit::Ratio, Higher,
        "of the events sent from the fault's beginning on, those seen"),
    row("connect_time", L, Unit::Nanoseconds, Lower,
        "begin of a connection until it can be written to, TLS included"),
    row("headers_time", L, Unit::Nanoseconds, Lower,
        "instant of sending to the head of the response"),
    row("first_event_time", L, Unit::Nanoseconds, Lower,
        "intended instant to the first event of a stream"),
    row("first_text_time", L, Unit::Nanoseconds, Lower,
        "intended instant to the first text that a stream brings"),
    row("event_time", L, Unit::Nanoseconds, Lower,
        "emission of an event of a stream, by the server's stamp, until it was read"),
    row("event_gap", L, Unit::Nanoseconds, Lower,
        "time between two events of a stream, one after the other"),
    row("stall", L, Unit::Nanoseconds, Lower,
        "the longest time without an event in each stream"),
    row("events", C, Unit::Count, Neutral,
        "events that streams brought in the measured phase"),
    row("events.rate", G, Unit::PerSecond, Higher,
        "events that streams brought over the time until the last stream had ended"),
    row("events.per_stream", L, Unit::Count, Neutral,
        "events that a finished stream brought"),
    row("streams.peak", G, Unit::Count, Neutral,
        "the most streams that were open at one time"),
    row("users.peak", G, Unit::Count, Neutral,
        "the most virtual users that were there at one time"),
    row("violations", C, Unit::Count, Lower,
        "streams that broke a rule of their protocol, by rule"),
    row("run_errors", C, Unit::Count, Lower,
        "runs that ended with an error of their own"),
    row("truncated", C, Unit::Count, Lower,
        "streams that were cut off before their end"),
    row("statuses", C, Unit::Count, Lower,
        "responses with another status than success"),
    row("work_time", L, Unit::Nanoseconds, Lower,
        "time that a handler worked, by the service's own clock and told in its reply"),
    row("transition_time", L, Unit::Nanoseconds, Lower,
        "time that a state transition took, by the service's own clock and told in its reply"),
    row("routing_time", L, Unit::Nanoseconds, Lower,
        "time that the choice of an instance took, by the service's own clock and told in its reply"),
    row("calls_time", L, Unit::Nanoseconds, Lower,
        "time that a service's own calls of other services took together, by its own clock and told in its reply"),
    row("tick_lateness", L, Unit::Nanoseconds, Lower,
        "how late the ticks of a 1 ms clock in the service's own runtime came, told in its reply"),
    row("read_time.cached", L, Unit::Nanoseconds, Lower,
        "time that a reading of resources took that came from the cache, told in the reply"),
    row("read_time.fresh", L, Unit::Nanoseconds, Lower,
        "time that a reading of resources took that was made, told in the reply"),
    row("read_time.ratio", G, Unit::Ratio, Lower,
        "median time of a reading from the cache over that of one that was made"),
    row("rounds.ratio", G, Unit::Ratio, Lower,
        "time of the second half of the rounds of each event over that of the first half"),
    row("hop_time", L, Unit::Nanoseconds, Lower,
        "time that an event spent in a part of its path, by the clock that all processes share"),
    row("rss.events", S, Unit::Bytes, Lower,
        "resident memory of a process over the number of events that had ended"),
    row("instrument.cpu", G, Unit::Cores, Neutral,
        "CPU that the instrument itself took in the measured phase"),
    row("startup", G, Unit::Nanoseconds, Lower,
        "start of a service until it was ready"),
];

/// Other names under which limits may speak of a metric.
pub const ALIASES: &[(&str, &str)] = &[("stored", "delivered"), ("latency", "response_time")];

/// The definition of a metric by its id.
pub fn definition(id: &str) -> Option<&'static MetricDef> {
    METRICS.iter().find(|m| m.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_explained() {
        for (i, metric) in METRICS.iter().enumerate() {
            assert!(
                METRICS[..i].iter().all(|m| m.id != metric.id),
                "{} stands twice",
                metric.id
            );
            assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{}", metric.id);
            assert!(
                metric.id.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b)),
                "{}",
                metric.id
            );
        }
        for (alias, id) in ALIASES {
            assert!(definition(id).is_some() && definition(alias).is_none(), "{alias}");
        }
    }
}
