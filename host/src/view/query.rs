//! What can be asked of the view. Blocks for milliseconds: call it on a thread that may.

use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, named_params, params};

use super::{
    Cursor, Session, View, ViewError,
    live::LiveSignal,
    lock,
    store::{Points, offset, side_number},
};
use crate::{
    engine::order::MAX_LATENESS_S,
    log::{Offset, Topic},
    market::Side,
    signal::SignalId,
};

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
    /// Only those whose timestamp, seconds since the epoch, is not below this.
    pub since: Option<f64>,
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

/// Which values or bars of a symbol, newest first.
#[derive(Clone, Debug)]
pub struct PointsQuery {
    /// The symbol.
    pub symbol: String,
    /// The strategy, or the interval; none means all.
    pub name: Option<String>,
    /// Only those whose time, seconds since the epoch, is not below this.
    pub since: Option<f64>,
    /// At most so many.
    pub limit: usize,
}

/// A row of `signals` on its way to a subscriber.
pub(super) struct StreamedRow {
    pub(super) partition: u32,
    pub(super) position: Offset,
    pub(super) json: Option<Vec<u8>>,
}

/// Where a subscriber goes on, as the store has it.
pub(super) struct Resumption {
    /// The first `seq` that may hold a signal which it has not seen.
    pub(super) seq: i64,
    /// By partition: the oldest position that the store speaks for.
    pub(super) floors: Vec<Offset>,
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
        // Gives the place back on every way out, a panic included.
        let mut place = Place {
            readers: self,
            connection: None,
            file,
        };
        let connection = match made {
            Some(connection) => Ok(connection),
            None => self.connect(),
        };
        let answer = connection.and_then(|connection| {
            let connection = place.connection.insert(connection);
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

struct Place<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
    file: u64,
}

impl Drop for Place<'_> {
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
        let index = match query {
            SignalsQuery {
                symbol: Some(_), ..
            } => "signals_symbol",
            SignalsQuery {
                strategy: Some(_), ..
            } => "signals_strategy",
            _ => "signals_time",
        };
        let mut sql = format!(
            "SELECT s.seq, s.time, s.partition, s.offset, s.row, t.name, s.n
            FROM signals s INDEXED BY {index} CROSS JOIN strategies t ON t.id = s.strategy
            WHERE (?1 IS NULL OR s.side = ?1)"
        );
        for (given, condition) in [
            (
                query.symbol.is_some(),
                " AND s.symbol = (SELECT id FROM symbols WHERE name = ?2)",
            ),
            (
                query.strategy.is_some(),
                " AND s.strategy = (SELECT id FROM strategies WHERE name = ?3)",
            ),
            (query.since.is_some(), " AND s.time >= ?4"),
            (
                query.after.is_some(),
                " AND s.time <= ?6 AND (s.time, s.partition, s.offset, s.row, t.name, s.n)
                < (?6, ?7, ?8, ?9, ?10, ?11)",
            ),
        ] {
            if given {
                sql.push_str(condition);
            }
        }
        sql.push_str(
            " ORDER BY s.time DESC, s.partition DESC, s.offset DESC, s.row DESC, t.name DESC, s.n DESC LIMIT ?5",
        );
        let after = query.after.as_ref();
        let one_more = i64::try_from(query.limit).unwrap_or(i64::MAX - 1) + 1;
        self.0.readers.with(|db| {
            let mut statement = db.prepare_cached(&sql)?;
            // A statement without some of the parameters refuses values for them.
            let count = statement.parameter_count();
            let values: [&dyn rusqlite::ToSql; 11] = [
                &query.side.map(side_number),
                &query.symbol,
                &query.strategy,
                &query.since,
                &one_more,
                &after.map(|a| a.timestamp),
                &after.map(|a| a.partition),
                &after.map(|a| a.offset.cast_signed()),
                &after.map(|a| a.row),
                &after.map(|a| &a.strategy),
                &after.map(|a| a.n),
            ];
            let rows = statement.query_map(&values[..count], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    Cursor {
                        timestamp: row.get(1)?,
                        partition: row.get(2)?,
                        offset: offset(row.get(3)?),
                        row: row.get(4)?,
                        strategy: row.get(5)?,
                        n: row.get(6)?,
                    },
                ))
            })?;
            let mut rows: Vec<_> = rows.collect::<Result<_, _>>()?;
            let next = (rows.len() > query.limit).then(|| {
                rows.truncate(query.limit);
                rows.last().map(|(_, cursor)| cursor.clone())
            });
            // Only now, so that no JSON goes through the sorter.
            let mut json = db.prepare_cached("SELECT json FROM signals WHERE seq = ?1")?;
            let signals = rows
                .iter()
                .map(|(seq, _)| json.query_row([seq], |row| row.get(0)));
            Ok(Page {
                signals: signals.collect::<Result<_, _>>()?,
                next: next.flatten(),
            })
        })
    }

    /// One signal's JSON.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn signal(&self, id: &SignalId) -> Result<Option<Vec<u8>>, ViewError> {
        self.0.readers.with(|db| {
            db.prepare_cached(
                "SELECT s.json FROM marks m CROSS JOIN signals s ON s.seq >= m.seq_first AND s.seq < m.seq_end
                WHERE m.partition = :partition AND m.offset_min <= :offset AND m.offset_max >= :offset
                AND s.partition = :partition AND s.offset = :offset AND s.row = :row AND s.n = :n
                AND s.strategy = (SELECT id FROM strategies WHERE name = :strategy) LIMIT 1",
            )?
            .query_row(
                named_params! {
                    ":partition": id.partition,
                    ":offset": id.offset.cast_signed(),
                    ":row": id.row,
                    ":n": id.n,
                    ":strategy": id.strategy,
                },
                |row| row.get(0),
            )
            .optional()
        })
    }

    /// Lists indicator values.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn values(&self, query: &PointsQuery) -> Result<Vec<Vec<u8>>, ViewError> {
        self.points(Points::Values, query)
    }

    /// Lists closed bars.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn bars(&self, query: &PointsQuery) -> Result<Vec<Vec<u8>>, ViewError> {
        self.points(Points::Bars, query)
    }

    /// The newest values of each strategy on a symbol, by the strategies' names.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn latest_values(&self, symbol: &str) -> Result<Vec<Vec<u8>>, ViewError> {
        self.0.readers.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT json FROM (SELECT name, (SELECT MAX(seq) FROM points_values WHERE series = id) AS newest
                    FROM series WHERE symbol = ?1 AND kind = 'values') CROSS JOIN points_values ON seq = newest
                ORDER BY name",
            )?;
            let rows = statement.query_map([symbol], |row| row.get(0))?;
            rows.collect()
        })
    }

    fn points(&self, points: Points, query: &PointsQuery) -> Result<Vec<Vec<u8>>, ViewError> {
        let since = query.since.unwrap_or(f64::NEG_INFINITY);
        let found = self.0.readers.with(|db| {
            let mut series = db.prepare_cached(
                "SELECT id FROM series WHERE symbol = ?1 AND kind = ?2 AND (?3 IS NULL OR name = ?3)",
            )?;
            let series = series.query_map(
                params![query.symbol, points.kind(), query.name],
                |row| row.get::<_, i64>(0),
            )?;
            let mut statement = db.prepare_cached(&format!(
                "SELECT time, json FROM points_{} WHERE series = ?1 ORDER BY seq DESC",
                points.topic()
            ))?;
            let mut found: Vec<(f64, Vec<u8>)> = Vec::new();
            for series in series {
                let mut wanted = query.limit;
                let mut rows = statement.query([series?])?;
                while wanted > 0 && let Some(row) = rows.next()? {
                    let time = row.get(0)?;
                    // Rows are in the order of the log, in which a tick may be older than the one before by that much.
                    if time < since - MAX_LATENESS_S {
                        break;
                    }
                    if time >= since {
                        found.push((time, row.get(1)?));
                        wanted -= 1;
                    }
                }
            }
            Ok(found)
        });
        let mut found = found?;
        found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        found.truncate(query.limit);
        Ok(found.into_iter().map(|(_, json)| json).collect())
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

    /// Where a subscriber at these positions goes on.
    pub(super) fn resumption(&self, positions: &[Offset]) -> Result<Resumption, ViewError> {
        self.0.readers.with(|db| {
            let end = db.query_row("SELECT COALESCE(MAX(seq), 0) + 1 FROM signals", [], |row| {
                row.get(0)
            })?;
            let mut resumption = Resumption {
                seq: end,
                floors: Vec::with_capacity(positions.len()),
            };
            let mut mark = db.prepare_cached(
                "SELECT MIN(seq_first) FROM marks WHERE partition = ?1 AND position_end > ?2",
            )?;
            let mut floor = db.prepare_cached(
                "SELECT floor FROM positions WHERE topic = ?1 AND partition = ?2",
            )?;
            for (partition, position) in (0u32..).zip(positions) {
                let seq: Option<i64> =
                    mark.query_row(params![partition, position.cast_signed()], |row| row.get(0))?;
                resumption.seq = resumption.seq.min(seq.unwrap_or(end));
                let floor = floor
                    .query_row(params![Topic::Signals.name(), partition], |row| row.get(0))
                    .optional()?;
                resumption.floors.push(offset(floor.unwrap_or(0)));
            }
            Ok(resumption)
        })
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
        const ROWS: i64 = 5_000;
        let end = end.min(from + ROWS);
        self.0.readers.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT s.seq, s.partition, s.position, y.name, t.name, s.side, s.json FROM signals s
                CROSS JOIN symbols y ON y.id = s.symbol CROSS JOIN strategies t ON t.id = s.strategy
                WHERE s.seq >= ?1 AND s.seq < ?2 ORDER BY s.seq",
            )?;
            let mut rows = statement.query([from, end])?;
            let (mut taken, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let seq: i64 = row.get(0)?;
                if bytes >= max_bytes {
                    return Ok((taken, seq));
                }
                let side = match row.get::<_, i64>(5)? {
                    1 => Side::Buy,
                    _ => Side::Sell,
                };
                let signal = LiveSignal {
                    partition: row.get(1)?,
                    position: offset(row.get(2)?),
                    symbol: row.get_ref(3)?.as_str()?,
                    strategy: row.get_ref(4)?.as_str()?,
                    side,
                    json: row.get_ref(6)?.as_blob()?,
                };
                let json = wanted(&signal).then(|| signal.json.to_owned());
                bytes += json.as_ref().map_or(0, Vec::len);
                taken.push(StreamedRow {
                    partition: signal.partition,
                    position: signal.position,
                    json,
                });
            }
            Ok((taken, end))
        })
    }
}
