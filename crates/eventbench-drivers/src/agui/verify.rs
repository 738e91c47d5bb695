//! The verifier of one stream: every rule of the official client, and what that client does not catch.
//!
//! Source: the verifier and the chunk expansion of the official TypeScript client 1.0. Beyond it: the end that is
//! missing, ids other than those asked for, results of unknown calls, deltas that do not apply, arguments that are no
//! JSON, wild timestamps, and anything at all behind the end of a run, which one request asks for once.

use super::event::{Event, Key, Kind};
use super::json;
use super::json_text::JsonText;
use super::rules::{RULES, Rule};
use super::state::State;
use eventbench_core::mix::mix2;

/// A timestamp further from the present than this is wild: clocks differ, and not by an hour.
const WILD_MS: i64 = 3_600_000;
/// Bytes of an event that are quoted in the report of a violation.
const QUOTED: usize = 200;

/// Ids are kept as 64-bit words: a stream may bring any number of any length.
fn word(text: &str) -> u64 {
    let mut chunks = text.as_bytes().chunks_exact(8);
    let mut hash = text.len() as u64;
    for chunk in &mut chunks {
        hash = mix2(hash, chunk.iter().fold(0, |w, b| w << 8 | u64::from(*b)));
    }
    let rest = chunks.remainder().iter().fold(0, |w, b| w << 8 | u64::from(*b));
    mix2(hash, rest)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Message,
    Tool,
    Reasoning,
    ReasoningMessage,
    Step,
    Subagent,
}

impl What {
    fn rules(self) -> (Rule, Rule) {
        match self {
            What::Message => (Rule::MessageOpen, Rule::MessageNotOpen),
            What::Tool => (Rule::ToolOpen, Rule::ToolNotOpen),
            What::Reasoning | What::ReasoningMessage => (Rule::ReasoningOpen, Rule::ReasoningNotOpen),
            What::Step => (Rule::StepOpen, Rule::StepNotOpen),
            What::Subagent => (Rule::SubagentOpen, Rule::SubagentNotOpen),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Active,
    Finished,
    Failed,
}

/// Something that chunks have begun and that another event ends.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The subagent that it belongs to; 0 for the agent itself.
    lane: u64,
    what: What,
    id: u64,
}

/// What an event means for the figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// It brought text of a message.
    pub text: bool,
    /// When the server emitted it, in nanoseconds of the clock that both share.
    pub emit_ns: Option<u64>,
}

/// The verifier of one stream; used for one after the other.
#[derive(Debug)]
pub struct Verifier {
    phase: Phase,
    open: Vec<(What, u64)>,
    arguments: Vec<(u64, JsonText)>,
    pending: Vec<Pending>,
    calls: Vec<u64>,
    ended_subagents: Vec<u64>,
    state: State,
    /// The ids asked for, one behind the other, and where the second begins; `None` where the request named none.
    asked: String,
    asked_thread: bool,
    asked_run_at: Option<usize>,
    broken: u64,
    first: Option<(Rule, String)>,
    run_error: Option<String>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            phase: Phase::Before,
            open: Vec::new(),
            arguments: Vec::new(),
            pending: Vec::new(),
            calls: Vec::new(),
            ended_subagents: Vec::new(),
            state: State::default(),
            asked: String::new(),
            asked_thread: false,
            asked_run_at: None,
            broken: 0,
            first: None,
            run_error: None,
        }
    }
}

impl Verifier {
    /// Makes it ready for the answer to a request with this body.
    pub fn begin(&mut self, body: &[u8]) {
        self.phase = Phase::Before;
        self.open.clear();
        self.arguments.clear();
        self.pending.clear();
        self.calls.clear();
        self.ended_subagents.clear();
        self.state.set("");
        self.asked.clear();
        self.asked_thread = false;
        self.asked_run_at = None;
        self.broken = 0;
        self.first = None;
        self.run_error = None;
        let (mut thread, mut run) = (None, None);
        let Ok(text) = std::str::from_utf8(body) else { return };
        // A body that is no object asks for no ids; what the server makes of it is its own matter.
        let _ = json::fields(text, |key, raw| match key {
            "threadId" | "thread_id" => thread = json::text_of(raw),
            "runId" | "run_id" => run = json::text_of(raw),
            "state" => self.state.set(raw),
            "messages" if raw.contains("\"toolCalls\"") => note_calls(&mut self.calls, raw),
            _ => {}
        });
        if let Some(thread) = thread {
            self.asked.push_str(&thread);
            self.asked_thread = true;
        }
        if let Some(run) = run {
            self.asked_run_at = Some(self.asked.len());
            self.asked.push_str(&run);
        }
    }

