//! What the reducer is asked and what it answers, on the wire.

use super::aggregate::{Aggregate, Groups, SizeBucket, Summary, check};
use super::batch::{Entry, LeftOut, Recipe};
use super::parts::Part;
use super::store::StoredWindow;
use super::window::Kind;
use crate::workflow::hops::Hop;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// A batch in a request: its items, or the recipe by which the reducer makes them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BatchRequest {
    /// The items, if the request carries them.
    pub(crate) items: Option<Vec<Entry>>,
    /// The recipe, if it does not.
    pub(crate) generate: Option<Recipe>,
    /// The workflow that the items came from, if any.
    pub(crate) workflow: String,
    /// Of an aggregate: which part of a batch this is.
    pub(crate) parts: Option<Part>,
    /// Of a stream: its name.
    pub(crate) stream: String,
    /// Of a stream: the number of the batch, by which one that comes again is known.
    pub(crate) batch: Option<u64>,
    /// Of a stream: items that are reduced and committed at a time; all if absent.
    pub(crate) batch_items: Option<NonZeroUsize>,
    /// Of a stream: whether it ends with this batch.
    pub(crate) last: bool,
    /// The client's own mark, which the reply repeats.
    pub(crate) tag: Value,
}

/// A group as replies tell it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Told {
    count: u64,
    bytes: u64,
    min: u64,
    max: u64,
}

impl From<&Aggregate> for Told {
    fn from(group: &Aggregate) -> Told {
        Told {
            count: group.count,
            bytes: group.bytes,
            // An empty group has no least size; it is told beside its count of 0.
            min: if group.count == 0 { 0 } else { group.min },
            max: group.max,
        }
    }
}

/// Groups as replies tell them.
pub(crate) fn told(groups: &Groups) -> BTreeMap<String, Told> {
    groups
        .iter()
        .map(|(name, group)| (name.clone(), group.into()))
        .collect()
}

/// The aggregate of a batch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AggregateReply {
    /// Time that reducing took: sorting out what counts, and adding it up. One number.
    pub(crate) work_ns: [u64; 1],
    /// Time that reading the request took, of its last part.
    pub(crate) read_ns: u64,
    /// Time that making the items by the recipe took, of its last part; 0 without a recipe.
    pub(crate) expand_ns: u64,
    #[serde(flatten)]
    pub(crate) total: Told,
    /// Mean size in bytes; null of an empty batch.
    pub(crate) mean: Option<f64>,
    /// Distinct types of content.
    pub(crate) content_types: usize,
    pub(crate) by_namespace: BTreeMap<String, Told>,
    pub(crate) by_file_type: BTreeMap<String, Told>,
    pub(crate) by_size: BTreeMap<&'static str, Told>,
    pub(crate) by_workflow: BTreeMap<String, Told>,
    /// By the start of the window of event time in nanoseconds.
    pub(crate) by_window: BTreeMap<String, Told>,
    #[serde(flatten)]
    pub(crate) left_out: LeftOut,
    /// See [`check`]: a digest of `by_namespace`.
    pub(crate) check: String,
    /// Whether the batch had been complete before.
    pub(crate) duplicate: bool,
    pub(crate) tag: Value,
}

impl AggregateReply {
    /// The reply for a summary; times, tag and the rest are set by whoever measured them.
    pub(crate) fn new(summary: &Summary, left_out: LeftOut) -> AggregateReply {
        AggregateReply {
            work_ns: [0],
            read_ns: 0,
            expand_ns: 0,
            total: (&summary.total).into(),
            mean: summary.total.mean(),
            content_types: summary.by_file_type.len(),
            by_namespace: told(&summary.by_namespace),
            by_file_type: told(&summary.by_file_type),
            by_size: by_size(summary),
            by_workflow: told(&summary.by_workflow),
            by_window: summary
                .by_window
                .iter()
                .map(|(start_ns, group)| (start_ns.to_string(), group.into()))
                .collect(),
            left_out,
            check: check(&summary.by_namespace),
            duplicate: false,
            tag: Value::Null,
        }
    }
}

fn by_size(summary: &Summary) -> BTreeMap<&'static str, Told> {
    let groups = summary.by_size.iter();
    groups
        .map(|(bucket, group)| (SizeBucket::name(*bucket), group.into()))
        .collect()
}

/// A part was taken; others are missing.
#[derive(Debug, Serialize)]
pub(crate) struct WaitingReply {
    pub(crate) work_ns: [u64; 0],
    pub(crate) batch: String,
    pub(crate) part: u64,
    /// Parts that are missing.
    pub(crate) missing: u64,
    pub(crate) duplicate: bool,
    pub(crate) tag: Value,
}

/// A window that has closed.
#[derive(Debug, Serialize)]
pub(crate) struct WindowReply {
    kind: String,
    /// By count: its number, from 0. By event time: its start in nanoseconds.
    key: u64,
    /// By event time: its end in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ns: Option<u64>,
    #[serde(flatten)]
    total: Told,
    mean: Option<f64>,
    content_types: usize,
    by_namespace: BTreeMap<String, Told>,
    check: String,
}

impl WindowReply {
    pub(crate) fn new(window: &StoredWindow, span_ns: u64) -> WindowReply {
        let tally = &window.tally;
        WindowReply {
            kind: window.kind.clone(),
            key: window.key,
            until_ns: (window.kind == Kind::Time.name()).then(|| window.key.saturating_add(span_ns)),
            total: (&tally.total).into(),
            mean: tally.total.mean(),
            content_types: tally.by_file_type.len(),
            by_namespace: told(&tally.by_namespace),
            check: check(&tally.by_namespace),
        }
    }
}

/// What a batch of a stream did.
#[derive(Debug, Serialize)]
pub(crate) struct StreamReply {
    pub(crate) stream: String,
    pub(crate) batch: u64,
    /// Whether all of the batch had been taken before, so that it changed nothing.
    pub(crate) duplicate: bool,
    /// Items of it that were taken now.
    pub(crate) items: u64,
    /// The windows that the batch closed, now or when it was taken.
    pub(crate) closed: Vec<WindowReply>,
    /// Late items of the stream so far.
    pub(crate) late: u64,
    /// Items in the open window by count.
    pub(crate) open: u64,
    /// Time that reducing took, for each group that was committed by itself.
    pub(crate) work_ns: Vec<u64>,
    /// Time that the transaction of each group took, reducing apart.
    pub(crate) commit_ns: Vec<u64>,
    pub(crate) read_ns: u64,
    pub(crate) expand_ns: u64,
    #[serde(flatten)]
    pub(crate) left_out: LeftOut,
    pub(crate) tag: Value,
}

/// A stamp is stored, or was already. It can be read as a [`Stored`](crate::workflow::stamp::Stored).
#[derive(Debug, Serialize)]
pub(crate) struct StampReply<'a> {
    pub(crate) stored: bool,
    pub(crate) duplicate: bool,
    pub(crate) id: &'a str,
    pub(crate) tag: &'a str,
    /// From the start of its handling to the commit. One number.
    pub(crate) work_ns: [u64; 1],
    pub(crate) hops: Vec<Hop>,
}
