//! The SQLite database: its schema, and the transaction that stores a batch.
//!
//! Rows are only ever added, by one writer, so that a table's highest id less its lowest tells how many there are
//! without counting them; a start with a million rows is as fast as one with none.

use super::event::{Event, HighWater, Kind, Text, UserAction};
use crate::ServiceError;
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OpenFlags, Result, params};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

/// `PRAGMA user_version` of the schema below.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE messages(id INTEGER PRIMARY KEY, username TEXT NOT NULL, msg TEXT NOT NULL, time INTEGER NOT NULL) STRICT;
CREATE TABLE user_actions(id INTEGER PRIMARY KEY, username TEXT NOT NULL, action TEXT NOT NULL, msg TEXT, time INTEGER NOT NULL) STRICT;
CREATE TABLE media(id INTEGER PRIMARY KEY, title TEXT NOT NULL, username TEXT NOT NULL, duration_s REAL NOT NULL, msg TEXT, time INTEGER NOT NULL) STRICT;
CREATE TABLE pm_commands(id INTEGER PRIMARY KEY, username TEXT NOT NULL, command TEXT NOT NULL, args TEXT NOT NULL, msg TEXT, time INTEGER NOT NULL) STRICT;
CREATE TABLE user_counts(id INTEGER PRIMARY KEY, count INTEGER NOT NULL, msg TEXT, time INTEGER NOT NULL) STRICT;
CREATE TABLE users(id INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE high_water(id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL, time INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
";

/// How long one attempt waits for another process that holds the database's lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// A table that events go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Table {
    Messages,
    UserActions,
    Media,
    PmCommands,
    UserCounts,
}

impl Table {
    pub(crate) const COUNT: usize = 5;
    pub(crate) const ALL: [Table; Table::COUNT] = [
        Table::Messages,
        Table::UserActions,
        Table::Media,
        Table::PmCommands,
        Table::UserCounts,
    ];

    /// The table that events of this type go to.
    pub(crate) fn of(kind: Kind) -> Table {
        match kind {
            Kind::ChatMessage => Table::Messages,
            Kind::UserJoined | Kind::UserLeft => Table::UserActions,
            Kind::MediaPlayed => Table::Media,
            Kind::PmCommand => Table::PmCommands,
            Kind::UserCount => Table::UserCounts,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Messages => "messages",
            Table::UserActions => "user_actions",
            Table::Media => "media",
            Table::PmCommands => "pm_commands",
            Table::UserCounts => "user_counts",
        }
    }

    fn insert_sql(self) -> &'static str {
        match self {
            Table::Messages => "INSERT INTO messages(username, msg, time) VALUES (?1, ?2, ?3)",
            Table::UserActions => "INSERT INTO user_actions(username, action, msg, time) VALUES (?1, ?2, ?3, ?4)",
            Table::Media => "INSERT INTO media(title, username, duration_s, msg, time) VALUES (?1, ?2, ?3, ?4, ?5)",
            Table::PmCommands => {
                "INSERT INTO pm_commands(username, command, args, msg, time) VALUES (?1, ?2, ?3, ?4, ?5)"
            }
            Table::UserCounts => "INSERT INTO user_counts(count, msg, time) VALUES (?1, ?2, ?3)",
        }
    }
}

/// What the database holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Totals {
    /// Rows by table, in the order of [`Table::ALL`].
    pub(crate) rows: [u64; Table::COUNT],
    /// Distinct user names.
    pub(crate) users: u64,
    /// The highest user count.
    pub(crate) high_water: Option<HighWater>,
}

/// The ids that a batch gave to its rows of one table; they follow each other, because the transaction held the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Ids {
    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.last - self.first + 1).unwrap_or(0)
    }
}

/// What a committed batch added.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Committed {
    /// Events by type.
    pub(crate) by_kind: [u64; Kind::COUNT],
    /// Ids by table.
    pub(crate) ids: [Option<Ids>; Table::COUNT],
    /// User names not seen before.
    pub(crate) new_users: u64,
    /// The new high water, if the batch raised it.
    pub(crate) high_water: Option<HighWater>,
}

/// The writer's connection.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    known_users: KnownUsers,
    high_water: Option<HighWater>,
}

