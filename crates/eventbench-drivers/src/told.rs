//! What a reply tells of the service that gave it: times by its own clock, the hops of the path, an aggregate to check.

use crate::requests::Asked;
use eventbench_core::metric::{Kind, MetricKey, MetricValue, definition};
use eventbench_core::observe::{HopTimes, Latency};
use eventbench_core::units::Unit;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;

/// The hops that the driver itself adds before and behind those that it is told.
const WAIT: &str = "instrument: wait";
const THERE: &str = "request: way there";
const BACK: &str = "reply: way back";

/// Settings of what is read from replies, which must be JSON.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    /// Metrics by id, each with the JSON Pointer of its number, or list of numbers, of nanoseconds: work_time = "/work_ns".
    #[serde(default)]
    pub times: IndexMap<String, String>,
    /// The JSON Pointer of a list of times, of rounds one after the other, whose second half is compared with the first.
    pub halves: Option<String>,
    /// The JSON Pointer of the hops: a list of { hop, within, from, until } with instants of CLOCK_MONOTONIC, those without
    /// `within` one behind the other without a gap.
    pub hops: Option<String>,
    /// The JSON Pointer of an aggregate by group, { GROUP = { count, bytes, min, max } }, that must be the one of the
    /// request's own `{items:N:GROUPS}`.
    pub aggregate: Option<String>,
}

impl Tell {
    /// Refuses metrics that are no distributions of times, and pointers that are none.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        for (metric, pointer) in &self.times {
            let fits = definition(metric).is_some_and(|d| d.kind == Kind::Latency && d.unit == Unit::Nanoseconds);
            if !fits {
                return Err(format!(
                    "tell.times: \"{metric}\" is no metric of times; `work_time` is the time of the handler itself"
                ));
            }
            pointer_of(&format!("tell.times.{metric}"), pointer)?;
        }
        let single = [
            ("hops", &self.hops),
            ("halves", &self.halves),
            ("aggregate", &self.aggregate),
        ];
        for (key, pointer) in single {
            if let Some(pointer) = pointer {
                pointer_of(&format!("tell.{key}"), pointer)?;
            }
        }
        Ok(())
    }
}

fn pointer_of(key: &str, pointer: &str) -> Result<(), String> {
    if pointer.starts_with('/') {
        Ok(())
    } else {
        Err(format!(
            "{key}: expected a JSON Pointer such as \"/work_ns\", not \"{pointer}\""
        ))
    }
}

/// A hop as a reply tells it.
#[derive(Debug, Deserialize)]
struct ToldHop {
    hop: String,
    #[serde(default)]
    within: Option<String>,
    from: u64,
    until: u64,
}

/// Counts of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Group {
    count: u64,
    bytes: u64,
    min: u64,
    max: u64,
}

/// An item as the request carries it: id, group, kind, bytes, instant. Only group and bytes enter the aggregate.
#[derive(Debug, Deserialize)]
struct Item<'a>(IgnoredAny, #[serde(borrow)] &'a str, IgnoredAny, u64, IgnoredAny);

/// What replies have told so far. For loads of thousands of replies a second and less: each is parsed as a whole.
#[derive(Debug, Clone, Default)]
pub struct Told {
    settings: Tell,
    times: Vec<Latency>,
    /// Sums of the first and of the second half of rounds.
    halves: (u64, u64),
    hops: HopTimes,
    payload: Vec<u8>,
}

