//! `view.db` and its one writer. Losing the file loses nothing, so nothing waits for the disk, and a file that does not
//! fit, or that another boot of the machine wrote, is made anew.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use hashbrown::HashMap;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{
    Limits, ViewError,
    journal::{Fetch, Head, Heads, Journal, Trimmed},
    lock,
};
use crate::{
    bars::Interval,
    log::{Offset, Topic},
    market::Side,
};

/// The version of the tables below.
const SCHEMA: &str = "3";

pub(super) const SIGNALS: &str = "signals";

/// Beside these there is a table for each journal.
const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, floor INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)) WITHOUT ROWID;
    CREATE TABLE names (kind TEXT, id INTEGER, name TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE TABLE sessions (partition INTEGER PRIMARY KEY, state BLOB NOT NULL);
    CREATE TABLE newest_values (series INTEGER PRIMARY KEY, json BLOB NOT NULL);
";

/// What is known of a signal without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SignalHead {
    pub(super) time: f64,
    pub(super) strength: f64,
    pub(super) offset: Offset,
    /// Its own offset in `signals`.
    pub(super) position: Offset,
    /// Number of its name, as the next.
    pub(super) symbol: u32,
    pub(super) strategy: u32,
    pub(super) partition: u32,
    pub(super) row: u32,
    pub(super) n: u32,
    pub(super) side: Side,
}

/// What is known of values or of a bar without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PointHead {
    pub(super) time: f64,
    /// Number of the message's key: the name, a slash, the symbol for values; the symbol, a slash, the interval for
    /// bars.
    pub(super) series: u32,
}

impl Head for SignalHead {
    fn time(&self) -> f64 {
        self.time
    }
}

impl Head for PointHead {
    fn time(&self) -> f64 {
        self.time
    }
}

/// Points of series: values or bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Points {
    Values,
    /// Of one interval: each has a table of its own, so that a day is not pushed out by seconds.
    Bars(Interval),
}

impl Points {
    pub(super) const fn table(self) -> &'static str {
        match self {
            // A word that SQL has for itself.
            Self::Values => "indicator_values",
            Self::Bars(Interval::Second) => "bars_1s",
            Self::Bars(Interval::Minute) => "bars_1m",
            Self::Bars(Interval::FiveMinutes) => "bars_5m",
            Self::Bars(Interval::Hour) => "bars_1h",
            Self::Bars(Interval::Day) => "bars_1d",
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Values).chain(Interval::ALL.into_iter().map(Self::Bars))
    }
}

/// One of something for each interval, in the order of [`Interval::ALL`].
pub(super) type ByInterval<T> = [T; Interval::ALL.len()];

/// Names by number, and numbers by name.
#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) list: Arc<Vec<Arc<str>>>,
    numbers: HashMap<Arc<str>, u32>,
}

/// What readers see: always of one commit.
#[derive(Default)]
pub(super) struct Index {
    pub(super) signals: Heads<SignalHead>,
    pub(super) symbols: Names,
    pub(super) strategies: Names,
    pub(super) values: Heads<PointHead>,
    pub(super) values_series: Names,
    pub(super) bars: ByInterval<Heads<PointHead>>,
    pub(super) bars_series: Names,
    /// By partition: the oldest position of `signals` that the store speaks for.
    pub(super) floors: Vec<Offset>,
}

/// The writer.
pub(super) struct Store {
    path: PathBuf,
    db: Connection,
    signals: Journal<SignalHead>,
    values: Journal<PointHead>,
    newest_values: NewestValues,
    bars: ByInterval<Journal<PointHead>>,
    symbols: Names,
    strategies: Names,
    values_series: Names,
    bars_series: Names,
    names_grew: bool,
    index: Arc<Mutex<Index>>,
}

