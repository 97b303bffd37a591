//! JSON in order of arrival: in SQLite many rows a record, since each record costs more than a row's bytes; in memory a
//! small head for each row, by which rows are found. So nothing is indexed on disk, and a query reads no row that it
//! does not answer with.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

/// A chunk is written when it has so many bytes of JSON, or when the transaction ends: four pages or so.
const CHUNK_BYTES: usize = 16 << 10;

/// Heads that are shared, and forgotten, together.
pub(super) const BLOCK_ROWS: usize = 1_024;

/// What is known of a row without reading it.
pub(super) trait Head: Copy + Serialize + DeserializeOwned {
    /// By which rows are listed, seconds since the epoch.
    fn time(&self) -> f64;
}

/// The heads of all rows, oldest first. `seq` numbers rows from 1, without gaps. A clone is a picture that does not
/// change, and costs a pointer for each block.
#[derive(Clone)]
pub(super) struct Heads<H> {
    blocks: VecDeque<Arc<Block<H>>>,
    end: i64,
}

/// Consecutive heads.
#[derive(Clone)]
pub(super) struct Block<H> {
    pub(super) first: i64,
    pub(super) heads: Vec<H>,
    /// How many rows before it each row's chunk begins.
    behind: Vec<u16>,
    oldest_time: f64,
    newest_time: f64,
}

/// Where a row's JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `seq` of the first row of its chunk.
    chunk: i64,
    /// Which row of the chunk.
    row: u16,
}

impl<H> Default for Heads<H> {
    fn default() -> Self {
        Self {
            blocks: VecDeque::new(),
            end: 1,
        }
    }
}

impl<H: Head> Heads<H> {
    /// `seq` of the oldest row.
    #[cfg(test)]
    fn first(&self) -> i64 {
        self.blocks.front().map_or(self.end, |block| block.first)
    }

    fn push(&mut self, head: H, behind: u16) {
        let full = |block: &Arc<Block<H>>| block.heads.len() >= BLOCK_ROWS;
        if self.blocks.back().is_none_or(full) {
            self.blocks.push_back(Arc::new(Block {
                first: self.end,
                heads: Vec::new(),
                behind: Vec::new(),
                oldest_time: f64::INFINITY,
                newest_time: f64::NEG_INFINITY,
            }));
        }
        if let Some(block) = self.blocks.back_mut() {
            // Copies the block where a reader still looks at it.
            let block = Arc::make_mut(block);
            block.heads.push(head);
            block.behind.push(behind);
            block.oldest_time = block.oldest_time.min(head.time());
            block.newest_time = block.newest_time.max(head.time());
            self.end += 1;
        }
    }

    /// The blocks that may hold a row from `seq` on, oldest first.
    pub(super) fn blocks_from(&self, seq: i64) -> impl Iterator<Item = &Block<H>> {
        let at = self.blocks.partition_point(|block| block.end() <= seq);
        self.blocks.range(at..).map(|block| &**block)
    }

