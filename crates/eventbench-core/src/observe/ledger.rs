//! The ledger: what became of every event, by stream and sequence number.
//!
//! The sending side and the observing side each fill their own half without knowing of the other; closing the books
//! puts the halves together. Law: published = delivered once + lost; duplicates stand apart.

use super::SeqSet;
use serde::{Deserialize, Serialize};

/// The sender's half for one stream.
#[derive(Debug, Clone, Default)]
pub struct StreamSent {
    /// Sequence numbers handed to the system.
    pub sent: SeqSet,
    /// Those among them that the system confirmed.
    pub acked: SeqSet,
}

/// The observer's half for one stream.
#[derive(Debug, Clone, Default)]
pub struct StreamSeen {
    /// Sequence numbers seen.
    pub seen: SeqSet,
    /// Sightings beyond the first of the same event.
    pub duplicates: u64,
    /// First sightings of an event after a later one of the same stream.
    pub reordered: u64,
    /// First sightings later after the intended instant than the observer's `late_after`.
    pub late: u64,
    /// One above the highest number seen.
    next: u64,
}

impl StreamSeen {
    /// Notes a sighting; `true` when it is the first of that event.
    #[inline]
    pub fn note(&mut self, seq: u64, late: bool) -> bool {
        if !self.seen.insert(seq) {
            self.duplicates += 1;
            return false;
        }
        if seq < self.next {
            self.reordered += 1;
        } else {
            self.next = seq + 1;
        }
        self.late += u64::from(late);
        true
    }

    /// Adds what another observer saw of the same stream; an event seen by both counts as a duplicate.
    pub fn merge(&mut self, other: &StreamSeen) {
        let before = self.seen.len() + other.seen.len();
        self.seen.merge(&other.seen);
        self.duplicates += other.duplicates + (before - self.seen.len());
        self.reordered += other.reordered;
        self.late += other.late;
        self.next = self.next.max(other.next);
    }
}

/// The closed books of one stream, or of several added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamLedger {
    /// The stream's name.
    pub stream: String,
    /// Events handed to the system.
    pub sent: u64,
    /// Events that the system confirmed.
    pub acked: u64,
    /// Events seen where they must end, each counted once.
    pub delivered: u64,
    /// Sightings beyond the first.
    pub duplicates: u64,
    /// Events seen after a later one of their stream.
    pub reordered: u64,
    /// Events seen late.
    pub late: u64,
    /// Events never seen and never confirmed.
    pub lost_before_ack: u64,
    /// Events confirmed and yet never seen: the class that must be empty where delivery is promised.
    pub lost_after_ack: u64,
    /// Events seen that were not known to have been sent.
    pub unexpected: u64,
}

impl StreamLedger {
    /// Events lost, confirmed or not.
    pub fn lost(&self) -> u64 {
        self.lost_before_ack + self.lost_after_ack
    }

    /// Adds another stream's or trial's books: the only place where two are added up.
    pub fn add(&mut self, other: &StreamLedger) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.late += other.late;
        self.lost_before_ack += other.lost_before_ack;
        self.lost_after_ack += other.lost_after_ack;
        self.unexpected += other.unexpected;
    }
}

/// The closed books of a trial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// All streams together.
    pub total: StreamLedger,
    /// By name, in the order of the plan; streams of one name are added up.
    pub streams: Vec<StreamLedger>,
    /// Sightings with a stamp of another run or of a stream that does not exist.
    pub foreign: u64,
    /// Sightings without an intact stamp, or whose content is not what was sent.
    pub corrupt: u64,
    /// The first few lost events as `stream:sequence`.
    pub lost_examples: Vec<String>,
}

/// One stream's two halves, to be closed.
pub struct Close<'a> {
    /// The stream's name.
    pub name: &'a str,
    /// The sender's half.
    pub sent: &'a StreamSent,
    /// The observer's half; `None` where the driver's own confirmation is the end of the event.
    pub seen: Option<&'a StreamSeen>,
}

