//! Trying out what figures depend on: how late a sleep ends here, and how long a write to disk takes.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use crate::linux;

/// Why a trial could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No file can be written there.
    #[error("cannot write to {}: {cause}; choose another directory", path.display())]
    Disk {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The system refused a thread or a setting.
    #[error("cannot try out sleeping: {cause}")]
    Sleep {
        /// The system's answer.
        cause: io::Error,
    },
}

/// How late sleeps ended, in nanoseconds after the instant asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SleepTrial {
    /// How many sleeps were made.
    pub sleeps: usize,
    /// The median.
    pub p50_ns: u64,
    /// The 99th percentile (nearest rank).
    pub p99_ns: u64,
    /// The worst.
    pub max_ns: u64,
}

/// How long a write of 4 KiB took until it was on the disk, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskTrial {
    /// How many writes were made.
    pub writes: usize,
    /// The median.
    pub p50_ns: u64,
    /// The worst.
    pub max_ns: u64,
}

/// Sleeps `sleeps` times for `length_ns` to an absolute instant, in a thread of its own with the given timer slack
/// (`None` leaves the one that threads have here), and tells how late the ends were.
///
/// # Errors
/// [`TrialError::Sleep`]; also where timer slack is not offered and one is asked for.
pub fn sleep_trial(sleeps: usize, length_ns: u64, slack_ns: Option<NonZeroU64>) -> Result<SleepTrial, TrialError> {
    let failed = |cause| TrialError::Sleep { cause };
    // Timer slack belongs to a thread; the caller keeps its own.
    let thread = std::thread::Builder::new().name("sleep-trial".into()).spawn(move || {
        if slack_ns.is_some() {
            linux::set_timer_slack_ns(slack_ns)?;
        }
        let mut late = Vec::with_capacity(sleeps);
        for _ in 0..sleeps {
            let due_ns = linux::monotonic_ns() + length_ns;
            linux::sleep_until_ns(due_ns);
            late.push(linux::monotonic_ns().saturating_sub(due_ns));
        }
        Ok(late)
    });
    let late = thread
        .map_err(failed)?
        .join()
        .map_err(|_| failed(io::Error::other("its thread ended early")))?;
    let mut late: Vec<u64> = late.map_err(failed)?;
    late.sort_unstable();
    Ok(SleepTrial {
        sleeps,
        p50_ns: rank(&late, 0.5),
        p99_ns: rank(&late, 0.99),
        max_ns: late.last().copied().unwrap_or(0),
    })
}

/// Writes 4 KiB and waits for the disk (`fsync`), `writes` times one after the other, to a file in `dir` that is removed
/// again.
///
/// # Errors
/// [`TrialError::Disk`].
pub fn disk_trial(dir: &Path, writes: usize) -> Result<DiskTrial, TrialError> {
    let mut took = timed_writes(dir, writes).map_err(|cause| TrialError::Disk {
        path: dir.to_owned(),
        cause,
    })?;
    took.sort_unstable();
    Ok(DiskTrial {
        writes,
        p50_ns: rank(&took, 0.5),
        max_ns: took.last().copied().unwrap_or(0),
    })
}

fn timed_writes(dir: &Path, writes: usize) -> io::Result<Vec<u64>> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let mut block = [0u8; 4096];
    let mut took = Vec::with_capacity(writes);
    for k in 0..writes {
        // Other content each time, so that nothing below can skip the write.
        block.fill((k % 251) as u8 + 1);
        let from_ns = linux::monotonic_ns();
        file.write_all(&block)?;
        file.sync_all()?;
        took.push(linux::monotonic_ns() - from_ns);
        if file.stream_position()? >= 4 * 1024 * 1024 {
            file.rewind()?;
        }
    }
    Ok(took)
}

/// The smallest value that at least the share `q` of `sorted` does not exceed; 0 of nothing.
fn rank(sorted: &[u64], q: f64) -> u64 {
    let at = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_taken() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(
            (rank(&values, 0.5), rank(&values, 0.99), rank(&values, 1.0)),
            (100, 198, 200)
        );
        assert_eq!((rank(&[7], 0.5), rank(&[], 0.5)), (7, 0));
    }

    #[test]
    fn sleeps_are_tried_out_without_touching_the_callers_thread() {
        let trial = sleep_trial(20, 200_000, None).unwrap();
        assert!(trial.sleeps == 20 && trial.p50_ns <= trial.p99_ns && trial.p99_ns <= trial.max_ns && trial.max_ns > 0);
        if linux::HAS_PROC {
            let mine = linux::timer_slack_ns().unwrap();
            sleep_trial(5, 200_000, NonZeroU64::new(1)).unwrap();
            assert_eq!(linux::timer_slack_ns().unwrap(), mine);
        }
    }

    #[test]
    fn a_disk_is_tried_out_and_left_clean_and_a_missing_directory_named() {
        let dir = tempfile::tempdir().unwrap();
        let trial = disk_trial(dir.path(), 8).unwrap();
        assert!(trial.writes == 8 && trial.p50_ns > 0 && trial.p50_ns <= trial.max_ns);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let missing = dir.path().join("missing");
        let said = disk_trial(&missing, 1).unwrap_err().to_string();
        assert!(said.contains("missing") && said.contains("another directory"), "{said}");
    }
}
