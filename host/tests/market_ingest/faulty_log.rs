//! The embedded log, with faults between it and its user: where a test says so, what was asked for is not done, or it
//! is done and the answer is lost.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::Semaphore;
use wigwag::log::{
    Append, Appended, Bounds, Group, Lease, Log, LogError, Member, Messages, Offset, Reader, Start,
    Step, Topic,
    embedded::{EmbeddedLog, Options},
};

/// What goes wrong at the next call of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written.
    Append,
    /// The membership does not answer.
    Member,
    /// An owner cannot start.
    Fence,
    /// No messages come.
    Poll,
    /// The partition is taken away.
    LostPartition,
    /// The step is not taken.
    Submit,
    /// The step is committed and its answer lost.
    CommitAnswer,
}

pub(crate) struct FaultyLog {
    log: EmbeddedLog,
    faults: Arc<Faults>,
    /// Appends wait here; one with a permit is let through.
    pub(crate) gate: Arc<Semaphore>,
    appended: Mutex<Vec<Vec<Append>>>,
    _directory: Arc<TempDir>,
}

#[derive(Default)]
struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// Whether the next fault is this one; then it happens now.
    fn strikes(&self, fault: Fault) -> bool {
        let mut faults = self.0.lock().unwrap();
        let now = faults.front() == Some(&fault);
        if now {
            faults.pop_front();
        }
        now
    }
}

fn unavailable(fault: Fault) -> LogError {
    LogError::Unavailable {
        log: "the faulty log".into(),
        detail: format!("{fault:?}"),
    }
}

impl FaultyLog {
    pub(crate) fn new(partitions: u32) -> Arc<Self> {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), partitions)
    }

    pub(crate) fn at(directory: Arc<TempDir>, partitions: u32) -> Arc<Self> {
        let log = EmbeddedLog::open(
            directory.path(),
            Options {
                partitions,
                ..Options::default()
            },
        )
        .unwrap();
        Arc::new(Self {
            log,
            faults: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            appended: Mutex::default(),
            _directory: directory,
        })
    }

    /// From now on these faults happen, one after the other.
    pub(crate) fn will(&self, faults: &[Fault]) {
        self.faults.0.lock().unwrap().extend(faults);
    }

    /// Faults that did not happen yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.faults.0.lock().unwrap().len()
    }

    /// The appends that were asked for, by call.
    pub(crate) fn appended(&self) -> Vec<Vec<Append>> {
        self.appended.lock().unwrap().clone()
    }

    pub(crate) fn trim(&self, topic: Topic, partition: u32, below: Offset) {
        self.log.trim(topic, partition, below).unwrap();
    }

    /// All that a topic holds: partition by partition, in order.
    pub(crate) fn all(&self, topic: Topic) -> Vec<Append> {
        let mut all = Vec::new();
        for partition in 0..self.partitions() {
            let Bounds { start, end } = self.bounds(topic, partition).unwrap();
            let mut reader = self
                .read(&[Start {
                    topic,
                    partition,
                    offset: start,
                }])
                .unwrap();
            let mut messages = Messages::new();
            while reader.position(topic, partition) < end {
                reader
                    .poll(&mut messages, 1 << 20, Duration::from_secs(1))
                    .unwrap();
            }
            all.extend(messages.iter().map(|message| {
                Append {
                    topic,
                    partition,
                    key: message.key.to_vec(),
                    value: message.value.to_vec(),
                    headers: message
                        .headers
                        .iter()
                        .map(|(name, value)| (known(name), value.to_vec()))
                        .collect(),
                }
            }));
        }
        all
    }
}

fn known(name: &str) -> &'static str {
    let names = [
        "Producer-Id",
        "Sequence",
        "Part",
        "Rule",
        "Field",
        "Time",
        "Source",
    ];
    names
        .into_iter()
        .find(|known| *known == name)
        .expect("a header that ingest writes")
}

impl Log for FaultyLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn append(&self, appends: Vec<Append>) -> Appended {
        self.appended.lock().unwrap().push(appends.clone());
        if self.faults.strikes(Fault::Append) {
            return Box::pin(std::future::ready(Err(unavailable(Fault::Append))));
        }
        let written = self.log.append(appends);
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            written.await
        })
    }

    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition)
    }

    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        self.log.offset_at(topic, partition, timestamp_ms)
    }

    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        self.log.read(starts)
    }

    fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        if self.faults.strikes(Fault::Member) {
            return Err(unavailable(Fault::Member));
        }
        Ok(Box::new(FaultyMember {
            member: self.log.join(group)?,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        self.log.committed(group, partition)
    }

    fn check(&self) -> Result<(), LogError> {
        self.log.check()
    }
}

struct FaultyMember {
    member: Box<dyn Member>,
    faults: Arc<Faults>,
}

impl Member for FaultyMember {
    fn poll(&mut self, timeout: Duration) -> Result<Option<Box<dyn Lease>>, LogError> {
        if self.faults.strikes(Fault::Member) {
            return Err(unavailable(Fault::Member));
        }
        let lease = self.member.poll(timeout)?;
        let faults = Arc::clone(&self.faults);
        Ok(lease.map(|lease| Box::new(FaultyLease { lease, faults }) as Box<dyn Lease>))
    }
}

struct FaultyLease {
    lease: Box<dyn Lease>,
    faults: Arc<Faults>,
}

impl Lease for FaultyLease {
    fn partition(&self) -> u32 {
        self.lease.partition()
    }

    fn fence(&mut self) -> Result<Option<Offset>, LogError> {
        if self.faults.strikes(Fault::Fence) {
            return Err(unavailable(Fault::Fence));
        }
        self.lease.fence()
    }

    fn seek(&mut self, offset: Offset) -> Result<(), LogError> {
        self.lease.seek(offset)
    }

    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        if self.faults.strikes(Fault::LostPartition) {
            let detail = "a test takes it".into();
            return Err(LogError::Lost {
                topic: Topic::Raw,
                partition: self.partition(),
                detail,
            });
        }
        if self.faults.strikes(Fault::Poll) {
            return Err(unavailable(Fault::Poll));
        }
        // Small steps, so that there are many in which something can go wrong.
        self.lease.poll(into, max_bytes.min(500), timeout)
    }

    fn submit(&mut self, step: Step) -> Result<(), LogError> {
        if self.faults.strikes(Fault::Submit) {
            return Err(unavailable(Fault::Submit));
        }
        self.lease.submit(step)
    }

    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError> {
        let settled = self.lease.settle(timeout)?;
        if settled && self.faults.strikes(Fault::CommitAnswer) {
            return Err(unavailable(Fault::CommitAnswer));
        }
        Ok(settled)
    }
}
