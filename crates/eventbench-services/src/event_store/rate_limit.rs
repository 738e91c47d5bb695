//! Keeps a flood of bad events from becoming a flood of log lines.

use crate::platform::monotonic_ns;

const INTERVAL_NS: u64 = 1_000_000_000;

/// Lets one line pass a second and counts the others.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    last_ns: Option<u64>,
    suppressed: u64,
}

impl RateLimit {
    /// `Some(lines left out since the last one)` if a line may be logged now.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        self.pass_at(monotonic_ns())
    }

    fn pass_at(&mut self, now_ns: u64) -> Option<u64> {
        if self
            .last_ns
            .is_some_and(|last_ns| now_ns.saturating_sub(last_ns) < INTERVAL_NS)
        {
            self.suppressed += 1;
            return None;
        }
        self.last_ns = Some(now_ns);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes_and_counts_the_rest() {
        let mut limit = RateLimit::default();
        assert_eq!(limit.pass_at(5), Some(0));
        assert_eq!(limit.pass_at(6), None);
        assert_eq!(limit.pass_at(INTERVAL_NS), None);
        assert_eq!(limit.pass_at(INTERVAL_NS + 5), Some(2));
        assert_eq!(limit.pass_at(3 * INTERVAL_NS), Some(0));
    }
}