impl Store {
    /// Opens or creates the database, and makes sure that it can be written.
    pub(crate) fn open(path: &Path) -> std::result::Result<(Store, Totals), ServiceError> {
        let failed = |action, cause| database_error(path, action, cause);
        let connection = Connection::open(path).map_err(|cause| failed("opening", cause))?;
        configure(&connection).map_err(|cause| failed("configuring", cause))?;
        // Taking the write lock shows now, not at the first event, that the file is locked or read-only.
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|cause| failed("opening for writing", cause))?;
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|cause| failed("reading the schema version", cause))?;
        match version {
            SCHEMA_VERSION => {}
            0 => connection
                .execute_batch(SCHEMA)
                .map_err(|cause| failed("creating the tables", cause))?,
            found => {
                return Err(ServiceError::Schema {
                    path: path.to_owned(),
                    found,
                    expected: SCHEMA_VERSION,
                });
            }
        }
        connection
            .execute_batch("COMMIT")
            .map_err(|cause| failed("creating the tables", cause))?;
        let totals = read_totals(&connection).map_err(|cause| failed("reading the totals", cause))?;
        let store = Store {
            connection,
            known_users: KnownUsers::default(),
            high_water: totals.high_water,
        };
        Ok((store, totals))
    }

    /// Stores all events in one transaction. After an error nothing of them is stored, and the call may be repeated.
    pub(crate) fn write(&mut self, events: &[Event<'_>]) -> Result<Committed> {
        let result = self.try_write(events);
        match &result {
            Ok(committed) => self.high_water = committed.high_water.or(self.high_water),
            Err(_) => {
                // Names learnt in this transaction are not in the database.
                self.known_users.forget();
                if !self.connection.is_autocommit() {
                    // Nothing to be done if this fails too: closing the connection rolls back.
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
            }
        }
        result
    }

    fn try_write(&mut self, events: &[Event<'_>]) -> Result<Committed> {
        let connection = &self.connection;
        let mut committed = Committed::default();
        let mut statements = Statements::new(connection);
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for event in events {
            let kind = event.kind();
            let table = Table::of(kind);
            let insert = statements.insert(table)?;
            let username = match event {
                Event::Chat(chat) => {
                    insert.execute(params![chat.username, chat.msg, chat.time])?;
                    Some(&chat.username)
                }
                Event::Joined(action) => Some(insert_action(insert, action, "joined")?),
                Event::Left(action) => Some(insert_action(insert, action, "left")?),
                Event::Media(media) => {
                    insert.execute(params![
                        media.title,
                        media.username,
                        media.duration_s,
                        text(&media.msg),
                        media.time
                    ])?;
                    Some(&media.username)
                }
                Event::Command(command) => {
                    let message = text(&command.msg);
                    insert.execute(params![
                        command.username,
                        command.command,
                        command.args,
                        message,
                        command.time
                    ])?;
                    Some(&command.username)
                }
                Event::Count(count) => {
                    insert.execute(params![count.count, text(&count.msg), count.time])?;
                    let highest = committed.high_water.or(self.high_water);
                    if highest.is_none_or(|highest| count.count > highest.count) {
                        committed.high_water = Some(HighWater {
                            count: count.count,
                            time: count.time,
                        });
                    }
                    None
                }
            };
            let id = connection.last_insert_rowid();
            let ids = &mut committed.ids[table as usize];
            *ids = Some(ids.map_or(Ids { first: id, last: id }, |ids| Ids { last: id, ..ids }));
            committed.by_kind[kind.index()] += 1;
            if let Some(username) = username
                && self.known_users.is_new(username)
            {
                committed.new_users += u64::try_from(statements.user()?.execute([username])?).unwrap_or(0);
            }
        }
        if let Some(highest) = committed.high_water {
            connection
                .prepare_cached("INSERT OR REPLACE INTO high_water(id, count, time) VALUES (1, ?1, ?2)")?
                .execute(params![highest.count, highest.time])?;
        }
        drop(statements);
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(committed)
    }
}

/// Opens a second connection that only reads, so that a query never waits for the writer.
pub(crate) fn open_reader(path: &Path) -> std::result::Result<Connection, ServiceError> {
    let failed = |cause| database_error(path, "opening for reading", cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failed)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Rows are only appended, so a small page cache serves as well as a large one, and is full soon: memory stays level.
    connection.pragma_update(None, "cache_size", -128)?;
    // A stop must be quick: what is in the write-ahead log is safe there, and the next start reads it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(())
}

fn read_totals(connection: &Connection) -> Result<Totals> {
    let rows_of = |table: &str| {
        let sql = format!("SELECT (SELECT max(id) FROM {table}), (SELECT min(id) FROM {table})");
        connection.query_row(&sql, [], |row| {
            let ids = row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?);
            Ok(ids.map_or(0, |(last, first)| Ids { first, last }.len()))
        })
    };
    let mut totals = Totals {
        users: rows_of("users")?,
        ..Totals::default()
    };
    for table in Table::ALL {
        totals.rows[table as usize] = rows_of(table.name())?;
    }
    let mut high_water = connection.prepare("SELECT count, time FROM high_water WHERE id = 1")?;
    let mut found = high_water.query_map([], |row| {
        Ok(HighWater {
            count: row.get(0)?,
            time: row.get(1)?,
        })
    })?;
    totals.high_water = found.next().transpose()?;
    Ok(totals)
}

fn database_error(path: &Path, action: &'static str, cause: rusqlite::Error) -> ServiceError {
    use rusqlite::ErrorCode;
    let hint = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds its lock: stop that process or use another --db"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "the file is no sound SQLite database: use another --db"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "make the file and its directory writable",
        Some(ErrorCode::DiskFull) => "make room on the disk",
        _ => "check that the directory exists and is writable",
    };
    ServiceError::Database {
        path: path.to_owned(),
        action,
        cause,
        hint,
    }
}

