//! Reads what is committed, straight from SQLite.

use super::{
    Shared,
    file::read_error,
    place::{Bell, Place},
    row::Stored,
};
use crate::log::{LogError, Messages, Offset, Reader, Start, Topic};
use rusqlite::{Connection, OptionalExtension};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Follows some partitions.
pub(super) struct Follower {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    /// Where each goes on.
    starts: Vec<Start>,
    /// Which of them comes first in the next poll.
    turn: usize,
}

impl Follower {
    pub(super) fn new(shared: &Arc<Shared>, starts: &[Start]) -> Result<Self, LogError> {
        let bell = Arc::new(Bell::default());
        for start in starts {
            shared.place(start.topic, start.partition)?.follow(&bell);
        }
        Ok(Self {
            shared: Arc::clone(shared),
            bell,
            starts: starts.to_vec(),
            turn: 0,
        })
    }

    /// One round over the partitions that have something.
    fn read(&mut self, into: &mut Messages, full_bytes: usize) -> Result<(), LogError> {
        let before = into.len();
        let count = self.starts.len();
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);
        for n in 0..count {
            let start = &mut self.starts[(turn % count + n) % count];
            let place = self.shared.place(start.topic, start.partition)?;
            if place.end() <= start.offset && place.start() <= start.offset {
                continue;
            }
            let read = self.shared.connections.with(|connection| {
                read(
                    connection,
                    &self.shared.name,
                    place,
                    &mut start.offset,
                    into,
                    full_bytes,
                )
            });
            match read {
                // What was read is handed out first; the next poll meets the error again.
                Err(_) if into.len() > before => break,
                Err(error) => return Err(error),
                Ok(()) if into.bytes() >= full_bytes => break,
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Reader for Follower {
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let started = Instant::now();
        let (before, full_bytes) = (into.len(), into.bytes().saturating_add(max_bytes));
        loop {
            self.bell.silence();
            self.read(into, full_bytes)?;
            if into.len() > before || !self.bell.wait(timeout.saturating_sub(started.elapsed())) {
                return Ok(());
            }
        }
    }

    fn position(&self, topic: Topic, partition: u32) -> Offset {
        self.starts
            .iter()
            .find(|s| s.topic == topic && s.partition == partition)
            .map_or(0, |start| start.offset)
    }
}

/// Adds messages from `next` on, moves it behind them, and behind the end where there are no more.
fn read(
    connection: &Connection,
    name: &str,
    place: &Place,
    next: &mut Offset,
    into: &mut Messages,
    full_bytes: usize,
) -> Result<(), LogError> {
    let (topic, partition) = (place.topic, place.partition);
    let end = place.end();
    let at = |next: Offset| format!("{name}: {topic}/{partition} offset {next}");
    let failed = |next: Offset, error: &rusqlite::Error| read_error(&at(next), error);
    let mut statement = connection
        .prepare_cached(&place.sql.rows)
        .map_err(|error| failed(*next, &error))?;
    let mut rows = statement
        .query([*next, end])
        .map_err(|error| failed(*next, &error))?;
    let mut is_first = true;
    loop {
        let row = rows.next().map_err(|error| failed(*next, &error))?;
        // Only now does SQLite look at one state of the file: where rows are missing from it, the start had moved
        // before.
        if is_first && place.start() > *next {
            return Err(LogError::Gone {
                topic,
                partition,
                offset: *next,
                start: place.start(),
            });
        }
        is_first = false;
        let stored = row
            .map(stored)
            .transpose()
            .map_err(|error| failed(*next, &error))?;
        let found = stored.as_ref().map_or(end, |row| row.offset);
        // Only in a compacted topic may offsets be missing.
        if found > *next && !place.is_compacted() {
            let detail = format!("offsets {next} to {} are missing", found - 1);
            return Err(LogError::Damaged {
                log: at(*next),
                detail,
            });
        }
        let Some(stored) = stored else {
            *next = end.max(*next);
            return Ok(());
        };
        if stored.end() <= *next {
            continue;
        }
        *next =
            (stored.read(place, *next, into, full_bytes)).map_err(|detail| LogError::Damaged {
                log: at(stored.offset),
                detail,
            })?;
        if into.bytes() >= full_bytes {
            return Ok(());
        }
    }
}

fn stored<'a>(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Stored<'a>> {
    Ok(Stored {
        offset: row.get(0)?,
        count: row.get(1)?,
        timestamp_ms: row.get(2)?,
        crc: row.get(3)?,
        key: row.get_ref(4)?.as_blob()?,
        headers: row.get_ref(5)?.as_str()?,
        value: row.get_ref(6)?.as_blob()?,
    })
}

/// The first offset of a message from `timestamp_ms` on, or the end. Append times never fall, so halving finds it.
pub(super) fn offset_at(
    connection: &Connection,
    name: &str,
    place: &Place,
    timestamp_ms: i64,
) -> Result<Offset, LogError> {
    let row_at = |offset| {
        row_at(connection, place, offset).map_err(|error| {
            read_error(
                &format!(
                    "{name}: {}/{} offset {offset}",
                    place.topic, place.partition
                ),
                &error,
            )
        })
    };
    let end = place.end();
    let (mut low, mut high) = (place.start(), end);
    while low < high {
        let middle = low + (high - low) / 2;
        match row_at(middle)? {
            Some(row) if row.time_ms < timestamp_ms => low = row.end,
            _ => high = middle,
        }
    }
    // It may stand where there is no message.
    Ok(row_at(low)?.map_or(end, |row| row.offset.max(low)).min(end))
}

/// Where a row is, and when it was written.
struct Found {
    offset: Offset,
    end: Offset,
    time_ms: i64,
}

/// The row that holds an offset, or the next.
fn row_at(
    connection: &Connection,
    place: &Place,
    offset: Offset,
) -> rusqlite::Result<Option<Found>> {
    let row = |sql| {
        connection.prepare_cached(sql)?.query_row([offset], |row| {
            let offset: Offset = row.get(0)?;
            Ok(Found {
                offset,
                end: offset + row.get::<_, Offset>(1)?,
                time_ms: row.get(2)?,
            })
        })
    };
    match row(&place.sql.at_or_before).optional()? {
        Some(found) if found.end > offset => Ok(Some(found)),
        _ => row(&place.sql.at_or_after).optional(),
    }
}
