//! The one thread that writes. It takes what has queued up, makes one transaction of it, and answers all when
//! that is committed; so the more wait, the fewer commits each costs. Between transactions it removes
//! what is too old, in slices, so that nobody waits long for it.

use super::{
    Shared,
    checkpoint::Checkpoints,
    file::write_error,
    lease::lost,
    lock::Watermark,
    place::Place,
    retention::{Retention, remember_bounds},
    row::Row,
    schema::{Positions, committed},
};
use crate::log::{Append, Group, LogError, MAX_VALUE_BYTES, Offset, Step, Topic};
use rusqlite::{Connection, params};
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;

/// A transaction takes no more once it has this much: all in it wait for its end.
const TRANSACTION_BYTES: usize = 8 << 20;
/// While the newest transaction has failed, another is tried this often, so that readiness returns by itself.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// What a message costs in the queue beside its own bytes.
const MESSAGE_BYTES: usize = 64;

/// What the writer is asked for.
pub(super) enum Request {
    Append {
        appends: Vec<Append>,
        /// Its [`weight`].
        bytes: usize,
        answer: oneshot::Sender<Result<(), LogError>>,
    },
    Step {
        group: Group,
        partition: u32,
        owner: u64,
        step: Step,
        answer: mpsc::Sender<Result<(), LogError>>,
    },
    /// Makes `owner` the only one whose steps are taken.
    Fence {
        group: Group,
        partition: u32,
        owner: u64,
        answer: mpsc::Sender<Result<Option<Offset>, LogError>>,
    },
    Trim {
        topic: Topic,
        partition: u32,
        below: Offset,
        answer: mpsc::Sender<Result<(), LogError>>,
    },
    Stop,
}

/// An answer that is due once the transaction has ended.
enum Due {
    Append(oneshot::Sender<Result<(), LogError>>),
    /// Of a step or a trim.
    Done(mpsc::Sender<Result<(), LogError>>),
    Position(Group, u32, mpsc::Sender<Result<Option<Offset>, LogError>>),
}

/// What a transaction changes beside the tables; forgotten where it fails.
#[derive(Default)]
struct Staged {
    /// The new end of each place that grew, and the row that may still grow there.
    places: HashMap<(Topic, u32), (Offset, Option<Row>)>,
    positions: Positions,
    starts: Vec<(Topic, u32, Offset)>,
    bytes: usize,
}

pub(super) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    watermark: Watermark,
    positions: Positions,
    /// Who fenced last.
    owners: HashMap<(Group, u32), u64>,
    /// Append times never fall, whatever the clock does.
    newest_ms: i64,
    checkpoints: Checkpoints,
    retention: Retention,
}

