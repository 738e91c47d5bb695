//! The reducer's methods: stamps and streams go to its thread, batches are added up where they come, questions are
//! answered from the database.

use super::batch::{Entry, summarize};
use super::parts::{Parts, Taken};
use super::reduce::Dimension;
use super::reply::{AggregateReply, BatchRequest, WaitingReply, told};
use super::store;
use super::window::Policy;
use super::writer::{Ask, Counters, Job, entries};
use crate::kit::method::{Call, Method};
use crate::kit::reply::{Answer, ErrorReply};
use crate::platform::monotonic_ns;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;

/// All methods but `health`, which the kit adds.
pub(crate) fn methods(
    jobs: mpsc::Sender<Job>,
    policy: Policy,
    database: PathBuf,
    counters: Arc<Counters>,
) -> Vec<Method> {
    let parts: Arc<Mutex<Parts<AggregateReply>>> = Arc::default();
    let streams = jobs.clone();
    vec![
        Method::waiting("stamp", move |call| ask(jobs.clone(), Ask::Stamp, call)),
        Method::waiting("window", move |call| ask(streams.clone(), Ask::Stream, call)),
        Method::blocking("aggregate", move |call| aggregate(call, &parts, policy.span_ns.get())),
        Method::blocking("stats", move |call| {
            let reader = store::open_reader(&database).map_err(|cause| ErrorReply::new(503, cause.to_string()))?;
            stats(call, &reader, &counters)
        }),
    ]
}

/// Gives a request to the thread and waits for its answer.
async fn ask(jobs: mpsc::Sender<Job>, ask: Ask, call: Call) -> Answer {
    let gone = || ErrorReply::new(503, "the reducer's thread has ended; see its log");
    let (answer, answered) = oneshot::channel();
    jobs.send(Job { ask, call, answer }).map_err(|_| gone())?;
    answered.await.unwrap_or_else(|_| Err(gone()))
}

/// Adds up a batch, or keeps a part of one until the others are there.
fn aggregate(call: &Call, parts: &Mutex<Parts<AggregateReply>>, window_ns: u64) -> Answer {
    let begin_ns = monotonic_ns();
    let mut request: BatchRequest = call.parameters()?;
    let read_ns = monotonic_ns() - begin_ns;
    let generated = request.generate.is_some();
    let entries = entries(&mut request)?;
    let expand_ns = if generated {
        monotonic_ns() - begin_ns - read_ns
    } else {
        0
    };
    if !request.workflow.is_empty() {
        super::batch::check_name("workflow", &request.workflow).map_err(|reason| ErrorReply::new(400, reason))?;
    }
    let finish = |contents: &[(Vec<Entry>, String)]| {
        let contents: Vec<(&[Entry], &str)> = contents
            .iter()
            .map(|(entries, workflow)| (entries.as_slice(), workflow.as_str()))
            .collect();
        let work_ns = monotonic_ns();
        let (summary, left_out) = summarize(&contents, window_ns);
        let work_ns = monotonic_ns() - work_ns;
        AggregateReply {
            work_ns: [work_ns],
            read_ns,
            expand_ns,
            tag: request.tag.clone(),
            ..AggregateReply::new(&summary, left_out)
        }
    };
    let Some(part) = &request.parts else {
        return call.answer(&finish(&[(entries, request.workflow.clone())]));
    };
    let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = parts.take(part, (entries, request.workflow.clone()));
    match taken.map_err(|reason| ErrorReply::new(400, reason))? {
        Taken::Waiting { missing, duplicate } => call.answer(&WaitingReply {
            work_ns: [],
            batch: part.batch.clone(),
            part: part.part,
            missing,
            duplicate,
            tag: request.tag.clone(),
        }),
        Taken::Complete(contents) => {
            let reply = finish(&contents);
            parts.finish(&part.batch, reply.clone());
            call.answer(&reply)
        }
        Taken::Before(reply) => call.answer(&AggregateReply {
            duplicate: true,
            tag: request.tag.clone(),
            ..reply
        }),
    }
}

/// Parameters of `stats`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatsRequest {
    dimension: Option<String>,
}

/// What is stored, and what the thread has done since it started; with a dimension, its totals too.
fn stats(call: &Call, reader: &rusqlite::Connection, counters: &Counters) -> Answer {
    let request: StatsRequest = call.parameters()?;
    let failed = |cause: rusqlite::Error| ErrorReply::new(503, cause.to_string());
    let totals = match request.dimension {
        None => Value::Null,
        Some(name) => {
            let known = Dimension::ALL.into_iter().find(|dimension| dimension.name() == name);
            let Some(dimension) = known else {
                let names = Dimension::ALL.map(Dimension::name).join(", ");
                let told = format!("'{}' is no dimension: {names}", name.escape_default());
                return Err(ErrorReply::new(400, told));
            };
            json!(told(&store::totals(reader, dimension).map_err(failed)?))
        }
    };
    call.answer(&json!({
        "stored": store::counts(reader).map_err(failed)?,
        "totals": totals,
        "duplicates": counters.duplicates.load(Relaxed),
        "refused": counters.refused.load(Relaxed),
        "commits": counters.commits.load(Relaxed),
        "commit_errors": counters.commit_errors.load(Relaxed),
    }))
}
