//! The directory and the database in it: who may have it, what it must look like, and what is wrong where it
//! does not. Decides what damage is; never repairs or replaces anything.
//!
//! Opening looks at the header, the schema and both ends of each table, not at every page: a killed process must
//! be back at once, however large the file. Each row carries a checksum that every reading checks. What SQLite
//! itself would pass over in silence, a lost or cut write-ahead log, shows by the watermark.

use super::{
    Options, Sync,
    place::{Place, Places, table},
};
use crate::log::{Cleanup, Group, LogError, Offset, Topic};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// "WIGW": what `file` and SQLite show as the file's application.
const APPLICATION: i32 = 0x5749_4757;
/// Of the tables below.
const SCHEMA: i32 = 1;
/// Values are large, and a page more in a row's chain is a read more. Measured; see the bench.
const PAGE_BYTES: u32 = 8192;
/// A view names each partition of a topic, and SQLite takes 500 in one.
const MAX_PARTITIONS: u32 = 256;
/// The WAL is cut to this size when it was longer for a while.
const WAL_KEPT_BYTES: u32 = 64 << 20;
/// Another program that holds the file's write lock for longer makes an append fail.
const BUSY: Duration = Duration::from_secs(5);
/// Connections kept for the next reader.
const IDLE_CONNECTIONS: usize = 16;

/// Positions by group and partition.
pub(super) type Positions = HashMap<(Group, u32), Offset>;

/// The exclusive right to a directory, and the name of the file in it.
pub(super) struct DirectoryLock {
    directory: PathBuf,
    file: File,
    /// None until the first log was created here.
    watermark: Option<u64>,
}

/// How much was ever committed: the sum of all ends and positions. Kept beside the database after each commit,
/// so that a database that has lost commits is told from one that has not.
pub(super) struct Watermark(File);

pub(super) struct Opened {
    pub(super) name: String,
    pub(super) connection: Connection,
    pub(super) connections: Connections,
    pub(super) places: Places,
    pub(super) positions: Positions,
}

/// Read-only connections, made as needed and used again.
pub(super) struct Connections {
    path: PathBuf,
    name: String,
    idle: Mutex<Option<Vec<Connection>>>,
}

/// The lock file: the owner's PID in the first line, the watermark in the second.
const LOCK_FILE: &str = "log.lock";
const PID_DIGITS: usize = 10;
const WATERMARK_AT: u64 = PID_DIGITS as u64 + 1;

impl DirectoryLock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, LogError> {
        let unavailable = |detail: String| LogError::Unavailable {
            log: directory.display().to_string(),
            detail,
        };
        std::fs::create_dir_all(directory)
            .map_err(|error| unavailable(format!("cannot be created: {error}")))?;
        let path = directory.join(LOCK_FILE);
        let mut file = (File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path))
        .map_err(|error| unavailable(format!("{} cannot be opened: {error}", path.display())))?;
        let mut text = String::new();
        // What cannot be read of it is as if it were not there: it may be torn by a loss of power.
        let _ = file.read_to_string(&mut text);
        let mut lines = text.lines().map(str::trim);
        let owner = lines
            .next()
            .filter(|pid| !pid.is_empty())
            .unwrap_or("unknown");
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            unavailable(if error == rustix::io::Errno::WOULDBLOCK {
                format!("process {owner} has it; stop that one or use another directory")
            } else {
                format!("{} cannot be locked: {error}", path.display())
            })
        })?;
        let watermark = lines.next().and_then(|text| text.parse().ok());
        let pid = format!("{:<PID_DIGITS$}\n", std::process::id());
        (file.rewind().and_then(|()| file.write_all(pid.as_bytes()))).map_err(|error| {
            unavailable(format!("{} cannot be written: {error}", path.display()))
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            watermark,
        })
    }

    pub(super) fn watermark(&self) -> Result<Watermark, LogError> {
        let file = self
            .file
            .try_clone()
            .map_err(|error| LogError::Unavailable {
                log: self.directory.display().to_string(),
                detail: format!("{LOCK_FILE}: {error}"),
            })?;
        Ok(Watermark(file))
    }

    pub(super) fn release(&self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Watermark {
    pub(super) fn set(&self, committed: u64) -> io::Result<()> {
        self.0
            .write_all_at(format!("{committed:020}\n").as_bytes(), WATERMARK_AT)
    }
}

/// Opens the database, or creates it where the directory never had one.
pub(super) fn open(directory: &DirectoryLock, options: Options) -> Result<Opened, LogError> {
    let Options {
        partitions,
        sync,
        file_bytes,
        ..
    } = options;
    let path = directory.directory.join("log.db");
    let name = path.display().to_string();
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        let text =
            format!("{name}: {partitions} partitions are configured; use 1 to {MAX_PARTITIONS}");
        return Err(LogError::Mismatch(text));
    }
    if directory.watermark.is_some() && !path.exists() {
        return Err(damaged(
            &path,
            &format!("it is missing, but {LOCK_FILE} beside it says that there was one"),
        ));
    }
    let read = |error: rusqlite::Error| read_error(&name, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(read)?;
    prepare(&connection, sync).map_err(read)?;
    let places = Places::new(partitions);
    let is_new = connection
        .query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| {
            row.get(0)
        })
        .map_err(read)?;
    if is_new && directory.watermark.is_some() {
        return Err(damaged(
            &path,
            &format!("it is empty, but {LOCK_FILE} beside it says that it was not"),
        ));
    }
    if is_new {
        create(&connection, &places, partitions).map_err(|error| write_error(&name, &error))?;
    } else {
        check_settings(&connection, &path, partitions)?;
    }
    if let Some(bytes) = file_bytes {
        let pages = i64::try_from(bytes / u64::from(PAGE_BYTES))
            .unwrap_or(i64::MAX)
            .max(1);
        connection
            .pragma_update(None, "max_page_count", pages)
            .map_err(read)?;
    }
    for place in places.iter() {
        load_bounds(&connection, place).map_err(|error| {
            read_error(
                &format!("{name}: {}/{}", place.topic, place.partition),
                &error,
            )
        })?;
    }
    let positions = load_positions(&connection).map_err(read)?;
    let committed = committed(&places, &positions);
    if directory
        .watermark
        .is_some_and(|watermark| watermark > committed)
    {
        let watermark = directory.watermark.unwrap_or_default();
        let detail = format!(
            "it holds {committed} offsets where {watermark} were committed: {} was lost or cut; bring it back, or remove {} to go on without the rest",
            path.with_extension("db-wal").display(),
            directory.directory.join(LOCK_FILE).display(),
        );
        match sync {
            Sync::Full => return Err(damaged(&path, &detail)),
            Sync::Normal => {
                tracing::error!(file = %name, detail, "the log lost its newest commits")
            }
        }
    }
    (directory.watermark()?.set(committed)).map_err(|error| LogError::Unavailable {
        log: name.clone(),
        detail: format!("{LOCK_FILE}: {error}"),
    })?;
    let connections = Connections {
        path,
        name: name.clone(),
        idle: Mutex::new(Some(Vec::new())),
    };
    Ok(Opened {
        name,
        connection,
        connections,
        places,
        positions,
    })
}