impl Told {
    /// Nothing yet.
    pub fn new(settings: Tell) -> Told {
        Told {
            times: settings.times.iter().map(|_| Latency::new()).collect(),
            halves: (0, 0),
            hops: HopTimes::default(),
            payload: Vec::new(),
            settings,
        }
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// What it lacks, or in what it differs from what the request asks for; short, and alike for replies that lack alike.
    pub fn read(&mut self, reply: &[u8], asked: &Asked<'_>) -> Result<(), String> {
        let reply: Value = serde_json::from_slice(reply).map_err(|_| "the reply is no JSON".to_owned())?;
        if let Some(pointer) = &self.settings.aggregate {
            let told = reply.pointer(pointer).cloned().unwrap_or_default();
            let told: BTreeMap<String, Group> =
                serde_json::from_value(told).map_err(|_| format!("no aggregate at {pointer}"))?;
            self.payload.clear();
            asked.template.render(&asked.content, &mut self.payload);
            if told != aggregate(&self.payload)? {
                return Err("the aggregate is not the one of the items that were sent".to_owned());
            }
        }
        if !asked.ticket.measured {
            return Ok(());
        }
        for ((_, pointer), times) in self.settings.times.iter().zip(&mut self.times) {
            let none = || format!("no times at {pointer}");
            match reply.pointer(pointer).ok_or_else(none)? {
                Value::Array(list) => {
                    for value in list {
                        times.record(value.as_u64().ok_or_else(none)?);
                    }
                }
                value => times.record(value.as_u64().ok_or_else(none)?),
            }
        }
        if let Some(pointer) = &self.settings.halves {
            let told = reply.pointer(pointer).cloned().unwrap_or_default();
            let rounds: Vec<u64> = serde_json::from_value(told).map_err(|_| format!("no times at {pointer}"))?;
            let half = rounds.len() / 2;
            // A round in the middle belongs to neither.
            self.halves.0 += rounds[..half].iter().sum::<u64>();
            self.halves.1 += rounds[rounds.len() - half..].iter().sum::<u64>();
        }
        if let Some(pointer) = &self.settings.hops {
            let none = format!("no hops at {pointer}");
            let told = reply.pointer(pointer).cloned().unwrap_or_default();
            let told: Vec<ToldHop> = serde_json::from_value(told).map_err(|_| none.clone())?;
            self.note(&told, asked).ok_or(none)?;
        }
        Ok(())
    }

    fn note(&mut self, told: &[ToldHop], asked: &Asked<'_>) -> Option<()> {
        let path = || told.iter().filter(|h| h.within.is_none());
        let (first, last) = (path().next()?, path().next_back()?);
        let (intended, sent) = (asked.ticket.intended_ns, asked.ticket.sent_ns);
        let own = [
            (WAIT, intended, sent),
            (THERE, sent, first.from),
            (BACK, last.until, asked.now_ns),
        ];
        for (hop, from, until) in own {
            self.hops.note(hop, None, intended, from, until);
        }
        for hop in told {
            self.hops
                .note(&hop.hop, hop.within.as_deref(), intended, hop.from, hop.until);
        }
        self.hops.note_way(intended, asked.now_ns);
        Some(())
    }

    /// The times, by metric.
    pub fn measures(&mut self) -> Vec<(MetricKey, MetricValue)> {
        let ids = self.settings.times.keys();
        let times = ids.zip(self.times.drain(..)).filter(|(_, times)| times.count() > 0);
        let mut measures: Vec<_> = times
            .map(|(id, times)| (MetricKey::plain(id), MetricValue::Latency(Box::new(times))))
            .collect();
        if let (first @ 1.., second) = self.halves {
            let ratio = MetricValue::Gauge(second as f64 / first as f64);
            measures.push((MetricKey::plain("rounds.ratio"), ratio));
        }
        measures
    }

    /// The hops.
    pub fn hops(&mut self) -> HopTimes {
        std::mem::take(&mut self.hops)
    }
}

/// The aggregate by group of the items of a request, `{"items":[…]}`.
fn aggregate(request: &[u8]) -> Result<BTreeMap<String, Group>, String> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        items: Vec<Item<'a>>,
    }
    let batch: Batch<'_> =
        serde_json::from_slice(request).map_err(|_| "the request has no `items` to compare with".to_owned())?;
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for Item(_, group, _, bytes, _) in batch.items {
        let sum = groups.entry(group.to_owned()).or_insert(Group {
            count: 0,
            bytes: 0,
            min: u64::MAX,
            max: 0,
        });
        sum.count += 1;
        sum.bytes += bytes;
        sum.min = sum.min.min(bytes);
        sum.max = sum.max.max(bytes);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::payload::{Content, Template};
    use eventbench_core::stamp::Stamp;
    use eventbench_core::ticket::Ticket;

    fn ticket() -> Ticket {
        Ticket {
            stream: 0,
            seq: 3,
            user: 0,
            intended_ns: 1_000,
            sent_ns: 2_000,
            measured: true,
        }
    }

    fn read(settings: &str, template: &str, reply: &str) -> (Result<(), String>, Told) {
        let settings: Tell = toml::from_str(settings).unwrap();
        settings.check().unwrap();
        let mut told = Told::new(settings);
        let template = Template::parse(template).unwrap();
        let content = Content {
            stamp: Stamp {
                run: 1,
                stream: 0,
                seq: 3,
                intended_ns: 1_000,
                late_ns: 0,
            },
            seed: 7,
            epoch_ms: 0,
        };
        let ticket = ticket();
        let asked = Asked {
            ticket: &ticket,
            content,
            template: &template,
            now_ns: 20_000,
        };
        (told.read(reply.as_bytes(), &asked), told)
    }

    #[test]
    fn times_are_read_one_or_many() {
        let settings = "times = { work_time = \"/work_ns\", transition_time = \"/of/steps\" }";
        let (read_, mut told) = read(settings, "{}", r#"{"work_ns":5000,"of":{"steps":[1000,3000]}}"#);
        read_.unwrap();
        let measures = told.measures();
        let counts: Vec<_> = measures
            .iter()
            .map(|(key, value)| match value {
                MetricValue::Latency(l) => (key.metric.as_str(), l.count(), l.max_ns().unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [("work_time", 1, 5000.0), ("transition_time", 2, 3000.0)]);
        for reply in [
            "nothing",
            "{}",
            r#"{"work_ns":"5","of":{"steps":[]}}"#,
            r#"{"work_ns":5}"#,
        ] {
            assert!(read(settings, "{}", reply).0.is_err(), "{reply}");
        }
    }

    #[test]
    fn the_second_half_of_rounds_is_compared_with_the_first() {
        for (rounds, ratio) in [("[10,10,90,20,30]", Some(2.5)), ("[7,7]", Some(1.0)), ("[7]", None)] {
            let reply = format!("{{\"rounds\":{rounds}}}");
            let (read_, mut told) = read("halves = \"/rounds\"", "{}", &reply);
            read_.unwrap();
            let ratio = ratio.map(|r| (MetricKey::plain("rounds.ratio"), MetricValue::Gauge(r)));
            assert_eq!(told.measures(), Vec::from_iter(ratio), "{rounds}");
        }
    }

    #[test]
    fn hops_and_the_ways_to_and_from_them_make_up_the_whole() {
        let reply = r#"{"hops":[
            {"hop":"wait","from":5000,"until":6000},
            {"hop":"work","from":6000,"until":15000},
            {"hop":"call","within":"work","from":7000,"until":9000}]}"#;
        let (read_, mut told) = read("hops = \"/hops\"", "{}", reply);
        read_.unwrap();
        let hops = told.hops();
        let sum = hops.sum().unwrap();
        assert_eq!((sum.hops_ns, sum.way_ns, sum.complete), (19_000.0, 19_000.0, true));
        let names: Vec<_> = hops.record().into_iter().map(|h| h.name).collect();
        assert_eq!(names, [WAIT, THERE, "wait", "work", "call", BACK]);
        // A hop that was left out leaves a hole, which the sum shows.
        let hole = reply.replace("\"from\":6000,\"until\":15000", "\"from\":8000,\"until\":15000");
        let sum = read("hops = \"/hops\"", "{}", &hole).1.hops().sum().unwrap();
        assert_eq!(sum.way_ns - sum.hops_ns, 2_000.0);
        assert!(read("hops = \"/hops\"", "{}", r#"{"hops":[]}"#).0.is_err());
    }

    #[test]
    fn an_aggregate_is_compared_with_the_items_that_were_sent() {
        let template = r#"{"items":{items:100:10},"tag":"{stamp}"}"#;
        let mut request = Vec::new();
        let content = Content {
            stamp: Stamp {
                run: 9,
                stream: 0,
                seq: 3,
                intended_ns: 5,
                late_ns: 0,
            },
            seed: 7,
            epoch_ms: 0,
        };
        Template::parse(template).unwrap().render(&content, &mut request);
        // Added up here in another way than the product does.
        let parsed: Value = serde_json::from_slice(&request).unwrap();
        let items = parsed["items"].as_array().unwrap();
        assert_eq!(items.len(), 100);
        let mut groups = serde_json::Map::new();
        for k in 0..10 {
            let name = format!("ns{k}");
            let of: Vec<u64> = items
                .iter()
                .filter(|i| i[1] == name.as_str())
                .map(|i| i[3].as_u64().unwrap())
                .collect();
            assert_eq!(of.len(), 10);
            groups.insert(
                name,
                serde_json::json!({"count": 10, "bytes": of.iter().sum::<u64>(), "min": of.iter().min(), "max": of.iter().max()}),
            );
        }
        let right = serde_json::json!({ "by_namespace": groups });
        let settings = "aggregate = \"/by_namespace\"";
        read(settings, template, &right.to_string()).0.unwrap();
        let mut wrong = right.clone();
        wrong["by_namespace"]["ns3"]["bytes"] = 17.into();
        let refused = read(settings, template, &wrong.to_string()).0.unwrap_err();
        assert!(refused.contains("not the one"), "{refused}");
        let mut short = right;
        short["by_namespace"].as_object_mut().unwrap().remove("ns9");
        read(settings, template, &short.to_string()).0.unwrap_err();
        read(settings, template, "{}").0.unwrap_err();
    }

    #[test]
    fn what_is_no_metric_of_times_is_refused() {
        for text in [
            "times = { rss = \"/x\" }",
            "times = { work_time = \"x\" }",
            "hops = \"hops\"",
            "aggregate = \"\"",
        ] {
            let settings: Tell = toml::from_str(text).unwrap();
            assert!(settings.check().is_err(), "{text}");
        }
    }
}
