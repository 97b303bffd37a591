//! The tables of `view.db` and their one writer. Losing the file loses nothing, so nothing waits for the disk, and
//! a file that does not fit, or that another boot of the machine wrote, is made anew.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hashbrown::HashMap;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{Limits, ViewError};
use crate::{
    log::{Offset, Topic},
    market::Side,
};

/// The version of the tables below.
const SCHEMA: &str = "1";

/// `seq` numbers the rows of a table by arrival, without gaps, as only the oldest are ever removed. A list by time has
/// an index of its own; the log's positions and the ticks' offsets rise with `seq` in each partition, near enough that
/// a row in `marks` for each thousand signals finds both.
const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, floor INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)) WITHOUT ROWID;
    CREATE TABLE symbols (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE strategies (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE signals (seq INTEGER PRIMARY KEY, time REAL NOT NULL, symbol INTEGER NOT NULL,
        strategy INTEGER NOT NULL, side INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        row INTEGER NOT NULL, n INTEGER NOT NULL, position INTEGER NOT NULL, json BLOB NOT NULL);
    CREATE INDEX signals_time ON signals (time);
    CREATE INDEX signals_symbol ON signals (symbol, time);
    CREATE INDEX signals_strategy ON signals (strategy, time);
    CREATE TABLE marks (partition INTEGER, seq_first INTEGER, seq_end INTEGER NOT NULL, position_end INTEGER NOT NULL,
        offset_min INTEGER NOT NULL, offset_max INTEGER NOT NULL, PRIMARY KEY (partition, seq_first)) WITHOUT ROWID;
    CREATE TABLE series (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, symbol TEXT NOT NULL, name TEXT NOT NULL,
        UNIQUE (symbol, kind, name));
    CREATE TABLE points_values (seq INTEGER PRIMARY KEY, series INTEGER NOT NULL, time REAL NOT NULL, json BLOB NOT NULL);
    CREATE INDEX values_series ON points_values (series);
    CREATE TABLE points_bars (seq INTEGER PRIMARY KEY, series INTEGER NOT NULL, time REAL NOT NULL, json BLOB NOT NULL);
    CREATE INDEX bars_series ON points_bars (series);
    CREATE TABLE sessions (partition INTEGER PRIMARY KEY, state BLOB NOT NULL);
";

/// Signals that one row of `marks` speaks for.
const MARK_SIGNALS: i64 = 1_000;

/// A signal on its way in.
pub(super) struct NewSignal<'a> {
    pub(super) time: f64,
    pub(super) symbol: &'a str,
    pub(super) strategy: &'a str,
    pub(super) side: Side,
    pub(super) partition: u32,
    pub(super) offset: Offset,
    pub(super) row: u32,
    pub(super) n: u32,
    /// Its own offset in `signals`.
    pub(super) position: Offset,
    pub(super) json: &'a [u8],
}

/// Values and bars: points of series, each of one symbol and one name (a strategy or an interval).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Points {
    Values,
    Bars,
}

impl Points {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Bars => "bars",
        }
    }

    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::Values => Topic::Values,
            Self::Bars => Topic::Bars,
        }
    }
}

/// Interned names, so that rows hold small numbers and subscribers shared text.
#[derive(Default)]
struct Names(HashMap<Arc<str>, i64>);

/// Rows of one table by `seq`: the oldest, and one above the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    first: i64,
    end: i64,
}

/// The row of `marks` that still grows.
#[derive(Clone, Copy)]
struct Mark {
    seq_first: i64,
    seq_end: i64,
    signals: i64,
    position_end: Offset,
    offset_min: Offset,
    offset_max: Offset,
}

/// The writer.
pub(super) struct Store {
    path: PathBuf,
    db: Connection,
    symbols: Names,
    strategies: Names,
    series: HashMap<Box<[u8]>, i64>,
    signals: Span,
    values: Span,
    bars: Span,
    marks: Vec<Option<Mark>>,
}