fn text<'a>(message: &'a Option<Text<'_>>) -> Option<&'a str> {
    message.as_ref().map(|text| text.0.as_ref())
}

fn insert_action<'a, 'e>(
    insert: &mut CachedStatement<'_>,
    action: &'e UserAction<'a>,
    name: &str,
) -> Result<&'e std::borrow::Cow<'a, str>> {
    insert.execute(params![action.username, name, text(&action.msg), action.time])?;
    Ok(&action.username)
}

/// The statements of one batch, looked up once each.
struct Statements<'c> {
    connection: &'c Connection,
    inserts: [Option<CachedStatement<'c>>; Table::COUNT],
    user: Option<CachedStatement<'c>>,
}

impl<'c> Statements<'c> {
    fn new(connection: &'c Connection) -> Statements<'c> {
        Statements {
            connection,
            inserts: [const { None }; Table::COUNT],
            user: None,
        }
    }

    fn insert(&mut self, table: Table) -> Result<&mut CachedStatement<'c>> {
        prepared(self.connection, &mut self.inserts[table as usize], table.insert_sql())
    }

    fn user(&mut self) -> Result<&mut CachedStatement<'c>> {
        prepared(
            self.connection,
            &mut self.user,
            "INSERT OR IGNORE INTO users(username) VALUES (?1)",
        )
    }
}

fn prepared<'s, 'c>(
    connection: &'c Connection,
    slot: &'s mut Option<CachedStatement<'c>>,
    sql: &str,
) -> Result<&'s mut CachedStatement<'c>> {
    Ok(match slot {
        Some(statement) => statement,
        None => slot.insert(connection.prepare_cached(sql)?),
    })
}

/// Remembers recent user names by their hash, so that most events need no look-up in the table of users. Its size is
/// fixed; a name that was displaced is simply looked up again. Two names of one 64-bit hash would count as one.
#[derive(Debug)]
struct KnownUsers {
    hasher: RandomState,
    slots: Box<[u64]>,
}

impl Default for KnownUsers {
    fn default() -> Self {
        KnownUsers {
            hasher: RandomState::new(),
            slots: vec![0; 4_096].into_boxed_slice(),
        }
    }
}

impl KnownUsers {
    /// Whether this name is not remembered; it is from now on.
    fn is_new(&mut self, username: &str) -> bool {
        let hash = self.hasher.hash_one(username) | 1;
        let index = usize::try_from(hash >> 1).unwrap_or(0) % self.slots.len();
        std::mem::replace(&mut self.slots[index], hash) != hash
    }