/// The sum that [`Watermark`] keeps.
pub(super) fn committed(places: &Places, positions: &Positions) -> u64 {
    places.iter().map(Place::end).sum::<u64>() + positions.values().sum::<u64>()
}

fn prepare(connection: &Connection, sync: Sync) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Before the first table; later it changes nothing.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    connection.pragma_update(
        None,
        "synchronous",
        match sync {
            Sync::Full => "FULL",
            Sync::Normal => "NORMAL",
        },
    )?;
    // The writer says when.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.set_prepared_statement_cache_capacity(1024);
    Ok(())
}

fn create(connection: &Connection, places: &Places, partitions: u32) -> rusqlite::Result<()> {
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

/// Whether the database is ours, of this schema, with these partitions and topics.
fn check_settings(connection: &Connection, path: &Path, partitions: u32) -> Result<(), LogError> {
    let name = path.display().to_string();
    let read = |error: rusqlite::Error| read_error(&name, &error);
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
    if stored != partitions {
        let text = format!(
            "{name} has {stored} partitions, {partitions} are configured; the number can never change: configure {stored}, or use another directory"
        );
        return Err(LogError::Mismatch(text));
    }
    let mut topics = connection
        .prepare("SELECT substr(name, 7) FROM settings WHERE name LIKE 'topic %' ORDER BY name")
        .map_err(read)?;
    let stored = topics
        .query_map((), |row| row.get(0))
        .and_then(Iterator::collect::<Result<Vec<String>, _>>);
    let stored = stored.map_err(read)?;
    let mut known: Vec<_> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    known.sort_unstable();
    if stored != known {
        let (have, know) = (stored.len(), known.len());
        let text = format!(
            "{name} has {have} topics ({}), this program knows {know} ({}); use the program that wrote it",
            stored.join(", "),
            known.join(", ")
        );
        return Err(LogError::Mismatch(text));
    }
    Ok(())
}

fn load_bounds(connection: &Connection, place: &Place) -> rusqlite::Result<()> {
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

fn load_positions(connection: &Connection) -> rusqlite::Result<Positions> {
    let mut statement =
        connection.prepare("SELECT consumers, partition, position FROM positions")?;
    let mut rows = statement.query(())?;
    let mut positions = Positions::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if let Some(group) = [Group::Engine, Group::RawIntake]
            .into_iter()
            .find(|group| group.name() == name)
        {
            positions.insert((group, row.get(1)?), row.get(2)?);
        }
    }
    Ok(positions)
}

impl Connections {
    /// Lends a connection.
    pub(super) fn with<T>(
        &self,
        use_it: impl FnOnce(&Connection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(Vec::pop);
        let connection = match idle {
            Some(Some(connection)) => connection,
            Some(None) => self.open()?,
            None => {
                return Err(LogError::Unavailable {
                    log: self.name.clone(),
                    detail: "it was closed".into(),
                });
            }
        };
        let result = use_it(&connection);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = idle
            .as_mut()
            .filter(|idle| result.is_ok() && idle.len() < IDLE_CONNECTIONS)
        {
            idle.push(connection);
        }
        result
    }

    pub(super) fn close(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn open(&self) -> Result<Connection, LogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.path, flags).and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "cache_size", -1024)?;
            connection.set_prepared_statement_cache_capacity(256);
            Ok(connection)
        });
        opened.map_err(|error| read_error(&self.name, &error))
    }
}

fn damaged(path: &Path, detail: &impl ToString) -> LogError {
    LogError::Damaged {
        log: path.display().to_string(),
        detail: detail.to_string(),
    }
}

/// What failed to be read is damaged, unless SQLite says that it never looked.
pub(super) fn read_error(log: &str, error: &rusqlite::Error) -> LogError {
    let (log, detail) = (log.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed,
        ) => LogError::Unavailable { log, detail },
        _ => LogError::Damaged { log, detail },
    }
}

/// What failed to be written may be written later, unless what is there is no database.
pub(super) fn write_error(log: &str, error: &rusqlite::Error) -> LogError {
    let (log, detail) = (log.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            LogError::Damaged { log, detail }
        }
        _ => LogError::Unavailable { log, detail },
    }
}
