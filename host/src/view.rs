//! The view: what the API answers from. A bounded local store, filled by one thread that follows `signals`,
//! `values`, `bars` and `ticks`; whatever is lost of it is read again from the log. It knows nothing of HTTP, and
//! nobody outside it says SQL.
//!
//! Three rules hold it together:
//!
//! - Rows and the positions in the log up to which they were read are committed together, so a restart neither
//!   misses nor repeats a row. What is told to subscribers was committed before.
//! - The oldest rows go when a table is full, and bars have one for each interval; [`Event::Gap`] says so to a subscriber who wanted them.
//! - Subscribers hold nothing but a place: they fetch, they are never sent to. So none can delay the follower
//!   or another subscriber, whatever it does (see [`Subscription`]).

mod cursor;
mod feed;
mod follow;
mod journal;
mod live;
mod query;
mod session;
mod store;
mod subscription;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::log::{Log, LogError, Topic};

pub use cursor::{Cursor, Positions, PositionsError};
pub use query::{Page, PointsQuery, SignalsQuery};
pub use session::Session;
pub use subscription::{Event, Filter, Kinds, Subscription};

/// How many rows are kept, beside what is read at once with the newest. Above it the oldest that arrived go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of `signals`: about 0.7 kB on disk and 60 bytes of memory each.
    pub signals: u64,
    /// Of `values`: about 0.2 kB on disk and 20 bytes of memory each. The newest of each strategy and symbol stay beside
    /// these, whatever their age.
    pub values: u64,
    /// Of `bars`, for each interval: about 0.3 kB on disk and 20 bytes of memory each.
    pub bars: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            signals: 500_000,
            values: 500_000,
            bars: 250_000,
        }
    }
}

/// The store and its follower, shared. The follower ends with [`View::stop`].
#[derive(Clone)]
pub struct View(Arc<Inner>);

struct Inner {
    live: live::Live,
    readers: query::Readers,
    index: Arc<Mutex<store::Index>>,
    sessions: Vec<Mutex<session::Partition>>,
    status: Mutex<Status>,
    stop: follow::Stop,
    follower: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What a person should know who asks why the view is not ready.
#[derive(Clone, Debug, Default)]
struct Status {
    caught_up: bool,
    /// Messages not yet read, of those that were there at the start.
    behind: u64,
    trouble: Option<String>,
}

/// Why the view cannot be had or asked.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The file cannot be made, written or read.
    #[error("{path}: {source}", path = path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file cannot be removed or its folder made.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was asked for needs longer than the deadline.
    #[error("all {readers} readers of the view were busy for {seconds} s; ask again later")]
    Busy {
        /// How many there are.
        readers: usize,
        /// How long was waited.
        seconds: u64,
    },
}

impl View {
    /// Opens `view.db` in `dir`, or makes it anew where it is of another schema, another number of partitions or
    /// another boot of the machine, and starts to follow `log`. `now_ms`, milliseconds since the epoch, decides how
    /// far back a new store reads `ticks`: one day.
    ///
    /// # Errors
    /// Where the folder or the file cannot be used.
    pub fn open(
        dir: &Path,
        limits: Limits,
        log: Arc<dyn Log>,
        now_ms: i64,
    ) -> Result<Self, ViewError> {
        let path = dir.join("view.db");
        let partitions = log.partitions();
        let index = Arc::default();
        let store = store::Store::open(&path, partitions, Arc::clone(&index))?;
        let view = Self(Arc::new(Inner {
            live: live::Live::new(partitions),
            readers: query::Readers::new(path),
            index,
            sessions: (0..partitions).map(|_| Mutex::default()).collect(),
            status: Mutex::default(),
            stop: follow::Stop::default(),
            follower: Mutex::default(),
        }));
        let follower = follow::Follower::new(view.clone(), store, limits, log, now_ms);
        let thread = std::thread::Builder::new()
            .name("view".into())
            .spawn(move || follower.run())
            .map_err(|source| ViewError::File {
                path: dir.to_owned(),
                source,
            })?;
        *lock(&view.0.follower) = Some(thread);
        Ok(view)
    }

    /// Ends the follower; what it read is saved. Waits for it.
    pub fn stop(&self) {
        self.0.stop.stop();
        if let Some(thread) = lock(&self.0.follower).take() {
            // A panic of the follower was reported by the panic hook; there is nothing to add here.
            let _ = thread.join();
        }
    }

    /// Whether everything that stood in the log at the start was read, and nothing is wrong now.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub fn check(&self) -> Result<(), String> {
        let status = lock(&self.0.status);
        match &*status {
            Status {
                trouble: Some(trouble),
                ..
            } => Err(format!("the view does not follow the log: {trouble}")),
            Status {
                caught_up: false,
                behind,
                ..
            } => Err(format!(
                "the view has {behind} messages to read before it has caught up with the log"
            )),
            _ => Ok(()),
        }
    }

    /// Whether it had read all that there was, at any time since its start.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        lock(&self.0.status).caught_up
    }

    /// How many partitions each followed topic has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.0.sessions.len()).unwrap_or(u32::MAX)
    }
}

/// Says what the numbers of the view mean.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "wigwag_view_messages_total",
        "Messages that the view has read, by topic"
    );
    metrics::describe_counter!(
        "wigwag_view_unreadable_messages_total",
        "Messages that are not what the engine writes, by topic"
    );
    metrics::describe_histogram!(
        "wigwag_view_commit_seconds",
        metrics::Unit::Seconds,
        "What a commit of the view takes"
    );
}

/// The topics that the view follows.
const FOLLOWED: [Topic; 4] = [Topic::Signals, Topic::Values, Topic::Bars, Topic::Ticks];

/// A lock whose holder panicked guards data that is whole at every instant, so it is used further.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
