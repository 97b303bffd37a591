//! The log on one machine: SQLite in WAL mode, one file in one directory that one process owns. A single thread
//! writes and commits what has queued up together; readers have connections of their own and never wait for it.
//!
//! Beside the log anyone may read the file with any SQLite tool: each topic is a view of that name.

mod checkpoint;
mod file;
mod lease;
mod lock;
mod place;
mod read_only;
mod reader;
mod retention;
mod row;
mod schema;
mod sole;
mod writer;

use super::{
    Append, Appended, Bounds, Group, Log, LogError, MAX_VALUE_BYTES, Member, Offset, Reader,
    SoleWriter, Start, Topic,
};
use checkpoint::Checkpoints;
use file::Connections;
use lease::Seats;
use lock::DirectoryLock;
use place::{Place, Places};
pub use read_only::ReadOnlyLog;
use reader::Follower;
use retention::Retention;
use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::oneshot;
use writer::{Request, Writer};

/// What an operator can choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Partitions of `ticks`; can never be changed for a directory.
    pub partitions: u32,
    /// What an answered append survives.
    pub sync: Sync,
    /// Above this many bytes of unanswered appends, more are refused.
    pub queue_bytes: usize,
    /// The file's largest size; at it, appends are refused as on a full disk. None for no limit.
    pub file_bytes: Option<u64>,
    /// How often what is too old is looked for.
    pub cleanup_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 4,
            sync: Sync::Full,
            queue_bytes: 64 << 20,
            file_bytes: None,
            cleanup_interval: Duration::from_secs(60),
        }
    }
}

/// What an answered append survives. A killed process loses nothing either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The loss of power: the disk is synced before each answer.
    Full,
    /// Not that: the last answers before it may be lost, none of them by half.
    Normal,
}

/// The embedded log. Dropping it writes what has queued up and then gives the directory free.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    directory: DirectoryLock,
}

/// What the log, its writer and its readers have in common.
struct Shared {
    /// The file, as messages name it.
    name: String,
    partitions: u32,
    places: Places,
    connections: Connections,
    seats: Seats,
    /// Which sole writer is the newest.
    sole: Mutex<u64>,
    requests: mpsc::Sender<Request>,
    queued_bytes: AtomicUsize,
    queue_bytes: usize,
    /// What the newest transaction failed with, if it did.
    trouble: Mutex<Option<LogError>>,
}

