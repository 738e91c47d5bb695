//! What the orchestrator answers, tells and passes on of a workflow.

use super::state::State;
use crate::workflow::hops::Hop;
use crate::workflow::request::{Request, Text, Until};
use crate::workflow::stamp::Stamp;
use serde::Serialize;

/// Of a request, what is needed once its bytes have been read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) file: String,
    pub(crate) namespace: String,
    pub(crate) tag: String,
    pub(crate) hash: Option<String>,
    pub(crate) until: Until,
    pub(crate) intended_ns: u64,
    pub(crate) steps: Option<Vec<String>>,
}

impl Wanted {
    /// `intended_ns` is what the message's headers say, for a request that does not say it itself.
    pub(crate) fn of(request: &Request<'_>, intended_ns: u64) -> Wanted {
        let steps = request.steps.as_ref();
        Wanted {
            file: request.file.clone().into_owned(),
            namespace: request.namespace.clone().into_owned(),
            tag: request.stamp.clone().into_owned(),
            hash: request.hash.as_ref().map(|Text(hash)| hash.to_ascii_lowercase()),
            until: request.until,
            intended_ns: request.intended_ns.unwrap_or(intended_ns),
            steps: steps.map(|steps| steps.iter().map(|Text(step)| step.clone().into_owned()).collect()),
        }
    }
}

/// Why a workflow has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In a word that does not differ from workflow to workflow, as in `unknown-capability`.
    pub(crate) cause: String,
    /// In a sentence.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(cause: &str, message: impl Into<String>) -> Failure {
        Failure {
            cause: cause.to_owned(),
            message: message.into(),
        }
    }
}

/// The reply to a request to run a workflow. Times are lengths in nanoseconds, taken by the orchestrator.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<'a> {
    pub(crate) id: &'a str,
    pub(crate) state: State,
    /// Why it failed, or why its row is not known to be stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
    /// The same in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'a str>,
    /// Whether the reducer has confirmed the row.
    pub(crate) stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stamp: Option<&'a Stamp>,
    /// From the beginning of the handler to its end, the services included.
    pub(crate) work_ns: [u64; 1],
    /// Of each transition, from the decision until it was durable and told.
    pub(crate) transition_ns: &'a [u64],
    /// Of each choice of an instance.
    pub(crate) routing_ns: &'a [u64],
    /// From the first call of a service until the last one was answered.
    pub(crate) calls_ns: &'a [u64],
    /// Calls that failed and were attempted again.
    pub(crate) retries: u64,
    pub(crate) hops: &'a [Hop],
}

/// The reply to a request to submit a workflow, and to one for its state.
#[derive(Debug, Serialize)]
pub(crate) struct Standing<'a> {
    pub(crate) id: &'a str,
    pub(crate) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'a str>,
}

/// The event of a state that was entered, once it is durable. Events are told at most once; the database knows all.
#[derive(Debug, Serialize)]
pub(crate) struct StateEvent<'a> {
    pub(crate) id: &'a str,
    pub(crate) state: State,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub(crate) at_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

/// JSON of a value that holds only what JSON can hold.
pub(crate) fn json<T: Serialize>(value: &T) -> bytes::Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
