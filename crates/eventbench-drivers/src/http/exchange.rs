//! One request and what comes back: how the response is read, timed and judged. It knows nothing of connections, so that
//! HTTP/1.1 and HTTP/2 read alike.

use super::measures::{Measures, Streams};
use super::task::{Reads, Task};
use crate::agui::{Rule, Verifier};
use crate::sse;
use eventbench_core::ticket::{Outcome, Ticket};
use memchr::memmem::Finder;

/// Of a refusal's body so much is read, in the hope of its end, before the connection is given up.
const REFUSAL_BYTES: usize = 1 << 20;
/// Of it so much is kept, for the report.
const KEPT_BYTES: usize = 300;

/// How a response ended.
#[derive(Debug)]
pub enum End {
    /// All of it has come.
    Complete,
    /// The time-out has passed.
    TimedOut,
    /// The connection was not made, or was lost: what to count it as, and in detail.
    Lost(&'static str, String),
    /// It cannot be understood any further.
    Malformed(String),
    /// It was given up, for the fault that was found.
    GivenUp,
}

/// Whether to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    On,
    /// Nothing that comes could change anything: end with [`End::GivenUp`].
    Stop,
}

/// What a head says that matters here.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'a [u8],
    /// How the body is encoded; empty where it is not.
    pub encoding: &'a [u8],
    /// Where a redirection points.
    pub location: &'a [u8],
}

#[derive(Debug)]
enum Reading {
    /// No head yet.
    Head,
    /// A body, looked through for a text; the end of what came before is kept, as the text may lie across.
    Body(Vec<u8>),
    Events(sse::Parser),
    /// A body that is of no more use; its beginning is kept.
    Refused {
        kept: Vec<u8>,
        seen: usize,
    },
}

#[derive(Debug)]
struct Fault {
    cause: String,
    example: String,
}

#[derive(Debug)]
struct Progress {
    intended_ns: u64,
    measured: bool,
    events: u32,
    last_ns: u64,
    longest_ns: u64,
    text_seen: bool,
    found: bool,
    fault: Option<Fault>,
    verifier: Option<Box<Verifier>>,
}

/// A request under way.
#[derive(Debug)]
pub struct Exchange {
    ticket: Ticket,
    task: u16,
    /// Whether it was sent a second time.
    pub retried: bool,
    reading: Reading,
    progress: Progress,
}

impl Exchange {
    /// A request that is sent now.
    pub fn new(ticket: Ticket, task: u16, asks: &Task, measures: &mut Measures) -> Self {
        if asks.reads != Reads::Body
            && let Some(streams) = &mut measures.streams
        {
            streams.opened();
        }
        let verifier = (asks.reads == Reads::AgUi).then(|| measures.spare.pop().unwrap_or_default());
        Self {
            progress: Progress {
                intended_ns: ticket.intended_ns,
                measured: ticket.measured,
                events: 0,
                last_ns: ticket.sent_ns,
                longest_ns: 0,
                text_seen: false,
                found: asks.expect.is_none(),
                fault: None,
                verifier,
            },
            ticket,
            task,
            retried: false,
            reading: Reading::Head,
        }
    }

    /// The ticket that it works off.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The index of its task.
    pub fn task(&self) -> usize {
        usize::from(self.task)
    }

