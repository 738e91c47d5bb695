//! The journal: one thread that owns the database and commits what concurrent workflows have asked for in groups, so
//! that a thousand transitions a second cost far fewer commits.

use super::schema::{self, Change, Found, Known, Open};
use crate::ServiceError;
use crate::platform::{monotonic_ns, sleep_until};
use bytes::Bytes;
use rusqlite::Connection;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Most changes of one commit.
const GROUP: usize = 1_024;
/// Pauses before each further attempt to commit a group. After the last one its changes count as not made.
const RETRY_PAUSES_MS: [u64; 5] = [10, 30, 90, 270, 810];

/// Why a change was not made, or an answer not given.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the orchestrator's database: {0}")]
pub(crate) struct JournalError(String);

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;
type Question = Box<dyn FnOnce(&Connection) + Send>;

enum Order {
    Change(Change, Option<Answer<bool>>),
    Ask(Question),
    Close,
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Journal {
    orders: mpsc::Sender<Order>,
}

/// The thread itself.
pub(crate) struct JournalThread {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl JournalThread {
    /// Ends the thread once everything that was asked of it is done. Blocks until then.
    pub(crate) fn close(self) {
        // An error says that the thread has ended already, and a panic of it is on standard error.
        let _ = self.orders.send(Order::Close);
        let _ = self.thread.join();
    }
}

/// Opens the database and starts the thread.
///
/// # Errors
/// What [`schema::open`] says, or that the system gives no thread.
pub(crate) fn open(path: &Path) -> Result<(Journal, JournalThread, Found), ServiceError> {
    const NAME: &str = "journal";
    let (connection, found) = schema::open(path)?;
    let (orders, inbox) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(NAME.to_owned())
        .spawn(move || serve(connection, &inbox))
        .map_err(|cause| ServiceError::Thread {
            name: NAME,
            cause: cause.to_string(),
        })?;
    let journal = Journal { orders: orders.clone() };
    Ok((journal, JournalThread { orders, thread }, found))
}

impl Journal {
    /// Makes a change; once this returns it is durable, and `true` if it changed anything.
    pub(crate) async fn change(&self, change: Change) -> Result<bool, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Change(change, Some(answer)))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Has a change made that nobody waits for. Should it get lost with a crash, it is made again.
    pub(crate) fn change_later(&self, change: Change) {
        if let Err(cause) = self.order(Order::Change(change, None)) {
            tracing::debug!("{cause}");
        }
    }

    /// A workflow that has not ended; `None` if it has.
    pub(crate) async fn open_workflow(&self, seq: u64) -> Result<Option<Open>, JournalError> {
        self.ask(move |connection| schema::open_workflow(connection, seq)).await
    }

    /// What is known of a workflow.
    pub(crate) async fn known(&self, seq: u64) -> Result<Option<Known>, JournalError> {
        self.ask(move |connection| schema::known(connection, seq)).await
    }

    /// The stamp of a workflow as long as it is to be delivered.
    pub(crate) async fn unconfirmed_stamp(&self, seq: u64) -> Result<Option<Bytes>, JournalError> {
        self.ask(move |connection| schema::unconfirmed_stamp(connection, seq))
            .await
    }

    /// Asks something of the database as it is after all changes that were asked for before.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Ask(Box::new(move |connection| {
            let found = question(connection).map_err(|cause| JournalError(cause.to_string()));
            // Whoever asked may have gone.
            let _ = answer.send(found);
        })))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn order(&self, order: Order) -> Result<(), JournalError> {
        self.orders.send(order).map_err(|_| closed())
    }
}

fn closed() -> JournalError {
    JournalError("it is closed".to_owned())
}

fn serve(mut connection: Connection, orders: &mpsc::Receiver<Order>) {
    let mut group: Vec<(Change, Option<Answer<bool>>)> = Vec::with_capacity(GROUP);
    while let Ok(first) = orders.recv() {
        let mut next = Some(first);
        let mut question = None;
        let mut is_last = false;
        while let Some(order) = next.take() {
            match order {
                Order::Change(change, answer) => group.push((change, answer)),
                // It is asked of what was changed before, so the group ends here.
                Order::Ask(ask) => {
                    question = Some(ask);
                    break;
                }
                Order::Close => {
                    is_last = true;
                    break;
                }
            }
            if group.len() < GROUP {
                next = orders.try_recv().ok();
            }
        }
        commit(&mut connection, &mut group);
        if let Some(ask) = question {
            ask(&connection);
        }
        if is_last {
            return;
        }
    }
}

/// Commits a group and tells everybody who waits for a part of it.
fn commit(connection: &mut Connection, group: &mut Vec<(Change, Option<Answer<bool>>)>) {
    if group.is_empty() {
        return;
    }
    let mut pauses_ms = RETRY_PAUSES_MS.iter();
    let outcome = loop {
        match schema::apply(connection, group.iter().map(|(change, _)| change)) {
            Ok(changed) => break Ok(changed),
            // One change that can never be made must not keep the others from being made.
            Err(cause) if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                break Err(cause);
            }
            Err(cause) => match pauses_ms.next() {
                Some(pause_ms) => {
                    tracing::warn!(
                        "{} changes were not committed: {cause}; again in {pause_ms} ms",
                        group.len()
                    );
                    sleep_until(monotonic_ns() + pause_ms * 1_000_000);
                }
                None => break Err(cause),
            },
        }
    };
    match outcome {
        Ok(changed) => {
            for ((_, answer), changed) in group.drain(..).zip(changed) {
                tell(answer, Ok(changed));
            }
        }
        Err(cause) if group.len() == 1 => {
            tracing::error!("a change was not committed: {cause}");
            for (_, answer) in group.drain(..) {
                tell(answer, Err(JournalError(cause.to_string())));
            }
        }
        Err(_) => {
            for one in std::mem::take(group) {
                commit(connection, &mut vec![one]);
            }
        }
    }
}

fn tell(answer: Option<Answer<bool>>, outcome: Result<bool, JournalError>) {
    if let Some(answer) = answer {
        // Whoever asked may have gone.
        let _ = answer.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(seq: u64) -> Change {
        Change::Accept {
            seq,
            source: None,
            request: Bytes::from_static(b"{}"),
            accepted_ms: 1,
        }
    }

    #[tokio::test]
    async fn changes_are_seen_by_what_is_asked_after_them_and_one_bad_one_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orchestrator.db");
        let (journal, thread, _) = open(&path).unwrap();
        assert!(journal.change(accept(1)).await.unwrap());
        let (again, new) = tokio::join!(journal.change(accept(1)), journal.change(accept(2)));
        assert!(again.unwrap_err().to_string().contains("UNIQUE"));
        assert!(new.unwrap());
        journal.change_later(accept(3));
        assert!(journal.open_workflow(3).await.unwrap().is_some());
        assert!(journal.known(4).await.unwrap().is_none());
        let last = journal.clone();
        journal.change_later(accept(4));
        thread.close();
        assert!(last.change(accept(5)).await.unwrap_err().to_string().contains("closed"));
        let (_, found) = schema::open(&path).unwrap();
        assert_eq!(found.open, [1, 2, 3, 4]);
    }
}
