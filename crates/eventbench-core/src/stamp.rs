//! The identity of an event, carried inside its payload and encoded once, here.
//!
//! A stamp is 52 printable characters, `eb1.` and 48 lower-case hexadecimal digits (three 64-bit words), which survive JSON, MessagePack,
//! a header, an SQL text column and a log line. It tells run, stream, sequence number, the instant at which the event
//! was meant to be sent and how late it really was, and carries a check so that a damaged one is not taken for another.
//!
//! | word | bits |
//! |---|---|
//! | 0 | run (24), stream (16), lateness in units of 1,024 ns, saturating (24) |
//! | 1 | sequence (40), check (24) |
//! | 2 | intended instant, nanoseconds of `CLOCK_MONOTONIC` (64) |

use crate::mix::mix3;

/// Bytes of an encoded stamp.
pub const STAMP_LEN: usize = 52;
const MARK: &[u8; 4] = b"eb1.";
const RUN_MASK: u64 = 0xff_ffff;
const LATE_MASK: u64 = 0xff_ffff;

/// The identity of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which trial of which run: 24 bits.
    pub run: u32,
    /// The stream: 16 bits.
    pub stream: u32,
    /// The sequence number within the stream, from 0: 40 bits.
    pub seq: u64,
    /// When the event was meant to be sent, in nanoseconds of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
    /// How much later it was sent, in nanoseconds, to the nearest 1,024 below; saturates at 17 s.
    pub late_ns: u64,
}

impl Stamp {
    /// The 52 bytes of this stamp.
    #[inline]
    pub fn encode(&self) -> [u8; STAMP_LEN] {
        let late = (self.late_ns >> 10).min(LATE_MASK);
        let w0 = (u64::from(self.run) & RUN_MASK) << 40 | (u64::from(self.stream) & 0xffff) << 24 | late;
        let w1 = self.seq << 24;
        let w1 = w1 | check(w0, w1, self.intended_ns);
        let mut out = [0u8; STAMP_LEN];
        out[..4].copy_from_slice(MARK);
        out[4..20].copy_from_slice(&hex16(w0));
        out[20..36].copy_from_slice(&hex16(w1));
        out[36..52].copy_from_slice(&hex16(self.intended_ns));
        out
    }

    /// Reads a stamp from exactly the bytes that [`Stamp::encode`] wrote; `None` when they are not one or are damaged.
    pub fn decode(bytes: &[u8]) -> Option<Stamp> {
        if bytes.len() < STAMP_LEN || &bytes[..4] != MARK {
            return None;
        }
        let w0 = unhex16(&bytes[4..20])?;
        let w1 = unhex16(&bytes[20..36])?;
        let intended_ns = unhex16(&bytes[36..52])?;
        if w1 & RUN_MASK != check(w0, w1 & !RUN_MASK, intended_ns) {
            return None;
        }
        Some(Stamp {
            run: (w0 >> 40) as u32,
            stream: (w0 >> 24) as u32 & 0xffff,
            late_ns: (w0 & LATE_MASK) << 10,
            seq: w1 >> 24,
            intended_ns,
        })
    }

    /// Finds the first intact stamp anywhere in `bytes`; the offset at which it starts comes with it.
    pub fn find(bytes: &[u8]) -> Option<(usize, Stamp)> {
        // Nearly always it is in the first place that looks like one; the loop is for hostile look-alikes.
        memchr::memmem::find_iter(bytes, MARK).find_map(|at| Stamp::decode(&bytes[at..]).map(|stamp| (at, stamp)))
    }
}

fn check(w0: u64, w1: u64, w2: u64) -> u64 {
    mix3(w0, w1, w2) & RUN_MASK
}

/// Sixteen hexadecimal digits of a word, without a table or a branch: the nibbles are spread over 16 bytes and
/// those above 9 moved up to the letters.
#[inline]
fn hex16(word: u64) -> [u8; 16] {
    let spread = |half: u32| -> u64 {
        let x = u64::from(half);
        let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        let x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
        let x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // 0x06 carries into bit 4 exactly for nibbles above 9; 0x27 lifts '0' + 10 to 'a'.
        let letters = ((x + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        x + 0x3030_3030_3030_3030 + letters * 0x27
    };
    let mut out = [0u8; 16];
    out[..8].copy_from_slice(&spread((word >> 32) as u32).to_be_bytes());
    out[8..].copy_from_slice(&spread(word as u32).to_be_bytes());
    out
}

fn unhex16(bytes: &[u8]) -> Option<u64> {
    let mut word = 0u64;
    for &b in bytes {
        let nibble = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        word = word << 4 | u64::from(nibble);
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_reads_back_from_anywhere(run in 0u32..1 << 24, stream in 0u32..1 << 16, seq in 0u64..1 << 40, intended_ns: u64, late in 0u64..1 << 24,
                                            before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            let stamp = Stamp { run, stream, seq, intended_ns, late_ns: late << 10 };
            let text = [before.as_bytes(), &stamp.encode(), after.as_bytes()].concat();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Stamp::find(&text).map(|f| f.1), Some(stamp));
        }

        #[test]
        fn one_damaged_byte_is_noticed(seq in 0u64..1 << 40, at in 0usize..STAMP_LEN, by in 1u8..=255) {
            let stamp = Stamp { run: 7, stream: 3, seq, intended_ns: 123_456_789, late_ns: 0 };
            let mut bytes = stamp.encode();
            bytes[at] ^= by;
            prop_assert_ne!(Stamp::find(&bytes).map(|f| f.1), Some(stamp));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stamp::find(&bytes);
        }
    }
}