impl Store {
    /// Opens the file, or makes it anew where it does not fit, and shows its rows in `index`.
    pub(super) fn open(
        path: &Path,
        partitions: u32,
        index: Arc<Mutex<Index>>,
    ) -> Result<Self, ViewError> {
        match Self::try_open(path, partitions, &index) {
            Ok(Some(store)) => Ok(store),
            Ok(None) => Self::create(path, partitions, &index),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the view's file cannot be used; it is made anew from the log");
                Self::create(path, partitions, &index)
            }
        }
    }

    /// None where there is no file or one that does not fit.
    fn try_open(
        path: &Path,
        partitions: u32,
        index: &Arc<Mutex<Index>>,
    ) -> Result<Option<Self>, rusqlite::Error> {
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
        Self::load(path, db, partitions, index).map(Some)
    }

    fn create(path: &Path, partitions: u32, index: &Arc<Mutex<Index>>) -> Result<Self, ViewError> {
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
            Journal::<SignalHead>::create(&db, SIGNALS)?;
            for points in Points::all() {
                Journal::<PointHead>::create(&db, points.table())?;
            }
            let meta = [
                ("schema", SCHEMA.to_owned()),
                ("partitions", partitions.to_string()),
                ("boot", boot()),
            ];
            for (name, value) in meta {
                db.execute("INSERT INTO meta VALUES (?1, ?2)", params![name, value])?;
            }
            db.execute_batch("COMMIT")?;
            Self::load(path, db, partitions, index)
        });
        made.map_err(|source| ViewError::Store {
            path: path.to_owned(),
            source,
        })
    }

    fn load(
        path: &Path,
        db: Connection,
        partitions: u32,
        index: &Arc<Mutex<Index>>,
    ) -> Result<Self, rusqlite::Error> {
        let names = |kind: &str| -> Result<Names, rusqlite::Error> {
            let mut names = Names::default();
            let mut all = db.prepare("SELECT name FROM names WHERE kind = ?1 ORDER BY id")?;
            for name in all.query_map([kind], |row| row.get::<_, Arc<str>>(0))? {
                names.push(name?);
            }
            Ok(names)
        };
        let (signals, signals_heads) = Journal::load(&db, SIGNALS)?;
        let (values, values_heads) = Journal::load(&db, Points::Values.table())?;
        let (mut bars, mut bars_heads) = (Vec::new(), ByInterval::default());
        for (interval, heads) in Interval::ALL.into_iter().zip(&mut bars_heads) {
            let (journal, loaded) = Journal::load(&db, Points::Bars(interval).table())?;
            bars.push(journal);
            *heads = loaded;
        }
        let store = Self {
            path: path.to_owned(),
            signals,
            values,
            newest_values: NewestValues::of(&values_heads),
            bars: bars
                .try_into()
                .unwrap_or_else(|_| unreachable!("one for each interval")),
            symbols: names("symbol")?,
            strategies: names("strategy")?,
            values_series: names("values")?,
            bars_series: names("bars")?,
            names_grew: false,
            index: index.clone(),
            db,
        };
        let mut floors = Vec::new();
        for partition in 0..partitions {
            let position = store.position(Topic::Signals, partition)?;
            floors.push(position.map_or(0, |(_, floor)| floor));
        }
        *lock(index) = Index {
            signals: signals_heads,
            symbols: store.symbols.clone(),
            strategies: store.strategies.clone(),
            values: values_heads,
            values_series: store.values_series.clone(),
            bars: bars_heads,
            bars_series: store.bars_series.clone(),
            floors,
        };
        Ok(store)
    }

    pub(super) fn error(&self, source: rusqlite::Error) -> ViewError {
        ViewError::Store {
            path: self.path.clone(),
            source,
        }
    }

    /// `seq` of the next signal.
    pub(super) const fn signals_end(&self) -> i64 {
        self.signals.committed_end()
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
                // SQLite has signed integers only; an offset keeps its bits.
                let bits = |column| row.get(column).map(i64::cast_unsigned);
                Ok((bits(0)?, bits(1)?))
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
        self.db.execute_batch("BEGIN")?;
        {
            let mut index = lock(&self.index);
            match topic {
                Topic::Signals => {
                    self.signals.clear(&self.db, &mut index.signals)?;
                    index.floors = starts.to_vec();
                }
                Topic::Values => {
                    self.values.clear(&self.db, &mut index.values)?;
                    self.db.execute_batch("DELETE FROM newest_values")?;
                }
                Topic::Bars => {
                    for (journal, heads) in self.bars.iter_mut().zip(&mut index.bars) {
                        journal.clear(&self.db, heads)?;
                    }
                }
                _ => {
                    self.db.execute_batch("DELETE FROM sessions")?;
                }
            }
        }
        for (partition, &start) in (0u32..).zip(starts) {
            self.db.execute(
                "INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3, ?3)",
                params![topic.name(), partition, start.cast_signed()],
            )?;
        }
        self.db.execute_batch("COMMIT")
    }

    /// Opens a transaction. After any error the store is to be opened anew.
    pub(super) fn begin(&mut self) -> Result<(), rusqlite::Error> {
        self.db.execute_batch("BEGIN")
    }

    /// Adds a signal, whose symbol and strategy are numbered here; answers these, shared.
    pub(super) fn signal(
        &mut self,
        head: SignalHead,
        symbol: &str,
        strategy: &str,
        json: &[u8],
    ) -> Result<(Arc<str>, Arc<str>), rusqlite::Error> {
        let grew = &mut self.names_grew;
        let symbol = self.symbols.number(&self.db, "symbol", symbol, grew)?;
        let strategy = self
            .strategies
            .number(&self.db, "strategy", strategy, grew)?;
        let head = SignalHead {
            symbol,
            strategy,
            ..head
        };
        self.signals.push(&self.db, head, json)?;
        Ok((self.symbols.name(symbol), self.strategies.name(strategy)))
    }

    /// Adds a point of the series that `key` names.
    pub(super) fn point(
        &mut self,
        points: Points,
        key: &str,
        time: f64,
        json: &[u8],
    ) -> Result<(), rusqlite::Error> {
        let (journal, names, kind) = match points {
            Points::Values => (&mut self.values, &mut self.values_series, "values"),
            Points::Bars(interval) => {
                let journal = &mut self.bars[interval as usize];
                (journal, &mut self.bars_series, "bars")
            }
        };
        let series = names.number(&self.db, kind, key, &mut self.names_grew)?;
        if points == Points::Values {
            self.newest_values.note(series, journal.end());
        }
        journal.push(&self.db, PointHead { time, series }, json)
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

    /// Removes the oldest rows above the limits, commits, and shows all to readers.
    pub(super) fn commit(&mut self, limits: &Limits) -> Result<(), rusqlite::Error> {
        // Only the writer changes the index, so what is cloned here is still so below.
        let (signals, values, bars) = {
            let index = lock(&self.index);
            (
                index.signals.clone(),
                index.values.clone(),
                index.bars.clone(),
            )
        };
        let signals = trim(&mut self.signals, &self.db, &signals, limits.signals)?;
        let outgrown = self.values.outgrown(&values, limits.values);
        self.newest_values.keep(&self.db, &outgrown)?;
        self.values.finish(&self.db, &values, &outgrown)?;
        let mut trimmed_bars = Vec::new();
        for (journal, heads) in self.bars.iter_mut().zip(&bars) {
            trimmed_bars.push(trim(journal, &self.db, heads, limits.bars)?);
        }
        let gone = signals.gone.iter().flat_map(|block| &block.heads);
        let mut floors: HashMap<u32, Offset> = HashMap::new();
        for head in gone {
            let floor = floors.entry(head.partition).or_default();
            *floor = (*floor).max(head.position + 1);
        }
        for (partition, floor) in &floors {
            self.db
                .prepare_cached(
                    "UPDATE positions SET floor = ?2 WHERE topic = 'signals' AND partition = ?1",
                )?
                .execute(params![partition, floor.cast_signed()])?;
        }
        self.db.execute_batch("COMMIT")?;
        let mut index = lock(&self.index);
        self.signals.show(&mut index.signals, &signals);
        self.values.show(&mut index.values, &outgrown);
        for ((journal, heads), trimmed) in
            (self.bars.iter_mut().zip(&mut index.bars)).zip(&trimmed_bars)
        {
            journal.show(heads, trimmed);
        }
        for (partition, floor) in floors {
            if let Some(shown) = index.floors.get_mut(partition as usize) {
                *shown = floor;
            }
        }
        if std::mem::take(&mut self.names_grew) {
            index.symbols = self.symbols.clone();
            index.strategies = self.strategies.clone();
            index.values_series = self.values_series.clone();
            index.bars_series = self.bars_series.clone();
        }
        Ok(())
    }
}