impl Store {
    /// Opens the file, or makes it anew where it does not fit.
    pub(super) fn open(path: &Path, partitions: u32) -> Result<Self, ViewError> {
        match Self::try_open(path, partitions) {
            Ok(Some(store)) => Ok(store),
            Ok(None) => Self::create(path, partitions),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the view's file cannot be used; it is made anew from the log");
                Self::create(path, partitions)
            }
        }
    }

    /// None where there is no file or one that does not fit.
    fn try_open(path: &Path, partitions: u32) -> Result<Option<Self>, rusqlite::Error> {
        if !path.exists() {
            return Ok(None);
        }
        let db = connect(path)?;
        let meta = |name: &str| {
            db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                row.get::<_, String>(0)
            })
        };
        if meta("schema")? != SCHEMA
            || meta("partitions")? != partitions.to_string()
            || meta("boot")? != boot()
        {
            return Ok(None);
        }
        Self::load(path, db, partitions).map(Some)
    }

    fn create(path: &Path, partitions: u32) -> Result<Self, ViewError> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ViewError::File {
                        path: file.into(),
                        source,
                    });
                }
                _ => {}
            }
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|source| ViewError::File {
                path: dir.to_owned(),
                source,
            })?;
        }
        let made = connect(path).and_then(|db| {
            db.execute_batch("BEGIN")?;
            db.execute_batch(TABLES)?;
            let meta = [
                ("schema", SCHEMA.to_owned()),
                ("partitions", partitions.to_string()),
                ("boot", boot()),
            ];
            for (name, value) in meta {
                db.execute("INSERT INTO meta VALUES (?1, ?2)", params![name, value])?;
            }
            db.execute_batch("COMMIT")?;
            Self::load(path, db, partitions)
        });
        made.map_err(|source| ViewError::Store {
            path: path.to_owned(),
            source,
        })
    }

    fn load(path: &Path, db: Connection, partitions: u32) -> Result<Self, rusqlite::Error> {
        let names = |table: &str| -> Result<Names, rusqlite::Error> {
            let mut all = db.prepare(&format!("SELECT name, id FROM {table}"))?;
            let all = all.query_map([], |row| Ok((row.get::<_, Arc<str>>(0)?, row.get(1)?)))?;
            all.collect::<Result<_, _>>().map(Names)
        };
        let span = |table: &str| {
            db.query_row(
                &format!("SELECT COALESCE(MIN(seq), 1), COALESCE(MAX(seq), 0) + 1 FROM {table}"),
                [],
                |row| {
                    Ok(Span {
                        first: row.get(0)?,
                        end: row.get(1)?,
                    })
                },
            )
        };
        Ok(Self {
            path: path.to_owned(),
            symbols: names("symbols")?,
            strategies: names("strategies")?,
            series: HashMap::new(),
            signals: span("signals")?,
            values: span("points_values")?,
            bars: span("points_bars")?,
            marks: vec![None; partitions as usize],
            db,
        })
    }

    pub(super) fn error(&self, source: rusqlite::Error) -> ViewError {
        ViewError::Store {
            path: self.path.clone(),
            source,
        }
    }

    /// `seq` of the next signal.
    pub(super) const fn signals_end(&self) -> i64 {
        self.signals.end
    }

    /// The next offset to be read, and the oldest that the store speaks for; none where nothing was ever read.
    pub(super) fn position(
        &self,
        topic: Topic,
        partition: u32,
    ) -> Result<Option<(Offset, Offset)>, rusqlite::Error> {
        self.db
            .prepare_cached(
                "SELECT next, floor FROM positions WHERE topic = ?1 AND partition = ?2",
            )?
            .query_row(params![topic.name(), partition], |row| {
                Ok((offset(row.get(0)?), offset(row.get(1)?)))
            })
            .optional()
    }

    /// The saved state of a partition's sessions.
    pub(super) fn session(&self, partition: u32) -> Result<Option<Vec<u8>>, rusqlite::Error> {
        self.db
            .prepare_cached("SELECT state FROM sessions WHERE partition = ?1")?
            .query_row([partition], |row| row.get(0))
            .optional()
    }

    /// Forgets what was read of a topic; it is read anew from `starts`, one offset a partition.
    pub(super) fn restart(
        &mut self,
        topic: Topic,
        starts: &[Offset],
    ) -> Result<(), rusqlite::Error> {
        // Rows are numbered on, so that no subscriber takes a new row for one that it has seen.
        let end = self.signals.end;
        let clear = match topic {
            Topic::Signals => "DELETE FROM signals; DELETE FROM marks;",
            Topic::Values => "DELETE FROM points_values;",
            Topic::Bars => "DELETE FROM points_bars;",
            _ => "DELETE FROM sessions;",
        };
        self.db.execute_batch("BEGIN")?;
        self.db.execute_batch(clear)?;
        for (partition, &start) in (0u32..).zip(starts) {
            self.db.execute(
                "INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3, ?3)",
                params![topic.name(), partition, start.cast_signed()],
            )?;
        }
        self.db.execute_batch("COMMIT")?;
        match topic {
            Topic::Signals => {
                self.signals = Span { first: end, end };
                self.marks.fill(None);
            }
            Topic::Values => self.values.first = self.values.end,
            Topic::Bars => self.bars.first = self.bars.end,
            _ => {}
        }
        Ok(())
    }

    /// Opens a transaction. After any error the store is to be opened anew.
    pub(super) fn begin(&mut self) -> Result<Writing<'_>, rusqlite::Error> {
        self.db.execute_batch("BEGIN")?;
        let Self {
            db,
            symbols,
            strategies,
            series,
            signals,
            values,
            bars,
            marks,
            ..
        } = self;
        Ok(Writing {
            insert_signal: db.prepare_cached(
                "INSERT INTO signals VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            insert_value: db.prepare_cached("INSERT INTO points_values VALUES (?1, ?2, ?3, ?4)")?,
            insert_bar: db.prepare_cached("INSERT INTO points_bars VALUES (?1, ?2, ?3, ?4)")?,
            db,
            symbols,
            strategies,
            series,
            signals,
            values,
            bars,
            marks,
        })
    }
}

