//! Removes what is too old, and what was trimmed: rows in slices between the writer's transactions, so that nobody
//! waits long for it. The start of a place moves first and for all of it; its rows follow.

use super::{Shared, file::write_error, place::Place, reader::offset_at};
use crate::log::{Cleanup, LogError, Offset, Topic};
use rusqlite::{Connection, params};
use std::time::{Duration, Instant};

/// Rows removed in one transaction: at the largest values they are read and freed in some 10 ms.
const SLICE_ROWS: u32 = 64;
/// A removed key is seen this long by those who follow.
const TOMBSTONES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Retention {
    interval: Duration,
    next: Instant,
    /// Places with rows to be removed: all that end at or below the offset.
    removals: Vec<(Topic, u32, Offset)>,
}

impl Retention {
    /// Looks every `interval` for what is too old.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Instant::now() + interval,
            removals: Vec::new(),
        }
    }

    /// How long there is nothing to do.
    pub(super) fn idle_for(&self) -> Duration {
        if self.removals.is_empty() {
            self.next.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        }
    }

    /// Has the rows below a place's new start removed.
    pub(super) fn remove(&mut self, place: &Place, start: Offset) {
        self.removals.push((place.topic, place.partition, start));
    }

    /// Finds what is too old from time to time, and removes a slice of what was found.
    pub(super) fn advance(&mut self, connection: &Connection, shared: &Shared, now_ms: i64) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + self.interval;
            if let Err(error) = self.find_old(connection, shared, now_ms) {
                tracing::warn!(%error, "what is too old was not removed");
            }
        }
        let Some(&(topic, partition, below)) = self.removals.last() else {
            return;
        };
        let removed = shared.place(topic, partition).and_then(|place| {
            remove_slice(connection, place, below)
                .map_err(|error| write_error(&place.named(&shared.name), &error))
        });
        match removed {
            Ok(true) => {}
            Ok(false) => drop(self.removals.pop()),
            Err(error) => {
                self.removals.clear();
                tracing::warn!(%error, "what is too old was not removed");
            }
        }
    }

    fn find_old(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        now_ms: i64,
    ) -> Result<(), LogError> {
        let ago = |age: Duration| {
            now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        };
        let mut starts = Vec::new();
        for place in shared.places.iter() {
            match place.topic.cleanup() {
                Cleanup::DeleteAfter(age) => {
                    let below =
                        offset_at(connection, &shared.name, place, ago(age))?.min(place.floor());
                    starts.push((place, below.max(place.start())));
                }
                Cleanup::Compact => remove_tombstones(connection, place, ago(TOMBSTONES_KEPT))
                    .map_err(|error| write_error(&place.named(&shared.name), &error))?,
            }
        }
        move_starts(connection, &starts).map_err(|error| write_error(&shared.name, &error))?;
        // Those that did not move may have rows left from a removal that was cut short.
        self.removals = starts
            .into_iter()
            .map(|(place, start)| (place.topic, place.partition, start))
            .collect();
        Ok(())
    }
}

/// Keeps a place's bounds where its table may no longer show them.
pub(super) fn remember_bounds(
    connection: &Connection,
    place: &Place,
    start: Offset,
    end: Offset,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("REPLACE INTO trimmed VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![place.topic.name(), place.partition, start, end])
        .map(drop)
}

fn move_starts(connection: &Connection, starts: &[(&Place, Offset)]) -> rusqlite::Result<()> {
    let moved = || {
        starts
            .iter()
            .filter(|(place, start)| *start > place.start())
    };
    let transaction = connection.unchecked_transaction()?;
    for (place, start) in moved() {
        remember_bounds(connection, place, *start, place.end())?;
    }
    transaction.commit()?;
    moved().for_each(|(place, start)| place.set_start(*start));
    Ok(())
}

fn remove_tombstones(
    connection: &Connection,
    place: &Place,
    before_ms: i64,
) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let removed = connection
        .prepare_cached(&place.sql.remove_tombstones)?
        .execute([before_ms])?;
    if removed > 0 {
        remember_bounds(connection, place, place.start(), place.end())?;
    }
    transaction.commit()
}

/// Removes the oldest rows that end at or below an offset; false where there are none left.
fn remove_slice(connection: &Connection, place: &Place, below: Offset) -> rusqlite::Result<bool> {
    let ends: Vec<Offset> = connection
        .prepare_cached(&place.sql.oldest_below)?
        .query_map(params![below, SLICE_ROWS], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let Some(&end) = ends.last() else {
        return Ok(false);
    };
    connection
        .prepare_cached(&place.sql.remove_below)?
        .execute([end])?;
    Ok(ends.len() == SLICE_ROWS as usize)
}