    /// The newest rows that are wanted, by time and then by `rank`, at most so many, newest first. Rows newer than
    /// `below` in that order are left out, as are those before `since`.
    pub(super) fn newest<K: PartialOrd>(
        &self,
        limit: usize,
        since: f64,
        below: Option<&(f64, K)>,
        wanted: impl Fn(&H) -> bool,
        rank: impl Fn(i64, &H) -> K,
    ) -> Vec<(Place, (f64, K))> {
        let mut found: Vec<(Place, (f64, K))> = Vec::new();
        let descending = |a: &(Place, (f64, K)), b: &(Place, (f64, K))| {
            b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal)
        };
        let mut since = since;
        let until = below.map_or(f64::INFINITY, |(time, _)| *time);
        for block in self.blocks.iter().rev() {
            if block.newest_time < since || block.oldest_time > until {
                continue;
            }
            for (at, head) in block.heads.iter().enumerate() {
                let time = head.time();
                if time < since || time > until || !wanted(head) {
                    continue;
                }
                let key = (time, rank(block.seq(at), head));
                if below.is_none_or(|below| key < *below) {
                    found.push((block.place(at), key));
                }
            }
            if found.len() > limit {
                found.sort_by(descending);
                found.truncate(limit);
                // Rows as old as the last one may still rank before it.
                since = found.last().map_or(since, |(_, (time, _))| *time);
            }
        }
        found.sort_by(descending);
        found.truncate(limit);
        found
    }

    /// As [`Self::newest`], by time and then by `seq`, and of the rows of one series within `every_s` seconds only the
    /// newest; rows from `until` on are left out.
    pub(super) fn newest_of_each(
        &self,
        limit: usize,
        since: f64,
        until: f64,
        every_s: f64,
        wanted: impl Fn(&H) -> bool,
        series: impl Fn(&H) -> u32,
    ) -> Vec<(Place, (f64, i64))> {
        let mut found: BTreeMap<(i64, u32), (Place, (f64, i64))> = BTreeMap::new();
        let mut since = since;
        for block in self.blocks.iter().rev() {
            if block.newest_time < since || block.oldest_time >= until {
                continue;
            }
            for (at, head) in block.heads.iter().enumerate() {
                let time = head.time();
                if time < since || time >= until || !wanted(head) {
                    continue;
                }
                let row = (block.place(at), (time, block.seq(at)));
                let group = ((time / every_s).floor() as i64, series(head));
                let newest = found.entry(group).or_insert(row);
                if newest.1 < row.1 {
                    *newest = row;
                }
            }
            if found.len() >= limit {
                while found.len() > limit {
                    found.pop_first();
                }
                // Rows before the oldest interval that is listed can no longer come into the list.
                let oldest = found.first_key_value().map(|((n, _), _)| *n as f64);
                since = oldest.map_or(since, |n| since.max(n * every_s));
            }
        }
        let mut rows: Vec<_> = found.into_values().collect();
        rows.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal));
        rows
    }

    /// One above the newest row's `seq`.
    pub(super) const fn end(&self) -> i64 {
        self.end
    }

    /// Of each of `kinds` kinds of rows, the one that arrived last.
    pub(super) fn last_of_each(
        &self,
        kinds: usize,
        kind: impl Fn(&H) -> Option<usize>,
    ) -> Vec<Option<Place>> {
        let mut last = vec![None; kinds];
        let mut missing = kinds;
        for block in self.blocks.iter().rev() {
            for (at, head) in block.heads.iter().enumerate().rev() {
                if missing == 0 {
                    return last;
                }
                if let Some(kind) = kind(head)
                    && last[kind].is_none()
                {
                    last[kind] = Some(block.place(at));
                    missing -= 1;
                }
            }
        }
        last
    }
}

impl<H> Block<H> {
    /// One above the last row's `seq`.
    fn end(&self) -> i64 {
        self.seq(self.heads.len())
    }

    pub(super) fn seq(&self, at: usize) -> i64 {
        self.first.saturating_add_unsigned(at as u64)
    }

    pub(super) fn place(&self, at: usize) -> Place {
        let row = self.behind[at];
        Place {
            chunk: self.seq(at) - i64::from(row),
            row,
        }
    }
}

/// The writer's side of a table.
pub(super) struct Journal<H> {
    table: &'static str,
    /// Rows that are not written yet.
    chunk: Chunk<H>,
    /// Rows that are not committed yet, the chunk's included.
    fresh: Vec<(H, u16)>,
    committed_end: i64,
}

struct Chunk<H> {
    heads: Vec<H>,
    ends: Vec<u8>,
    json: Vec<u8>,
}

impl<H: Head> Journal<H> {
    pub(super) fn create(db: &Connection, table: &str) -> Result<(), rusqlite::Error> {
        // Heads first: reading them touches no page that only JSON is on.
        db.execute_batch(&format!(
            "CREATE TABLE {table} (first INTEGER PRIMARY KEY, heads BLOB NOT NULL, ends BLOB NOT NULL, json BLOB NOT NULL)"
        ))
    }