/// A transaction of the writer.
pub(super) struct Writing<'a> {
    db: &'a Connection,
    insert_signal: CachedStatement<'a>,
    insert_value: CachedStatement<'a>,
    insert_bar: CachedStatement<'a>,
    symbols: &'a mut Names,
    strategies: &'a mut Names,
    series: &'a mut HashMap<Box<[u8]>, i64>,
    signals: &'a mut Span,
    values: &'a mut Span,
    bars: &'a mut Span,
    marks: &'a mut Vec<Option<Mark>>,
}

impl Writing<'_> {
    /// Adds a signal; answers its symbol and strategy, shared.
    pub(super) fn signal(
        &mut self,
        signal: &NewSignal<'_>,
    ) -> Result<(Arc<str>, Arc<str>), rusqlite::Error> {
        let (symbol_name, symbol) = self.symbols.id(self.db, "symbols", signal.symbol)?;
        let (strategy_name, strategy) =
            self.strategies.id(self.db, "strategies", signal.strategy)?;
        let seq = self.signals.end;
        self.insert_signal.execute(params![
            seq,
            signal.time,
            symbol,
            strategy,
            side_number(signal.side),
            signal.partition,
            signal.offset.cast_signed(),
            signal.row,
            signal.n,
            signal.position.cast_signed(),
            signal.json,
        ])?;
        self.signals.end += 1;
        let Some(mark) = self.marks.get_mut(signal.partition as usize) else {
            return Ok((symbol_name, strategy_name));
        };
        let grown = match *mark {
            Some(old) if old.signals < MARK_SIGNALS => Mark {
                seq_end: seq + 1,
                signals: old.signals + 1,
                position_end: signal.position + 1,
                offset_min: old.offset_min.min(signal.offset),
                offset_max: old.offset_max.max(signal.offset),
                ..old
            },
            full_or_none => {
                if let Some(full) = full_or_none {
                    write_mark(self.db, signal.partition, &full)?;
                }
                Mark {
                    seq_first: seq,
                    seq_end: seq + 1,
                    signals: 1,
                    position_end: signal.position + 1,
                    offset_min: signal.offset,
                    offset_max: signal.offset,
                }
            }
        };
        *mark = Some(grown);
        Ok((symbol_name, strategy_name))
    }

    /// Adds a point. `key` is the message's: the name, a slash, the symbol for values; the symbol, a slash, the
    /// interval for bars.
    pub(super) fn point(
        &mut self,
        points: Points,
        key: &[u8],
        time: f64,
        json: &[u8],
    ) -> Result<(), rusqlite::Error> {
        let series = self.series(points, key)?;
        let (span, insert) = match points {
            Points::Values => (&mut *self.values, &mut self.insert_value),
            Points::Bars => (&mut *self.bars, &mut self.insert_bar),
        };
        insert.execute(params![span.end, series, time, json])?;
        span.end += 1;
        Ok(())
    }

    fn series(&mut self, points: Points, key: &[u8]) -> Result<i64, rusqlite::Error> {
        // No symbol holds a lower-case letter and every interval does, so one map serves both kinds of keys.
        if let Some(&id) = self.series.get(key) {
            return Ok(id);
        }
        let text = String::from_utf8_lossy(key);
        let (left, right) = text.split_once('/').unwrap_or((&text, ""));
        let (symbol, name) = match points {
            Points::Values => (right, left),
            Points::Bars => (left, right),
        };
        let known = self
            .db
            .prepare_cached("SELECT id FROM series WHERE symbol = ?1 AND kind = ?2 AND name = ?3")?
            .query_row(params![symbol, points.kind(), name], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                self.db
                    .prepare_cached("INSERT INTO series (kind, symbol, name) VALUES (?1, ?2, ?3)")?
                    .execute(params![points.kind(), symbol, name])?;
                self.db.last_insert_rowid()
            }
        };
        self.series.insert(key.into(), id);
        Ok(id)
    }

    pub(super) fn save_session(
        &mut self,
        partition: u32,
        state: &[u8],
    ) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO sessions VALUES (?1, ?2)")?
            .execute(params![partition, state])?;
        Ok(())
    }

    pub(super) fn save_position(
        &mut self,
        topic: Topic,
        partition: u32,
        next: Offset,
    ) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached("UPDATE positions SET next = ?3 WHERE topic = ?1 AND partition = ?2")?
            .execute(params![topic.name(), partition, next.cast_signed()])?;
        Ok(())
    }

    /// Removes the oldest rows above the limits and commits.
    pub(super) fn commit(mut self, limits: &Limits) -> Result<(), rusqlite::Error> {
        for (partition, mark) in (0u32..).zip(&*self.marks) {
            if let Some(mark) = mark {
                write_mark(self.db, partition, mark)?;
            }
        }
        self.trim_signals(limits.signals)?;
        trim(self.db, "points_values", self.values, limits.values)?;
        trim(self.db, "points_bars", self.bars, limits.bars)?;
        self.db.execute_batch("COMMIT")
    }

    fn trim_signals(&mut self, limit: u64) -> Result<(), rusqlite::Error> {
        let Some(cut) = self.signals.cut(limit) else {
            return Ok(());
        };
        let mut floors = vec![None; self.marks.len()];
        {
            let mut delete = self.db.prepare_cached(
                "DELETE FROM signals WHERE seq < ?1 RETURNING partition, position",
            )?;
            let mut rows = delete.query([cut])?;
            while let Some(row) = rows.next()? {
                let (partition, position) = (row.get::<_, u32>(0)?, offset(row.get(1)?));
                if let Some(floor) = floors.get_mut(partition as usize) {
                    *floor = (*floor).max(Some(position + 1));
                }
            }
        }
        for (partition, floor) in (0u32..).zip(floors) {
            if let Some(floor) = floor {
                self.db
                    .prepare_cached(
                        "UPDATE positions SET floor = ?2 WHERE topic = 'signals' AND partition = ?1",
                    )?
                    .execute(params![partition, floor.cast_signed()])?;
            }
        }
        self.db
            .prepare_cached("DELETE FROM marks WHERE seq_end <= ?1")?
            .execute([cut])?;
        self.signals.first = cut;
        Ok(())
    }
}

