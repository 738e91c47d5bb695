//! The optional log of commits: a second way to know when each row became visible, independent of any observer.

use super::store::{Committed, Table};
use crate::ServiceError;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Appends one line for each commit and table; buffered, flushed when the writer is idle and at the end.
#[derive(Debug)]
pub(crate) struct CommitLog {
    file: BufWriter<File>,
    dirty: bool,
    broken: bool,
}

impl CommitLog {
    pub(crate) fn open(path: &Path) -> Result<CommitLog, ServiceError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|cause| ServiceError::Open {
                what: "commit log",
                place: path.display().to_string(),
                cause,
            })?;
        Ok(CommitLog {
            file: BufWriter::new(file),
            dirty: false,
            broken: false,
        })
    }

    /// `committed_ns` is `CLOCK_MONOTONIC` just after the commit returned.
    pub(crate) fn append(&mut self, committed_ns: u64, batch: &Committed) {
        for table in Table::ALL {
            if let Some(ids) = batch.ids[table as usize] {
                let line = writeln!(
                    self.file,
                    "{committed_ns}\t{}\t{}\t{}",
                    table.name(),
                    ids.first,
                    ids.last
                );
                self.report(line);
                self.dirty = true;
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let flushed = self.file.flush();
            self.report(flushed);
        }
    }

    /// A log that cannot be written must not stop the service; it is reported once.
    fn report(&mut self, result: std::io::Result<()>) {
        if let Err(cause) = result
            && !std::mem::replace(&mut self.broken, true)
        {
            tracing::error!("commit log is incomplete from here on: {cause}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::Ids;
    use super::*;

    #[test]
    fn one_line_for_each_table_that_got_rows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("commits.log");
        let mut log = CommitLog::open(&path).unwrap();
        let mut batch = Committed::default();
        batch.ids[Table::Messages as usize] = Some(Ids { first: 4, last: 9 });
        batch.ids[Table::UserCounts as usize] = Some(Ids { first: 1, last: 1 });
        log.append(123, &batch);
        log.append(456, &Committed::default());
        log.flush();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "123\tmessages\t4\t9\n123\tuser_counts\t1\t1\n"
        );
    }
}