    /// Whether nothing of the answer has been understood yet.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.reading, Reading::Head)
    }

    /// The request was written with this body.
    pub fn asked(&mut self, body: &[u8]) {
        if let Some(verifier) = &mut self.progress.verifier {
            verifier.begin(body);
        }
    }

    /// The head has come.
    pub fn head(&mut self, answer: Answer<'_>, now_ns: u64, task: &Task, measures: &mut Measures) {
        if self.ticket.measured {
            measures.headers.record_between(self.ticket.sent_ns, now_ns);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        let fault = if !task.expects_status(answer.status) {
            if self.ticket.measured {
                *measures.statuses.entry(answer.status).or_default() += 1;
            }
            let example = match answer.status {
                300..=399 => format!(
                    "redirected to {}, which is not followed: ask there instead",
                    text(answer.location)
                ),
                _ => String::new(),
            };
            Some(Fault {
                cause: format!("status {}", answer.status),
                example,
            })
        } else if task.reads != Reads::Body && !is_event_stream(answer.content_type) {
            Some(Fault {
                cause: "not an event stream".to_owned(),
                example: format!("Content-Type: {}", text(answer.content_type)),
            })
        } else if !answer.encoding.is_empty() && !answer.encoding.eq_ignore_ascii_case(b"identity") {
            Some(Fault {
                cause: "encoded body".to_owned(),
                example: format!("Content-Encoding: {}, though none was asked for", text(answer.encoding)),
            })
        } else {
            None
        };
        self.reading = match (&fault, task.reads) {
            (Some(_), _) => Reading::Refused {
                kept: Vec::new(),
                seen: 0,
            },
            (None, Reads::Body) => Reading::Body(Vec::new()),
            (None, _) => Reading::Events(sse::Parser::new(task.most_event_bytes)),
        };
        self.progress.fault = fault;
    }

    /// A piece of the body has come.
    #[inline]
    pub fn data(&mut self, bytes: &[u8], now_ns: u64, task: &Task, measures: &mut Measures) -> Flow {
        match &mut self.reading {
            Reading::Events(parser) => {
                let progress = &mut self.progress;
                let epoch_ms = measures.epoch_ms;
                let Some(streams) = &mut measures.streams else {
                    return Flow::On;
                };
                let read = parser.feed(bytes, |event| {
                    progress.event(event.data, now_ns, epoch_ms, task, streams)
                });
                match read {
                    Ok(()) => Flow::On,
                    Err(e) => {
                        self.progress.too_large(e.to_string(), streams);
                        Flow::Stop
                    }
                }
            }
            Reading::Body(tail) => {
                if let (false, Some(text)) = (self.progress.found, &task.expect) {
                    self.progress.found = lies_in(text, tail, bytes);
                }
                Flow::On
            }
            Reading::Refused { kept, seen } => {
                let room = KEPT_BYTES.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                *seen += bytes.len();
                if *seen > REFUSAL_BYTES { Flow::Stop } else { Flow::On }
            }
            Reading::Head => Flow::On,
        }
    }

    /// Ends it: the ticket, and its outcome.
    pub fn end(mut self, how: End, now_ns: u64, task: &Task, measures: &mut Measures) -> (Ticket, Outcome) {
        if task.reads != Reads::Body {
            self.end_stream(&how, now_ns, task, measures);
        }
        let answered = !self.is_unanswered();
        let progress = &mut self.progress;
        let (outcome, cause, example) = match how {
            End::Complete | End::GivenUp => match progress.fault.take().or_else(|| progress.verdict(task)) {
                None => (Outcome::Acked, String::new(), String::new()),
                Some(fault) => (Outcome::Rejected, fault.cause, fault.example),
            },
            End::TimedOut => {
                let cause = if answered {
                    "not finished in time"
                } else {
                    "no answer in time"
                };
                (
                    Outcome::TimedOut,
                    cause.to_owned(),
                    format!("after {} events", progress.events),
                )
            }
            End::Lost(_, example) if answered => {
                let example = format!("after {} events: {example}", progress.events);
                (Outcome::Disconnected, "truncated".to_owned(), example)
            }
            End::Lost(cause, example) => (Outcome::Disconnected, cause.to_owned(), example),
            End::Malformed(example) => (Outcome::Rejected, "malformed response".to_owned(), example),
        };
        if outcome != Outcome::Acked && self.ticket.measured {
            let beginning = match &self.reading {
                Reading::Refused { kept, .. } => String::from_utf8_lossy(kept),
                _ => "".into(),
            };
            measures.causes.note(&cause, &task.name, now_ns, || {
                match (example.is_empty(), beginning.is_empty()) {
                    (true, _) => beginning.into_owned(),
                    (false, true) => example,
                    (false, false) => format!("{example}; {beginning}"),
                }
            });
        }
        measures.spare.extend(self.progress.verifier.take());
        (self.ticket, outcome)
    }

    /// The end of what should have been a stream of events.
    fn end_stream(&mut self, how: &End, now_ns: u64, task: &Task, measures: &mut Measures) {
        let epoch_ms = measures.epoch_ms;
        let Some(streams) = &mut measures.streams else { return };
        streams.closed();
        let Reading::Events(parser) = &mut self.reading else {
            return;
        };
        let progress = &mut self.progress;
        if matches!(how, End::Complete) {
            if task.reads == Reads::AgUi {
                // The official client takes a last event without its blank line; the standard drops it.
                parser.finish(|event| progress.event(event.data, now_ns, epoch_ms, task, streams));
            } else if parser.has_tail() {
                streams.truncated += u64::from(progress.measured);
                progress.fault.get_or_insert_with(|| Fault {
                    cause: "unfinished event".to_owned(),
                    example: "the stream ends inside an event".to_owned(),
                });
            }
            if let Some(verifier) = &mut progress.verifier {
                if parser.saw_return() {
                    verifier.note(Rule::LineEnds, || "lines end with a carriage return".to_owned());
                }
                verifier.end();
            }
            if let Some(wanted) = task.events.filter(|n| *n != progress.events) {
                let came = progress.events;
                progress.violates(Rule::EventCount, format!("{came} events came, not {wanted}"), streams);
            }
        }
        if !progress.measured {
            return;
        }
        if matches!(how, End::Lost(..)) {
            streams.truncated += 1;
        }
        if let Some(verifier) = &progress.verifier {
            streams.violated(verifier.broken());
            streams.run_errors += u64::from(verifier.run_error().is_some());
        }
        if progress.events > 0 {
            let longest = progress.longest_ns.max(now_ns.saturating_sub(progress.last_ns));
            streams.stall.record(longest);
        }
        if matches!(how, End::Complete) {
            streams.per_stream.record(u64::from(progress.events));
        }
    }
}

