//! The accounts: an SQLite database that is seeded once and only read afterwards, and a copy of its accounts in memory.

use super::seed;
use crate::ServiceError;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::Serialize;
use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `PRAGMA user_version` of the schema below: the letters "AG" and a number.
const SCHEMA_VERSION: i64 = 0x4147_0001;

const SCHEMA: &str = "
CREATE TABLE accounts(id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, industry TEXT NOT NULL, annual_cents INTEGER NOT NULL, renewal_in_days INTEGER NOT NULL, health INTEGER NOT NULL) STRICT;
CREATE INDEX accounts_by_owner ON accounts(owner);
CREATE TABLE activities(id INTEGER PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts(id), days_ago INTEGER NOT NULL, kind TEXT NOT NULL, minutes INTEGER NOT NULL, sentiment INTEGER NOT NULL) STRICT;
CREATE INDEX activities_by_account ON activities(account_id, days_ago);
CREATE TABLE seeding(accounts INTEGER NOT NULL, seed INTEGER NOT NULL) STRICT;
";

/// How long one attempt waits for another process that seeds the same database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) industry: String,
    pub(crate) annual_cents: i64,
    pub(crate) renewal_in_days: i64,
    pub(crate) health: i64,
}

impl Account {
    fn of(row: &Row<'_>) -> rusqlite::Result<Account> {
        Ok(Account {
            id: row.get(0)?,
            name: row.get(1)?,
            owner: row.get(2)?,
            industry: row.get(3)?,
            annual_cents: row.get(4)?,
            renewal_in_days: row.get(5)?,
            health: row.get(6)?,
        })
    }
}

const COLUMNS: &str = "id, name, owner, industry, annual_cents, renewal_in_days, health";

/// One activity on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Whole days between the activity and the day on which the database is looked at.
    pub(crate) days_ago: i64,
    pub(crate) kind: String,
    pub(crate) minutes: i64,
    /// From -2, bad, to 2, good.
    pub(crate) sentiment: i64,
}

/// A reading connection.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
}

impl Database {
    /// Makes and seeds the database at `path` unless it is there already.
    pub(crate) fn seed(path: &Path, accounts: NonZeroU32, seed: u64) -> Result<(), ServiceError> {
        let failed = |action| failure(path, action);
        let mut connection = Connection::open(path).map_err(failed("opening"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("setting up"))?;
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed("locking"))?;
        let version: i64 = transaction
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed("reading its version"))?;
        let tables: i64 = transaction
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed("reading its schema"))?;
        // SQLite's integers are signed; the bits of the seed are what counts.
        let wanted = (i64::from(accounts.get()), seed.cast_signed());
        if tables == 0 {
            transaction
                .execute_batch(SCHEMA)
                .map_err(failed("creating its tables"))?;
            fill(&transaction, accounts, seed).map_err(failed("seeding"))?;
            transaction
                .pragma_update(None, "user_version", SCHEMA_VERSION)
                .map_err(failed("writing its version"))?;
        } else if version != SCHEMA_VERSION {
            return Err(ServiceError::Schema {
                path: path.to_owned(),
                found: version,
                expected: SCHEMA_VERSION,
            });
        } else {
            let found: (i64, i64) = transaction
                .query_row("SELECT accounts, seed FROM seeding", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .map_err(failed("reading how it was seeded"))?;
            if found != wanted {
                return Err(ServiceError::Open {
                    what: "database",
                    place: path.display().to_string(),
                    cause: io::Error::other(format!(
                        "it was seeded by --accounts {} --seed {}; give these, or another --db",
                        found.0,
                        found.1.cast_unsigned()
                    )),
                });
            }
        }
        transaction.commit().map_err(failed("committing"))
    }

    /// Opens the seeded database for reading.
    pub(crate) fn open(path: &Path) -> Result<Database, ServiceError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failure(path, "opening"))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(failure(path, "setting up"))?;
        Ok(Database { connection })
    }

    /// The account with this id, if there is one.
    pub(crate) fn account(&self, id: &str) -> rusqlite::Result<Option<Account>> {
        let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row([id], Account::of).optional()
    }

    /// The accounts of an owner, the largest first.
    pub(crate) fn portfolio(&self, owner: &str) -> rusqlite::Result<Vec<Account>> {
        let sql = format!("SELECT {COLUMNS} FROM accounts WHERE owner = ?1 ORDER BY annual_cents DESC, id");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_map([owner], Account::of)?.collect()
    }

    /// The activities on an account in its last `days` days, the latest first.
    pub(crate) fn activities(&self, account: &str, days: i64) -> rusqlite::Result<Vec<Activity>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT days_ago, kind, minutes, sentiment FROM activities WHERE account_id = ?1 AND days_ago < ?2 ORDER BY days_ago, id",
        )?;
        let rows = statement.query_map(params![account, days], |row| {
            Ok(Activity {
                days_ago: row.get(0)?,
                kind: row.get(1)?,
                minutes: row.get(2)?,
                sentiment: row.get(3)?,
            })
        })?;
        rows.collect()
    }

    /// All accounts, for the copy in memory.
    pub(crate) fn directory(&self, path: &Path) -> Result<Directory, ServiceError> {
        let all = || -> rusqlite::Result<Vec<Account>> {
            let sql = format!("SELECT {COLUMNS} FROM accounts ORDER BY id");
            let mut statement = self.connection.prepare(&sql)?;
            statement.query_map([], Account::of)?.collect()
        };
        let accounts = all().map_err(failure(path, "reading the accounts"))?;
        let places = accounts
            .iter()
            .enumerate()
            .map(|(k, account)| (account.id.clone(), k))
            .collect();
        Ok(Directory { accounts, places })
    }
}

