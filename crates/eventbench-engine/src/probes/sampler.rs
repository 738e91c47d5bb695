//! The sampler: reads every process of a trial now and then, and turns the readings into metrics.

use super::process::{Depth, ProcessProbe, ProcessReading};
use eventbench_core::metric::{MetricKey, MetricValue, Series, Values};
use eventbench_core::observe::{SLICE_NS, Window};
use std::collections::BTreeMap;

/// The name under which the instrument itself stands among the processes.
pub const INSTRUMENT: &str = "eventbench";

/// A process to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its name, under which its metrics stand.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// The name under which it is added up with others, such as the servers of one broker.
    pub part_of: Option<&'static str>,
}

/// Readings of one name: its process may be replaced by another in the middle.
#[derive(Default)]
struct Track {
    probe: Option<ProcessProbe>,
    last: Option<ProcessReading>,
    /// CPU of processes that ended under this name.
    before: Cpu,
    readings: Vec<(u64, Cpu, ProcessReading)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    total_ns: u64,
    user_ns: u64,
    system_ns: u64,
}

/// Reads the processes of one trial.
#[derive(Default)]
pub struct Sampler {
    tracks: BTreeMap<String, Track>,
    /// What stands for several processes together.
    sums: BTreeMap<String, Track>,
    problems: Vec<String>,
}

impl Sampler {
    /// Reads every process now.
    pub fn read(&mut self, processes: &[Process], depth: Depth) {
        let own = Process {
            name: INSTRUMENT.to_owned(),
            pid: std::process::id(),
            part_of: None,
        };
        let mut parts: BTreeMap<&'static str, Vec<(Cpu, Option<ProcessReading>)>> = BTreeMap::new();
        for process in processes.iter().chain([&own]) {
            let track = self.tracks.entry(process.name.clone()).or_default();
            match track.read(process.pid, depth) {
                Ok(reading) => {
                    if let Some(whole) = process.part_of {
                        parts.entry(whole).or_default().push((track.cpu_so_far(), reading));
                    }
                }
                Err(e) => {
                    // On a system without such readings one remark is enough; their metrics then say "no data".
                    let text = e.to_string();
                    if !self.problems.contains(&text) {
                        self.problems.push(text);
                    }
                }
            }
        }
        for (whole, parts) in parts {
            self.sums.entry(whole.to_owned()).or_default().add(&parts);
        }
    }

    /// What could not be read.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// CPU that all processes but the instrument took between two instants, in nanoseconds, by the nearest readings.
    pub fn system_cpu_ns(&self, from_ns: u64, until_ns: u64) -> Option<u64> {
        let mut total = 0;
        for (name, track) in &self.tracks {
            if name != INSTRUMENT {
                total += track.cpu_between(from_ns, until_ns)?.0.total_ns;
            }
        }
        Some(total)
    }

    /// Puts the resident memory of every process over the number of events that had ended into the trial's values.
    pub fn by_events(&self, window: &Window, slices: &[u64], values: &mut Values) {
        let done_by = |at_ns: u64| {
            let slice = (at_ns.saturating_sub(window.start_ns) / SLICE_NS) as usize;
            slices.iter().take(slice).sum::<u64>() as f64
        };
        let measured_from = done_by(window.measure_from_ns);
        for (name, track) in self.tracks.iter().chain(&self.sums) {
            let inside = track.readings.iter().filter(|r| r.0 <= window.measure_until_ns);
            let points: Vec<(f64, f64)> = inside
                .map(|(at_ns, _, r)| (done_by(*at_ns), r.rss_bytes as f64))
                .collect();
            if points.iter().any(|p| p.0 > measured_from) {
                values.put(
                    MetricKey::tagged("rss.events", "process", name),
                    MetricValue::Series(Series {
                        points,
                        measured_from_s: measured_from,
                    }),
                );
            }
        }
    }

