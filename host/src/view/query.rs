//! What can be asked of the view. Blocks for milliseconds: call it on a thread that may.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    Cursor, Session, View, ViewError,
    journal::{Fetch, Place},
    live::LiveSignal,
    lock,
    store::{PointHead, Points, SIGNALS, SignalHead, kept_value},
};
use crate::{bars::Interval, log::Offset, market::Side, signal::SignalId};

/// More would only take turns on the processor with the engine.
const READERS: usize = 4;

const BUSY_AFTER: Duration = Duration::from_secs(5);

/// Which signals, newest first.
#[derive(Clone, Debug, Default)]
pub struct SignalsQuery {
    /// Only of this symbol.
    pub symbol: Option<String>,
    /// Only of this strategy.
    pub strategy: Option<String>,
    /// Only of this side.
    pub side: Option<Side>,
    /// Only those whose strength is not below this.
    pub min_strength: Option<f64>,
    /// Only those whose timestamp, seconds since the epoch, is not below this.
    pub since: Option<f64>,
    /// Only those whose timestamp, seconds since the epoch, is below this.
    pub until: Option<f64>,
    /// Only those that come after this place in the list.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: usize,
}

/// A part of the list of signals.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The JSON of each, as it stands in `signals`.
    pub signals: Vec<Vec<u8>>,
    /// Where the list goes on; none at its end.
    pub next: Option<Cursor>,
}

/// Which points of a symbol, newest first.
#[derive(Clone, Debug, Default)]
pub struct PointsQuery {
    /// The symbol.
    pub symbol: String,
    /// Of values the strategy; none means all. Bars have none.
    pub strategy: Option<String>,
    /// Only those whose time, seconds since the epoch, is not below this.
    pub since: Option<f64>,
    /// Only those whose time, seconds since the epoch, is below this.
    pub until: Option<f64>,
    /// Of each series only the newest in each so many seconds of the points' own time.
    pub every_s: Option<f64>,
    /// At most so many.
    pub limit: usize,
}

/// A row of `signals` on its way to a subscriber.
pub(super) struct StreamedRow {
    pub(super) partition: u32,
    pub(super) position: Offset,
    pub(super) json: Option<Vec<u8>>,
}

/// Connections that only read.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Idle>,
    returned: Condvar,
}

struct Idle {
    connections: Vec<Connection>,
    unmade: usize,
    /// Counts up when the file is made anew.
    file: u64,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Idle {
                connections: Vec::new(),
                unmade: READERS,
                file: 0,
            }),
            returned: Condvar::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// To be called when the file was made anew: connections to the old one are closed.
    pub(super) fn reopen(&self) {
        let mut idle = lock(&self.idle);
        idle.unmade += idle.connections.len();
        idle.connections.clear();
        idle.file += 1;
    }

    /// Runs `read` in a transaction, so that all it sees is of one instant.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, ViewError> {
        let (made, file) = {
            let idle = lock(&self.idle);
            let none = |idle: &mut Idle| idle.connections.is_empty() && idle.unmade == 0;
            let (mut idle, timeout) = self
                .returned
                .wait_timeout_while(idle, BUSY_AFTER, none)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if timeout.timed_out() {
                return Err(ViewError::Busy {
                    readers: READERS,
                    seconds: BUSY_AFTER.as_secs(),
                });
            }
            let made = idle.connections.pop();
            if made.is_none() {
                idle.unmade -= 1;
            }
            (made, idle.file)
        };
        // Gives the seat back on every way out, a panic included.
        let mut seat = Seat {
            readers: self,
            connection: None,
            file,
        };
        let connection = match made {
            Some(connection) => Ok(connection),
            None => self.connect(),
        };
        let answer = connection.and_then(|connection| {
            let connection = seat.connection.insert(connection);
            let transaction = connection.unchecked_transaction()?;
            let answer = read(&transaction)?;
            transaction.finish()?;
            Ok(answer)
        });
        answer.map_err(|source| ViewError::Store {
            path: self.path.clone(),
            source,
        })
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }
}

struct Seat<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
    file: u64,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut idle = lock(&self.readers.idle);
        match self.connection.take() {
            Some(connection) if idle.file == self.file => idle.connections.push(connection),
            _ => idle.unmade += 1,
        }
        self.readers.returned.notify_one();
    }
}

