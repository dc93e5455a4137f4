//! The catalog: an SQLite index of what the log says, made again from it at will.
//!
//! in: the log's leaves and bundles through `EvidenceSource`; out: rows, and the answers to queries.
//!
//! **Invariant:** every row follows from log and bundles alone: two catalogs of one log have the same [`Catalog::logical_dump`].
//! **Invariant:** the catalog is never trusted for a decision: who acts on an answer checks the leaf it names.

mod graph;
mod index;
mod models;
mod runs;
mod schema;
mod sum;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use seaworthy_core::digest::Digest;
use seaworthy_core::ports::{EvidenceSource, PortError};

pub use index::named;
pub use models::{Deployment, GateRow, ModelSummary, ModelVersion, Resolved};
pub use runs::{AttemptRow, DenialRow, Outcome, RunDetail, RunSummary, StatementRef};
pub use verify::verify;

use sum::Sum;

/// Leaves indexed in one transaction.
const BATCH: u64 = 10_000;
const BUSY: Duration = Duration::from_secs(10);

/// Why the catalog refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database said no.
    #[error("catalog: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The log could not be read.
    #[error("catalog: {0}")]
    Evidence(#[from] PortError),
    /// The file could not be read or written.
    #[error("could not {what} `{}`: {source}", .path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The log is shorter than what was indexed: it was rolled back.
    #[error("the log has {size} leaves, but {indexed} were indexed: it was rolled back")]
    RolledBack {
        /// Leaves of the log.
        size: u64,
        /// Leaves indexed.
        indexed: u64,
    },
    /// The log says something else than when it was indexed.
    #[error("leaf {index} of the log is not the one that was indexed: the log was rewritten")]
    Rewritten {
        /// The leaf.
        index: u64,
    },
    /// Nothing has this name.
    #[error("`{reference}` names nothing in this environment")]
    Unknown {
        /// What was asked for.
        reference: String,
    },
}

impl CatalogError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Sql(_) => "catalog/sql",
            Self::Evidence(_) => "catalog/evidence",
            Self::Io { .. } => "catalog/io",
            Self::RolledBack { .. } => "catalog/rolled-back",
            Self::Rewritten { .. } => "catalog/rewritten",
            Self::Unknown { .. } => "catalog/unknown",
        }
    }

    /// What to do next, one line.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Sql(_) | Self::Io { .. } => "run `seaworthy catalog rebuild`: the catalog is made again from the log",
            Self::Evidence(_) => "run `seaworthy verify log` to see what is wrong with the log",
            Self::RolledBack { .. } | Self::Rewritten { .. } => {
                "compare with a witnessed checkpoint or a backup before you run `seaworthy catalog rebuild`: this may be an attack"
            }
            Self::Unknown { .. } => "list what there is with `seaworthy models list` and `seaworthy runs list`",
        }
    }

    /// True if evidence was changed: exit code 4.
    #[must_use]
    pub const fn is_integrity(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Rewritten { .. })
    }
}

/// The catalog of one environment.
#[derive(Debug)]
pub struct Catalog {
    db: Connection,
    sum: Option<Sum>,
}

impl Catalog {
    /// Opens the catalog at `path` for reading and indexing. One that is missing, cut short by a crash or changed by
    /// anything else than this crate is made anew, empty: the next [`Catalog::catch_up`] fills it.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let sum = Sum::open(path)?;
        sum.locked(|sum| {
            let sound = sum.matches()? && Self::connect(path).is_ok_and(|db| schema::is_ours(&db));
            if !sound {
                sum.discard()?;
            }
            let db = Self::connect(path)?;
            if !sound {
                schema::create(&db)?;
                sum.renew()?;
            }
            Ok(db)
        })
        .map(|db| Self { db, sum: Some(sum) })
    }

    /// Opens the catalog at `path` for queries alone: nothing is locked, made or changed.
    pub fn open_read_only(path: &Path) -> Result<Self, CatalogError> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        harden(&db)?;
        Ok(Self { db, sum: None })
    }

    /// A catalog in memory of the first `leaves` leaves: for checks, and for copies that have none.
    pub fn in_memory(evidence: &dyn EvidenceSource, leaves: u64) -> Result<Self, CatalogError> {
        let db = Connection::open_in_memory()?;
        harden(&db)?;
        schema::create(&db)?;
        let mut catalog = Self { db, sum: None };
        catalog.advance(evidence, leaves)?;
        Ok(catalog)
    }

    fn connect(path: &Path) -> Result<Connection, CatalogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        harden(&db)?;
        // what a crash destroys is found by the checksum and made again, so no waiting for the disk
        db.pragma_update(None, "journal_mode", "MEMORY")?;
        db.pragma_update(None, "synchronous", "OFF")?;
        Ok(db)
    }

    /// Indexes the leaves that are new since the last time; returns how many there were.
    pub fn catch_up(&mut self, evidence: &dyn EvidenceSource) -> Result<u64, CatalogError> {
        self.changing(|catalog| {
            let size = evidence.size()?;
            catalog.advance(evidence, size)
        })
    }

    /// Forgets everything and indexes the whole log again.
    pub fn rebuild(&mut self, evidence: &dyn EvidenceSource) -> Result<u64, CatalogError> {
        self.changing(|catalog| {
            schema::clear(&mut catalog.db)?;
            let size = evidence.size()?;
            // one more than nothing, so that the checksum is renewed even if the log is empty
            catalog.advance(evidence, size).map(|count| count.max(1))
        })?;
        self.cursor()
    }

    /// Runs `work`, which returns how much it changed, alone; renews the checksum if anything changed.
    fn changing(&mut self, work: impl FnOnce(&mut Self) -> Result<u64, CatalogError>) -> Result<u64, CatalogError> {
        let Some(sum) = self.sum.take() else { return work(self) };
        let done = sum.locked(|sum| {
            let count = work(self)?;
            if count > 0 {
                sum.renew()?;
            }
            Ok(count)
        });
        self.sum = Some(sum);
        done
    }

    /// Leaves indexed so far.
    pub fn cursor(&self) -> Result<u64, CatalogError> {
        Ok(schema::cursor(&self.db)?.0)
    }

    /// Every row of every table as text, in an order that depends on nothing but the rows.
    pub fn logical_dump(&self) -> Result<String, CatalogError> {
        Ok(schema::dump(&self.db)?)
    }

    fn advance(&mut self, evidence: &dyn EvidenceSource, size: u64) -> Result<u64, CatalogError> {
        let (start, last) = schema::cursor(&self.db)?;
        if size < start {
            return Err(CatalogError::RolledBack { size, indexed: start });
        }
        if let Some(index) = start.checked_sub(1)
            && Digest::of(&evidence.entry(index)?).hex() != last
        {
            return Err(CatalogError::Rewritten { index });
        }
        let mut next = start;
        while next < size {
            let end = size.min(next.saturating_add(BATCH));
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut last = Digest::of(b"");
            for index in next..end {
                let entry = evidence.entry(index)?;
                last = Digest::of(&entry);
                index::entry(&transaction, evidence, index, &entry, &last)?;
            }
            schema::set_cursor(&transaction, end, &last)?;
            transaction.commit()?;
            next = end;
        }
        Ok(size - start)
    }
}

/// The file may have been prepared by somebody else: nothing in its schema may act.
fn harden(db: &Connection) -> Result<(), CatalogError> {
    use rusqlite::config::DbConfig;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    db.busy_timeout(BUSY)?;
    Ok(())
}

/// Rows hold indexes and counts as SQLite's signed integers.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