    /// Puts the metrics of every process into the trial's values. `events` ended in the measured phase, the last of them
    /// by `ended_ns`.
    pub fn values(&self, window: &Window, ended_ns: u64, events: u64, values: &mut Values) {
        let mut system = Vec::new();
        let single = self.tracks.iter().map(|(name, track)| (name, track, false));
        let sums = self.sums.iter().map(|(name, track)| (name, track, true));
        for (name, track, is_sum) in single.chain(sums) {
            let put = |values: &mut Values, metric: &str, value: f64| {
                values.put(MetricKey::tagged(metric, "process", name), MetricValue::Gauge(value));
            };
            if let Some((cpu, seconds)) = track.cpu_between(window.measure_from_ns, window.measure_until_ns) {
                put(values, "cpu", cpu.total_ns as f64 / 1e9 / seconds);
                put(values, "cpu.user", cpu.user_ns as f64 / 1e9 / seconds);
                put(values, "cpu.system", cpu.system_ns as f64 / 1e9 / seconds);
                if name == INSTRUMENT {
                    values.gauge("instrument.cpu", cpu.total_ns as f64 / 1e9 / seconds);
                } else if !is_sum {
                    system.push((cpu, seconds));
                }
            }
            if let (Some((cpu, _)), 1..) = (
                track.cpu_between(window.measure_from_ns, ended_ns.max(window.measure_until_ns)),
                events,
            ) {
                put(values, "cpu.per_event", cpu.total_ns as f64 / events as f64);
            }
            track.series(name, window, values);
        }
        let seconds = system.iter().map(|s| s.1).fold(0.0, f64::max);
        if seconds > 0.0 {
            let total: u64 = system.iter().map(|s| s.0.total_ns).sum();
            values.put(
                MetricKey::tagged("cpu", "process", "system"),
                MetricValue::Gauge(total as f64 / 1e9 / seconds),
            );
            if let (Some(all), 1..) = (
                self.system_cpu_ns(window.measure_from_ns, ended_ns.max(window.measure_until_ns)),
                events,
            ) {
                values.put(
                    MetricKey::tagged("cpu.per_event", "process", "system"),
                    MetricValue::Gauge(all as f64 / events as f64),
                );
            }
        }
    }
}

impl Track {
    /// Reads the process; `None` when it has ended.
    fn read(&mut self, pid: u32, depth: Depth) -> Result<Option<ProcessReading>, super::process::ProcessReadError> {
        if self.probe.as_ref().is_none_or(|p| p.pid() != pid) {
            if let Some(last) = self.last.take() {
                self.before.total_ns += last.cpu_ns;
                self.before.user_ns += last.user_ns;
                self.before.system_ns += last.system_ns;
            }
            self.probe = ProcessProbe::attach(pid)?;
        }
        let Some(probe) = &self.probe else { return Ok(None) };
        let read = probe.read(depth)?;
        if let Some(reading) = &read {
            let cpu = Cpu {
                total_ns: self.before.total_ns + reading.cpu_ns,
                user_ns: self.before.user_ns + reading.user_ns,
                system_ns: self.before.system_ns + reading.system_ns,
            };
            self.last = Some(reading.clone());
            self.readings.push((reading.at_ns, cpu, reading.clone()));
        }
        Ok(read)
    }

    /// CPU of all processes of this name, up to the last reading.
    fn cpu_so_far(&self) -> Cpu {
        let last = self.last.as_ref();
        Cpu {
            total_ns: self.before.total_ns + last.map_or(0, |r| r.cpu_ns),
            user_ns: self.before.user_ns + last.map_or(0, |r| r.user_ns),
            system_ns: self.before.system_ns + last.map_or(0, |r| r.system_ns),
        }
    }

    /// Adds a reading of several processes taken together: the CPU that all took so far, also those that have ended, and
    /// what those that run hold.
    fn add(&mut self, parts: &[(Cpu, Option<ProcessReading>)]) {
        let running: Vec<&ProcessReading> = parts.iter().filter_map(|(_, reading)| reading.as_ref()).collect();
        let Some(at_ns) = running.iter().map(|r| r.at_ns).max() else {
            return;
        };
        let cpu = parts.iter().fold(Cpu::default(), |sum, (cpu, _)| Cpu {
            total_ns: sum.total_ns + cpu.total_ns,
            user_ns: sum.user_ns + cpu.user_ns,
            system_ns: sum.system_ns + cpu.system_ns,
        });
        let sum = |of: fn(&ProcessReading) -> u64| running.iter().map(|r| of(r)).sum::<u64>();
        // What is not known of one is not known of all.
        let known = |of: fn(&ProcessReading) -> Option<u64>| running.iter().map(|r| of(r)).sum::<Option<u64>>();
        let reading = ProcessReading {
            at_ns,
            cpu_ns: cpu.total_ns,
            user_ns: cpu.user_ns,
            system_ns: cpu.system_ns,
            rss_bytes: sum(|r| r.rss_bytes),
            pss_bytes: known(|r| r.pss_bytes),
            vms_bytes: sum(|r| r.vms_bytes),
            fds: known(|r| r.fds),
            threads: sum(|r| r.threads),
            voluntary_switches: known(|r| r.voluntary_switches),
            involuntary_switches: known(|r| r.involuntary_switches),
        };
        self.readings.push((at_ns, cpu, reading));
    }

