//! What the service answers when asked: health, statistics, recent chat. Every answer is one line of JSON.
//!
//! Statistics come from counters in memory, which the writer raises after each commit; they cost the same with a
//! million rows as with none. Recent chat is read through a connection of its own, which never waits for the writer.

use super::event::{HighWater, Kind};
use super::queue::Queue;
use super::stats::{ByKind, Stats, sum};
use super::store::{Table, open_reader};
use crate::ServiceError;
use crate::platform::burn;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Most chat messages that one query returns.
const RECENT_LIMIT: u32 = 200;
/// Chat messages returned when the request names no limit.
const RECENT_DEFAULT: u32 = 20;

/// Answers queries. Shared between NATS, HTTP and direct mode.
#[derive(Debug)]
pub(crate) struct Answers {
    reader: Mutex<Connection>,
    stats: Arc<Stats>,
    queue: Arc<Queue>,
    database: PathBuf,
    mode: &'static str,
    draining: AtomicBool,
    burn_cpu_ns: Option<u64>,
}

impl Answers {
    pub(crate) fn open(
        path: &Path,
        mode: &'static str,
        stats: Arc<Stats>,
        queue: Arc<Queue>,
    ) -> Result<Answers, ServiceError> {
        let reader = Mutex::new(open_reader(path)?);
        Ok(Answers {
            reader,
            stats,
            queue,
            database: path.to_owned(),
            mode,
            draining: AtomicBool::new(false),
            burn_cpu_ns: None,
        })
    }

    /// The same with a fault: each query first takes this much CPU time, in nanoseconds.
    pub(crate) fn burning(self, burn_cpu_ns: Option<u64>) -> Answers {
        Answers { burn_cpu_ns, ..self }
    }

    /// From now on health says that the service takes no more events.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The answer to a request: a JSON object, with the single field `error` if the request can't be answered.
    pub(crate) fn answer(&self, subject: &str, payload: &[u8]) -> Vec<u8> {
        if let Some(cpu_ns) = self.burn_cpu_ns
            && subject != "bus.health"
        {
            burn(cpu_ns);
        }
        let answer = match subject {
            "bus.health" => serde_json::to_vec(&self.health()),
            "bus.query.stats" => serde_json::to_vec(&self.stats()),
            "bus.query.recent" => match self.recent(payload) {
                Ok(recent) => serde_json::to_vec(&recent),
                Err(error) => serde_json::to_vec(&Failure { error }),
            },
            other => serde_json::to_vec(&Failure {
                error: format!("no query {other:?}; there are bus.health, bus.query.stats and bus.query.recent"),
            }),
        };
        answer.unwrap_or_else(|_| br#"{"error":"the answer cannot be written as JSON"}"#.to_vec())
    }

    fn health(&self) -> Health<'_> {
        let status = match (self.draining.load(Relaxed), self.stats.degraded.load(Relaxed)) {
            (true, _) => "draining",
            (false, true) => "degraded",
            (false, false) => "ok",
        };
        Health {
            status,
            service: "event-store",
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            db: self.database.display().to_string(),
            mode: self.mode,
            uptime_ms: self.stats.uptime_ms(),
        }
    }

    fn stats(&self) -> Statistics {
        let stats = &self.stats;
        Statistics {
            messages: stats.rows(Table::Messages),
            users: stats.users(),
            user_actions: stats.rows(Table::UserActions),
            media: stats.rows(Table::Media),
            pm_commands: stats.rows(Table::PmCommands),
            user_counts: stats.rows(Table::UserCounts),
            high_water: stats.high_water(),
            uptime_ms: stats.uptime_ms(),
            received: sum(&stats.received),
            stored: sum(&stats.stored),
            malformed: sum(&stats.malformed),
            unknown_subject: stats.unknown.load(Relaxed),
            failed: sum(&stats.failed),
            slow_consumer: stats.slow_consumer.load(Relaxed),
            disconnected: stats.disconnected.load(Relaxed),
            redelivered: stats.redelivered.load(Relaxed),
            commit_errors: stats.commit_errors.load(Relaxed),
            queue_depth: self.queue.waiting().0,
            stored_by_type: ByType::new(&stats.stored),
            received_by_type: ByType::new(&stats.received),
        }
    }

    fn recent(&self, payload: &[u8]) -> Result<Recent, String> {
        let request: RecentRequest = if payload.is_empty() {
            RecentRequest { limit: RECENT_DEFAULT }
        } else {
            serde_json::from_slice(payload).map_err(|cause| format!("bus.query.recent: {cause}"))?
        };
        if !(1..=RECENT_LIMIT).contains(&request.limit) {
            return Err(format!(
                "bus.query.recent: limit {} is not within 1 and {RECENT_LIMIT}",
                request.limit
            ));
        }
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || -> rusqlite::Result<Vec<ChatRow>> {
            reader
                .prepare_cached("SELECT id, username, msg, time FROM messages ORDER BY id DESC LIMIT ?1")?
                .query_map([request.limit], |row| {
                    Ok(ChatRow {
                        id: row.get(0)?,
                        username: row.get(1)?,
                        msg: row.get(2)?,
                        time: row.get(3)?,
                    })
                })?
                .collect()
        };
        let mut messages = read().map_err(|cause| format!("bus.query.recent: {cause}"))?;
        messages.reverse();
        Ok(Recent { messages })
    }
}

#[derive(Serialize)]
struct Failure {
    error: String,
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    service: &'static str,
    pid: u32,
    version: &'static str,
    db: String,
    mode: &'a str,
    uptime_ms: u64,
}