fn fill(connection: &Connection, accounts: NonZeroU32, seed: u64) -> rusqlite::Result<()> {
    let mut account_row = connection.prepare("INSERT INTO accounts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut activity_row = connection.prepare(
        "INSERT INTO activities(account_id, days_ago, kind, minutes, sentiment) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for number in 1..=accounts.get() {
        let (account, activities) = seed::account(seed, number);
        account_row.execute(params![
            account.id,
            account.name,
            account.owner,
            account.industry,
            account.annual_cents,
            account.renewal_in_days,
            account.health
        ])?;
        for activity in activities {
            activity_row.execute(params![
                account.id,
                activity.days_ago,
                activity.kind,
                activity.minutes,
                activity.sentiment
            ])?;
        }
    }
    connection.execute(
        "INSERT INTO seeding VALUES (?1, ?2)",
        params![accounts.get(), seed.cast_signed()],
    )?;
    Ok(())
}

fn failure(path: &Path, action: &'static str) -> impl FnOnce(rusqlite::Error) -> ServiceError {
    let path: PathBuf = path.to_owned();
    move |cause| ServiceError::Database {
        path,
        action,
        cause,
        hint: "give --db a path in a directory that can be written, to a file that is new or was seeded by this service",
    }
}

/// The accounts in memory, read from the database at the start.
#[derive(Debug)]
pub(crate) struct Directory {
    accounts: Vec<Account>,
    places: HashMap<String, usize>,
}

impl Directory {
    /// The account with this id, if there is one.
    pub(crate) fn get(&self, id: &str) -> Option<&Account> {
        self.accounts.get(*self.places.get(id)?)
    }

    /// One of the accounts, by any number: the same for the same number. There is always one.
    pub(crate) fn any(&self, number: u64) -> Option<&Account> {
        let place = number.checked_rem(self.accounts.len() as u64)?;
        self.accounts.get(usize::try_from(place).ok()?)
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: NonZeroU32 = NonZeroU32::new(20).unwrap();

    #[test]
    fn a_database_is_seeded_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        for _ in 0..2 {
            Database::seed(&path, SOME, 3).unwrap();
        }
        let database = Database::open(&path).unwrap();
        let (expected, activities) = seed::account(3, 5);
        let account = database.account("ACC-000005").unwrap().unwrap();
        assert_eq!((&account.name, account.health), (&expected.name, expected.health));
        assert_eq!(database.account("ACC-000021").unwrap(), None);
        let read = database.activities("ACC-000005", 1_000).unwrap();
        assert_eq!(read.len(), activities.len());
        assert_eq!(
            read.iter().map(|activity| activity.minutes).sum::<i64>(),
            activities.iter().map(|activity| activity.minutes).sum::<i64>()
        );
        let recent = database.activities("ACC-000005", 30).unwrap();
        assert!(recent.len() < read.len() && recent.iter().all(|activity| activity.days_ago < 30));
        assert_eq!(database.portfolio(&account.owner).unwrap().len(), 8);
        let all = database.directory(&path).unwrap();
        assert_eq!((all.len(), all.get("ACC-000005")), (20, Some(&account)));
        assert_eq!(all.any(4), Some(&account));
        assert_eq!(all.any(24), Some(&account));
        assert_eq!(all.get("ACC-999999"), None);
    }

    #[test]
    fn a_database_that_is_not_ours_is_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        Database::seed(&path, SOME, 3).unwrap();
        let other = Database::seed(&path, SOME, 4).unwrap_err().to_string();
        assert!(other.contains("--accounts 20 --seed 3"), "{other}");
        let foreign = directory.path().join("b.db");
        Connection::open(&foreign)
            .unwrap()
            .execute_batch("CREATE TABLE t(x)")
            .unwrap();
        let message = Database::seed(&foreign, SOME, 3).unwrap_err().to_string();
        assert!(message.contains("another --db"), "{message}");
        let text = directory.path().join("c.db");
        std::fs::write(
            &text,
            "no database at all, but long enough to be read as a header of one, is it not?",
        )
        .unwrap();
        let message = Database::seed(&text, SOME, 3).unwrap_err().to_string();
        assert!(message.contains("c.db") && message.contains("--db"), "{message}");
    }
}
