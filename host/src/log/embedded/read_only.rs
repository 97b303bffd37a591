//! The log of a directory that another process may own: reads what is committed. Takes no lock and writes nothing, so
//! that the past can be looked at while the service runs, and in a copy.

use super::{
    Shared, file,
    lease::Seats,
    lock::{LOCK_FILE, read_watermark},
    place::{Place, Places},
    reader::{Follower, offset_at},
    schema,
};
use crate::log::{
    Append, Appended, Bounds, Group, Log, LogError, Member, Messages, Offset, Reader, Start, Topic,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicUsize, mpsc},
    time::Duration,
};

/// The embedded log, to read only. Readers see what was committed up to the newest call of `bounds`.
pub struct ReadOnlyLog {
    shared: Arc<Shared>,
}

/// Reads one snapshot after another.
struct SnapshotReader {
    shared: Arc<Shared>,
    follower: Follower,
    starts: Vec<Start>,
}

impl ReadOnlyLog {
    /// Opens the log of a directory, with as many partitions as it has where none are given.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where there is none, or it cannot be read; [`LogError::Mismatch`] where it has another
    /// number of partitions; [`LogError::Damaged`].
    pub fn open(directory: &Path, partitions: Option<u32>) -> Result<Self, LogError> {
        // Before the file: the owner writes it after each commit.
        let watermark = read_watermark(directory).unwrap_or(0);
        let connections = file::open_to_read(directory)?;
        let name = connections.name().to_owned();
        let partitions =
            connections.with(|connection| schema::check(connection, &name, partitions))?;
        // Nobody takes requests.
        let (requests, _) = mpsc::channel();
        let shared = Shared {
            name,
            partitions,
            places: Places::new(partitions),
            connections,
            seats: Seats::default(),
            sole: Mutex::default(),
            requests,
            queued_bytes: AtomicUsize::new(0),
            queue_bytes: 0,
            trouble: Mutex::new(None),
        };
        for place in shared.places.iter() {
            look(&shared, place)?;
        }
        let positions = shared.connections.with(|connection| {
            schema::load_positions(connection)
                .map_err(|error| file::read_error(&shared.name, &error))
        })?;
        let committed = schema::committed(&shared.places, &positions);
        if committed < watermark {
            let detail = format!(
                "it holds {committed} offsets where {watermark} were committed, as {LOCK_FILE} beside it says: {0}-wal was lost or not copied, or rows of it were",
                shared.name
            );
            let log = shared.name;
            return Err(LogError::Damaged { log, detail });
        }
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    fn refused(&self) -> LogError {
        (self.shared).unavailable("it was opened to be read only".to_owned())
    }
}

/// Takes a place's bounds from the file.
fn look(shared: &Shared, place: &Place) -> Result<(), LogError> {
    let failed = |error| file::read_error(&place.named(&shared.name), &error);
    shared.connections.with(|connection| {
        // So that all of it is of one snapshot.
        let snapshot = connection.unchecked_transaction().map_err(failed)?;
        schema::load_bounds(&snapshot, place).map_err(failed)
    })
}

impl Log for ReadOnlyLog {
    fn partitions(&self) -> u32 {
        self.shared.partitions
    }

    fn append(&self, _: Vec<Append>) -> Appended {
        Box::pin(std::future::ready(Err(self.refused())))
    }

    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        let place = self.shared.place(topic, partition)?;
        look(&self.shared, place)?;
        Ok(place.bounds())
    }

    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        let place = self.shared.place(topic, partition)?;
        look(&self.shared, place)?;
        self.shared
            .connections
            .with(|connection| offset_at(connection, &self.shared.name, place, timestamp_ms))
    }

    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        for start in starts {
            look(
                &self.shared,
                self.shared.place(start.topic, start.partition)?,
            )?;
        }
        Ok(Box::new(SnapshotReader {
            shared: Arc::clone(&self.shared),
            follower: Follower::new(&self.shared, starts)?,
            starts: starts.to_vec(),
        }))
    }

    fn join(&self, _: Group) -> Result<Box<dyn Member>, LogError> {
        Err(self.refused())
    }

    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        self.shared.committed(group, partition)
    }

    fn check(&self) -> Result<(), LogError> {
        Ok(())
    }
}

impl Reader for SnapshotReader {
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let polled = self.follower.poll(into, max_bytes, timeout);
        if !matches!(polled, Err(LogError::Damaged { .. })) {
            return polled;
        }
        // What is missing may have been removed meanwhile by who owns the directory.
        for Start {
            topic, partition, ..
        } in self.starts.iter().copied()
        {
            let place = self.shared.place(topic, partition)?;
            look(&self.shared, place)?;
            let (offset, start) = (self.follower.position(topic, partition), place.start());
            if offset < start {
                return Err(LogError::Gone {
                    topic,
                    partition,
                    offset,
                    start,
                });
            }
        }
        polled
    }

    fn position(&self, topic: Topic, partition: u32) -> Offset {
        self.follower.position(topic, partition)
    }
}