impl Progress {
    #[inline]
    fn event(&mut self, data: &[u8], now_ns: u64, epoch_ms: i64, task: &Task, streams: &mut Streams) {
        if self.measured {
            streams.events += 1;
            if self.events == 0 {
                streams.first_event.record_between(self.intended_ns, now_ns);
            } else {
                let gap = now_ns.saturating_sub(self.last_ns);
                streams.gap.record(gap);
                self.longest_ns = self.longest_ns.max(gap);
            }
        }
        self.events = self.events.saturating_add(1);
        self.last_ns = now_ns;
        if let Some(verifier) = &mut self.verifier {
            let seen = verifier.event(data, epoch_ms + (now_ns / 1_000_000) as i64);
            if self.measured {
                if let Some(emit_ns) = seen.emit_ns {
                    streams.event_time.record_between(emit_ns, now_ns);
                }
                if seen.text && !self.text_seen {
                    streams.first_text.record_between(self.intended_ns, now_ns);
                }
            }
            self.text_seen |= seen.text;
        }
        if let (false, Some(text)) = (self.found, &task.expect) {
            self.found = text.find(data).is_some();
        }
    }

    fn too_large(&mut self, why: String, streams: &mut Streams) {
        self.violates(Rule::TooLarge, why, streams);
    }

    /// Notes a rule that is broken outside of any event, with a verifier or without one.
    fn violates(&mut self, rule: Rule, why: String, streams: &mut Streams) {
        match &mut self.verifier {
            Some(verifier) => verifier.note(rule, || why),
            None => {
                if self.measured {
                    streams.violated(std::iter::once(rule));
                }
                self.fault.get_or_insert_with(|| Fault {
                    cause: format!("violation {}", rule.name()),
                    example: why,
                });
            }
        }
    }

    /// What is wrong with a response that came as a response should.
    fn verdict(&mut self, task: &Task) -> Option<Fault> {
        if let Some(verifier) = &self.verifier {
            if let Some((rule, example)) = verifier.first() {
                return Some(Fault {
                    cause: format!("violation {}", rule.name()),
                    example: example.to_owned(),
                });
            }
            if let Some((code, message)) = verifier.run_error().and_then(|e| e.split_once('\n')) {
                let code: String = code.chars().take(40).collect();
                return Some(Fault {
                    cause: format!("run error {code}").trim_end().to_owned(),
                    example: message.to_owned(),
                });
            }
        }
        (!self.found).then(|| Fault {
            cause: "expected text missing".to_owned(),
            example: match &task.expect {
                Some(text) => format!("{:?} is not there", String::from_utf8_lossy(text.needle())),
                None => String::new(),
            },
        })
    }
}

/// Whether the text lies in what `tail` keeps of the pieces before and in `piece`; keeps as much of their end as may be
/// its beginning.
fn lies_in(text: &Finder<'_>, tail: &mut Vec<u8>, piece: &[u8]) -> bool {
    let most = text.needle().len().saturating_sub(1);
    let before = tail.len();
    tail.extend_from_slice(&piece[..piece.len().min(most)]);
    if before > 0 && text.find(tail).is_some() || text.find(piece).is_some() {
        tail.clear();
        return true;
    }
    if piece.len() >= most {
        tail.clear();
        tail.extend_from_slice(&piece[piece.len() - most..]);
    } else {
        let excess = tail.len().saturating_sub(most);
        tail.drain(..excess);
    }
    false
}

fn is_event_stream(content_type: &[u8]) -> bool {
    let kind = content_type.split(|b| *b == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_type_of_an_event_stream() {
        for (kind, is) in [
            ("text/event-stream", true),
            ("Text/Event-Stream ; charset=utf-8", true),
            ("text/event-streams", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(is_event_stream(kind.as_bytes()), is, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_found_across_pieces(body in "[ab]{0,30}", text in "[ab]{1,6}", mut cuts in proptest::collection::vec(0usize..30, 0..6)) {
            cuts.sort_unstable();
            let finder = Finder::new(text.as_bytes());
            let mut tail = Vec::new();
            let (mut from, mut found) = (0, false);
            for at in cuts.into_iter().chain([body.len()]) {
                let at = at.clamp(from, body.len());
                found = found || lies_in(&finder, &mut tail, &body.as_bytes()[from..at]);
                from = at;
            }
            prop_assert_eq!(found, body.contains(&text));
        }
    }
}
