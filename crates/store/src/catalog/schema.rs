//! The tables of the catalog, and their contents as text.
//!
//! in: a connection; out: tables, the cursor, the logical dump.
//! **Invariant:** a database whose schema is not exactly this one is not ours.

use std::fmt::Write as _;

use rusqlite::{Connection, OptionalExtension, params};
use seaworthy_core::digest::Digest;

use super::{from_sql, to_sql};

/// One statement a table; digests are hex, times milliseconds, flags 0 or 1, nested values canonical JSON.
const TABLES: [(&str, &str); 13] = [
    ("cursor", "CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL, last TEXT NOT NULL) STRICT"),
    ("entries", "CREATE TABLE entries (idx INTEGER PRIMARY KEY, code TEXT NOT NULL, digest TEXT NOT NULL) STRICT"),
    (
        "runs",
        "CREATE TABLE runs (run TEXT PRIMARY KEY, idx INTEGER NOT NULL, principal TEXT NOT NULL, request TEXT NOT NULL, plan TEXT NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER, state TEXT NOT NULL) STRICT",
    ),
    (
        "attempts",
        "CREATE TABLE attempts (run TEXT NOT NULL, workflow TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, started_ms INTEGER, ended_ms INTEGER, error TEXT, idx INTEGER NOT NULL, outcome TEXT, cache_key TEXT, reused INTEGER NOT NULL, PRIMARY KEY (run, workflow, step, attempt)) STRICT",
    ),
    ("artifacts", "CREATE TABLE artifacts (digest TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, idx INTEGER NOT NULL) STRICT"),
    (
        "statements",
        "CREATE TABLE statements (idx INTEGER PRIMARY KEY, pae TEXT NOT NULL, key TEXT, type TEXT, fault TEXT, predicate TEXT) STRICT",
    ),
    (
        "subjects",
        "CREATE TABLE subjects (idx INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT, artifact TEXT, sha256 TEXT, dir_hash TEXT, PRIMARY KEY (idx, position)) STRICT",
    ),
    (
        "gates",
        "CREATE TABLE gates (idx INTEGER PRIMARY KEY, run TEXT NOT NULL, workflow TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, gate TEXT NOT NULL, pass INTEGER NOT NULL, decision TEXT NOT NULL) STRICT",
    ),
    (
        "denials",
        "CREATE TABLE denials (idx INTEGER PRIMARY KEY, run TEXT, step TEXT, principal TEXT NOT NULL, action TEXT NOT NULL, resource TEXT NOT NULL, reasons TEXT NOT NULL) STRICT",
    ),
    (
        "models",
        "CREATE TABLE models (model TEXT NOT NULL, version INTEGER NOT NULL, idx INTEGER NOT NULL, digest TEXT NOT NULL, signature TEXT NOT NULL, approval TEXT NOT NULL, principal TEXT NOT NULL, registered_ms INTEGER NOT NULL, trained_by TEXT NOT NULL, validated_by TEXT NOT NULL, PRIMARY KEY (model, version)) STRICT",
    ),
    (
        "aliases",
        "CREATE TABLE aliases (model TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (model, alias)) STRICT",
    ),
    (
        "deployments",
        "CREATE TABLE deployments (idx INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, release INTEGER NOT NULL, state TEXT NOT NULL, statement TEXT NOT NULL, recorded_ms INTEGER NOT NULL) STRICT",
    ),
    (
        "edges",
        "CREATE TABLE edges (source TEXT NOT NULL, relation TEXT NOT NULL, target TEXT NOT NULL, idx INTEGER NOT NULL, label TEXT NOT NULL, PRIMARY KEY (source, relation, target, label)) STRICT",
    ),
];

const INDEXES: [&str; 5] = [
    "CREATE INDEX attempts_by_key ON attempts (cache_key, reused, idx DESC)",
    "CREATE INDEX statements_by_pae ON statements (pae)",
    "CREATE INDEX subjects_by_artifact ON subjects (artifact)",
    "CREATE INDEX gates_by_step ON gates (run, workflow, step, attempt)",
    "CREATE INDEX edges_by_target ON edges (target)",
];

pub(super) fn create(db: &Connection) -> rusqlite::Result<()> {
    for (_, sql) in TABLES {
        db.execute_batch(sql)?;
    }
    for sql in INDEXES {
        db.execute_batch(sql)?;
    }
    db.execute("INSERT INTO cursor VALUES (1, 0, '')", [])?;
    Ok(())
}

/// Removes all rows; the tables stay.
pub(super) fn clear(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    for (table, _) in TABLES {
        transaction.execute_batch(&format!("DELETE FROM {table}"))?;
    }
    transaction.execute("INSERT INTO cursor VALUES (1, 0, '')", [])?;
    transaction.commit()
}

/// Whether the database has exactly our schema: no table, index, view or trigger more or less.
pub(super) fn is_ours(db: &Connection) -> bool {
    let mut want: Vec<&str> = TABLES.iter().map(|(_, sql)| *sql).chain(INDEXES).collect();
    want.sort_unstable();
    schema_of(db).is_ok_and(|found| found == want)
}

fn schema_of(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut rows = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut found = rows.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    found.sort_unstable();
    Ok(found)
}

/// The next leaf to index, and the SHA-256 of the entry before it.
pub(super) fn cursor(db: &Connection) -> rusqlite::Result<(u64, String)> {
    let found = db.query_row("SELECT next, last FROM cursor", [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.map_or((0, String::new()), |(next, last): (i64, String)| (from_sql(next), last)))
}

pub(super) fn set_cursor(db: &Connection, next: u64, last: &Digest) -> rusqlite::Result<()> {
    db.execute("UPDATE cursor SET next = ?1, last = ?2", params![to_sql(next), last.hex()])?;
    Ok(())
}

/// The schema and every row, a line each, sorted within its table.
pub(super) fn dump(db: &Connection) -> rusqlite::Result<String> {
    let mut text = String::new();
    for sql in schema_of(db)? {
        // writing to a String cannot fail
        _ = writeln!(text, "{sql}");
    }
    for (table, _) in TABLES {
        let columns = columns_of(db, table)?;
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let mut rows = db.prepare(&format!("SELECT {} FROM {table}", quoted.join("||','||")))?;
        let mut lines = rows.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        lines.sort_unstable();
        for line in lines {
            // a row is one line whatever its text holds
            _ = writeln!(text, "{table}: {}", line.replace('\\', "\\\\").replace('\n', "\\n"));
        }
    }
    Ok(text)
}

fn columns_of(db: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut rows = db.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
    rows.query_map([table], |row| row.get(0))?.collect()
}