#[derive(Serialize)]
struct Statistics {
    messages: u64,
    users: u64,
    user_actions: u64,
    media: u64,
    pm_commands: u64,
    user_counts: u64,
    high_water: Option<HighWater>,
    uptime_ms: u64,
    received: u64,
    stored: u64,
    malformed: u64,
    unknown_subject: u64,
    failed: u64,
    slow_consumer: u64,
    disconnected: u64,
    redelivered: u64,
    commit_errors: u64,
    queue_depth: usize,
    received_by_type: ByType,
    stored_by_type: ByType,
}

/// Counters under the labels of their types.
struct ByType([u64; Kind::COUNT]);

impl ByType {
    fn new(counters: &ByKind) -> ByType {
        ByType(std::array::from_fn(|index| counters[index].load(Relaxed)))
    }
}

impl Serialize for ByType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Kind::ALL.iter().map(|kind| (kind.label(), self.0[kind.index()])))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecentRequest {
    #[serde(default = "recent_default")]
    limit: u32,
}

fn recent_default() -> u32 {
    RECENT_DEFAULT
}

#[derive(Serialize)]
struct Recent {
    messages: Vec<ChatRow>,
}

#[derive(Serialize)]
struct ChatRow {
    id: i64,
    username: String,
    msg: String,
    time: i64,
}

#[cfg(test)]
mod tests {
    use super::super::event::parse;
    use super::super::store::Store;
    use super::*;
    use crate::platform::thread_cpu_ns;
    use serde_json::{Value, json};

    fn ask(answers: &Answers, subject: &str, payload: &str) -> Value {
        serde_json::from_slice(&answers.answer(subject, payload.as_bytes())).unwrap()
    }

    #[test]
    fn queries_answer_from_committed_rows_and_name_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let (mut store, totals) = Store::open(&path).unwrap();
        let stats = Arc::new(Stats::new(&totals));
        let answers = Answers::open(&path, "nats", Arc::clone(&stats), Arc::new(Queue::new(5))).unwrap();
        assert_eq!(ask(&answers, "bus.query.recent", "")["messages"], json!([]));

        let payloads: Vec<String> = (0..300)
            .map(|n| format!(r#"{{"username":"u{}","msg":"m{n}","time":{n}}}"#, n % 7))
            .collect();
        let mut events: Vec<_> = payloads
            .iter()
            .map(|payload| parse(Kind::ChatMessage, payload.as_bytes()).unwrap())
            .collect();
        events.push(parse(Kind::UserCount, br#"{"count":12,"time":99}"#).unwrap());
        stats.committed(&store.write(&events).unwrap());

        let shown = ask(&answers, "bus.query.stats", "");
        assert_eq!(
            (&shown["messages"], &shown["users"], &shown["stored"]),
            (&json!(300), &json!(7), &json!(301))
        );
        assert_eq!(shown["high_water"], json!({ "count": 12, "time": 99 }));
        assert_eq!(shown["stored_by_type"]["chat_message"], json!(300));

        let recent = ask(&answers, "bus.query.recent", r#"{"limit":2}"#);
        assert_eq!(
            recent["messages"],
            json!([{"id": 299, "username": "u4", "msg": "m298", "time": 298}, {"id": 300, "username": "u5", "msg": "m299", "time": 299}])
        );
        assert_eq!(
            ask(&answers, "bus.query.recent", "{}")["messages"]
                .as_array()
                .unwrap()
                .len(),
            20
        );
        assert_eq!(
            ask(&answers, "bus.query.recent", r#"{"limit":200}"#)["messages"]
                .as_array()
                .unwrap()
                .len(),
            200
        );

        for (subject, payload) in [
            ("bus.query.recent", "{"),
            ("bus.query.recent", r#"{"limit":0}"#),
            ("bus.query.recent", r#"{"limit":201}"#),
            ("bus.query.recent", r#"{"limit":"x"}"#),
            ("bus.query.recent", r#"{"limits":3}"#),
            ("bus.query.nothing", ""),
        ] {
            let error = ask(&answers, subject, payload)["error"].as_str().unwrap().to_owned();
            assert!(error.contains(subject), "{error}");
        }
    }

    #[test]
    fn a_burning_query_takes_at_least_its_cpu_time_and_health_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let (_store, totals) = Store::open(&path).unwrap();
        let cpu_ns = 100_000_000;
        let answers = Answers::open(&path, "nats", Arc::new(Stats::new(&totals)), Arc::new(Queue::new(5)))
            .unwrap()
            .burning(Some(cpu_ns));
        let taken_by = |subject: &str| {
            let before_ns = thread_cpu_ns();
            answers.answer(subject, b"");
            thread_cpu_ns() - before_ns
        };
        assert!(taken_by("bus.query.stats") >= cpu_ns);
        assert!(taken_by("bus.query.recent") >= cpu_ns);
        // It is CPU time that is looked at, so a busy machine cannot make this one long.
        assert!(taken_by("bus.health") < cpu_ns);
    }

    #[test]
    fn health_tells_the_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let (_store, totals) = Store::open(&path).unwrap();
        let stats = Arc::new(Stats::new(&totals));
        let answers = Answers::open(&path, "direct", Arc::clone(&stats), Arc::new(Queue::new(5))).unwrap();
        let health = ask(&answers, "bus.health", "anything");
        assert_eq!((&health["status"], &health["mode"]), (&json!("ok"), &json!("direct")));
        assert_eq!(health["pid"], json!(std::process::id()));
        stats.degraded.store(true, Relaxed);
        assert_eq!(ask(&answers, "bus.health", "")["status"], json!("degraded"));
        answers.drain();
        assert_eq!(ask(&answers, "bus.health", "")["status"], json!("draining"));
    }
}