impl Span {
    /// The `seq` below which rows are too many.
    fn cut(self, limit: u64) -> Option<i64> {
        let cut = self.end.saturating_sub_unsigned(limit);
        (cut > self.first).then_some(cut)
    }
}

impl Names {
    fn id(
        &mut self,
        db: &Connection,
        table: &str,
        name: &str,
    ) -> Result<(Arc<str>, i64), rusqlite::Error> {
        if let Some((name, &id)) = self.0.get_key_value(name) {
            return Ok((name.clone(), id));
        }
        db.execute(&format!("INSERT INTO {table} (name) VALUES (?1)"), [name])?;
        let (name, id): (Arc<str>, _) = (name.into(), db.last_insert_rowid());
        self.0.insert(name.clone(), id);
        Ok((name, id))
    }
}

fn trim(db: &Connection, table: &str, span: &mut Span, limit: u64) -> Result<(), rusqlite::Error> {
    if let Some(cut) = span.cut(limit) {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE seq < ?1"))?
            .execute([cut])?;
        span.first = cut;
    }
    Ok(())
}

fn write_mark(db: &Connection, partition: u32, mark: &Mark) -> Result<(), rusqlite::Error> {
    db.prepare_cached("INSERT OR REPLACE INTO marks VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            partition,
            mark.seq_first,
            mark.seq_end,
            mark.position_end.cast_signed(),
            mark.offset_min.cast_signed(),
            mark.offset_max.cast_signed(),
        ])?;
    Ok(())
}

/// How a side stands in the table.
pub(super) const fn side_number(side: Side) -> i64 {
    match side {
        Side::Buy => 1,
        Side::Sell => -1,
    }
}

/// SQLite has signed integers only; an offset keeps its bits.
pub(super) const fn offset(stored: i64) -> Offset {
    stored.cast_unsigned()
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    // In pages: checkpoints cost less when a page that changed often is written back once.
    db.pragma_update(None, "wal_autocheckpoint", 8_000)?;
    // In kB when negative: the leaves of the index by symbol are hit at random.
    db.pragma_update(None, "cache_size", -32_000)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Which boot of the machine this is. What was not synced before a crash of the machine may be torn, and only another
/// boot can follow that.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
