//! Where the time of one workflow went: hops by name, with instants of the clock that all processes of a machine share,
//! and the times that travel in the headers of a message.

use crate::platform::monotonic_ns;
use async_nats::HeaderMap;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Header with the instant at which the client meant to send what all this is for; `CLOCK_MONOTONIC` in nanoseconds.
pub const INTENDED: &str = "Eb-Intended-Ns";
/// Header with the instant at which the message was handed to the client library; the same clock.
pub const SENT: &str = "Eb-Sent-Ns";

/// A stretch of the way. Instants are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Its name, as in `reducer: wait`.
    pub hop: Cow<'static, str>,
    /// The hop that it is a part of; absent for those that make up the way, of which each begins where the last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Cow<'static, str>>,
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub until: u64,
}

/// Hops as they are noted: a hop of the way is named at its end and has begun where the last one ended, so there can be
/// no gap.
#[derive(Clone, Debug)]
pub struct Way {
    hops: Vec<Hop>,
    at_ns: u64,
}

impl Way {
    /// A way that begins at this instant.
    pub fn from(begin_ns: u64) -> Way {
        Way {
            hops: Vec::with_capacity(24),
            at_ns: begin_ns,
        }
    }

    /// Ends the hop that is under way, now.
    pub fn reached(&mut self, hop: impl Into<Cow<'static, str>>) -> u64 {
        self.reached_at(hop, monotonic_ns())
    }

    /// Ends the hop that is under way at an instant taken elsewhere, and returns the instant. One before the hop's
    /// beginning, which a broken peer may tell, counts as its beginning.
    pub fn reached_at(&mut self, hop: impl Into<Cow<'static, str>>, until_ns: u64) -> u64 {
        let until = until_ns.max(self.at_ns);
        self.hops.push(Hop {
            hop: hop.into(),
            within: None,
            from: self.at_ns,
            until,
        });
        self.at_ns = until;
        until
    }

    /// Notes a part of the hop `within`; parts may overlap.
    pub fn part(&mut self, within: &'static str, hop: impl Into<Cow<'static, str>>, from: u64, until: u64) {
        self.hops.push(Hop {
            hop: hop.into(),
            within: Some(Cow::Borrowed(within)),
            from,
            until: until.max(from),
        });
    }

    /// Takes over the hops that another process noted in its reply. Those of the way must follow each other; each is
    /// taken to begin where the last one ended.
    pub fn follow(&mut self, hops: Vec<Hop>) {
        for hop in hops {
            match hop.within {
                None => {
                    self.reached_at(hop.hop, hop.until);
                }
                Some(_) => self.hops.push(hop),
            }
        }
    }

    /// Where the way has come to.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// The hops in the order in which they were noted.
    pub fn into_hops(self) -> Vec<Hop> {
        self.hops
    }
}

/// The times in a message's headers. Zero stands for a time that the sender did not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// See [`INTENDED`].
    pub intended_ns: u64,
    /// See [`SENT`].
    pub sent_ns: u64,
}

impl Times {
    /// Reads them; what is absent or no number is zero.
    pub fn of(headers: Option<&HeaderMap>) -> Times {
        let read = |name| headers?.get(name)?.as_str().parse().ok();
        Times {
            intended_ns: read(INTENDED).unwrap_or(0),
            sent_ns: read(SENT).unwrap_or(0),
        }
    }

    /// The headers that say them.
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, instant_ns) in [(INTENDED, self.intended_ns), (SENT, self.sent_ns)] {
            if instant_ns > 0 {
                headers.insert(name, instant_ns.to_string().as_str());
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_has_no_gap_whatever_instants_it_is_told() {
        let mut way = Way::from(100);
        way.reached_at("a", 150);
        way.part("b", "b: there", 160, 150);
        way.reached_at("b", 90);
        way.follow(vec![
            Hop {
                hop: "c".into(),
                within: None,
                from: 170,
                until: 180,
            },
            Hop {
                hop: "c: half".into(),
                within: Some("c".into()),
                from: 171,
                until: 175,
            },
        ]);
        assert_eq!(way.at_ns(), 180);
        let end_ns = way.reached("d");
        let hops = way.into_hops();
        let top: Vec<_> = hops.iter().filter(|hop| hop.within.is_none()).collect();
        assert_eq!(
            top.iter().map(|hop| hop.hop.as_ref()).collect::<Vec<_>>(),
            ["a", "b", "c", "d"]
        );
        assert!(top.windows(2).all(|pair| pair[0].until == pair[1].from), "{top:?}");
        assert_eq!((top[0].from, top[3].until), (100, end_ns));
        assert!(hops.iter().all(|hop| hop.from <= hop.until));
    }

    #[test]
    fn times_survive_the_headers() {
        let times = Times {
            intended_ns: u64::MAX,
            sent_ns: 7,
        };
        assert_eq!(Times::of(Some(&times.headers())), times);
        assert_eq!(Times::of(Some(&Times::default().headers())), Times::default());
        assert_eq!(Times::of(None), Times::default());
    }
}