impl EmbeddedLog {
    /// Opens the log in a directory; creates both where they do not exist.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where another process has the directory; [`LogError::Mismatch`] where the log
    /// was created with other settings; [`LogError::Damaged`] where it cannot be read or has lost its end.
    pub fn open(directory: &Path, options: Options) -> Result<Self, LogError> {
        let directory = DirectoryLock::acquire(directory)?;
        let opened = file::open(&directory, options)?;
        let (requests, queue) = mpsc::channel();
        let shared = Arc::new(Shared {
            name: opened.name,
            partitions: options.partitions,
            places: opened.places,
            connections: opened.connections,
            seats: Seats::default(),
            sole: Mutex::default(),
            requests,
            queued_bytes: AtomicUsize::new(0),
            queue_bytes: options.queue_bytes,
            trouble: Mutex::new(None),
        });
        let no_thread = |error| shared.unavailable(format!("a thread does not start: {error}"));
        let checkpoints = Checkpoints::new(opened.checkpoints, &shared.name).map_err(no_thread)?;
        let writer = Writer::new(
            opened.connection,
            opened.positions,
            directory.to_mark()?,
            checkpoints,
            Retention::new(options.cleanup_interval),
            Arc::clone(&shared),
        );
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&queue))
            .map_err(no_thread)?;
        Ok(Self {
            shared,
            writer: Some(writer),
            directory,
        })
    }

    /// Removes the messages below `below` for ever.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where that could not be written; then nothing is removed.
    pub fn trim(&self, topic: Topic, partition: u32, below: Offset) -> Result<(), LogError> {
        self.shared.place(topic, partition)?;
        let (answer, answered) = mpsc::channel();
        self.shared.send(Request::Trim {
            topic,
            partition,
            below,
            answer,
        })?;
        answered
            .recv()
            .unwrap_or_else(|_| Err(self.shared.closed()))
    }

    /// Keeps messages at and above `floor` whatever their age, until the next call. Without a call only their
    /// age counts.
    ///
    /// # Errors
    /// [`LogError::Mismatch`] where there is no such partition.
    pub fn set_floor(&self, topic: Topic, partition: u32, floor: Offset) -> Result<(), LogError> {
        self.shared.place(topic, partition)?.set_floor(floor);
        Ok(())
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        let _ = self.shared.requests.send(Request::Stop);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        self.shared.connections.close();
        self.directory.release();
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Log for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.shared.partitions
    }

    fn append(&self, appends: Vec<Append>) -> Appended {
        let (answer, answered) = oneshot::channel();
        let closed = self.shared.closed();
        match self.shared.queue(appends, answer) {
            Ok(()) => Box::pin(async move { answered.await.unwrap_or(Err(closed)) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        Ok(self.shared.place(topic, partition)?.bounds())
    }

    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        let place = self.shared.place(topic, partition)?;
        self.shared.connections.with(|connection| {
            reader::offset_at(connection, &self.shared.name, place, timestamp_ms)
        })
    }

    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(Follower::new(&self.shared, starts)?))
    }

    fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        Ok(Box::new(lease::Membership::new(&self.shared, group)))
    }

    fn keep_from(&self, topic: Topic, partition: u32, offset: Offset) {
        // The error is of a partition that there is not.
        let _ = self.set_floor(topic, partition, offset);
    }

    fn sole_writer(&self) -> Result<Box<dyn SoleWriter>, LogError> {
        Ok(Box::new(sole::Sole::take(&self.shared)))
    }

    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        self.shared.committed(group, partition)
    }

    fn check(&self) -> Result<(), LogError> {
        if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(self.shared.closed());
        }
        match &*self
            .shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn place(&self, topic: Topic, partition: u32) -> Result<&Place, LogError> {
        self.places.get(topic, partition).ok_or_else(|| {
            let partitions = topic.partitions(self.partitions);
            LogError::Mismatch(format!(
                "{topic}/{partition} does not exist; {topic} has {partitions} partitions"
            ))
        })
    }

    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        self.place(group.input(), partition)?;
        self.connections.with(|connection| {
            schema::load_position(connection, group, partition)
                .map_err(|error| file::read_error(&self.name, &error))
        })
    }

    /// Whether all of these can be written, ever.
    fn admit(&self, appends: &[Append]) -> Result<(), LogError> {
        for append in appends {
            let (topic, partition) = (append.topic, append.partition);
            let place = self.place(topic, partition)?;
            if append.value.len() > MAX_VALUE_BYTES {
                let bytes = append.value.len();
                return Err(LogError::TooLarge {
                    topic,
                    partition,
                    bytes,
                    limit: MAX_VALUE_BYTES,
                });
            }
            if place.is_compacted() && append.key.is_empty() {
                return Err(LogError::Mismatch(format!(
                    "{topic}/{partition}: a message has no key; this topic keeps the newest of each key"
                )));
            }
        }
        Ok(())
    }

    /// Hands an append to the writer, unless too much is waiting there.
    fn queue(
        &self,
        appends: Vec<Append>,
        answer: oneshot::Sender<Result<(), LogError>>,
    ) -> Result<(), LogError> {
        self.admit(&appends)?;
        let bytes = writer::weight(&appends);
        let fits = |queued: usize| {
            // One that is above the limit by itself is taken when nothing else waits.
            (queued == 0 || queued.saturating_add(bytes) <= self.queue_bytes)
                .then_some(queued.saturating_add(bytes))
        };
        self.queued_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|queued| {
                self.unavailable(format!(
                    "{queued} bytes wait to be written, the limit is {}",
                    self.queue_bytes
                ))
            })?;
        self.send(Request::Append {
            appends,
            bytes,
            answer,
        })
    }

    fn send(&self, request: Request) -> Result<(), LogError> {
        self.requests.send(request).map_err(|_| self.closed())
    }

    fn unavailable(&self, detail: String) -> LogError {
        LogError::Unavailable {
            log: self.name.clone(),
            detail,
        }
    }

    fn closed(&self) -> LogError {
        self.unavailable("it was closed".into())
    }
}
