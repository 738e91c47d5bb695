//! An HdrHistogram log, form 1.3: the response times of each second as a histogram of its own, under the benchmark's name
//! as tag, for HistogramLogProcessor, HistogramLogAnalyzer and whatever else reads such logs.
//!
//! A second holds what ended in it, warm-up and drain included, as the timeline of every report does. Trials stand one
//! after another in the order in which they were run; the pauses between them are in no record, so that times count the
//! load alone.

use crate::{RenderOptions, ReportError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventbench_core::record::{BenchmarkRecord, RunRecord, TrialRecord};
use std::collections::BTreeMap;

/// The log gives the longest time of an interval in milliseconds, as the reference does.
const NS_PER_MS: f64 = 1e6;
/// The first bytes of a V2 encoding, of its compressed form, and how long its head is.
const V2_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];
const V2_COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
const V2_HEAD_BYTES: usize = 40;

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let started_s = record.run.started_unix_ms as f64 / 1e3;
    let mut out = format!(
        "#[Logged by eventbench: response times in nanoseconds, a tag a benchmark]\n\
         #[Trials one after another, without the pauses between them]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {started_s:.3} (seconds since epoch), {}]\n\
         #[BaseTime: {started_s:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        crate::utc(record.run.started_unix_ms)
    );
    let mut tags = Tags::default();
    let mut offset_s = 0;
    for benchmark in &record.benchmarks {
        for trial in &benchmark.trials {
            let tag = tags.of(benchmark, trial);
            for interval in &trial.timeline {
                let Some(histogram) = encoded(&interval.hdr_v2) else {
                    out.push_str(&format!(
                        "#[The histogram of second {} of trial {} of {tag} cannot be read]\n",
                        interval.second, trial.number
                    ));
                    continue;
                };
                let longest_ms = interval.max_ns.unwrap_or(0.0) / NS_PER_MS;
                let second = offset_s + u64::from(interval.second);
                out.push_str(&format!("Tag={tag},{second}.000,1.000,{longest_ms:.3},{histogram}\n"));
            }
            offset_s += length_s(trial);
        }
    }
    Ok(out.into_bytes())
}

/// Whole seconds that a trial took by its own account, and no less than its timeline has.
fn length_s(trial: &TrialRecord) -> u64 {
    let told = (trial.warmup_s + trial.measured_s + trial.drain_s).ceil() as u64;
    let seen = trial.timeline.iter().map(|i| u64::from(i.second) + 1).max();
    told.max(seen.unwrap_or(0))
}

/// A histogram of the record in the form that logs hold: the same encoding as a zlib stream behind a head of its own.
///
/// The stream stores its bytes as they are. The encoding is compact already, and compressing 100,000 intervals of a few
/// hundred bytes each would take seconds.
fn encoded(hdr_v2: &str) -> Option<String> {
    let bytes = STANDARD.decode(hdr_v2).ok()?;
    let told = bytes.get(4..8)?.try_into().ok().map(u32::from_be_bytes)?;
    if !bytes.starts_with(&V2_COOKIE) || bytes.len() != V2_HEAD_BYTES + usize::try_from(told).ok()? {
        return None;
    }
    let stream = stored(&bytes);
    let mut out = V2_COMPRESSED_COOKIE.to_vec();
    out.extend(u32::try_from(stream.len()).ok()?.to_be_bytes());
    out.extend(stream);
    Some(STANDARD.encode(out))
}

