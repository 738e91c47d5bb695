//! Tickets: one for each event that is meant to be sent, and the books that every ticket must be settled in.

/// How an event ended for the driver that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The system confirmed it: a reply, an acknowledgement, a flush answered by the server.
    Acked,
    /// The system refused it.
    Rejected,
    /// No answer within the time-out.
    TimedOut,
    /// The connection was lost with the event under way.
    Disconnected,
}

/// Every outcome a driver can settle with; a ticket that meets none of them is abandoned.
pub const OUTCOMES: [Outcome; 4] = [
    Outcome::Acked,
    Outcome::Rejected,
    Outcome::TimedOut,
    Outcome::Disconnected,
];

/// The right, and the duty, to send one event. Minted by the pacer only, and not `Clone`: it is settled with an
/// [`Outcome`] or, dropped or left over at the deadline, counts as abandoned.
#[derive(Debug)]
#[must_use = "a ticket that is dropped counts as abandoned"]
pub struct Ticket {
    /// The stream it belongs to.
    pub stream: u32,
    /// Its number within the stream, from 0.
    pub seq: u64,
    /// The virtual user whose task it is; 0 where there are none.
    pub user: u32,
    /// When it is meant to be sent.
    pub intended_ns: u64,
    /// When it was sent; 0 until then.
    pub sent_ns: u64,
    /// Whether it falls into the measured phase rather than the warm-up.
    pub measured: bool,
}

/// What became of the tickets of one lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tickets minted.
    pub offered: u64,
    /// Tickets whose event was handed to the system.
    pub sent: u64,
    /// Tickets settled, by [`Outcome`] in the order of [`OUTCOMES`].
    settled: [u64; 4],
}

impl Tally {
    /// Counts a minted ticket.
    #[inline]
    pub fn mint(&mut self) {
        self.offered += 1;
    }

    /// Counts a sent one.
    #[inline]
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// Counts a settled one.
    #[inline]
    pub fn settle(&mut self, outcome: Outcome) {
        self.settled[outcome as usize] += 1;
    }

    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.settled[outcome as usize]
    }

    /// How many have ended in any way.
    pub fn total_settled(&self) -> u64 {
        self.settled.iter().sum()
    }

    /// Tickets that met no outcome: offered = acked + rejected + timed out + disconnected + abandoned.
    pub fn abandoned(&self) -> u64 {
        self.offered.saturating_sub(self.total_settled())
    }

    /// Whether nothing was settled or sent that was not offered.
    pub fn balanced(&self) -> bool {
        self.total_settled() <= self.offered && self.sent <= self.offered
    }

    /// Adds another lane's tally: the only place where two are put together.
    pub fn merge(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.sent += other.sent;
        for (mine, theirs) in self.settled.iter_mut().zip(other.settled) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_books_close_whatever_becomes_of_the_tickets(ends in proptest::collection::vec(proptest::option::of(0usize..4), 0..200), split in 0usize..200) {
            let mut parts = [Tally::default(), Tally::default()];
            let mut whole = Tally::default();
            for (i, end) in ends.iter().enumerate() {
                for tally in [&mut parts[usize::from(i >= split)], &mut whole] {
                    tally.mint();
                    if let Some(outcome) = end {
                        tally.sent();
                        tally.settle(OUTCOMES[*outcome]);
                    }
                }
            }
            let settled: u64 = OUTCOMES.iter().map(|o| whole.count(*o)).sum();
            prop_assert_eq!(whole.offered, settled + whole.abandoned());
            prop_assert_eq!(whole.abandoned(), ends.iter().filter(|e| e.is_none()).count() as u64);
            prop_assert!(whole.balanced());
            let [mut left, right] = parts;
            left.merge(&right);
            prop_assert_eq!(left, whole);
        }
    }
}
