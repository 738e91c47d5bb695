//! A circuit breaker: keeps calls away from an instance that fails, and lets one through now and then to see whether it
//! has recovered. Pure: time is handed in.

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerSettings {
    /// Failures in a row that open it.
    pub(crate) failures: u32,
    /// How long it stays open, in nanoseconds.
    pub(crate) open_ns: u64,
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Every call; so many have failed since the last success.
    Closed { failures: u32 },
    /// None before this instant.
    Open { until_ns: u64 },
    /// The one call that is under way.
    HalfOpen,
}

/// The breaker of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Breaker {
        Breaker {
            settings,
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether a call would be let through now.
    pub(crate) fn admits(&self, now_ns: u64) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until_ns } => now_ns >= until_ns,
            State::HalfOpen => false,
        }
    }

    /// A call that [`Breaker::admits`] let through has begun.
    pub(crate) fn begin(&mut self) {
        if let State::Open { .. } = self.state {
            self.state = State::HalfOpen;
        }
    }

    /// A call has succeeded: the instance works, whatever was believed of it.
    pub(crate) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A call has failed.
    pub(crate) fn failed(&mut self, now_ns: u64) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.settings.failures => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } | State::HalfOpen => State::Open {
                until_ns: now_ns.saturating_add(self.settings.open_ns),
            },
            // A call from before it opened; it says nothing new.
            open @ State::Open { .. } => open,
        };
    }

    /// A call was given up before its end. If it was the one that was to tell, the next one is.
    pub(crate) fn abandoned(&mut self, now_ns: u64) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until_ns: now_ns };
        }
    }

    /// The state in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen => "half-open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: 3,
        open_ns: 100,
    };

    #[test]
    fn failures_in_a_row_open_it_and_one_success_between_them_does_not() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..5 {
            breaker.failed(0);
            breaker.failed(0);
            breaker.succeeded();
        }
        assert_eq!((breaker.name(), breaker.admits(0)), ("closed", true));
        for _ in 0..3 {
            breaker.failed(10);
        }
        assert_eq!(
            (breaker.name(), breaker.admits(109), breaker.admits(110)),
            ("open", false, true)
        );
        // One that had begun before fails late: the time does not begin anew.
        breaker.failed(100);
        assert!(breaker.admits(110));
    }

    #[test]
    fn one_call_tells_whether_it_closes_again() {
        let opened = || {
            let mut breaker = Breaker::new(SETTINGS);
            (0..3).for_each(|_| breaker.failed(0));
            breaker.begin();
            assert_eq!((breaker.name(), breaker.admits(1_000)), ("half-open", false));
            breaker
        };
        let mut breaker = opened();
        breaker.succeeded();
        assert_eq!(breaker.name(), "closed");
        breaker.failed(0);
        assert!(breaker.admits(0), "the failures from before count no more");

        let mut breaker = opened();
        breaker.failed(500);
        assert_eq!((breaker.admits(599), breaker.admits(600)), (false, true));

        let mut breaker = opened();
        breaker.abandoned(500);
        assert!(breaker.admits(500), "the next call tells instead");
    }
}
