//! Delivers stamps to the reducer until it confirms each: at once when a workflow has completed, and later, in groups
//! and after growing pauses, whatever could not be delivered then.

use super::journal::Journal;
use super::schema::Change;
use crate::kit::pool::Pool;
use crate::kit::reply::ErrorReply;
use crate::platform::monotonic_ns;
use crate::workflow::hops::Times;
use crate::workflow::stamp::Stored;
use crate::workflow::subjects::REDUCER_STAMP;
use async_nats::Request;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long the reducer may take to confirm a stamp.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);
/// Stamps delivered together after the first attempt, and how many of them at once.
const GROUP: usize = 512;
const AT_ONCE: usize = 64;
/// The first and the longest pause between two groups that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A stamp that was delivered.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) stored: Stored,
    pub(crate) back_ns: u64,
}

/// Why a stamp was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undelivered {
    /// The reducer will never take it.
    #[error("the reducer has refused the stamp: {0}")]
    Refused(String),
    /// It is delivered later.
    #[error("the reducer has not confirmed the stamp: {0}; it will be delivered again")]
    Later(String),
}

/// Delivers stamps.
pub(crate) struct Outbox {
    pool: Arc<Pool>,
    journal: Journal,
    waiting: Mutex<VecDeque<u64>>,
    wake: Notify,
    pub(crate) delivered: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Outbox {
    /// An outbox with stamps that an earlier process has left.
    pub(crate) fn new(pool: Arc<Pool>, journal: Journal, left: Vec<u64>, refused: u64) -> Outbox {
        Outbox {
            pool,
            journal,
            waiting: Mutex::new(left.into()),
            wake: Notify::new(),
            delivered: AtomicU64::new(0),
            refused: AtomicU64::new(refused),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stamps that wait for another attempt.
    pub(crate) fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Delivers the stamp of a workflow now; should that fail, it is delivered later.
    pub(crate) async fn deliver(&self, seq: u64, stamp: Bytes, intended_ns: u64) -> Result<Delivered, Undelivered> {
        let outcome = self.attempt(seq, stamp, intended_ns).await;
        if let Err(Undelivered::Later(_)) = &outcome {
            self.later(seq);
        }
        outcome
    }

    /// Delivers the stamp of a workflow, and attempts it again within `limit`; should that fail, it is delivered later.
    pub(crate) async fn deliver_within(
        &self,
        seq: u64,
        stamp: Bytes,
        intended_ns: u64,
        limit: Duration,
    ) -> Result<Delivered, Undelivered> {
        let mut last = Undelivered::Later(format!("no answer within {} ms", limit.as_millis()));
        let attempts = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.attempt(seq, stamp.clone(), intended_ns).await {
                    Err(undelivered @ Undelivered::Later(_)) => last = undelivered,
                    outcome => return outcome,
                }
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        };
        match tokio::time::timeout(limit, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.later(seq);
                Err(last)
            }
        }
    }

    fn later(&self, seq: u64) {
        self.waiting().push_back(seq);
        self.wake.notify_one();
    }

    async fn attempt(&self, seq: u64, stamp: Bytes, intended_ns: u64) -> Result<Delivered, Undelivered> {
        let times = Times {
            intended_ns,
            sent_ns: monotonic_ns(),
        };
        let request = Request::new()
            .payload(stamp)
            .headers(times.headers())
            .timeout(Some(CONFIRM_LIMIT));
        let reply = self.pool.next().send_request(REDUCER_STAMP, request).await;
        let back_ns = monotonic_ns();
        let reply = reply.map_err(|cause| Undelivered::Later(cause.to_string()))?;
        match ErrorReply::of_reply(reply.headers.as_ref(), &reply.payload) {
            Some(error) if (400..500).contains(&error.code) => {
                let reason = error.to_string();
                tracing::error!("the stamp of workflow {seq} is given up: the reducer says {reason}");
                self.refused.fetch_add(1, Relaxed);
                self.journal.change_later(Change::Refuse {
                    seq,
                    reason: reason.clone(),
                });
                return Err(Undelivered::Refused(reason));
            }
            Some(error) => return Err(Undelivered::Later(error.to_string())),
            None => {}
        }
        let stored = serde_json::from_slice(&reply.payload)
            .map_err(|cause| Undelivered::Later(format!("its answer cannot be read: {cause}")))?;
        self.delivered.fetch_add(1, Relaxed);
        self.journal.change_later(Change::Confirm { seq });
        Ok(Delivered { stored, back_ns })
    }

    /// Delivers what waits, forever.
    pub(crate) async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let group: Vec<u64> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(GROUP);
                waiting.drain(..count).collect()
            };
            if group.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let left: Vec<u64> = stream::iter(group)
                .map(|seq| async move {
                    match self.deliver_again(seq).await {
                        Err(Undelivered::Later(_)) => Some(seq),
                        _ => None,
                    }
                })
                .buffer_unordered(AT_ONCE)
                .filter_map(std::future::ready)
                .collect()
                .await;
            if left.is_empty() {
                pause = FIRST_PAUSE;
                continue;
            }
            tracing::warn!(
                "the reducer has not confirmed {} stamps; again in {} ms",
                left.len(),
                pause.as_millis()
            );
            self.waiting().extend(left);
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn deliver_again(&self, seq: u64) -> Result<(), Undelivered> {
        let stamp = self.journal.unconfirmed_stamp(seq).await;
        match stamp.map_err(|cause| Undelivered::Later(cause.to_string()))? {
            Some(stamp) => self.attempt(seq, stamp, 0).await.map(|_| ()),
            None => Ok(()),
        }
    }
}
