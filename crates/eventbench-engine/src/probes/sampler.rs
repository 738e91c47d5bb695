//! The sampler: reads every process of a trial now and then, and turns the readings into metrics.

use super::process::{Depth, ProcessProbe, ProcessReading};
use eventbench_core::metric::{MetricKey, MetricValue, Series, Values};
use eventbench_core::observe::Window;
use std::collections::BTreeMap;

/// The name under which the instrument itself stands among the processes.
pub const INSTRUMENT: &str = "eventbench";

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
    problems: Vec<String>,
}

impl Sampler {
    /// Reads every process at about `now_ns`.
    pub fn read(&mut self, processes: &[(String, u32)], depth: Depth) {
        let own = (INSTRUMENT.to_owned(), std::process::id());
        for (name, pid) in processes.iter().chain([&own]) {
            let track = self.tracks.entry(name.clone()).or_default();
            if let Err(e) = track.read(*pid, depth) {
                // On a system without such readings one remark is enough; their metrics then say "no data".
                let text = e.to_string();
                if !self.problems.contains(&text) {
                    self.problems.push(text);
                }
            }
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

    /// Puts the metrics of every process into the trial's values. `events` ended in the measured phase, the last of them
    /// by `ended_ns`.
    pub fn values(&self, window: &Window, ended_ns: u64, events: u64, values: &mut Values) {
        let mut system = Vec::new();
        for (name, track) in &self.tracks {
            let put = |values: &mut Values, metric: &str, value: f64| {
                values.put(MetricKey::tagged(metric, "process", name), MetricValue::Gauge(value));
            };
            if let Some((cpu, seconds)) = track.cpu_between(window.measure_from_ns, window.measure_until_ns) {
                put(values, "cpu", cpu.total_ns as f64 / 1e9 / seconds);
                put(values, "cpu.user", cpu.user_ns as f64 / 1e9 / seconds);
                put(values, "cpu.system", cpu.system_ns as f64 / 1e9 / seconds);
                if name == INSTRUMENT {
                    values.gauge("instrument.cpu", cpu.total_ns as f64 / 1e9 / seconds);
                } else {
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
    fn read(&mut self, pid: u32, depth: Depth) -> Result<(), super::process::ProcessReadError> {
        if self.probe.as_ref().is_none_or(|p| p.pid() != pid) {
            if let Some(last) = self.last.take() {
                self.before.total_ns += last.cpu_ns;
                self.before.user_ns += last.user_ns;
                self.before.system_ns += last.system_ns;
            }
            self.probe = ProcessProbe::attach(pid)?;
        }
        let Some(probe) = &self.probe else { return Ok(()) };
        if let Some(reading) = probe.read(depth)? {
            let cpu = Cpu {
                total_ns: self.before.total_ns + reading.cpu_ns,
                user_ns: self.before.user_ns + reading.user_ns,
                system_ns: self.before.system_ns + reading.system_ns,
            };
            self.last = Some(reading.clone());
            self.readings.push((reading.at_ns, cpu, reading));
        }
        Ok(())
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