impl Ledger {
    /// Puts the halves together; `on_lost` hears the stream's index, the sequence number and whether it was confirmed.
    pub fn close(streams: &[Close<'_>], mut on_lost: impl FnMut(u32, u64, bool)) -> Ledger {
        const EXAMPLES: usize = 10;
        let mut ledger = Ledger {
            total: StreamLedger {
                stream: "all".to_owned(),
                ..Default::default()
            },
            ..Default::default()
        };
        for (index, stream) in streams.iter().enumerate() {
            let mut book = StreamLedger {
                stream: stream.name.to_owned(),
                sent: stream.sent.sent.len(),
                acked: stream.sent.acked.len(),
                ..Default::default()
            };
            let end = match stream.seen {
                Some(seen) => {
                    book.duplicates = seen.duplicates;
                    book.reordered = seen.reordered;
                    book.late = seen.late;
                    &seen.seen
                }
                None => &stream.sent.acked,
            };
            let sent = &stream.sent.sent;
            if end.len() == sent.len() && end.complete_below() == sent.len() && sent.complete_below() == sent.len() {
                book.delivered = sent.len();
            } else {
                let top = sent.len().max(end.len()).max(highest(sent)).max(highest(end));
                for seq in 0..top {
                    match (sent.contains(seq), end.contains(seq)) {
                        (true, true) => book.delivered += 1,
                        (false, true) => book.unexpected += 1,
                        (false, false) => {}
                        (true, false) => {
                            let acked = stream.sent.acked.contains(seq);
                            if acked {
                                book.lost_after_ack += 1;
                            } else {
                                book.lost_before_ack += 1;
                            }
                            on_lost(index as u32, seq, acked);
                            if ledger.lost_examples.len() < EXAMPLES {
                                ledger.lost_examples.push(format!("{}:{seq}", stream.name));
                            }
                        }
                    }
                }
            }
            ledger.total.add(&book);
            match ledger.streams.iter_mut().find(|s| s.stream == book.stream) {
                Some(same) => same.add(&book),
                None => ledger.streams.push(book),
            }
        }
        ledger
    }

    /// Whether published = delivered once + lost.
    pub fn balanced(&self) -> bool {
        self.total.sent == self.total.delivered + self.total.lost()
    }
}

/// One above the highest number that may be in a set.
fn highest(set: &SeqSet) -> u64 {
    set.complete_below() + set.heap_bytes() as u64 * 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn published_is_delivered_once_plus_lost(
            events in proptest::collection::vec((any::<bool>(), 0usize..4), 0..300), // acked, times delivered
            order in any::<u64>(),
        ) {
            let (mut sent, mut seen) = (StreamSent::default(), StreamSeen::default());
            let mut sightings = Vec::new();
            for (seq, (acked, times)) in events.iter().enumerate() {
                sent.sent.insert(seq as u64);
                if *acked {
                    sent.acked.insert(seq as u64);
                }
                sightings.extend(std::iter::repeat_n(seq as u64, *times));
            }
            sightings.sort_by_key(|s| crate::mix::mix(*s ^ order));
            for seq in &sightings {
                seen.note(*seq, false);
            }
            let mut lost = 0;
            let ledger = Ledger::close(&[Close { name: "a", sent: &sent, seen: Some(&seen) }], |_, _, _| lost += 1);
            let book = &ledger.total;
            prop_assert!(ledger.balanced());
            prop_assert_eq!(book.sent, events.len() as u64);
            prop_assert_eq!(book.delivered, events.iter().filter(|e| e.1 > 0).count() as u64);
            prop_assert_eq!(book.lost_after_ack, events.iter().filter(|e| e.1 == 0 && e.0).count() as u64);
            prop_assert_eq!(book.lost_before_ack, events.iter().filter(|e| e.1 == 0 && !e.0).count() as u64);
            prop_assert_eq!(book.duplicates, sightings.len() as u64 - book.delivered);
            prop_assert_eq!(book.lost(), lost);
        }
    }

    #[test]
    fn an_event_nobody_sent_is_named() {
        let (sent, mut seen) = (StreamSent::default(), StreamSeen::default());
        seen.note(5, false);
        let ledger = Ledger::close(
            &[Close {
                name: "a",
                sent: &sent,
                seen: Some(&seen),
            }],
            |_, _, _| {},
        );
        assert_eq!(
            (ledger.total.unexpected, ledger.total.delivered, ledger.total.lost()),
            (1, 0, 0)
        );
    }
}