    /// CPU between the readings nearest to two instants, and the seconds between those readings.
    fn cpu_between(&self, from_ns: u64, until_ns: u64) -> Option<(Cpu, f64)> {
        let nearest = |at: u64| self.readings.iter().min_by_key(|r| r.0.abs_diff(at));
        let (from, until) = (nearest(from_ns)?, nearest(until_ns)?);
        let seconds = until.0.checked_sub(from.0).filter(|ns| *ns > 0)? as f64 / 1e9;
        let cpu = Cpu {
            total_ns: until.1.total_ns.saturating_sub(from.1.total_ns),
            user_ns: until.1.user_ns.saturating_sub(from.1.user_ns),
            system_ns: until.1.system_ns.saturating_sub(from.1.system_ns),
        };
        Some((cpu, seconds))
    }

    fn series(&self, name: &str, window: &Window, values: &mut Values) {
        let measured_from_s = (window.measure_from_ns - window.start_ns) as f64 / 1e9;
        // The drain is not part of what is measured: readings end with the phase.
        let points = |of: &dyn Fn(&ProcessReading) -> Option<f64>| -> Vec<(f64, f64)> {
            let until = window.measure_until_ns + 20_000_000;
            let inside = self.readings.iter().filter(|r| r.0 <= until);
            inside
                .filter_map(|(at, _, r)| Some((at.saturating_sub(window.start_ns) as f64 / 1e9, of(r)?)))
                .collect()
        };
        type Of = fn(&ProcessReading) -> Option<f64>;
        let metrics: [(&str, Of); 5] = [
            ("rss", |r| Some(r.rss_bytes as f64)),
            ("pss", |r| r.pss_bytes.map(|b| b as f64)),
            ("vms", |r| Some(r.vms_bytes as f64)),
            ("fds", |r| r.fds.map(|n| n as f64)),
            ("threads", |r| Some(r.threads as f64)),
        ];
        for (metric, of) in metrics {
            let points = points(&of);
            if !points.is_empty() {
                values.put(
                    MetricKey::tagged(metric, "process", name),
                    MetricValue::Series(Series {
                        points,
                        measured_from_s,
                    }),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_ns: u64, cpu_ns: u64, rss_bytes: u64) -> ProcessReading {
        ProcessReading {
            at_ns,
            cpu_ns,
            user_ns: cpu_ns,
            system_ns: 0,
            rss_bytes,
            pss_bytes: None,
            vms_bytes: 0,
            fds: Some(3),
            threads: 1,
            voluntary_switches: None,
            involuntary_switches: None,
        }
    }

    #[test]
    fn of_processes_taken_together_the_cpu_of_one_that_ended_stays_and_its_memory_goes() {
        let cpu = |total_ns| Cpu {
            total_ns,
            user_ns: total_ns,
            system_ns: 0,
        };
        let mut sum = Track::default();
        sum.add(&[
            (cpu(100), Some(reading(10, 100, 7))),
            (cpu(200), Some(reading(12, 200, 8))),
        ]);
        sum.add(&[(cpu(150), None), (cpu(250), Some(reading(20, 250, 8)))]);
        sum.add(&[(cpu(150), None), (cpu(250), None)]);
        let seen: Vec<(u64, u64, u64, Option<u64>)> = sum
            .readings
            .iter()
            .map(|(at, cpu, r)| (*at, cpu.total_ns, r.rss_bytes, r.fds))
            .collect();
        assert_eq!(seen, [(12, 300, 15, Some(6)), (20, 400, 8, Some(3))]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn several_processes_stand_apart_and_together_but_the_system_counts_them_once() {
        let mut sampler = Sampler::default();
        let own = |name: &str| Process {
            name: name.to_owned(),
            pid: std::process::id(),
            part_of: Some("broker"),
        };
        let both = [own("broker-1"), own("broker-2")];
        sampler.read(&both, Depth::Light);
        let begun = crate::linux::monotonic_ns();
        // Something to be measured; its result keeps it from being left out.
        let work: u64 = (0..20_000_000_u64).fold(0, |sum, k| std::hint::black_box(sum ^ k));
        std::hint::black_box(work);
        let ended = crate::linux::monotonic_ns();
        sampler.read(&both, Depth::Light);
        let window = Window {
            start_ns: begun,
            measure_from_ns: begun,
            measure_until_ns: ended,
        };
        let mut values = Values::default();
        sampler.values(&window, ended, 1, &mut values);
        let of = |process: &str| {
            values
                .number(&MetricKey::tagged("cpu.per_event", "process", process))
                .unwrap()
        };
        // Each is the whole of this process, read one after the other.
        let (parts, whole, system) = (of("broker-1") + of("broker-2"), of("broker"), of("system"));
        assert!(
            whole > 0.0 && (whole - parts).abs() < 0.01 * parts + 1.0,
            "{whole} {parts}"
        );
        assert!((system - whole).abs() < 0.01 * whole + 1.0, "{system} {whole}");
    }
}
