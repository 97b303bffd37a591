//! The tables: a settings table, one of positions, one of bounds, and one for each partition of each topic, with a
//! view of the topic's name over them. Makes them, and tells where those of a file are not these.

use super::{
    file::read_error,
    place::{Place, Places, table},
};
use crate::log::{Cleanup, Group, LogError, Offset, Topic};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// "WIGW": what `file` and SQLite show as the file's application.
const APPLICATION: i32 = 0x5749_4757;
/// Of the tables below.
const SCHEMA: i32 = 1;

/// Positions by group and partition.
pub(super) type Positions = HashMap<(Group, u32), Offset>;

/// How much was ever committed: the sum of all ends and positions.
pub(super) fn committed(places: &Places, positions: &Positions) -> u64 {
    let offsets = places
        .iter()
        .map(Place::end)
        .chain(positions.values().copied());
    // Only in a damaged file are they so large.
    offsets.fold(0, u64::saturating_add)
}

pub(super) fn create(
    connection: &Connection,
    places: &Places,
    partitions: u32,
) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.execute_batch(
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
         CREATE TABLE positions (consumers TEXT, partition INTEGER, position INTEGER NOT NULL,
             PRIMARY KEY (consumers, partition)) WITHOUT ROWID;
         -- What a table itself no longer shows once its oldest or newest rows are removed.
         CREATE TABLE trimmed (topic TEXT, partition INTEGER, start INTEGER NOT NULL, \"end\" INTEGER NOT NULL,
             PRIMARY KEY (topic, partition)) WITHOUT ROWID;",
    )?;
    transaction.execute(
        "INSERT INTO settings VALUES ('partitions', ?1)",
        [partitions],
    )?;
    for topic in Topic::ALL {
        create_topic(&transaction, places, topic)?;
    }
    transaction.commit()
}

fn create_topic(connection: &Connection, places: &Places, topic: Topic) -> rusqlite::Result<()> {
    let mut tables = Vec::new();
    for place in places.iter().filter(|place| place.topic == topic) {
        let (partition, table) = (place.partition, table(topic, place.partition));
        connection.execute_batch(&format!(
            "CREATE TABLE {table} (offset INTEGER PRIMARY KEY, count INTEGER NOT NULL, time_ms INTEGER NOT NULL,
                crc INTEGER NOT NULL, key BLOB NOT NULL, headers TEXT NOT NULL, value BLOB NOT NULL);"
        ))?;
        if topic.cleanup() == Cleanup::Compact {
            connection.execute_batch(&format!("CREATE INDEX {table}_key ON {table} (key)"))?;
        }
        tables.push(format!(
            "SELECT {partition} AS partition, offset, count,
                strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
                CAST(key AS TEXT) AS key, headers, CAST(value AS TEXT) AS value FROM {table}"
        ));
    }
    connection.execute_batch(&format!(
        "CREATE VIEW \"{topic}\" AS {}",
        tables.join(" UNION ALL ")
    ))?;
    connection.execute(
        "INSERT INTO settings VALUES ('topic ' || ?1, 1)",
        [topic.name()],
    )?;
    Ok(())
}

/// Creates the topics that this program knows and the one that wrote the file did not.
pub(super) fn add_topics(connection: &Connection, places: &Places) -> rusqlite::Result<()> {
    let stored = stored_topics(connection)?;
    let is_missing = |topic: &Topic| !stored.iter().any(|name| name == topic.name());
    let missing: Vec<Topic> = Topic::ALL.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    for topic in missing {
        create_topic(&transaction, places, topic)?;
    }
    transaction.commit()
}

fn stored_topics(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT substr(name, 7) FROM settings WHERE name LIKE 'topic %' ORDER BY name")?
        .query_map((), |row| row.get(0))?
        .collect()
}

/// Whether the database is ours, of this schema, with these topics, and partitions where they are known; tells how many
/// it has.
pub(super) fn check(
    connection: &Connection,
    name: &str,
    partitions: Option<u32>,
) -> Result<u32, LogError> {
    let partitions = check_but_topics(connection, name, partitions)?;
    let stored = stored_topics(connection).map_err(|error| read_error(name, &error))?;
    let mut known: Vec<_> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    known.sort_unstable();
    if stored != known {
        let (have, know) = (stored.len(), known.len());
        let text = format!(
            "{name} has {have} topics ({}), this program knows {know} ({}); open it with the program that wrote it, or where it lacks some with `wigwag serve` of this one",
            stored.join(", "),
            known.join(", ")
        );
        return Err(LogError::Mismatch(text));
    }
    Ok(partitions)
}

/// As `check`, without a look at the topics.
pub(super) fn check_but_topics(
    connection: &Connection,
    name: &str,
    partitions: Option<u32>,
) -> Result<u32, LogError> {
    let read = |error: rusqlite::Error| read_error(name, &error);
    let pragma = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i32>(0))
            .map_err(read)
    };
    let application = pragma("application_id")?;
    if application != APPLICATION {
        let text =
            format!("{name} is another program's database: its application_id is {application:#x}");
        return Err(LogError::Mismatch(text));
    }
    let schema = pragma("user_version")?;
    if schema != SCHEMA {
        let text = format!(
            "{name} has schema version {schema}, this program knows {SCHEMA}; use the program that wrote it"
        );
        return Err(LogError::Mismatch(text));
    }
    let stored: u32 = connection
        .query_row(
            "SELECT value FROM settings WHERE name = 'partitions'",
            (),
            |row| row.get(0),
        )
        .map_err(read)?;
    if let Some(partitions) = partitions.filter(|&partitions| partitions != stored) {
        let text = format!(
            "{name} has {stored} partitions, {partitions} are configured; the number can never change: configure {stored}, or use another directory"
        );
        return Err(LogError::Mismatch(text));
    }
    Ok(stored)
}

pub(super) fn load_bounds(connection: &Connection, place: &Place) -> rusqlite::Result<()> {
    let trimmed: Option<(Offset, Offset)> = connection
        .query_row(
            "SELECT start, \"end\" FROM trimmed WHERE topic = ?1 AND partition = ?2",
            params![place.topic.name(), place.partition],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    // Both ends of the table, so that their pages have been seen.
    connection
        .query_row(&place.sql.at_or_after, [0], |_| Ok(()))
        .optional()?;
    let newest: Option<Offset> = connection
        .query_row(&place.sql.newest, (), |row| row.get(0))
        .optional()?;
    let (start, end) = trimmed.unwrap_or_default();
    place.set_start(start);
    place.set_end(end.max(newest.unwrap_or(0)));
    Ok(())
}

pub(super) fn load_position(
    connection: &Connection,
    group: Group,
    partition: u32,
) -> rusqlite::Result<Option<Offset>> {
    let sql = "SELECT position FROM positions WHERE consumers = ?1 AND partition = ?2";
    connection
        .prepare_cached(sql)?
        .query_row(params![group.name(), partition], |row| row.get(0))
        .optional()
}

pub(super) fn load_positions(connection: &Connection) -> rusqlite::Result<Positions> {
    let mut statement =
        connection.prepare("SELECT consumers, partition, position FROM positions")?;
    let mut rows = statement.query(())?;
    let mut positions = Positions::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if let Some(group) = Group::ALL.into_iter().find(|group| group.name() == name) {
            positions.insert((group, row.get(1)?), row.get(2)?);
        }
    }
    Ok(positions)
}
