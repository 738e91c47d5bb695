//! What a node reads of its machine: CPU, memory and disk; cached for a while, and read where it holds nobody up.
//!
//! A reading opens files of the system and may take milliseconds, so it belongs on a thread for what blocks. To read on the
//! runtime's own thread is offered too, because a benchmark that cannot see the difference is worth nothing.

use crate::platform::{monotonic_ns, nanos};
use crate::workflow::registry::membership::Resources;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use sysinfo::System;
use tokio::sync::Semaphore;

/// Where and how often readings are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// On a thread for what blocks, at most once in the time to live
    Cached,
    /// On a thread for what blocks, for every beat
    Fresh,
    /// On the thread that runs everything else, for every beat: the mistake that the ticks must catch
    Blocking,
}

/// How all nodes of a process read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) how: How,
    pub(crate) ttl: Duration,
    /// Read again and again for this long, so that a reading takes as long as on a machine where it is slow.
    pub(crate) takes: Duration,
    /// How many readings may be made at a time.
    pub(crate) gate: Arc<Semaphore>,
}

/// One reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) resources: Resources,
    /// Whether it came from the cache.
    pub(crate) cached: bool,
    /// From the wish to the result, in nanoseconds.
    pub(crate) took_ns: u64,
}

/// What one node reads from.
#[derive(Debug)]
pub(crate) struct Source {
    settings: Settings,
    sampler: Arc<Mutex<Sampler>>,
    /// The last reading and its instant.
    last: Mutex<Option<(u64, Resources)>>,
    /// Held while a reading is made, so that whoever comes meanwhile waits for that one.
    reading: tokio::sync::Mutex<()>,
}

impl Source {
    pub(crate) fn new(settings: Settings) -> Source {
        Source {
            settings,
            sampler: Arc::default(),
            last: Mutex::new(None),
            reading: tokio::sync::Mutex::new(()),
        }
    }

    /// Reads; with `fresh` never from the cache.
    ///
    /// # Errors
    /// A sentence, if the system does not tell.
    pub(crate) async fn read(&self, fresh: bool) -> Result<Reading, String> {
        let begin_ns = monotonic_ns();
        let cacheable = !fresh && self.settings.how == How::Cached;
        if cacheable && let Some(resources) = self.cached(begin_ns) {
            return Ok(reading(resources, true, begin_ns));
        }
        let _only = self.reading.lock().await;
        if cacheable && let Some(resources) = self.cached(begin_ns) {
            return Ok(reading(resources, true, begin_ns));
        }
        let (sampler, takes) = (Arc::clone(&self.sampler), self.settings.takes);
        let resources = if self.settings.how == How::Blocking {
            lock(&sampler).read_for(takes)?
        } else {
            let permit = Arc::clone(&self.settings.gate).acquire_owned().await;
            let permit = permit.map_err(|cause| cause.to_string())?;
            let read = tokio::task::spawn_blocking(move || {
                let read = lock(&sampler).read_for(takes);
                drop(permit);
                read
            });
            read.await.map_err(|cause| cause.to_string())??
        };
        *lock(&self.last) = Some((monotonic_ns(), resources));
        Ok(reading(resources, false, begin_ns))
    }

    /// The last reading, if it is young enough.
    fn cached(&self, now_ns: u64) -> Option<Resources> {
        let last = *lock(&self.last);
        let (read_ns, resources) = last?;
        (now_ns.saturating_sub(read_ns) < nanos(self.settings.ttl)).then_some(resources)
    }

    /// The last reading, however old.
    pub(crate) fn last(&self) -> Option<Resources> {
        lock(&self.last).map(|(_, resources)| resources)
    }
}

fn reading(resources: Resources, cached: bool, begin_ns: u64) -> Reading {
    Reading {
        resources,
        cached,
        took_ns: monotonic_ns().saturating_sub(begin_ns),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the machine. The share of the CPU is that since the last reading, or the last but one if that is not 200 ms ago.
#[derive(Debug, Default)]
struct Sampler {
    system: Option<System>,
}

impl Sampler {
    /// Reads at least once, and until `takes` has passed.
    fn read_for(&mut self, takes: Duration) -> Result<Resources, String> {
        let until_ns = monotonic_ns().saturating_add(nanos(takes));
        loop {
            let resources = self.read()?;
            if monotonic_ns() >= until_ns {
                return Ok(resources);
            }
        }
    }

    fn read(&mut self) -> Result<Resources, String> {
        let system = match &mut self.system {
            Some(system) => system,
            none => none.insert(System::new().map_err(|cause| cause.to_string())?),
        };
        system.refresh_cpu_usage();
        system.refresh_memory();
        let cpu_percent = system.global_cpu_usage();
        let disk = rustix::fs::statvfs("/").map_err(|cause| format!("the disk: {cause}"))?;
        Ok(Resources {
            // Before there is a difference to divide by, there is no share.
            cpu_percent: if cpu_percent.is_finite() {
                cpu_percent.clamp(0.0, 100.0)
            } else {
                0.0
            },
            memory_used_bytes: system.used_memory(),
            memory_total_bytes: system.total_memory(),
            disk_free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            disk_total_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(how: How, ttl: Duration) -> Source {
        Source::new(Settings {
            how,
            ttl,
            takes: Duration::ZERO,
            gate: Arc::new(Semaphore::new(2)),
        })
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn a_reading_is_of_this_machine_and_is_kept_for_its_time_to_live() {
        let cached = source(How::Cached, HOUR);
        let first = cached.read(false).await.unwrap();
        assert!(!first.cached);
        let read = first.resources;
        assert!((0.0..=100.0).contains(&read.cpu_percent), "{read:?}");
        assert!(read.memory_used_bytes > 0 && read.memory_used_bytes <= read.memory_total_bytes);
        assert!(read.disk_free_bytes <= read.disk_total_bytes && read.disk_total_bytes > 0);
        let second = cached.read(false).await.unwrap();
        assert!(second.cached);
        assert_eq!(second.resources, read);
        assert!(!cached.read(true).await.unwrap().cached);
        assert!(cached.last().is_some());
        let short = source(How::Cached, Duration::ZERO);
        assert!(!short.read(false).await.unwrap().cached && !short.read(false).await.unwrap().cached);
    }

    #[tokio::test]
    async fn whoever_wants_a_reading_while_one_is_made_gets_that_one() {
        let source = source(How::Cached, HOUR);
        let (a, b) = tokio::join!(source.read(false), source.read(false));
        assert!(!a.unwrap().cached && b.unwrap().cached);
    }

    #[tokio::test]
    async fn without_a_cache_every_reading_is_made() {
        for how in [How::Fresh, How::Blocking] {
            let source = source(how, HOUR);
            for _ in 0..2 {
                assert!(!source.read(false).await.unwrap().cached, "{how:?}");
            }
        }
    }
}
