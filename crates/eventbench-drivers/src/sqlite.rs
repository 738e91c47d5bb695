//! SQLite as observer: an event has ended when its row is committed and visible to a second connection.
//!
//! The observer looks at fixed short intervals; by as much as lies between two looks an event may have been visible
//! before it was seen. That gap is measured and stands in the report as the resolution.

use eventbench_core::driver::{Driver, DriverError, Observer, ObserverDef};
use eventbench_core::host::precise_timers;
use eventbench_core::payload::{Content, Template};
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::trial::{Trial, Variables};
use eventbench_core::units::Duration;
use eventbench_core::view::View;
use rusqlite::{Connection, OpenFlags};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Settings of the observer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// The database file.
    path: String,
    /// A query for two columns, an ascending key and the text that holds the stamp, of the rows whose key is above
    /// `:last`, in the order of the key; or several such queries.
    query: OneOrMany,
    /// A template of that text, when more than the stamp in it is to be checked.
    expect: Option<String>,
    /// From one look to the next; 250 µs if absent.
    every: Option<Duration>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// The observer's row.
pub const OBSERVER: ObserverDef = ObserverDef {
    name: "sqlite",
    about: "rows of a database, seen by a second connection: events end when they are committed",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Rows).to_value(),
    open: |settings, trial, driver| open(settings, trial, &driver).map(|o| Box::new(o) as Box<dyn Observer>),
};

fn read(settings: &Settings) -> Result<(Rows, Option<Template>), SettingsError> {
    let own: Rows = settings.read()?;
    if own.query.as_slice().is_empty() {
        return Err(settings.error("query", "expected a query, or a list of them"));
    }
    for query in own.query.as_slice() {
        if !query.contains(":last") {
            return Err(settings.error("query", "the query must take the rows above `:last`, such as \"SELECT id, msg FROM messages WHERE id > :last ORDER BY id\""));
        }
    }
    if own.every.is_some_and(|e| e.ns() < 10_000) {
        return Err(settings.error("every", "looks less than 10us apart would take a core for themselves"));
    }
    let template = own
        .expect
        .as_deref()
        .map(Template::parse)
        .transpose()
        .map_err(|e| settings.error("expect", e))?;
    Ok((own, template))
}

fn open(settings: &Settings, trial: &Trial, _driver: &Arc<dyn Driver>) -> Result<Watcher, DriverError> {
    let (own, expect) = read(settings).map_err(|e| DriverError::new("observe sqlite", e))?;
    let path = expand(&trial.variables, &own.path)?;
    let failed = |e: rusqlite::Error| DriverError::new(format!("database {path}"), advice(&e));
    let connection = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(failed)?;
    for query in own.query.as_slice() {
        let statement = connection.prepare(query).map_err(failed)?;
        if statement.column_count() != 2 {
            return Err(DriverError::new(
                format!("database {path}"),
                format!(
                    "the query gives {} columns; expected two, an ascending key and the text that holds the stamp: {query}",
                    statement.column_count()
                ),
            ));
        }
    }
    Ok(Watcher {
        connection,
        path: path.clone(),
        queries: own.query.as_slice().to_vec(),
        expect,
        every_ns: own.every.map_or(250_000, Duration::ns),
        seed: trial.seed,
        epoch_ms: trial.epoch_ms,
        scratch: Vec::new(),
    })
}

fn expand(variables: &Variables, text: &str) -> Result<String, DriverError> {
    variables
        .expand(text)
        .map_err(|e| DriverError::new("observe sqlite", e))
}

fn advice(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen) => {
            format!("{error}; is the path that of the service's database, and has the service made it?")
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            format!(
                "{error}; another process holds a lock on it: readers and a writer get along in WAL mode only (PRAGMA journal_mode=WAL)"
            )
        }
        _ => error.to_string(),
    }
}

struct Watcher {
    connection: Connection,
    path: String,
    queries: Vec<String>,
    expect: Option<Template>,
    every_ns: u64,
    seed: u64,
    epoch_ms: i64,
    scratch: Vec<u8>,
}

impl Observer for Watcher {
    fn watch(&mut self, view: &mut View) -> Result<(), DriverError> {
        precise_timers();
        let failed = |path: &str, e: rusqlite::Error| DriverError::new(format!("database {path}"), advice(&e));
        let Watcher {
            connection,
            path,
            queries,
            expect,
            every_ns,
            seed,
            epoch_ms,
            scratch,
        } = self;
        let mut statements = Vec::new();
        for query in queries.iter() {
            statements.push((connection.prepare(query).map_err(|e| failed(path, e))?, i64::MIN));
        }
        let mut version = connection.prepare("PRAGMA data_version").map_err(|e| failed(path, e))?;
        let mut known = -1i64;
        let mut last_look = view.clock.now_ns();
        let mut next = last_look;
        loop {
            let closing = view.closing();
            let now = view.clock.now_ns();
            view.resolution.record(now - last_look);
            last_look = now;
            // The number changes with every commit of another connection, and asking for it costs far less than the queries.
            let current: i64 = version.query_row([], |row| row.get(0)).map_err(|e| failed(path, e))?;
            if current != known || closing {
                known = current;
                for (statement, last) in &mut statements {
                    let mut rows = statement
                        .query(rusqlite::named_params! { ":last": *last })
                        .map_err(|e| failed(path, e))?;
                    let mut at = 0;
                    while let Some(row) = rows.next().map_err(|e| failed(path, e))? {
                        if at == 0 {
                            // The first row is there, and with it the whole of what this look can see.
                            at = view.clock.now_ns();
                        }
                        *last = row.get(0).map_err(|e| failed(path, e))?;
                        let text = row.get_ref(1).map_err(|e| failed(path, e))?;
                        let bytes = text.as_bytes().unwrap_or_default();
                        if let (Some(stamp), Some(template)) = (view.sight(bytes, at), expect.as_ref()) {
                            let content = Content {
                                stamp,
                                seed: *seed,
                                epoch_ms: *epoch_ms,
                            };
                            if !template.matches(&content, bytes, scratch) {
                                view.damaged();
                            }
                        }
                    }
                }
                view.publish_progress();
            }
            if closing {
                return Ok(());
            }
            next += *every_ns;
            let now = view.clock.now_ns();
            if next <= now {
                // A look that took longer than the interval is not made up for by a look at once.
                next = now + *every_ns / 4;
            }
            view.clock.sleep_until(next);
        }
    }