    /// The journal and the heads of its rows.
    pub(super) fn load(
        db: &Connection,
        table: &'static str,
    ) -> Result<(Self, Heads<H>), rusqlite::Error> {
        let mut heads = Heads::default();
        let mut statement =
            db.prepare(&format!("SELECT first, heads FROM {table} ORDER BY first"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let first: i64 = row.get(0)?;
            let bytes = row.get_ref(1)?.as_blob()?;
            let chunk: Vec<H> = postcard::from_bytes(bytes).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    1,
                    rusqlite::types::Type::Blob,
                    Box::new(error),
                )
            })?;
            if heads.blocks.is_empty() {
                heads.end = first;
            }
            for (behind, head) in (0..).zip(chunk) {
                heads.push(head, behind);
            }
        }
        let journal = Self {
            table,
            chunk: Chunk {
                heads: Vec::new(),
                ends: Vec::new(),
                json: Vec::new(),
            },
            fresh: Vec::new(),
            committed_end: heads.end,
        };
        Ok((journal, heads))
    }

    /// `seq` of the next row to be committed.
    pub(super) const fn committed_end(&self) -> i64 {
        self.committed_end
    }

    /// `seq` of the next row.
    pub(super) const fn end(&self) -> i64 {
        self.committed_end
            .saturating_add_unsigned(self.fresh.len() as u64)
    }

    /// Adds a row.
    pub(super) fn push(
        &mut self,
        db: &Connection,
        head: H,
        json: &[u8],
    ) -> Result<(), rusqlite::Error> {
        let behind = u16::try_from(self.chunk.heads.len()).unwrap_or(u16::MAX);
        self.chunk.heads.push(head);
        self.chunk.json.extend_from_slice(json);
        let end = u32::try_from(self.chunk.json.len()).unwrap_or(u32::MAX);
        self.chunk.ends.extend_from_slice(&end.to_le_bytes());
        self.fresh.push((head, behind));
        if self.chunk.json.len() >= CHUNK_BYTES || behind == u16::MAX {
            self.flush(db)?;
        }
        Ok(())
    }

    fn flush(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        let Chunk { heads, ends, json } = &mut self.chunk;
        if heads.is_empty() {
            return Ok(());
        }
        let end = (self.committed_end).saturating_add_unsigned(self.fresh.len() as u64);
        let first = end.saturating_sub_unsigned(heads.len() as u64);
        let bytes = postcard::to_stdvec(&heads).expect("writing to memory does not fail");
        db.prepare_cached(&format!(
            "INSERT INTO {} VALUES (?1, ?2, ?3, ?4)",
            self.table
        ))?
        .execute(params![first, bytes, &*ends, &*json])?;
        heads.clear();
        ends.clear();
        json.clear();
        Ok(())
    }

    /// The oldest blocks of rows, which go so that no more than `limit` rows stay.
    pub(super) fn outgrown(&self, heads: &Heads<H>, limit: u64) -> Trimmed<H> {
        let kept = limit.saturating_sub(self.fresh.len() as u64);
        let cut = heads.end.saturating_sub_unsigned(kept);
        let oldest = heads.blocks.iter().take_while(|block| block.end() <= cut);
        Trimmed {
            gone: oldest.cloned().collect(),
        }
    }

    /// Writes what is not written, and removes from the table what is outgrown; the heads go once this is committed.
    pub(super) fn finish(
        &mut self,
        db: &Connection,
        heads: &Heads<H>,
        trimmed: &Trimmed<H>,
    ) -> Result<(), rusqlite::Error> {
        self.flush(db)?;
        if !trimmed.gone.is_empty() {
            let cut = match heads.blocks.get(trimmed.gone.len()) {
                Some(block) => block.place(0).chunk,
                None => heads.end,
            };
            db.prepare_cached(&format!("DELETE FROM {} WHERE first < ?1", self.table))?
                .execute([cut])?;
        }
        Ok(())
    }

    /// Shows what was committed.
    pub(super) fn show(&mut self, heads: &mut Heads<H>, trimmed: &Trimmed<H>) {
        heads.blocks.drain(..trimmed.gone.len());
        for (head, behind) in self.fresh.drain(..) {
            heads.push(head, behind);
        }
        self.committed_end = heads.end;
    }

    /// Removes all rows; those to come are numbered on, so that nobody takes a new row for one that was seen.
    pub(super) fn clear(
        &mut self,
        db: &Connection,
        heads: &mut Heads<H>,
    ) -> Result<(), rusqlite::Error> {
        db.execute_batch(&format!("DELETE FROM {}", self.table))?;
        heads.blocks.clear();
        Ok(())
    }
}

/// Rows that a transaction removes.
pub(super) struct Trimmed<H> {
    pub(super) gone: Vec<Arc<Block<H>>>,
}