/// A zlib stream (RFC 1950) of blocks that are stored as they are (RFC 1951, 3.2.4), with its Adler-32 sum at the end.
fn stored(bytes: &[u8]) -> Vec<u8> {
    const LONGEST_BLOCK: usize = 65_535;
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(LONGEST_BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend(((b << 16) | a).to_be_bytes());
    out
}

/// Tags by benchmark and variant: readable, without what ends a tag, and no two alike.
#[derive(Default)]
struct Tags {
    given: BTreeMap<(String, String), String>,
}

impl Tags {
    fn of(&mut self, benchmark: &BenchmarkRecord, trial: &TrialRecord) -> String {
        let key = (benchmark.name.clone(), trial.variant.clone());
        if let Some(tag) = self.given.get(&key) {
            return tag.clone();
        }
        let name = match trial.variant.as_str() {
            "" => benchmark.name.clone(),
            variant => format!("{}[{variant}]", benchmark.name),
        };
        let safe = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '_' };
        let plain: String = name.chars().map(safe).collect();
        let (mut tag, mut n) = (plain.clone(), 1);
        while tag.is_empty() || self.given.values().any(|given| *given == tag) {
            n += 1;
            tag = format!("{plain}~{n}");
        }
        self.given.insert(key, tag.clone());
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::observe::Interval;
    use eventbench_testkit::golden;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn log(record: &RunRecord) -> String {
        String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    /// Tag, second and histogram of each interval, as the library's own reader finds them.
    fn read(text: &str) -> Vec<(String, f64, Histogram<u64>)> {
        let mut found = Vec::new();
        let mut last = 0.0;
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
                let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                let second = interval.start_timestamp().as_secs_f64();
                assert!(second >= last, "{second} after {last}");
                last = second;
                found.push((interval.tag().unwrap().as_str().to_owned(), second, histogram));
            }
        }
        found
    }

    #[test]
    fn another_reader_finds_every_second_of_every_trial() {
        for (name, record) in golden::records() {
            let found = read(&log(&record));
            let trials = record.benchmarks.iter().flat_map(|b| &b.trials);
            let expected: Vec<&Interval> = trials.flat_map(|t| &t.timeline).collect();
            assert_eq!(found.len(), expected.len(), "{name}");
            for ((_, _, histogram), interval) in found.iter().zip(expected) {
                assert_eq!(histogram.len(), interval.done, "{name}");
                if let Some(p99) = interval.p99_ns {
                    assert_eq!(histogram.value_at_quantile(0.99) as f64, p99, "{name}");
                }
            }
        }
    }

    #[test]
    fn variants_and_hostile_names_have_tags_of_their_own() {
        let tags = |record: &RunRecord| {
            let mut tags: Vec<String> = read(&log(record)).into_iter().map(|i| i.0).collect();
            tags.sort();
            tags.dedup();
            tags
        };
        let variants = [
            "cpu-overhead",
            "cpu-overhead[direct]",
            "memory-overhead",
            "memory-overhead[direct]",
        ];
        assert_eq!(tags(&golden::comparison()), variants);
        let mut hostile = golden::hostile();
        hostile.benchmarks[0].name = "a b".to_owned();
        let mut other = hostile.benchmarks[0].clone();
        other.name = "a,b".to_owned();
        hostile.benchmarks.push(other);
        assert_eq!(tags(&hostile), ["a_b", "a_b~2"]);
    }

    #[test]
    fn a_second_that_cannot_be_read_is_named() {
        let mut record = golden::all_pass();
        let whole = read(&log(&record)).len();
        for (second, broken) in [(2, "!"), (3, ""), (4, "HISTFAAA")] {
            record.benchmarks[0].trials[0].timeline[second].hdr_v2 = broken.to_owned();
        }
        let text = log(&record);
        assert_eq!(read(&text).len(), whole - 3);
        assert!(text.contains("second 2 of trial 1 of single-event-latency cannot be read"));
    }
    #[test]
    fn an_encoding_of_any_length_is_read_back() {
        let mut latency = eventbench_core::observe::Latency::new();
        for i in 0..40_000u64 {
            latency.record_n(1_000 + i * i, 1 + i % 9_000_000);
        }
        let json = serde_json::to_value(&latency).unwrap();
        let hdr_v2 = json["hdr_v2"].as_str().unwrap();
        let bytes = STANDARD.decode(encoded(hdr_v2).unwrap()).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(&back, latency.histogram());
        // Several blocks, and one that ends where a block does.
        for length in [1, 65_535, 65_536, 200_000] {
            let stream = stored(&vec![7; length]);
            let blocks = length.div_ceil(65_535);
            assert_eq!(stream.len(), 2 + blocks * 5 + length + 4, "{length}");
        }
    }
}
