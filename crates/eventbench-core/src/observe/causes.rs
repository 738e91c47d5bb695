//! Causes: events that did not end well, grouped, with how many, when and the first offender's own words.

use crate::record;

/// More causes than this are not causes but single events; those beyond are counted under "other".
const MOST: usize = 64;
/// Characters of an example that are kept.
const EXAMPLE: usize = 300;

#[derive(Debug, Clone, PartialEq)]
struct Kept {
    cause: String,
    stream: String,
    count: u64,
    first_ns: u64,
    last_ns: u64,
    example: String,
}

/// The causes of one lane. Failures are rare or the run has failed anyway, so this may compare texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Causes(Vec<Kept>);

impl Causes {
    /// Notes that an event of `stream` ended for `cause` at an instant of the clock; `example` is asked only of the first.
    pub fn note(&mut self, cause: &str, stream: &str, at_ns: u64, example: impl FnOnce() -> String) {
        let is_known = |k: &Kept| k.cause == cause && k.stream == stream;
        if self.0.len() >= MOST && !self.0.iter().any(is_known) {
            self.count("other", "", at_ns, || cause.to_owned());
        } else {
            self.count(cause, stream, at_ns, example);
        }
    }

    fn count(&mut self, cause: &str, stream: &str, at_ns: u64, example: impl FnOnce() -> String) {
        let known = self.0.iter_mut().find(|k| k.cause == cause && k.stream == stream);
        if let Some(kept) = known {
            kept.count += 1;
            kept.first_ns = kept.first_ns.min(at_ns);
            kept.last_ns = kept.last_ns.max(at_ns);
        } else {
            self.0.push(Kept {
                cause: cause.to_owned(),
                stream: stream.to_owned(),
                count: 1,
                first_ns: at_ns,
                last_ns: at_ns,
                example: example().chars().take(EXAMPLE).collect(),
            });
        }
    }

    /// Adds another lane's: the only place where two are put together. The earlier example stays.
    pub fn merge(&mut self, other: Causes) {
        for theirs in other.0 {
            let known = self
                .0
                .iter_mut()
                .find(|k| k.cause == theirs.cause && k.stream == theirs.stream);
            match known {
                Some(kept) => {
                    if theirs.first_ns < kept.first_ns {
                        kept.example = theirs.example;
                    }
                    kept.count += theirs.count;
                    kept.first_ns = kept.first_ns.min(theirs.first_ns);
                    kept.last_ns = kept.last_ns.max(theirs.last_ns);
                }
                None => self.0.push(theirs),
            }
        }
    }

    /// How many events ended for any cause.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|k| k.count).sum()
    }

    /// For the record, the most frequent first, with offsets from the start of the schedule.
    pub fn record(self, start_ns: u64) -> Vec<record::Cause> {
        let seconds = |ns: u64| ns.saturating_sub(start_ns) as f64 / 1e9;
        let mut causes: Vec<record::Cause> = self
            .0
            .into_iter()
            .map(|k| record::Cause {
                cause: k.cause,
                stream: k.stream,
                count: k.count,
                first_s: seconds(k.first_ns),
                last_s: seconds(k.last_ns),
                example: k.example,
            })
            .collect();
        causes.sort_by(|a, b| (b.count, &a.cause, &a.stream).cmp(&(a.count, &b.cause, &b.stream)));
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_grouped_with_first_last_and_the_first_offender() {
        let (mut early, mut late) = (Causes::default(), Causes::default());
        late.note("status 503", "review", 9_000_000_000, || "later".to_owned());
        late.note("truncated", "review", 8_000_000_000, || "cut".to_owned());
        early.note("status 503", "review", 3_000_000_000, || "x".repeat(1000));
        early.note("status 503", "review", 5_000_000_000, || unreachable!());
        late.merge(early);
        assert_eq!(late.total(), 4);
        let [first, second] = late.record(1_000_000_000).try_into().unwrap();
        assert_eq!((first.cause.as_str(), first.count), ("status 503", 3));
        assert_eq!((first.first_s, first.last_s), (2.0, 8.0));
        assert_eq!(first.example, "x".repeat(EXAMPLE));
        assert_eq!((second.cause.as_str(), second.example.as_str()), ("truncated", "cut"));
    }

    #[test]
    fn causes_beyond_what_is_kept_are_counted_as_other() {
        let mut causes = Causes::default();
        for n in 0..200 {
            causes.note(&format!("cause {n}"), "", n, String::new);
        }
        assert_eq!(causes.total(), 200);
        let other = causes.record(0).into_iter().find(|c| c.cause == "other").unwrap();
        assert_eq!((other.count, other.example.as_str()), (200 - MOST as u64, "cause 64"));
    }
}