    fn forget(&mut self) {
        self.slots.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::parse;
    use super::*;

    fn chat(username: &str, n: usize) -> String {
        format!(r#"{{"username":"{username}","msg":"m{n}","time":{n}}}"#)
    }

    fn count(n: u32, time: i64) -> String {
        format!(r#"{{"count":{n},"time":{time}}}"#)
    }

    fn events(list: &[(Kind, String)]) -> Vec<Event<'_>> {
        list.iter()
            .map(|(kind, payload)| parse(*kind, payload.as_bytes()).unwrap())
            .collect()
    }

    #[test]
    fn a_batch_of_every_type_is_stored_and_its_totals_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let (mut store, totals) = Store::open(&path).unwrap();
        assert_eq!(totals, Totals::default());
        let list = [
            (Kind::ChatMessage, chat("ann", 1)),
            (Kind::ChatMessage, chat("o'bob", 2)),
            (
                Kind::UserJoined,
                r#"{"username":"ann","time":3,"msg":"mark"}"#.to_owned(),
            ),
            (Kind::UserLeft, r#"{"username":"cid","time":4}"#.to_owned()),
            (
                Kind::MediaPlayed,
                r#"{"title":"t","username":"ann","duration_s":1.5,"time":5}"#.to_owned(),
            ),
            (
                Kind::PmCommand,
                r#"{"username":"ann","command":"c","args":"x","time":6}"#.to_owned(),
            ),
            (Kind::UserCount, count(7, 70)),
            (Kind::UserCount, count(9, 90)),
            (Kind::UserCount, count(8, 80)),
        ];
        let committed = store.write(&events(&list)).unwrap();
        assert_eq!(committed.by_kind, [2, 1, 1, 1, 1, 3]);
        assert_eq!(committed.ids[Table::Messages as usize], Some(Ids { first: 1, last: 2 }));
        assert_eq!(committed.new_users, 3);
        assert_eq!(committed.high_water, Some(HighWater { count: 9, time: 90 }));

        let again = store
            .write(&events(&[
                (Kind::ChatMessage, chat("ann", 3)),
                (Kind::UserCount, count(9, 99)),
            ]))
            .unwrap();
        assert_eq!(again.ids[Table::Messages as usize], Some(Ids { first: 3, last: 3 }));
        assert_eq!(
            (again.new_users, again.high_water),
            (0, None),
            "an equal count is no new high water"
        );

        drop(store);
        let (_, totals) = Store::open(&path).unwrap();
        assert_eq!(totals.rows, [3, 2, 1, 1, 4]);
        assert_eq!(totals.users, 3);
        assert_eq!(totals.high_water, Some(HighWater { count: 9, time: 90 }));
        let reader = open_reader(&path).unwrap();
        let mark: Option<String> = reader
            .query_row("SELECT msg FROM user_actions WHERE action = 'joined'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(mark.as_deref(), Some("mark"));
    }

    #[test]
    fn a_displaced_user_name_is_not_counted_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&directory.path().join("events.db")).unwrap();
        let list: Vec<_> = (0..10_000)
            .map(|n| (Kind::ChatMessage, chat(&format!("user{n}"), n)))
            .collect();
        assert_eq!(store.write(&events(&list)).unwrap().new_users, 10_000);
        assert_eq!(store.write(&events(&list)).unwrap().new_users, 0);
    }

    #[test]
    fn a_failed_batch_leaves_nothing_and_can_be_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON media BEGIN SELECT RAISE(ABORT, 'no'); END")
            .unwrap();
        let list = [
            (Kind::ChatMessage, chat("ann", 1)),
            (Kind::UserCount, count(5, 50)),
            (
                Kind::MediaPlayed,
                r#"{"title":"t","username":"u","duration_s":1,"time":5}"#.to_owned(),
            ),
        ];
        store.write(&events(&list)).unwrap_err();
        let rows: i64 = other
            .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 0);
        other.execute_batch("DROP TRIGGER refuse").unwrap();
        let committed = store.write(&events(&list)).unwrap();
        assert_eq!(
            (committed.new_users, committed.high_water.map(|h| h.count)),
            (2, Some(5))
        );
    }

    #[test]
    fn databases_that_cannot_be_used_are_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let missing = Store::open(&directory.path().join("absent").join("events.db"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("check that the directory exists"), "{missing}");

        std::fs::write(
            &path,
            "this is no database, and it is longer than a header of one would have to be".repeat(20),
        )
        .unwrap();
        let alien = Store::open(&path).unwrap_err().to_string();
        assert!(alien.contains("no sound SQLite database"), "{alien}");

        std::fs::remove_file(&path).unwrap();
        drop(Store::open(&path).unwrap());
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let locked = Store::open(&path).unwrap_err().to_string();
        assert!(locked.contains("another process holds its lock"), "{locked}");
        other.execute_batch("ROLLBACK; PRAGMA user_version = 77").unwrap();
        let newer = Store::open(&path).unwrap_err().to_string();
        assert!(newer.contains("schema version 77"), "{newer}");
        for message in [missing, alien, locked, newer] {
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
