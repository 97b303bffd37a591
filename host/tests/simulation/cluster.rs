//! The model of a Kafka cluster and its clients: the state that all of them share, its clock, and what happens in it by
//! itself. `transactions`, `group` and `commit` are its parts; `client` is what the engine sees of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use wigwag::log::{Append, LogError, Offset, Topic};

use super::{
    commit::{Commit, Fate, LeaseId},
    group::{Client, Group},
    partition_log::{Message, PartitionLog, TransactionId},
    planted::Planted,
    transactions::Producer,
};

/// Partitions of `ticks`.
pub(crate) const PARTITIONS: u32 = 2;

/// A transaction of another producer.
#[derive(Debug)]
struct Stranger {
    transaction: TransactionId,
    topic: Topic,
    partition: u32,
    ends_ms: u64,
    commit: bool,
}

pub(crate) struct Cluster {
    pub(crate) now_ms: u64,
    pub(crate) dice: ChaCha8Rng,
    pub(crate) planted: Option<Planted>,
    topics: Vec<Vec<PartitionLog>>,
    next_transaction: TransactionId,
    strangers: Vec<Stranger>,
    /// The engine's, by partition.
    pub(super) producers: Vec<Producer>,
    pub(super) group: Group,
    pub(super) clients: Vec<Client>,
    pub(super) commits: BTreeMap<LeaseId, Commit>,
    next_lease: LeaseId,
    /// What happens to the next steps.
    pub(crate) fates: VecDeque<Fate>,
    /// No broker answers until then.
    pub(crate) down_until_ms: u64,
    /// The answers to so many of the next fences are lost.
    pub(crate) lost_fences: u32,
    /// Nothing is late or in parts any more.
    pub(crate) calm: bool,
    /// What cannot be, seen while it happened.
    pub(crate) violations: Vec<String>,
}

/// The cluster, as all parts of one simulation hold it; one thread runs them all.
pub(crate) type Shared = Arc<Mutex<Cluster>>;

pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Cluster> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(crate) fn new(dice: ChaCha8Rng, planted: Option<Planted>) -> Self {
        let logs = |topic: Topic| {
            (0..topic.partitions(PARTITIONS))
                .map(|_| PartitionLog::default())
                .collect()
        };
        Self {
            now_ms: 0,
            dice,
            planted,
            topics: Topic::ALL.into_iter().map(logs).collect(),
            next_transaction: 0,
            strangers: Vec::new(),
            producers: (0..PARTITIONS).map(|_| Producer::default()).collect(),
            group: Group::new(PARTITIONS),
            clients: Vec::new(),
            commits: BTreeMap::new(),
            next_lease: 0,
            fates: VecDeque::new(),
            down_until_ms: 0,
            lost_fences: 0,
            calm: false,
            violations: Vec::new(),
        }
    }

    pub(crate) fn is(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// Whether something happens that happens so often.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.dice.random_bool(probability)
    }

    pub(crate) fn log(&self, topic: Topic, partition: u32) -> &PartitionLog {
        &self.topics[topic as usize][partition as usize]
    }

    pub(crate) fn log_mut(&mut self, topic: Topic, partition: u32) -> &mut PartitionLog {
        &mut self.topics[topic as usize][partition as usize]
    }

    pub(super) const fn new_transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        self.next_transaction
    }

    pub(super) const fn new_lease(&mut self) -> LeaseId {
        self.next_lease += 1;
        self.next_lease
    }

    /// A message to be kept, stamped by the broker.
    pub(super) fn stamped(&self, append: &Append) -> Message {
        Message {
            key: append.key.clone(),
            value: append.value.clone(),
            headers: append.headers.clone(),
            timestamp_ms: i64::try_from(self.now_ms).unwrap_or(i64::MAX),
        }
    }

    /// Appends outside any transaction.
    pub(crate) fn append(&mut self, append: &Append) {
        let message = self.stamped(append);
        self.log_mut(append.topic, append.partition)
            .append(None, message);
    }

    /// Another producer's transaction, which stays open until `ends_ms`.
    pub(crate) fn append_by_stranger(&mut self, append: &Append, ends_ms: u64, commit: bool) {
        let transaction = self.new_transaction();
        let (topic, partition) = (append.topic, append.partition);
        let message = self.stamped(append);
        self.log_mut(topic, partition)
            .append(Some(transaction), message);
        self.strangers.push(Stranger {
            transaction,
            topic,
            partition,
            ends_ms,
            commit,
        });
        self.end_strangers();
    }

    fn end_strangers(&mut self) {
        let now_ms = self.now_ms;
        let (ended, open) = std::mem::take(&mut self.strangers)
            .into_iter()
            .partition::<Vec<_>, _>(|s| s.ends_ms <= now_ms);
        self.strangers = open;
        for s in ended {
            self.log_mut(s.topic, s.partition)
                .mark(s.transaction, s.commit);
        }
    }

    /// Lets time pass, with what happens by the clock.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.end_strangers();
        self.expire_transactions();
        self.expire_sessions();
    }

    /// Lets so many things happen on the network.
    pub(crate) fn drift(&mut self, events: usize) {
        for _ in 0..events {
            let ending: Vec<u32> = (0..PARTITIONS).filter(|&p| self.is_ending(p)).collect();
            let choices = self.commits.len() + ending.len();
            if choices == 0 || self.is_down() {
                return;
            }
            let choice = self.dice.random_range(0..choices);
            match self.commits.keys().nth(choice).copied() {
                Some(lease) => self.advance(lease),
                None => self.write_marker(ending[choice - self.commits.len()]),
            }
        }
    }

    pub(super) const fn is_down(&self) -> bool {
        self.now_ms < self.down_until_ms
    }

    pub(super) fn require_answer(&self) -> Result<(), LogError> {
        match self.is_down() {
            true => Err(unavailable("no broker answers")),
            false => Ok(()),
        }
    }

    /// The offset at which whoever has seen all of `ticks` stands.
    pub(crate) fn input_end(&self, partition: u32) -> Offset {
        let last = self.log(Topic::Ticks, partition).last_committed();
        last.map_or(0, |last| last + 1)
    }
}

pub(super) fn unavailable(detail: impl Into<String>) -> LogError {
    LogError::Unavailable {
        log: "the model".to_owned(),
        detail: detail.into(),
    }
}