/// Reads rows' JSON, one chunk in hand.
pub(super) struct Fetch<'c> {
    db: &'c Connection,
    sql: String,
    chunk: Option<i64>,
    ends: Vec<u8>,
    json: Vec<u8>,
}

impl<'c> Fetch<'c> {
    pub(super) fn new(db: &'c Connection, table: &str) -> Self {
        Self {
            db,
            sql: format!("SELECT ends, json FROM {table} WHERE first = ?1"),
            chunk: None,
            ends: Vec::new(),
            json: Vec::new(),
        }
    }

    /// A row's JSON; none where it was removed since its head was seen.
    pub(super) fn json(&mut self, place: Place) -> Result<Option<&[u8]>, rusqlite::Error> {
        if self.chunk != Some(place.chunk) {
            self.chunk = None;
            let (ends, json) = (&mut self.ends, &mut self.json);
            let found = self
                .db
                .prepare_cached(&self.sql)?
                .query_row([place.chunk], |row| {
                    ends.clear();
                    ends.extend_from_slice(row.get_ref(0)?.as_blob()?);
                    json.clear();
                    json.extend_from_slice(row.get_ref(1)?.as_blob()?);
                    Ok(())
                });
            if found.optional()?.is_none() {
                return Ok(None);
            }
            self.chunk = Some(place.chunk);
        }
        let (ends, _) = self.ends.as_chunks::<4>();
        let end = |row: usize| ends.get(row).map(|end| u32::from_le_bytes(*end) as usize);
        let row = usize::from(place.row);
        let start = row.checked_sub(1).map_or(Some(0), end);
        Ok(start
            .zip(end(row))
            .and_then(|(start, end)| self.json.get(start..end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Number(f64);

    impl Head for Number {
        fn time(&self) -> f64 {
            self.0
        }
    }

    fn text(n: i64) -> String {
        // From a few bytes to more than a chunk.
        format!(
            "{n}:{}",
            "x".repeat((n * 37 % 400 + if n % 997 == 0 { 20_000 } else { 0 }) as usize)
        )
    }

    fn write(
        db: &Connection,
        journal: &mut Journal<Number>,
        heads: &mut Heads<Number>,
        rows: std::ops::Range<i64>,
        limit: u64,
    ) {
        for n in rows {
            journal
                .push(db, Number((n / 10) as f64), text(n).as_bytes())
                .unwrap();
        }
        let trimmed = journal.outgrown(heads, limit);
        journal.finish(db, heads, &trimmed).unwrap();
        journal.show(heads, &trimmed);
    }

    /// `seq` and JSON of all rows.
    fn all(db: &Connection, heads: &Heads<Number>) -> Vec<(i64, String)> {
        let mut fetch = Fetch::new(db, "numbers");
        let mut rows = Vec::new();
        for block in heads.blocks_from(0) {
            for at in 0..block.heads.len() {
                let json = fetch.json(block.place(at)).unwrap().unwrap();
                rows.push((block.seq(at), String::from_utf8(json.to_vec()).unwrap()));
            }
        }
        rows
    }

    fn journal() -> (Connection, Journal<Number>, Heads<Number>) {
        let db = Connection::open_in_memory().unwrap();
        Journal::<Number>::create(&db, "numbers").unwrap();
        let (journal, heads) = Journal::<Number>::load(&db, "numbers").unwrap();
        (db, journal, heads)
    }

    #[test]
    fn every_row_is_read_back_before_and_after_a_restart() {
        let (db, mut journal, mut heads) = journal();
        let expected: Vec<_> = (1..5_000).map(|n| (n, text(n))).collect();
        for (from, to) in [(1, 2), (2, 700), (700, 701), (701, 5_000)] {
            write(&db, &mut journal, &mut heads, from..to, 1_000_000);
        }
        assert_eq!(all(&db, &heads), expected);
        let (_, heads) = Journal::<Number>::load(&db, "numbers").unwrap();
        assert_eq!(all(&db, &heads), expected);
    }

    #[test]
    fn the_oldest_rows_go_and_the_newest_within_the_limit_stay() {
        let (db, mut journal, mut heads) = journal();
        for first in (1..20_000).step_by(333) {
            write(&db, &mut journal, &mut heads, first..first + 333, 3_000);
            let rows = all(&db, &heads);
            let end = first + 333;
            assert_eq!(rows.last(), Some(&(end - 1, text(end - 1))));
            let expected = 3_000.min(end - 1) as usize;
            assert!(
                (expected..expected + BLOCK_ROWS).contains(&rows.len()),
                "{}",
                rows.len()
            );
            let (_, loaded) = Journal::<Number>::load(&db, "numbers").unwrap();
            let loaded = all(&db, &loaded);
            assert!(
                loaded.ends_with(&rows),
                "a restart shows them and perhaps the rest of a chunk"
            );
        }
    }

    #[test]
    fn rows_are_listed_by_time_and_rank_and_a_list_goes_on_below_its_last_row() {
        let (db, mut journal, mut heads) = journal();
        write(&db, &mut journal, &mut heads, 1..10_000, 1_000_000);
        // Late rows, of which the first arrived last of all.
        write(&db, &mut journal, &mut heads, 5..25, 1_000_000);
        let odd = |head: &Number| head.0 as i64 % 2 == 1;
        let rank = |seq: i64, _: &Number| seq;
        let mut keys: Vec<(f64, i64)> = heads
            .blocks_from(0)
            .flat_map(|b| b.heads.iter().enumerate().map(|(at, h)| (h.0, b.seq(at))))
            .filter(|(time, _)| *time as i64 % 2 == 1)
            .collect();
        keys.sort_by(|a, b| b.partial_cmp(a).unwrap());
        let mut listed: Vec<(f64, i64)> = Vec::new();
        loop {
            let below = listed.last().copied();
            let page = heads.newest(77, 0.0, below.as_ref(), odd, rank);
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|(_, key)| key));
        }
        assert_eq!(listed, keys);
        let recent = heads.newest(1_000, 990.0, None, odd, rank);
        assert!(recent.iter().all(|(_, (time, _))| *time >= 990.0) && recent.len() == 50);
    }

    #[test]
    fn of_each_series_and_interval_the_newest_row_is_listed() {
        let (db, mut journal, mut heads) = journal();
        write(&db, &mut journal, &mut heads, 1..5_000, 1_000_000);
        // Two series, and intervals of ten: the tests' rows have the tenth of their number as time.
        let series = |row: &Number| row.0 as u32 % 2;
        let naive = |limit: usize, since: i64, until: i64| {
            let mut newest = BTreeMap::new();
            let times = (1..5_000).map(|n| n / 10);
            for time in times.filter(|time| (since..until).contains(time)) {
                newest.insert((time / 10, time % 2), time);
            }
            let mut times: Vec<i64> = newest.into_values().rev().take(limit).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times
        };
        let open = i64::MAX;
        for (limit, since, until) in [
            (1, 0, open),
            (7, 0, open),
            (60, 0, open),
            (500, 0, open),
            (10, 432, open),
            (10, 499, open),
            (7, 0, 433),
            (500, 77, 433),
            (10, 433, 433),
        ] {
            let (from, to) = (since as f64, until as f64);
            let found = heads.newest_of_each(limit, from, to, 10.0, |_| true, series);
            let found: Vec<_> = found.iter().map(|(_, (time, _))| *time as i64).collect();
            let expected = naive(limit, since, until);
            assert_eq!(found, expected, "{limit} since {since} until {until}");
        }
        let is_odd = |row: &Number| row.0 as u32 % 2 == 1;
        let odd = heads.newest_of_each(3, 0.0, f64::INFINITY, 10.0, is_odd, series);
        let odd: Vec<_> = odd.iter().map(|(_, (time, _))| *time).collect();
        assert_eq!(odd, [499.0, 489.0, 479.0]);
    }

    #[test]
    fn a_picture_does_not_change_when_rows_come_and_go() {
        let (db, mut journal, mut heads) = journal();
        write(&db, &mut journal, &mut heads, 1..1_500, 1_000_000);
        let picture = heads.clone();
        write(&db, &mut journal, &mut heads, 1_500..9_000, 10);
        let count =
            |heads: &Heads<Number>| heads.blocks_from(0).map(|b| b.heads.len()).sum::<usize>();
        assert_eq!((count(&picture), picture.first()), (1_499, 1));
        let (block, place) = (picture.blocks[0].clone(), picture.blocks[0].place(0));
        assert_eq!(block.first, 1);
        assert_eq!(
            Fetch::new(&db, "numbers").json(place).unwrap(),
            None,
            "removed since"
        );
    }
}