impl View {
    /// Lists signals.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn signals(&self, query: &SignalsQuery) -> Result<Page, ViewError> {
        let (heads, strategies, symbol, strategy) = {
            let index = lock(&self.0.index);
            let symbol = query.symbol.as_ref().map(|name| index.symbols.find(name));
            let strategy = (query.strategy.as_ref()).map(|name| index.strategies.find(name));
            let heads = index.signals.clone();
            (heads, index.strategies.list.clone(), symbol, strategy)
        };
        let (Some(symbol), Some(strategy)) = (known(symbol), known(strategy)) else {
            return Ok(Page::default());
        };
        let after = query.after.as_ref().map(|a| {
            (
                a.timestamp,
                (a.partition, a.offset, a.row, &*a.strategy, a.n),
            )
        });
        // Below all places of that instant.
        let until = query.until.map(|until| (until, (0, 0, 0, "", 0)));
        let below = match (after, until) {
            (Some(after), Some(until)) if after < until => Some(after),
            (after, until) => until.or(after),
        };
        let min_strength = query.min_strength.unwrap_or(f64::NEG_INFINITY);
        let mut found = heads.newest(
            query.limit + 1,
            query.since.unwrap_or(f64::NEG_INFINITY),
            below.as_ref(),
            |head| {
                symbol.is_none_or(|symbol| head.symbol == symbol)
                    && strategy.is_none_or(|strategy| head.strategy == strategy)
                    && query.side.is_none_or(|side| head.side == side)
                    && head.strength >= min_strength
            },
            |_, head| {
                let strategy = &*strategies[head.strategy as usize];
                (head.partition, head.offset, head.row, strategy, head.n)
            },
        );
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(
            |(_, (timestamp, (partition, offset, row, strategy, n)))| Cursor {
                timestamp: *timestamp,
                partition: *partition,
                offset: *offset,
                row: *row,
                strategy: (*strategy).to_owned(),
                n: *n,
            },
        );
        let places = found.iter().map(|(place, _)| *place);
        let signals = self.fetch(SIGNALS, places)?;
        Ok(Page { signals, next })
    }

    /// One signal's JSON.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn signal(&self, id: &SignalId) -> Result<Option<Vec<u8>>, ViewError> {
        let (heads, strategy) = {
            let index = lock(&self.0.index);
            (index.signals.clone(), index.strategies.find(&id.strategy))
        };
        let Some(strategy) = strategy else {
            return Ok(None);
        };
        let is_it = |head: &SignalHead| {
            head.offset == id.offset
                && head.partition == id.partition
                && head.row == id.row
                && head.n == id.n
                && head.strategy == strategy
        };
        let place = heads
            .blocks_from(0)
            .find_map(|block| Some(block.place(block.heads.iter().position(is_it)?)));
        Ok(self.fetch(SIGNALS, place.into_iter())?.pop())
    }

    /// Lists indicator values.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn values(&self, query: &PointsQuery) -> Result<Vec<Vec<u8>>, ViewError> {
        self.points(Points::Values, query.strategy.as_deref(), query)
    }

    /// Lists closed bars of an interval.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn bars(&self, interval: Interval, query: &PointsQuery) -> Result<Vec<Vec<u8>>, ViewError> {
        self.points(Points::Bars(interval), Some(interval.name()), query)
    }

    /// The newest values of each strategy on a symbol, by the strategies' names, however old they are.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn latest_values(&self, symbol: &str) -> Result<Vec<Vec<u8>>, ViewError> {
        let (heads, names) = {
            let index = lock(&self.0.index);
            (index.values.clone(), index.values_series.list.clone())
        };
        let mut wanted = series(Points::Values, &names, symbol, None);
        wanted.sort_by_key(|&number| &names[number as usize]);
        let places = heads.last_of_each(wanted.len(), |head| {
            wanted.iter().position(|&number| number == head.series)
        });
        self.0.readers.with(|db| {
            let mut fetch = Fetch::new(db, Points::Values.table());
            let mut rows = Vec::new();
            for (&number, place) in wanted.iter().zip(&places) {
                let listed = match place {
                    Some(place) => fetch.json(*place)?.map(<[u8]>::to_owned),
                    None => None,
                };
                // It may have been put aside since it was found.
                rows.extend(match listed {
                    Some(json) => Some(json),
                    None => kept_value(db, number)?,
                });
            }
            Ok(rows)
        })
    }

    fn points(
        &self,
        points: Points,
        name: Option<&str>,
        query: &PointsQuery,
    ) -> Result<Vec<Vec<u8>>, ViewError> {
        let (heads, names) = {
            let index = lock(&self.0.index);
            match points {
                Points::Values => (index.values.clone(), index.values_series.list.clone()),
                Points::Bars(interval) => {
                    let heads = index.bars[interval as usize].clone();
                    (heads, index.bars_series.list.clone())
                }
            }
        };
        let wanted = series(points, &names, &query.symbol, name);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let since = query.since.unwrap_or(f64::NEG_INFINITY);
        let until = query.until.unwrap_or(f64::INFINITY);
        let wanted = |head: &PointHead| wanted.contains(&head.series);
        let found = match query.every_s {
            None => {
                // Below all rows of that instant.
                let below = (until, i64::MIN);
                heads.newest(query.limit, since, Some(&below), wanted, |seq, _| seq)
            }
            Some(seconds) => {
                let series = |head: &PointHead| head.series;
                heads.newest_of_each(query.limit, since, until, seconds, wanted, series)
            }
        };
        self.fetch(points.table(), found.iter().map(|(place, _)| *place))
    }

    /// The JSON of rows; one that was removed meanwhile is left out.
    fn fetch(
        &self,
        table: &str,
        places: impl Iterator<Item = Place>,
    ) -> Result<Vec<Vec<u8>>, ViewError> {
        self.0.readers.with(|db| {
            let mut fetch = Fetch::new(db, table);
            let mut rows = Vec::new();
            for place in places {
                rows.extend(fetch.json(place)?.map(<[u8]>::to_owned));
            }
            Ok(rows)
        })
    }

    /// The summary of each symbol that had a tick, by symbol.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let mut all = Vec::new();
        for partition in &self.0.sessions {
            all.extend(lock(partition).sessions());
        }
        all.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        all
    }

    /// The summary of one symbol; none where it never had a tick.
    #[must_use]
    pub fn session(&self, symbol: &str) -> Option<Session> {
        (self.0.sessions.iter()).find_map(|partition| lock(partition).session(symbol))
    }

    /// Where a subscriber at these positions goes on: the first `seq` that may hold a signal which it has not seen, and
    /// the oldest position of each partition that the store speaks for.
    pub(super) fn resumption(&self, positions: &[Offset]) -> (i64, Vec<Offset>) {
        let (heads, floors) = {
            let index = lock(&self.0.index);
            (index.signals.clone(), index.floors.clone())
        };
        let unseen = |head: &SignalHead| {
            positions
                .get(head.partition as usize)
                .is_some_and(|&next| head.position >= next)
        };
        let seq = heads
            .blocks_from(0)
            .find_map(|block| Some(block.seq(block.heads.iter().position(unseen)?)));
        (seq.unwrap_or(heads.end()), floors)
    }

    /// Signals from `from` to below `end` in order of arrival, as far as one subscriber takes at once; those not wanted
    /// come without JSON. Also answers where to go on.
    pub(super) fn streamed_rows(
        &self,
        from: i64,
        end: i64,
        max_bytes: usize,
        wanted: impl Fn(&LiveSignal<'_>) -> bool,
    ) -> Result<(Vec<StreamedRow>, i64), ViewError> {
        const ROWS: usize = 5_000;
        let (heads, symbols, strategies) = {
            let index = lock(&self.0.index);
            let symbols = index.symbols.list.clone();
            (
                index.signals.clone(),
                symbols,
                index.strategies.list.clone(),
            )
        };
        self.0.readers.with(|db| {
            let mut fetch = Fetch::new(db, SIGNALS);
            let (mut taken, mut bytes) = (Vec::new(), 0);
            for block in heads.blocks_from(from) {
                for (at, head) in block.heads.iter().enumerate() {
                    let seq = block.seq(at);
                    if seq < from {
                        continue;
                    }
                    if seq >= end || bytes >= max_bytes || taken.len() >= ROWS {
                        return Ok((taken, seq));
                    }
                    let signal = LiveSignal {
                        partition: head.partition,
                        position: head.position,
                        symbol: &symbols[head.symbol as usize],
                        strategy: &strategies[head.strategy as usize],
                        side: head.side,
                        json: &[],
                    };
                    let json = match wanted(&signal) {
                        true => fetch.json(block.place(at))?.map(<[u8]>::to_owned),
                        false => None,
                    };
                    bytes += json.as_ref().map_or(0, Vec::len);
                    taken.push(StreamedRow {
                        partition: head.partition,
                        position: head.position,
                        json,
                    });
                }
            }
            Ok((taken, end))
        })
    }
}

/// None where a name was asked for that has no number, so that nothing can be found.
const fn known(asked: Option<Option<u32>>) -> Option<Option<u32>> {
    match asked {
        None => Some(None),
        Some(None) => None,
        Some(number) => Some(number),
    }
}

/// The series of a symbol, of one name or of all.
fn series(points: Points, names: &[Arc<str>], symbol: &str, name: Option<&str>) -> Vec<u32> {
    let fits = |key: &str| {
        let (left, right) = key.split_once('/').unwrap_or((key, ""));
        let (its_name, its_symbol) = match points {
            Points::Values => (left, right),
            Points::Bars(_) => (right, left),
        };
        its_symbol == symbol && name.is_none_or(|name| name == its_name)
    };
    let all = (0..).zip(names);
    all.filter_map(|(number, key)| fits(key).then_some(number))
        .collect()
}
