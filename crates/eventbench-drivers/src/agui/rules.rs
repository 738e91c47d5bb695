//! The rules of an AG-UI stream by name.

macro_rules! rules {
    ($($rule:ident = $name:literal: $words:literal),* $(,)?) => {
        /// A rule that a stream can break.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule { $(#[doc = $words] $rule),* }

        impl Rule {
            /// Its short name, the value of the tag `rule` of the metric `violations`.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$rule => $name),* }
            }
        }

        /// Every rule.
        pub const RULES: &[Rule] = &[$(Rule::$rule),*];
    };
}

rules! {
    NotJson = "not-json": "The data of an event is no JSON object.",
    UnknownType = "unknown-type": "An event has no type, or one that the protocol does not know.",
    Field = "field": "An event lacks a field that its type must have, or the field is not what it must be.",
    TooLarge = "event-too-large": "An event is larger than may be.",
    LineEnds = "line-ends": "Lines end with a carriage return: the official client splits at two line feeds and at nothing else.",
    StartFirst = "run-started-first": "The first event is neither RUN_STARTED nor RUN_ERROR.",
    StartedTwice = "run-started-twice": "RUN_STARTED while a run is active.",
    AfterError = "after-run-error": "An event after RUN_ERROR.",
    AfterFinished = "after-run-finished": "An event after RUN_FINISHED.",
    FinishedOpen = "run-finished-open": "RUN_FINISHED while a message, a tool call, a step or a subagent is open.",
    FinishedMissing = "run-finished-missing": "The stream ends without RUN_FINISHED or RUN_ERROR.",
    RunId = "run-id": "A run id other than the one asked for.",
    ThreadId = "thread-id": "A thread id other than the one asked for.",
    MessageOpen = "message-open": "A message is begun while it is open.",
    MessageNotOpen = "message-not-open": "Text or the end of a message that is not open.",
    ToolOpen = "tool-call-open": "A tool call is begun while it is open.",
    ToolNotOpen = "tool-call-not-open": "Arguments or the end of a tool call that is not open.",
    ToolArguments = "tool-call-arguments": "The arguments of a tool call are no JSON when it ends.",
    ToolResult = "tool-result-unknown": "The result of a tool call that nobody made.",
    ReasoningOpen = "reasoning-open": "A reasoning span or message is begun while it is open.",
    ReasoningNotOpen = "reasoning-not-open": "Text or the end of a reasoning span or message that is not open.",
    StepOpen = "step-open": "A step is started while it is active.",
    StepNotOpen = "step-not-open": "A step is finished that is not active.",
    SubagentOpen = "subagent-open": "A subagent is started that is active or has ended before.",
    SubagentNotOpen = "subagent-not-open": "A subagent ends that is not active.",
    Chunk = "chunk": "A chunk belongs to nothing: the first one lacks its id or its name.",
    StateDelta = "state-delta": "A state delta that does not apply to the state.",
    Timestamp = "timestamp": "A timestamp that is no whole number of milliseconds, or an hour and more away from the present.",
    EventCount = "event-count": "A stream with another number of events than it must have.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_into_a_set() {
        assert!(RULES.len() <= 64);
        for (i, rule) in RULES.iter().enumerate() {
            assert_eq!(*rule as usize, i);
            assert!(RULES[..i].iter().all(|r| r.name() != rule.name()), "{}", rule.name());
        }
    }
}