    /// Looks at one event. `now_ms` is the present in milliseconds since the Unix epoch.
    pub fn event(&mut self, data: &[u8], now_ms: i64) -> Seen {
        match Event::read(data) {
            Ok(event) => self.read(&event, data, now_ms),
            Err(why) => {
                self.broke(Rule::NotJson, data, || why);
                Seen::default()
            }
        }
    }

    /// The stream has ended as a stream ends, not by a broken connection.
    pub fn end(&mut self) {
        if matches!(self.phase, Phase::Before | Phase::Active) {
            let begun = self.phase == Phase::Active;
            self.broke(Rule::FinishedMissing, b"", || {
                let what = if begun { "the run began" } else { "no event came" };
                format!("{what}, and the stream ended without RUN_FINISHED or RUN_ERROR")
            });
        }
    }

    /// Notes a rule that is broken outside of any event.
    pub fn note(&mut self, rule: Rule, why: impl FnOnce() -> String) {
        self.broke(rule, b"", why);
    }

    /// The rules that were broken.
    pub fn broken(&self) -> impl Iterator<Item = Rule> + '_ {
        RULES
            .iter()
            .copied()
            .filter(|rule| self.broken >> *rule as u64 & 1 == 1)
    }

    /// The first rule that was broken, and by what.
    pub fn first(&self) -> Option<(Rule, &str)> {
        self.first.as_ref().map(|(rule, text)| (*rule, text.as_str()))
    }

    /// The run ended with an error of its own: its code, or nothing, and its message.
    pub fn run_error(&self) -> Option<&str> {
        self.run_error.as_deref()
    }

    #[cold]
    fn broke(&mut self, rule: Rule, data: &[u8], why: impl FnOnce() -> String) {
        self.broken |= 1 << rule as u64;
        if self.first.is_none() {
            let mut text = why();
            if !data.is_empty() {
                let quoted = String::from_utf8_lossy(&data[..data.len().min(QUOTED)]);
                text.push_str(&format!(": {quoted}"));
            }
            self.first = Some((rule, text));
        }
    }

    fn read(&mut self, event: &Event<'_>, data: &[u8], now_ms: i64) -> Seen {
        let mut seen = Seen {
            text: false,
            emit_ns: event.emit_ns(),
        };
        if let Some(raw) = event.raw(Key::Timestamp) {
            let near = |ms: u64| i64::try_from(ms).is_ok_and(|ms| (ms - now_ms).abs() <= WILD_MS);
            if !json::number_of(raw).is_some_and(near) {
                self.broke(Rule::Timestamp, data, || {
                    format!("timestamp {raw}, while it is {now_ms}")
                });
            }
        }
        let Some(kind) = event.kind() else {
            let named = event.raw(Key::Type).unwrap_or("no type").to_owned();
            self.broke(Rule::UnknownType, data, || named);
            return seen;
        };
        match self.phase {
            Phase::Failed | Phase::Finished => {
                let (rule, end) = match self.phase {
                    Phase::Failed => (Rule::AfterError, "RUN_ERROR"),
                    _ => (Rule::AfterFinished, "RUN_FINISHED"),
                };
                self.broke(rule, data, || format!("{} after {end}", kind.name()));
                return seen;
            }
            Phase::Before if !matches!(kind, Kind::RunStarted | Kind::RunError) => {
                self.broke(Rule::StartFirst, data, || format!("the first event is {}", kind.name()));
            }
            Phase::Active if kind == Kind::RunStarted => {
                self.broke(Rule::StartedTwice, data, || {
                    "RUN_STARTED while a run is active".to_owned()
                });
            }
            _ => {}
        }
        self.phase = Phase::Active;
        if let Some((key, shape)) = event.misses(kind) {
            self.broke(Rule::Field, data, || {
                format!("{} must have `{}`, {}", kind.name(), key.name(), shape.words())
            });
            // Without its fields it says nothing more, except that the run has ended.
            match kind {
                Kind::RunFinished => self.phase = Phase::Finished,
                Kind::RunError => self.fail(event),
                _ => {}
            }
            return seen;
        }
        self.apply(kind, event, data, &mut seen);
        seen
    }

    fn apply(&mut self, kind: Kind, event: &Event<'_>, data: &[u8], seen: &mut Seen) {
        let id = |key: Key| event.text(key).map_or(0, |text| word(&text));
        let lane = event
            .raw(Key::SubagentRunId)
            .and_then(json::text_of)
            .map_or(0, |l| word(&l));
        if !self.pending.is_empty() {
            self.close_pending(kind, lane, data);
        }
        match kind {
            Kind::RunStarted => self.same_ids(event, data),
            Kind::RunFinished => {
                self.same_ids(event, data);
                self.phase = Phase::Finished;
                if let Some((what, _)) = self.open.first().copied() {
                    let n = self.open.len();
                    self.broke(Rule::FinishedOpen, data, || {
                        format!("RUN_FINISHED while {n} of messages, tool calls, steps … are open, first a {what:?}")
                    });
                }
            }
            Kind::RunError => self.fail(event),
            Kind::StepStarted => self.begin_open(What::Step, mix2(id(Key::StepName), lane), data),
            Kind::StepFinished => self.end_open(What::Step, mix2(id(Key::StepName), lane), data),
            Kind::TextStart => self.begin_open(What::Message, id(Key::MessageId), data),
            Kind::TextContent => {
                self.is_open(What::Message, id(Key::MessageId), data);
                seen.text = event.raw(Key::Delta).is_some_and(|raw| raw.len() > 2);
            }
            Kind::TextEnd => self.end_open(What::Message, id(Key::MessageId), data),
            Kind::TextChunk => {
                self.chunk(What::Message, event.raw(Key::MessageId), true, lane, data);
                seen.text = event.raw(Key::Delta).is_some_and(|raw| raw.len() > 2);
            }
            Kind::ToolStart => self.begin_open(What::Tool, id(Key::ToolCallId), data),
            Kind::ToolArgs => {
                let call = id(Key::ToolCallId);
                if self.is_open(What::Tool, call, data) {
                    self.argue(call, event);
                }
            }
            Kind::ToolEnd => self.end_open(What::Tool, id(Key::ToolCallId), data),
            Kind::ToolChunk => {
                let named = event.raw(Key::ToolCallName).is_some();
                if let Some(call) = self.chunk(What::Tool, event.raw(Key::ToolCallId), named, lane, data) {
                    self.argue(call, event);
                }
            }
            Kind::ToolResult => {
                if !self.calls.contains(&id(Key::ToolCallId)) {
                    self.broke(Rule::ToolResult, data, || {
                        "the result of a tool call that nobody made".to_owned()
                    });
                }
            }
            Kind::StateSnapshot => self.state.set(event.raw(Key::Snapshot).unwrap_or("{}")),
            Kind::StateDelta => {
                if let Err(why) = self.state.apply(event.raw(Key::Delta).unwrap_or("[]")) {
                    self.broke(Rule::StateDelta, data, || why);
                }
            }
            Kind::MessagesSnapshot => note_calls(&mut self.calls, event.raw(Key::Messages).unwrap_or("[]")),
            Kind::ReasoningStart => self.begin_open(What::Reasoning, id(Key::MessageId), data),
            Kind::ReasoningEnd => self.end_open(What::Reasoning, id(Key::MessageId), data),
            Kind::ReasoningMessageStart => self.begin_open(What::ReasoningMessage, id(Key::MessageId), data),
            Kind::ReasoningMessageContent => {
                self.is_open(What::ReasoningMessage, id(Key::MessageId), data);
            }
            Kind::ReasoningMessageEnd => self.end_open(What::ReasoningMessage, id(Key::MessageId), data),
            Kind::ReasoningMessageChunk => {
                self.chunk(What::ReasoningMessage, event.raw(Key::MessageId), true, lane, data);
            }
            Kind::SubagentStarted => {
                if self.ended_subagents.contains(&lane) {
                    self.broke(Rule::SubagentOpen, data, || {
                        "a subagent that has ended before".to_owned()
                    });
                }
                self.begin_open(What::Subagent, lane, data);
            }
            Kind::SubagentFinished | Kind::SubagentError => {
                self.end_open(What::Subagent, lane, data);
                self.ended_subagents.push(lane);
            }
            Kind::ActivitySnapshot
            | Kind::ActivityDelta
            | Kind::ReasoningEncryptedValue
            | Kind::Raw
            | Kind::Custom
            | Kind::ThinkingStart
            | Kind::ThinkingEnd
            | Kind::ThinkingTextStart
            | Kind::ThinkingTextContent
            | Kind::ThinkingTextEnd => {}
        }
    }

    fn fail(&mut self, event: &Event<'_>) {
        self.phase = Phase::Failed;
        let text = |key| event.text(key).unwrap_or_default();
        self.run_error = Some(format!("{}\n{}", text(Key::Code), text(Key::Message)));
    }

    fn same_ids(&mut self, event: &Event<'_>, data: &[u8]) {
        let run_at = self.asked_run_at.unwrap_or(self.asked.len());
        let (thread, run) = self.asked.split_at(run_at);
        let differs = |key: Key, asked: &str| event.text(key).is_none_or(|came| came != asked);
        let wrong_thread = self.asked_thread && differs(Key::ThreadId, thread);
        let wrong_run = self.asked_run_at.is_some() && differs(Key::RunId, run);
        if wrong_thread {
            let asked = thread.to_owned();
            self.broke(Rule::ThreadId, data, || format!("asked for threadId {asked:?}"));
        }
        if wrong_run {
            let asked = self.asked[run_at..].to_owned();
            self.broke(Rule::RunId, data, || format!("asked for runId {asked:?}"));
        }
    }

    fn begin_open(&mut self, what: What, id: u64, data: &[u8]) {
        if self.open.contains(&(what, id)) {
            self.broke(what.rules().0, data, || {
                format!("a {what:?} that is open is begun again")
            });
            return;
        }
        self.open.push((what, id));
        if what == What::Tool {
            self.calls.push(id);
            self.arguments.push((id, JsonText::default()));
        }
    }

    fn is_open(&mut self, what: What, id: u64, data: &[u8]) -> bool {
        let open = self.open.contains(&(what, id));
        if !open {
            self.broke(what.rules().1, data, || format!("a {what:?} that is not open"));
        }
        open
    }

    fn end_open(&mut self, what: What, id: u64, data: &[u8]) {
        let Some(place) = self.open.iter().position(|o| *o == (what, id)) else {
            self.broke(what.rules().1, data, || {
                format!("the end of a {what:?} that is not open")
            });
            return;
        };
        self.open.swap_remove(place);
        if what != What::Tool {
            return;
        }
        let Some(place) = self.arguments.iter().position(|a| a.0 == id) else {
            return;
        };
        let (_, arguments) = self.arguments.swap_remove(place);
        // A tool without arguments may be called with none at all.
        if !arguments.is_empty() && !arguments.is_whole() {
            self.broke(Rule::ToolArguments, data, || {
                "the call's arguments are no JSON when it ends".to_owned()
            });
        }
    }

    fn argue(&mut self, call: u64, event: &Event<'_>) {
        let arguments = self.arguments.iter_mut().find(|a| a.0 == call);
        if let (Some((_, arguments)), Some(delta)) = (arguments, event.text(Key::Delta)) {
            arguments.feed(&delta);
        }
    }

    /// A chunk stands for the beginning, the content or both; what it belongs to is given back.
    fn chunk(&mut self, what: What, id: Option<&str>, named: bool, lane: u64, data: &[u8]) -> Option<u64> {
        let id = id.and_then(json::text_of).map(|text| word(&text));
        let of_kind = |p: &&Pending| p.what == what;
        let known = match id {
            Some(id) => self.pending.iter().filter(of_kind).find(|p| p.id == id),
            None => self
                .pending
                .iter()
                .filter(of_kind)
                .find(|p| p.lane == lane)
                .or_else(|| {
                    let mut all = self.pending.iter().filter(of_kind);
                    let only = all.next().filter(|_| lane == 0);
                    only.filter(|_| all.next().is_none())
                }),
        };
        if let Some(known) = known {
            return Some(known.id);
        }
        self.close_lane(lane, data);
        let Some(id) = id.filter(|_| named) else {
            self.broke(Rule::Chunk, data, || {
                "the first chunk must have its id, and a tool call its name".to_owned()
            });
            return None;
        };
        self.begin_open(what, id, data);
        self.pending.push(Pending { lane, what, id });
        Some(id)
    }

    /// Ends what chunks have begun, where this event says that there are no more of them.
    fn close_pending(&mut self, kind: Kind, lane: u64, data: &[u8]) {
        match kind {
            Kind::TextChunk
            | Kind::ToolChunk
            | Kind::ReasoningMessageChunk
            | Kind::Raw
            | Kind::ActivitySnapshot
            | Kind::ActivityDelta
            | Kind::ReasoningEncryptedValue
            | Kind::SubagentStarted => {}
            Kind::RunStarted | Kind::RunFinished | Kind::RunError | Kind::MessagesSnapshot => {
                while let Some(pending) = self.pending.pop() {
                    self.end_open(pending.what, pending.id, data);
                }
            }
            _ => self.close_lane(lane, data),
        }
    }

    fn close_lane(&mut self, lane: u64, data: &[u8]) {
        if let Some(place) = self.pending.iter().position(|p| p.lane == lane) {
            let pending = self.pending.swap_remove(place);
            self.end_open(pending.what, pending.id, data);
        }
    }
}

/// Remembers the tool calls that messages speak of: results may be given to them.
fn note_calls(calls: &mut Vec<u64>, messages: &str) {
    let parsed: serde_json::Value = serde_json::from_str(messages).unwrap_or_default();
    let messages = parsed.as_array().into_iter().flatten();
    let made = messages.filter_map(|m| m.get("toolCalls")?.as_array()).flatten();
    calls.extend(made.filter_map(|c| Some(word(c.get("id")?.as_str()?))));
}

#[cfg(test)]
mod tests;