/// What appends count for in the queue and in a transaction.
pub(super) fn weight(appends: &[Append]) -> usize {
    appends
        .iter()
        .map(|append| append.key.len() + append.value.len() + MESSAGE_BYTES)
        .sum()
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        positions: Positions,
        watermark: Watermark,
        checkpoints: Checkpoints,
        retention: Retention,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            connection,
            shared,
            watermark,
            positions,
            owners: HashMap::new(),
            newest_ms: 0,
            checkpoints,
            retention,
        }
    }

    /// Writes until it is told to stop.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Request>) {
        self.load_newest_time();
        let mut batch = Vec::new();
        let mut stopping = false;
        while !stopping {
            match queue.recv_timeout(self.idle_for()) {
                Ok(request) => batch.push(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let mut bytes = batch.iter().map(Request::weight).sum::<usize>();
            while bytes < TRANSACTION_BYTES
                && let Ok(request) = queue.try_recv()
            {
                bytes += request.weight();
                batch.push(request);
            }
            stopping = batch.iter().any(|request| matches!(request, Request::Stop));
            if !batch.is_empty() {
                self.write(batch.drain(..));
            } else if self.is_in_trouble() {
                let result = self.probe();
                self.note(&result);
            }
            self.checkpoints
                .advance(&self.connection, &self.shared.name);
            self.retention
                .advance(&self.connection, &self.shared, now_ms());
        }
        drop(self.checkpoints);
        // What the next start would otherwise have to read again.
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    }

    fn idle_for(&self) -> Duration {
        let idle = self.retention.idle_for();
        if self.is_in_trouble() {
            idle.min(PROBE_INTERVAL)
        } else {
            idle
        }
    }

    fn is_in_trouble(&self) -> bool {
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Makes one transaction of the requests and answers them.
    fn write(&mut self, requests: impl Iterator<Item = Request>) {
        let mut dues = Vec::new();
        let mut queued_bytes = 0;
        let result = self.transact(requests, &mut dues, &mut queued_bytes);
        self.shared
            .queued_bytes
            .fetch_sub(queued_bytes, Ordering::Relaxed);
        self.note(&result);
        for due in dues {
            // Nobody may be waiting any more.
            match due {
                Due::Append(answer) => drop(answer.send(result.clone())),
                Due::Done(answer) => drop(answer.send(result.clone())),
                Due::Position(group, partition, answer) => {
                    let position = self.positions.get(&(group, partition)).copied();
                    drop(answer.send(result.clone().map(|()| position)));
                }
            }
        }
    }

    /// Keeps the newest transaction's outcome for those who ask for it.
    fn note(&self, result: &Result<(), LogError>) {
        let mut trouble = self
            .shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (result, &*trouble) {
            (Err(error), None) => tracing::error!(%error, "the log takes nothing"),
            (Ok(()), Some(_)) => {
                tracing::info!(log = %self.shared.name, "the log takes appends again")
            }
            _ => {}
        }
        *trouble = result.clone().err();
    }

    /// Writes about as much as the largest message has, and removes it.
    fn probe(&self) -> Result<(), LogError> {
        self.connection
            .execute(
                "REPLACE INTO settings VALUES ('probe', zeroblob(?1))",
                [MAX_VALUE_BYTES],
            )
            .and_then(|_| {
                self.connection
                    .execute("DELETE FROM settings WHERE name = 'probe'", ())
            })
            .map(drop)
            .map_err(|error| write_error(&self.shared.name, &error))
    }

    /// Takes every request, whatever happens, so that each gets its answer.
    fn transact(
        &mut self,
        requests: impl Iterator<Item = Request>,
        dues: &mut Vec<Due>,
        queued_bytes: &mut usize,
    ) -> Result<(), LogError> {
        let timestamp_ms = now_ms().max(self.newest_ms);
        let mut staged = Staged::default();
        let mut result = self.execute("BEGIN IMMEDIATE");
        for request in requests {
            let mut appended = Vec::new();
            match request {
                Request::Append {
                    appends,
                    bytes,
                    answer,
                } => {
                    *queued_bytes += bytes;
                    appended = appends;
                    dues.push(Due::Append(answer));
                }
                Request::Step {
                    group,
                    partition,
                    owner,
                    step,
                    answer,
                } => {
                    if self.owners.get(&(group, partition)) == Some(&owner) {
                        appended = step.appends;
                        staged.positions.insert((group, partition), step.position);
                        dues.push(Due::Done(answer));
                    } else {
                        let _ = answer.send(Err(lost(group, partition)));
                    }
                }
                Request::Fence {
                    group,
                    partition,
                    owner,
                    answer,
                } => {
                    let newest = self.owners.entry((group, partition)).or_insert(owner);
                    if *newest <= owner {
                        *newest = owner;
                        dues.push(Due::Position(group, partition, answer));
                    } else {
                        let _ = answer.send(Err(lost(group, partition)));
                    }
                }
                Request::Trim {
                    topic,
                    partition,
                    below,
                    answer,
                } => {
                    staged.starts.push((topic, partition, below));
                    dues.push(Due::Done(answer));
                }
                Request::Stop => {}
            }
            for append in appended {
                if result.is_ok() {
                    result = self.stage(&mut staged, append, timestamp_ms);
                }
            }
        }
        let result = result.and_then(|()| self.finish(&mut staged, timestamp_ms));
        if result.is_err() {
            // SQLite itself has already rolled some failures back.
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            return result;
        }
        self.publish(staged, timestamp_ms);
        Ok(())
    }

    /// Adds a message to its place's row, or writes that row and begins the next.
    fn stage(
        &self,
        staged: &mut Staged,
        append: Append,
        timestamp_ms: i64,
    ) -> Result<(), LogError> {
        let place = self.shared.place(append.topic, append.partition)?;
        let (end, row) = staged
            .places
            .entry((place.topic, place.partition))
            .or_insert_with(|| (place.end(), None));
        let offset = *end;
        *end += 1;
        staged.bytes += append.key.len() + append.value.len() + MESSAGE_BYTES;
        let append = match row {
            Some(row) => match row.join(append) {
                Ok(()) => return Ok(()),
                Err(append) => append,
            },
            None => append,
        };
        let next = Row::new(offset, append, !place.is_compacted());
        match row.replace(next) {
            Some(full) => self.insert(place, &full, timestamp_ms),
            None => Ok(()),
        }
    }

    fn insert(&self, place: &Place, row: &Row, timestamp_ms: i64) -> Result<(), LogError> {
        let insert = || {
            if place.is_compacted() {
                self.connection
                    .prepare_cached(&place.sql.remove_key)?
                    .execute([&row.key])?;
            }
            self.connection
                .prepare_cached(&place.sql.insert)?
                .execute(params![
                    row.offset,
                    row.count,
                    timestamp_ms,
                    row.crc(place, timestamp_ms),
                    row.key,
                    row.headers,
                    row.value,
                ])
        };
        insert().map(drop).map_err(|error| {
            write_error(
                &format!(
                    "{}: {}/{} offset {}",
                    self.shared.name, place.topic, place.partition, row.offset
                ),
                &error,
            )
        })
    }

    /// Writes what is staged, and commits.
    fn finish(&self, staged: &mut Staged, timestamp_ms: i64) -> Result<(), LogError> {
        for (&(topic, partition), (_, row)) in &mut staged.places {
            if let Some(row) = row.take() {
                self.insert(self.shared.place(topic, partition)?, &row, timestamp_ms)?;
            }
        }
        let failed = |error: rusqlite::Error| write_error(&self.shared.name, &error);
        for (&(group, partition), &position) in &staged.positions {
            self.connection
                .prepare_cached(
                    "INSERT INTO positions VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET position = excluded.position",
                )
                .and_then(|mut statement| statement.execute(params![group.name(), partition, position]))
                .map_err(failed)?;
        }
        for (topic, partition, below) in &mut staged.starts {
            let place = self.shared.place(*topic, *partition)?;
            let end = staged
                .places
                .get(&(*topic, *partition))
                .map_or_else(|| place.end(), |(end, _)| *end);
            *below = (*below).clamp(place.start(), end);
            remember_bounds(&self.connection, place, *below, end).map_err(failed)?;
        }
        self.execute("COMMIT")
    }

    fn execute(&self, sql: &str) -> Result<(), LogError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(()))
            .map(drop)
            .map_err(|error| write_error(&self.shared.name, &error))
    }

    /// Lets everyone see what was committed.
    fn publish(&mut self, staged: Staged, timestamp_ms: i64) {
        self.newest_ms = timestamp_ms;
        self.checkpoints.wrote(staged.bytes);
        self.positions.extend(staged.positions);
        for ((topic, partition), (end, _)) in staged.places {
            if let Some(place) = self.shared.places.get(topic, partition) {
                place.set_end(end);
            }
        }
        for (topic, partition, start) in staged.starts {
            if let Some(place) = self.shared.places.get(topic, partition) {
                place.set_start(start);
                self.retention.remove(place, start);
            }
        }
        if let Err(error) = self
            .watermark
            .set(committed(&self.shared.places, &self.positions))
        {
            tracing::warn!(%error, log = %self.shared.name, "the watermark was not written");
        }
    }

    /// Goes on from the time of the newest message, should the clock have been set back.
    fn load_newest_time(&mut self) {
        for place in self.shared.places.iter() {
            let newest = self
                .connection
                .query_row(&place.sql.newest, (), |row| row.get(1));
            self.newest_ms = self.newest_ms.max(newest.unwrap_or(0));
        }
    }
}

impl Request {
    fn weight(&self) -> usize {
        match self {
            Self::Append { bytes, .. } => *bytes,
            Self::Step { step, .. } => weight(&step.appends),
            _ => 0,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "append times are the wall clock's, and only retention and searches read them"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
