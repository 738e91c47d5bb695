//! The states of a workflow and the transitions between them. Pure.

use serde::{Deserialize, Serialize};

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    /// Accepted and durable; nothing has been called.
    Pending,
    /// Its services are being called.
    Processing,
    /// All of them have answered; an end.
    Completed,
    /// It cannot be completed; an end.
    Failed,
}

/// A transition that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal transition from {} to {}", .from.name(), .to.name())]
pub(crate) struct IllegalTransition {
    pub(crate) from: State,
    pub(crate) to: State,
}

impl State {
    pub(crate) const ALL: [State; 4] = [State::Pending, State::Processing, State::Completed, State::Failed];

    /// The name in databases, events and replies.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Processing => "PROCESSING",
            State::Completed => "COMPLETED",
            State::Failed => "FAILED",
        }
    }

    /// The state of this name.
    pub(crate) fn of_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing follows.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, State::Completed | State::Failed)
    }

    /// The next state, if the transition is legal: PENDING → PROCESSING → COMPLETED or FAILED.
    ///
    /// # Errors
    /// [`IllegalTransition`], by name.
    pub(crate) fn to(self, next: State) -> Result<State, IllegalTransition> {
        match (self, next) {
            (State::Pending, State::Processing) | (State::Processing, State::Completed | State::Failed) => Ok(next),
            _ => Err(IllegalTransition { from: self, to: next }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_state() -> impl Strategy<Value = State> {
        prop::sample::select(State::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn any_sequence_of_wishes_is_a_path_that_ends_once(wishes in prop::collection::vec(any_state(), 0..40)) {
            let mut path = vec![State::Pending];
            for wish in wishes {
                let at = path[path.len() - 1];
                match at.to(wish) {
                    Ok(next) => {
                        prop_assert_eq!(next, wish);
                        prop_assert!(!at.is_end(), "nothing follows an end");
                        path.push(next);
                    }
                    Err(illegal) => prop_assert_eq!((illegal.from, illegal.to), (at, wish)),
                }
            }
            let legal = [State::Pending, State::Processing];
            let common = path.len().min(2);
            prop_assert_eq!(&path[..common], &legal[..common]);
            prop_assert!(path.len() <= 3);
            prop_assert_eq!(path.len() == 3, path[path.len() - 1].is_end());
        }
    }

    #[test]
    fn an_illegal_transition_has_a_name() {
        let illegal = State::Completed.to(State::Processing).unwrap_err();
        assert_eq!(illegal.to_string(), "illegal transition from COMPLETED to PROCESSING");
        let legal = State::ALL
            .into_iter()
            .flat_map(|from| State::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.to(*to).is_ok())
            .count();
        assert_eq!(legal, 3);
        for state in State::ALL {
            assert_eq!(State::of_name(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert_eq!(State::of_name("pending"), None);
    }
}
