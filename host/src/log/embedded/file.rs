//! The database file: opens it, lends connections to it, and says what its errors mean. Decides what damage is;
//! never repairs or replaces anything.
//!
//! Opening looks at the header, the schema and both ends of each table, not at every page: a killed process must
//! be back at once, however large the file. What is damaged inside shows when it is read: each row carries a
//! checksum, and offsets have no gaps. What SQLite itself would pass over in silence, a lost or cut write-ahead
//! log, shows by the watermark.

use super::{
    Options, Sync,
    lock::{DirectoryLock, LOCK_FILE},
    place::Places,
    schema::{self, Positions},
};
use crate::log::LogError;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// From 4 to 32 kB no difference was measured beyond noise; a WAL of smaller pages is shorter.
const PAGE_BYTES: u32 = 8192;
/// A view names each partition of a topic, and SQLite takes 500 in one.
const MAX_PARTITIONS: u32 = 256;
/// The WAL is cut to this size when it was longer for a while.
const WAL_KEPT_BYTES: u32 = 64 << 20;
/// Another program that holds the file's write lock for longer makes an append fail.
const BUSY: Duration = Duration::from_secs(5);
/// Connections kept for the next reader.
const IDLE_CONNECTIONS: usize = 16;

pub(super) struct Opened {
    pub(super) name: String,
    /// To write with.
    pub(super) connection: Connection,
    /// To carry the WAL over with.
    pub(super) checkpoints: Connection,
    pub(super) connections: Connections,
    pub(super) places: Places,
    pub(super) positions: Positions,
}

/// Read-only connections, made as needed and used again.
pub(super) struct Connections {
    path: PathBuf,
    name: String,
    /// Nobody writes the file, nor can its WAL be looked at.
    is_immutable: bool,
    idle: Mutex<Option<Vec<Connection>>>,
}

/// Opens the database, or creates it where the directory never had one. Writes nothing to one that it refuses.
pub(super) fn open(directory: &DirectoryLock, options: Options) -> Result<Opened, LogError> {
    let Options {
        partitions,
        sync,
        file_bytes,
        ..
    } = options;
    let path = directory.file("log.db");
    let name = path.display().to_string();
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        return Err(LogError::Mismatch(format!(
            "{name}: {partitions} partitions are configured; use 1 to {MAX_PARTITIONS}"
        )));
    }
    let is_empty = path.metadata().map_or(true, |file| file.len() == 0);
    if is_empty && directory.watermark().is_some() {
        let detail =
            format!("it is missing or empty, but {LOCK_FILE} beside it says that it was not");
        return Err(LogError::Damaged { log: name, detail });
    }
    let read = |error: rusqlite::Error| read_error(&name, &error);
    let connection = open_to_write(&path).map_err(read)?;
    let places = Places::new(partitions);
    if !is_empty {
        schema::check_but_topics(&connection, &name, Some(partitions))?;
        schema::add_topics(&connection, &places).map_err(read)?;
        schema::check(&connection, &name, Some(partitions))?;
    }
    prepare(&connection, sync).map_err(read)?;
    if is_empty {
        // At once in the file itself: without its WAL it must still be known for ours.
        schema::create(&connection, &places, partitions)
            .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())))
            .map_err(|error| write_error(&name, &error))?;
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
        schema::load_bounds(&connection, place)
            .map_err(|error| read_error(&place.named(&name), &error))?;
    }
    let positions = schema::load_positions(&connection).map_err(read)?;
    let committed = schema::committed(&places, &positions);
    check_watermark(directory, &name, sync, committed)?;
    directory.set_watermark(committed)?;
    let checkpoints = open_to_write(&path).map_err(read)?;
    prepare(&checkpoints, sync).map_err(read)?;
    let connections = Connections::new(path, name.clone());
    Ok(Opened {
        name,
        connection,
        checkpoints,
        connections,
        places,
        positions,
    })
}

/// Opens the database that another may be writing, or that nobody may write.
pub(super) fn open_to_read(directory: &Path) -> Result<Connections, LogError> {
    let path = directory.join("log.db");
    let name = path.display().to_string();
    if !path.exists() {
        let detail = "there is no such file; is this the data folder of a service?".to_owned();
        return Err(LogError::Unavailable { log: name, detail });
    }
    let mut wal = path.clone().into_os_string();
    wal.push("-wal");
    let has_wal = Path::new(&wal).metadata().is_ok_and(|wal| wal.len() > 0);
    let mut connections = Connections::new(path, name);
    let look = |connections: &Connections| {
        connections.with(|connection| {
            connection
                .query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
                .map_err(|error| read_error(&connections.name, &error))
        })
    };
    match look(&connections) {
        // The index of the WAL is not there, and cannot be made.
        Err(LogError::Unavailable { .. }) if !has_wal => {
            connections.is_immutable = true;
            look(&connections)?;
        }
        Err(LogError::Unavailable { log, detail }) => {
            let detail = format!(
                "{detail}; its newest commits are in {0}, which can be read where {1}-shm is there or can be made: copy the folder",
                Path::new(&wal).display(),
                connections.name
            );
            return Err(LogError::Unavailable { log, detail });
        }
        looked => looked?,
    }
    Ok(connections)
}

fn check_watermark(
    directory: &DirectoryLock,
    name: &str,
    sync: Sync,
    committed: u64,
) -> Result<(), LogError> {
    let Some(watermark) = directory
        .watermark()
        .filter(|watermark| *watermark > committed)
    else {
        return Ok(());
    };
    let lock = directory.file(LOCK_FILE);
    let detail = format!(
        "it holds {committed} offsets where {watermark} were committed: {name}-wal was lost or cut, or rows of it were; bring back what is missing, or remove {} to go on without it",
        lock.display()
    );
    match sync {
        Sync::Full => {
            return Err(LogError::Damaged {
                log: name.to_owned(),
                detail,
            });
        }
        // What a loss of power takes is what the operator agreed to lose.
        Sync::Normal => tracing::error!(file = name, detail, "the log lost its newest commits"),
    }
    Ok(())
}

fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Or a file that is refused would lose its WAL to the closing of the connection.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn prepare(connection: &Connection, sync: Sync) -> rusqlite::Result<()> {
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

impl Connections {
    const fn new(path: PathBuf, name: String) -> Self {
        Self {
            path,
            name,
            is_immutable: false,
            idle: Mutex::new(Some(Vec::new())),
        }
    }

    /// The file, as messages name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

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
        let opened = match self.is_immutable {
            false => Connection::open_with_flags(&self.path, flags),
            true => Connection::open_with_flags(
                immutable_uri(&self.path),
                flags | OpenFlags::SQLITE_OPEN_URI,
            ),
        };
        let opened = opened.and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "cache_size", -1024)?;
            connection.set_prepared_statement_cache_capacity(256);
            Ok(connection)
        });
        opened.map_err(|error| read_error(&self.name, &error))
    }
}

/// The name by which SQLite takes a file as one that nobody writes.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for c in path.to_string_lossy().chars() {
        match c {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            c => uri.push(c),
        }
    }
    uri.push_str("?immutable=1");
    uri
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