/// Removes the oldest rows above the limit; answers them.
fn trim<H: Head>(
    journal: &mut Journal<H>,
    db: &Connection,
    heads: &Heads<H>,
    limit: u64,
) -> Result<Trimmed<H>, rusqlite::Error> {
    let trimmed = journal.outgrown(heads, limit);
    journal.finish(db, heads, &trimmed)?;
    Ok(trimmed)
}

/// Which row of `indicator_values` is the newest of each series, by the series' number: it is kept aside when the table
/// outgrows it, so that a quiet symbol does not lose its values to busy ones.
#[derive(Default)]
struct NewestValues(Vec<i64>);

impl NewestValues {
    fn of(heads: &Heads<PointHead>) -> Self {
        let mut newest = Self::default();
        for block in heads.blocks_from(0) {
            for (at, head) in block.heads.iter().enumerate() {
                newest.note(head.series, block.seq(at));
            }
        }
        newest
    }

    fn note(&mut self, series: u32, seq: i64) {
        let at = series as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = seq;
    }

    fn keep(&self, db: &Connection, gone: &Trimmed<PointHead>) -> Result<(), rusqlite::Error> {
        let mut fetch = Fetch::new(db, Points::Values.table());
        for block in &gone.gone {
            for (at, head) in block.heads.iter().enumerate() {
                if self.0.get(head.series as usize) != Some(&block.seq(at)) {
                    continue;
                }
                if let Some(json) = fetch.json(block.place(at))? {
                    db.prepare_cached("INSERT OR REPLACE INTO newest_values VALUES (?1, ?2)")?
                        .execute(params![head.series, json])?;
                }
            }
        }
        Ok(())
    }
}

