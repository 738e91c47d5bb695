//! When a batch is closed: pure, so that time and count can be tested without either passing.

/// What the writer does next with the batch that it is filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commit what there is.
    Commit,
    /// Take what is waiting, at most this many events, without waiting for more.
    TakeWaiting {
        /// Room left in the batch.
        room: usize,
    },
    /// Wait until this time or until the batch can be filled, then take.
    WaitUntil {
        /// `CLOCK_MONOTONIC`, in nanoseconds.
        deadline_ns: u64,
        /// Room left in the batch.
        room: usize,
    },
}

/// Closes a batch by count, or by time since its first event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchPolicy {
    /// Events in a full batch, at least 1.
    pub(crate) count: usize,
    /// Time from the first event to the commit; zero commits as soon as nothing more is waiting.
    pub(crate) time_ns: u64,
}

impl BatchPolicy {
    /// The next step for a batch of `len` events (at least one) whose first was taken at `opened_ns`, when
    /// `waiting` more events are in the queue.
    pub(crate) fn next(&self, len: usize, waiting: usize, opened_ns: u64, now_ns: u64) -> Step {
        let room = self.count.saturating_sub(len);
        if room == 0 {
            return Step::Commit;
        }
        let deadline_ns = opened_ns.saturating_add(self.time_ns);
        if self.time_ns == 0 || now_ns >= deadline_ns || waiting >= room {
            return if waiting == 0 {
                Step::Commit
            } else {
                Step::TakeWaiting { room }
            };
        }
        Step::WaitUntil { deadline_ns, room }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_count_and_time() {
        let timed = BatchPolicy {
            count: 10,
            time_ns: 200,
        };
        let eager = BatchPolicy { count: 10, time_ns: 0 };
        let single = BatchPolicy { count: 1, time_ns: 200 };
        for (name, policy, len, waiting, now_ns, expected) in [
            ("full", timed, 10, 5, 1_000, Step::Commit),
            (
                "young",
                timed,
                3,
                0,
                1_050,
                Step::WaitUntil {
                    deadline_ns: 1_200,
                    room: 7,
                },
            ),
            (
                "young with a few waiting",
                timed,
                3,
                2,
                1_050,
                Step::WaitUntil {
                    deadline_ns: 1_200,
                    room: 7,
                },
            ),
            (
                "young, can be filled",
                timed,
                3,
                7,
                1_050,
                Step::TakeWaiting { room: 7 },
            ),
            ("due, some waiting", timed, 3, 2, 1_200, Step::TakeWaiting { room: 7 }),
            ("due, none waiting", timed, 3, 0, 1_200, Step::Commit),
            ("eager, none waiting", eager, 3, 0, 1_000, Step::Commit),
            ("eager, some waiting", eager, 3, 1, 1_000, Step::TakeWaiting { room: 7 }),
            ("one a commit", single, 1, 9, 1_000, Step::Commit),
        ] {
            assert_eq!(policy.next(len, waiting, 1_000, now_ns), expected, "{name}");
        }
    }
}