    fn count(&mut self) -> Result<Option<u64>, DriverError> {
        let mut total = 0u64;
        for query in &self.queries {
            let counting = format!("SELECT count(*) FROM ({query})");
            let n: i64 = self
                .connection
                .query_row(&counting, rusqlite::named_params! { ":last": i64::MIN }, |row| {
                    row.get(0)
                })
                .map_err(|e| DriverError::new(format!("database {}", self.path), advice(&e)))?;
            total += n as u64;
        }
        Ok(Some(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::host::Clock;
    use eventbench_core::observe::Window;
    use eventbench_core::stamp::Stamp;
    use eventbench_core::trial::{Signals, StreamSpec};
    use std::sync::atomic::Ordering;

    struct NoDriver;
    impl Driver for NoDriver {
        fn streams(&self) -> Vec<StreamSpec> {
            vec![StreamSpec { name: "all".into() }]
        }
        fn session(&self, _: &Trial, _: u32) -> Result<Box<dyn eventbench_core::driver::Session>, DriverError> {
            Err(DriverError::new("none", "none"))
        }
    }

    fn settings(text: &str) -> Settings {
        Settings::from_table(toml_table(text))
    }

    fn toml_table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn settings_are_refused_with_reason() {
        for (text, says) in [
            ("path = \"x\"\nquery = \"SELECT id, msg FROM m\"", ":last"),
            ("path = \"x\"\nquery = []", "expected a query"),
            ("path = \"x\"\nquery = \"SELECT :last\"\nevery = \"1us\"", "10us"),
            (
                "path = \"x\"\nquery = \"SELECT :last\"\nexpect = \"{stampf}\"",
                "unknown payload field",
            ),
            ("query = \"SELECT :last\"", "missing field `path`"),
        ] {
            let error = read(&settings(text)).unwrap_err();
            assert!(error.message.contains(says), "{text}: {}", error.message);
        }
    }

    #[test]
    fn committed_rows_are_seen_once_and_counted_a_second_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE m (id INTEGER PRIMARY KEY, msg TEXT)")
            .unwrap();
        let trial = Trial {
            number: 9,
            seed: 1,
            epoch_ms: 0,
            clock: Clock::Monotonic,
            variables: Variables::default(),
            connections: 1,
            lanes: 1,
            name: "t".into(),
        };
        let text = format!(
            "path = {:?}\nquery = \"SELECT id, msg FROM m WHERE id > :last ORDER BY id\"\nexpect = \"{{stamp}} {{text:8}}\"",
            path
        );
        let driver: Arc<dyn Driver> = Arc::new(NoDriver);
        let mut observer = (OBSERVER.open)(&settings(&text), &trial, driver).unwrap();
        let signals = Arc::new(Signals::default());
        let now = Clock::Monotonic.now_ns();
        let window = Window {
            start_ns: now,
            measure_from_ns: now,
            measure_until_ns: now + 60_000_000_000,
        };
        let mut view = View::new(&trial, window, 1, u64::MAX, signals.clone());
        let template = Template::parse("{stamp} {text:8}").unwrap();
        std::thread::scope(|scope| {
            let (signals, template) = (&signals, &template);
            scope.spawn(move || {
                for seq in 0..50u64 {
                    let stamp = Stamp {
                        run: 9,
                        stream: 0,
                        seq,
                        intended_ns: Clock::Monotonic.now_ns(),
                        late_ns: 0,
                    };
                    let mut row = Vec::new();
                    template.render(
                        &Content {
                            stamp,
                            seed: 1,
                            epoch_ms: 0,
                        },
                        &mut row,
                    );
                    if seq == 7 {
                        *row.last_mut().unwrap() = b'!';
                    }
                    writer
                        .execute("INSERT INTO m (msg) VALUES (?1)", [String::from_utf8(row).unwrap()])
                        .unwrap();
                }
                writer.execute("INSERT INTO m (msg) VALUES ('no stamp')", []).unwrap();
                signals.close.store(true, Ordering::Release);
            });
            observer.watch(&mut view).unwrap();
        });
        assert_eq!(
            (
                view.seen[0].seen.len(),
                view.seen[0].duplicates,
                view.corrupt,
                view.sightings
            ),
            (50, 0, 2, 51)
        );
        assert_eq!(observer.count().unwrap(), Some(51));
        assert_eq!(view.recorder.service.count(), 50);
        assert!(view.resolution.count() > 0);
    }
}
