//! The engine: brings each accepted workflow to its end, once, whatever happens in between.
//!
//! A workflow is accepted when its request is durable. From then on it is in the database as one that has not ended,
//! and a process that finds it there works on it again. Its steps may therefore be called twice, its stamp may be sent
//! twice, but it ends once and its stamp counts once, because both carry its id.

use super::calls::{Calls, SERVICES};
use super::journal::{Journal, JournalError};
use super::outbox::Outbox;
use super::outcome::{Failure, Outcome, Standing, StateEvent, Wanted, json};
use super::schema::{Change, Found};
use super::state::{IllegalTransition, State};
use crate::kit::reply::{Answer, ErrorReply};
use crate::platform::monotonic_ns;
use crate::workflow::hops::Way;
use crate::workflow::request::{Request, STEPS, Until, refused};
use crate::workflow::stamp::Stamp;
use crate::workflow::subjects;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Pause before a workflow whose state could not be written is taken up again.
const RETAKE_PAUSE: Duration = Duration::from_secs(1);

/// What the engine needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineSettings {
    pub(crate) concurrency: u32,
    pub(crate) backlog: u32,
    pub(crate) stored_limit: Duration,
}

/// A request for a workflow.
pub(crate) struct Job {
    pub(crate) wanted: Wanted,
    pub(crate) payload: Bytes,
    pub(crate) received_ns: u64,
    pub(crate) started_ns: u64,
    /// Whether it is answered as soon as it is durable.
    pub(crate) submit: bool,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Works on workflows.
pub(crate) struct Engine {
    journal: Journal,
    calls: Calls,
    outbox: Arc<Outbox>,
    settings: EngineSettings,
    prefix: String,
    next: AtomicU64,
    by_state: [AtomicU64; 4],
    retries: AtomicU64,
    accepted: Arc<Semaphore>,
    running: Semaphore,
}

/// Why a workflow could not be moved.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What has come of a workflow, apart from its hops.
struct Ended {
    state: State,
    failure: Option<Failure>,
    stored: bool,
    stamp: Option<(Stamp, Bytes)>,
    transition_ns: Vec<u64>,
    routing_ns: Vec<u64>,
    calls_ns: Vec<u64>,
    retries: u64,
}

impl Engine {
    pub(crate) fn new(
        journal: Journal,
        calls: Calls,
        outbox: Arc<Outbox>,
        settings: EngineSettings,
        found: &Found,
    ) -> Arc<Engine> {
        Arc::new(Engine {
            journal,
            calls,
            outbox,
            settings,
            prefix: found.prefix.clone(),
            next: AtomicU64::new(found.last + 1),
            by_state: found.by_state.map(AtomicU64::new),
            retries: AtomicU64::new(0),
            accepted: Arc::new(Semaphore::new(settings.backlog as usize)),
            running: Semaphore::new(settings.concurrency as usize),
        })
    }

    fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.prefix)
    }

    /// The number of a workflow by its id; `None` if it is none of this database.
    fn seq(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.prefix)?.strip_prefix('-')?.parse().ok()
    }

    /// A place among those that have not ended; waits for one.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.accepted).acquire_owned().await.ok()
    }

    /// Takes a request and answers it.
    pub(crate) async fn take(self: Arc<Self>, job: Job) {
        let mut way = Way::from(job.received_ns);
        way.reached_at("orchestrator: wait", job.started_ns);
        let Ok(place) = Arc::clone(&self.accepted).try_acquire_owned() else {
            let text = format!("{} workflows have not ended yet", self.settings.backlog);
            // The client may have gone.
            let _ = job.answer.send(Err(refused(503, "backlog-full", text)));
            return;
        };
        let accepted_ms = crate::kit::unix_ms();
        let seq = match self.accept(None, job.payload.clone(), accepted_ms).await {
            Ok(seq) => seq,
            Err(error) => {
                let _ = job.answer.send(Err(error));
                return;
            }
        };
        way.reached("orchestrator: accept");
        let mut answer = Some(job.answer);
        if job.submit {
            let id = self.id(seq);
            let standing = Standing {
                id: &id,
                state: State::Pending,
                error: None,
                cause: None,
            };
            if let Some(answer) = answer.take() {
                let _ = answer.send(Ok(json(&standing)));
            }
        }
        let open = OpenWorkflow {
            seq,
            state: State::Pending,
            wanted: job.wanted,
            payload: job.payload,
            accepted_ms,
        };
        if let Some(place) = self.finish(open, way, job.started_ns, answer, place).await {
            tokio::time::sleep(RETAKE_PAUSE).await;
            self.take_up(seq, place).await;
        }
    }

    /// Makes a workflow durable and tells that it is pending. One whose source is known is accepted already; its
    /// number then stays unused.
    pub(crate) async fn accept(
        &self,
        source: Option<String>,
        request: Bytes,
        accepted_ms: u64,
    ) -> Result<u64, ErrorReply> {
        let seq = self.next.fetch_add(1, Relaxed);
        let change = Change::Accept {
            seq,
            source,
            request,
            accepted_ms,
        };
        match self.journal.change(change).await {
            Ok(true) => {
                self.by_state[State::Pending as usize].fetch_add(1, Relaxed);
                self.tell(seq, State::Pending, None).await;
                Ok(seq)
            }
            Ok(false) => Err(refused(
                409,
                "known-already",
                "this workflow was accepted before".to_owned(),
            )),
            Err(cause) => Err(refused(
                503,
                "not-durable",
                format!("the workflow is not accepted: {cause}"),
            )),
        }
    }

    /// Works on a workflow that is in the database: one from before a restart, or from JetStream, or one whose state
    /// could not be written.
    pub(crate) async fn take_up(self: Arc<Self>, seq: u64, mut place: OwnedSemaphorePermit) {
        loop {
            match self.read(seq).await {
                Ok(Some(open)) => {
                    let begin_ns = monotonic_ns();
                    match self.finish(open, Way::from(begin_ns), begin_ns, None, place).await {
                        Some(back) => place = back,
                        None => return,
                    }
                }
                Ok(None) => return,
                Err(cause) => tracing::error!("workflow {} cannot be read: {cause}", self.id(seq)),
            }
            tokio::time::sleep(RETAKE_PAUSE).await;
        }
    }

    /// A workflow that is in the database and has not ended.
    async fn read(&self, seq: u64) -> Result<Option<OpenWorkflow>, JournalError> {
        let Some(open) = self.journal.open_workflow(seq).await? else {
            return Ok(None);
        };
        // It was checked when it was accepted; the limit may have been lowered since.
        let wanted = match Request::read(&open.request, usize::MAX) {
            Ok(request) => Wanted::of(&request, 0),
            Err(error) => {
                // Only a database that somebody else has written to holds such a request.
                tracing::error!("workflow {} cannot be understood: {error}", self.id(seq));
                return Ok(None);
            }
        };
        Ok(Some(OpenWorkflow {
            seq,
            state: open.state,
            wanted,
            payload: open.request,
            accepted_ms: open.accepted_ms,
        }))
    }

    /// Brings a workflow to its end, answers, and delivers the stamp. Gives its place back if its state could not be
    /// written, so that it must be taken up again.
    async fn finish(
        &self,
        open: OpenWorkflow,
        mut way: Way,
        started_ns: u64,
        answer: Option<oneshot::Sender<Answer>>,
        place: OwnedSemaphorePermit,
    ) -> Option<OwnedSemaphorePermit> {
        let seq = open.seq;
        let id = self.id(seq);
        let running = self.running.acquire().await;
        let ended = self.execute(&open, &mut way).await;
        drop(running);
        let mut ended = match ended {
            Ok(ended) => ended,
            Err(stuck) => {
                tracing::error!("workflow {id} is taken up again: {stuck}");
                if let Some(answer) = answer {
                    let text = format!("workflow {id} is accepted, but its state could not be written: {stuck}");
                    let _ = answer.send(Err(refused(503, "not-durable", text)));
                }
                return Some(place);
            }
        };
        let stamp = ended.stamp.take();
        let mut undelivered = stamp.as_ref().map(|(_, bytes)| bytes.clone());
        let must_wait = answer.is_some() && open.wanted.until == Until::Stored;
        if must_wait && let Some(bytes) = undelivered.take() {
            let limit = self.settings.stored_limit;
            let intended_ns = open.wanted.intended_ns;
            match self.outbox.deliver_within(seq, bytes, intended_ns, limit).await {
                Ok(delivered) => {
                    ended.stored = true;
                    if let Some(first) = delivered.stored.hops.iter().find(|hop| hop.within.is_none()) {
                        way.reached_at("stamp to the reducer", first.from);
                    }
                    way.follow(delivered.stored.hops);
                    way.reached_at("reducer: way back", delivered.back_ns);
                }
                Err(undelivered) => ended.failure = Some(Failure::new("not-stored", undelivered.to_string())),
            }
        }
        if let Some(answer) = answer {
            let until_ns = way.reached("orchestrator: finish");
            let hops = way.into_hops();
            let outcome = Outcome {
                id: &id,
                state: ended.state,
                error: ended.failure.as_ref().map(|failure| failure.message.as_str()),
                cause: ended.failure.as_ref().map(|failure| failure.cause.as_str()),
                stored: ended.stored,
                stamp: stamp.as_ref().map(|(stamp, _)| stamp),
                work_ns: [until_ns.saturating_sub(started_ns)],
                transition_ns: &ended.transition_ns,
                routing_ns: &ended.routing_ns,
                calls_ns: &ended.calls_ns,
                retries: ended.retries,
                hops: &hops,
            };
            // The client may have gone.
            let _ = answer.send(Ok(json(&outcome)));
        }
        if let Some(bytes) = undelivered {
            // Should it fail, the outbox has taken note of it.
            let _ = self.outbox.deliver(seq, bytes, open.wanted.intended_ns).await;
        }
        None
    }

    /// Calls the steps and moves the workflow to its end.
    async fn execute(&self, open: &OpenWorkflow, way: &mut Way) -> Result<Ended, Stuck> {
        let mut ended = Ended {
            state: open.state,
            failure: None,
            stored: false,
            stamp: None,
            transition_ns: Vec::with_capacity(2),
            routing_ns: Vec::with_capacity(4),
            calls_ns: Vec::with_capacity(1),
            retries: 0,
        };
        if ended.state == State::Pending {
            let moved = self
                .transition(open.seq, &mut ended, State::Processing, None, None)
                .await?;
            if !moved {
                return self.ended_elsewhere(open.seq, ended).await;
            }
        }
        let begin_ns = way.reached("orchestrator: start");
        let found = self.call_steps(open, &mut ended, way).await;
        ended.calls_ns.push(way.at_ns().saturating_sub(begin_ns));
        self.retries.fetch_add(ended.retries, Relaxed);
        let moved = match found {
            Ok(stamp) => {
                let bytes = json(&stamp);
                let moved = self
                    .transition(open.seq, &mut ended, State::Completed, None, Some(bytes.clone()))
                    .await?;
                ended.stamp = moved.then_some((stamp, bytes));
                moved
            }
            Err(failure) => {
                let moved = self
                    .transition(open.seq, &mut ended, State::Failed, Some(&failure), None)
                    .await?;
                ended.failure = Some(failure);
                moved
            }
        };
        way.reached("orchestrator: outcome committed");
        if moved {
            Ok(ended)
        } else {
            self.ended_elsewhere(open.seq, ended).await
        }
    }

    /// The steps side by side, none of which needs another's result. The first failure ends the waiting for the others.
    async fn call_steps(&self, open: &OpenWorkflow, ended: &mut Ended, way: &mut Way) -> Result<Stamp, Failure> {
        let wanted = &open.wanted;
        let call = |step| self.calls.call(step, open.payload.clone(), wanted.intended_ns);
        let mut under_way: FuturesUnordered<_> = match &wanted.steps {
            Some(steps) => steps.iter().map(|step| call(step.as_str())).collect(),
            None => STEPS.into_iter().map(call).collect(),
        };
        let mut stamp = Stamp {
            id: self.id(open.seq),
            workflow: self.id(open.seq),
            namespace: wanted.namespace.clone(),
            file: wanted.file.clone(),
            hash: wanted.hash.clone().unwrap_or_default(),
            tag: wanted.tag.clone(),
            event_ms: open.accepted_ms,
            ..Stamp::default()
        };
        let mut parts = Vec::with_capacity(STEPS.len());
        let mut failure = None;
        let mut last_ns = way.at_ns();
        while let Some(called) = under_way.next().await {
            ended.routing_ns.extend(&called.routing_ns);
            ended.retries += called.failed.len() as u64;
            match &called.outcome {
                Ok(answered) => {
                    last_ns = answered.back_ns;
                    let reply = &answered.reply;
                    stamp.hash = reply.hash.clone().unwrap_or(stamp.hash);
                    stamp.bytes = reply.bytes.unwrap_or(stamp.bytes);
                    stamp.content_type = reply.content_type.clone().unwrap_or(stamp.content_type);
                }
                Err(cause) => {
                    last_ns = monotonic_ns();
                    failure = Some(cause.clone());
                }
            }
            parts.push(called);
            if failure.is_some() {
                break;
            }
        }
        way.reached_at(SERVICES, last_ns);
        parts.iter().for_each(|called| called.note_parts(way));
        match failure {
            Some(failure) => Err(failure),
            None => Ok(stamp),
        }
    }

    /// Moves a workflow, durably, and tells it. `false` if it is not where it was thought to be.
    async fn transition(
        &self,
        seq: u64,
        ended: &mut Ended,
        to: State,
        failure: Option<&Failure>,
        stamp: Option<Bytes>,
    ) -> Result<bool, Stuck> {
        let begin_ns = monotonic_ns();
        let from = ended.state;
        let has_moved = self.move_to(seq, from, to, failure, stamp).await?;
        if has_moved {
            ended.state = to;
            ended.transition_ns.push(monotonic_ns().saturating_sub(begin_ns));
        }
        Ok(has_moved)
    }

    async fn move_to(
        &self,
        seq: u64,
        from: State,
        to: State,
        failure: Option<&Failure>,
        stamp: Option<Bytes>,
    ) -> Result<bool, Stuck> {
        let change = Change::Move {
            seq,
            from,
            to: from.to(to)?,
            changed_ms: crate::kit::unix_ms(),
            failure: failure.map(|failure| (failure.cause.clone(), failure.message.clone())),
            stamp,
        };
        let has_moved = self.journal.change(change).await?;
        if has_moved {
            self.by_state[from as usize].fetch_sub(1, Relaxed);
            self.by_state[to as usize].fetch_add(1, Relaxed);
            self.tell(seq, to, failure).await;
        }
        Ok(has_moved)
    }

    /// What has become of a workflow that somebody else has ended meanwhile.
    async fn ended_elsewhere(&self, seq: u64, mut ended: Ended) -> Result<Ended, Stuck> {
        if let Some(known) = self.journal.known(seq).await? {
            ended.state = known.state;
            ended.failure = known
                .error
                .map(|error| Failure::new(&known.cause.unwrap_or_default(), error));
        }
        Ok(ended)
    }

    async fn tell(&self, seq: u64, state: State, failure: Option<&Failure>) {
        let id = self.id(seq);
        let event = StateEvent {
            id: &id,
            state,
            at_ns: monotonic_ns(),
            error: failure.map(|failure| failure.message.as_str()),
        };
        let told = self.calls.pool.next().publish(subjects::state(&id), json(&event)).await;
        if let Err(cause) = told {
            tracing::warn!("the state of workflow {id} could not be told: {cause}");
        }
    }

    /// The state of a workflow by its id.
    pub(crate) async fn standing(&self, id: &str) -> Answer {
        let known = match self.seq(id) {
            Some(seq) => self.journal.known(seq).await.map_err(unreadable)?,
            None => None,
        };
        let Some(known) = known else {
            return Err(refused(
                404,
                "unknown-workflow",
                "there is no workflow of this id".to_owned(),
            ));
        };
        Ok(json(&Standing {
            id,
            state: known.state,
            error: known.error.as_deref(),
            cause: known.cause.as_deref(),
        }))
    }

    /// Moves a workflow at an operator's wish. Only its failure can be wished for; everything else happens by itself.
    pub(crate) async fn wish(&self, id: &str, to: State, reason: &str) -> Answer {
        let seq = self.seq(id);
        let known = match seq {
            Some(seq) => self.journal.known(seq).await.map_err(unreadable)?,
            None => None,
        };
        let (Some(seq), Some(known)) = (seq, known) else {
            return Err(refused(
                404,
                "unknown-workflow",
                "there is no workflow of this id".to_owned(),
            ));
        };
        let illegal = |cause: IllegalTransition| refused(409, "illegal-transition", cause.to_string());
        known.state.to(to).map_err(illegal)?;
        if to != State::Failed {
            let text = format!("a workflow becomes {} by itself alone", to.name());
            return Err(refused(403, "not-for-operators", text));
        }
        let failure = Failure::new("ended-by-operator", reason);
        match self.move_to(seq, known.state, to, Some(&failure), None).await {
            Ok(true) => self.standing(id).await,
            // It has ended in the very moment.
            Ok(false) => match self.journal.known(seq).await.map_err(unreadable)? {
                Some(now) => Err(illegal(IllegalTransition { from: now.state, to })),
                None => Err(refused(
                    404,
                    "unknown-workflow",
                    "there is no workflow of this id".to_owned(),
                )),
            },
            Err(stuck) => Err(refused(503, "not-durable", stuck.to_string())),
        }
    }

    /// Counters and the router's view of the instances.
    pub(crate) fn stats(&self) -> Answer {
        let count = |state: State| self.by_state[state as usize].load(Relaxed);
        Ok(json(&json!({
            "pending": count(State::Pending),
            "processing": count(State::Processing),
            "completed": count(State::Completed),
            "failed": count(State::Failed),
            "retries": self.retries.load(Relaxed),
            "stamps": {
                "delivered": self.outbox.delivered.load(Relaxed),
                "refused": self.outbox.refused.load(Relaxed),
                "waiting": self.outbox.len(),
            },
            "source": self.calls.discovery.source(),
            "instances": self.calls.router.view(),
        })))
    }

    /// Whether each of the usual steps has an instance.
    pub(crate) fn has_workers(&self) -> bool {
        STEPS.into_iter().all(|step| self.calls.router.pick(step, &[]).is_ok())
    }

    /// Waits until every accepted workflow has ended and its stamp was attempted.
    pub(crate) async fn drained(&self) {
        // An error says that the semaphore was closed, which it never is.
        let _ = self.accepted.acquire_many(self.settings.backlog).await;
    }
}

/// A workflow that has not ended.
struct OpenWorkflow {
    seq: u64,
    state: State,
    wanted: Wanted,
    payload: Bytes,
    accepted_ms: u64,
}

fn unreadable(cause: JournalError) -> ErrorReply {
    refused(503, "not-readable", cause.to_string())
}