/// The newest values of a series, where `indicator_values` no longer has them.
pub(super) fn kept_value(db: &Connection, series: u32) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    db.prepare_cached("SELECT json FROM newest_values WHERE series = ?1")?
        .query_row([series], |row| row.get(0))
        .optional()
}

impl Names {
    /// The number of a name that has one.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    fn name(&self, number: u32) -> Arc<str> {
        self.list[number as usize].clone()
    }

    fn push(&mut self, name: Arc<str>) -> u32 {
        let number = u32::try_from(self.list.len()).expect("fewer than 2^32 names");
        self.numbers.insert(name.clone(), number);
        Arc::make_mut(&mut self.list).push(name);
        number
    }

    /// The number of a name, which is given and stored where there is none.
    fn number(
        &mut self,
        db: &Connection,
        kind: &str,
        name: &str,
        grew: &mut bool,
    ) -> Result<u32, rusqlite::Error> {
        if let Some(number) = self.find(name) {
            return Ok(number);
        }
        let number = self.push(name.into());
        *grew = true;
        db.prepare_cached("INSERT INTO names VALUES (?1, ?2, ?3)")?
            .execute(params![kind, number, name])?;
        Ok(number)
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    Ok(db)
}

/// Which boot of the machine this is. What was not synced before a crash of the machine may be torn, and only another
/// boot can follow that.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
