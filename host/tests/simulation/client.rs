//! The traits of the log over the model, for one process: what the engine is given. Reads come late and in parts, calls
//! fail while no broker answers, and a lease believes what its process has heard.

use std::time::Duration;

use rand::RngExt as _;
use wigwag::log::{
    Append, Appended, Bounds, Group, Lease, Log, LogError, Member, Messages, Offset, Reader, Start,
    Step, Topic,
};

use super::{
    cluster::{Cluster, Shared, lock, unavailable},
    commit::{Commit, Fate, LeaseId, lost},
    group::ClientId,
    partition_log::{Isolation, Message},
    planted::Planted,
};

/// So many polls of one reader that bring nothing are a standstill: the engine's own limit is one of real time.
const MOST_EMPTY_POLLS: u32 = 2_000;

/// The log as one process sees it.
pub(crate) struct ModelLog {
    cluster: Shared,
    /// None for the oracle, which sees what is there.
    client: Option<ClientId>,
}

impl ModelLog {
    pub(crate) const fn new(cluster: Shared, client: Option<ClientId>) -> Self {
        Self { cluster, client }
    }
}

impl Log for ModelLog {
    fn partitions(&self) -> u32 {
        super::cluster::PARTITIONS
    }

    fn append(&self, appends: Vec<Append>) -> Appended {
        let mut cluster = lock(&self.cluster);
        let answer = cluster.require_answer();
        if answer.is_ok() {
            appends.iter().for_each(|append| cluster.append(append));
        }
        Box::pin(std::future::ready(answer))
    }

    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        let cluster = lock(&self.cluster);
        cluster.require_answer()?;
        let log = cluster.log(topic, partition);
        let planted = cluster.is(Planted::LastStableOffset) && self.client.is_some();
        let lies = planted && matches!(topic, Topic::Checkpoints | Topic::Changes);
        let end = if lies { log.stable() } else { log.end() };
        Ok(Bounds {
            start: log.start(),
            end,
        })
    }

    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        let cluster = lock(&self.cluster);
        cluster.require_answer()?;
        let log = cluster.log(topic, partition);
        let mut found = None;
        log.read(log.start(), usize::MAX, Isolation::Committed, |at, m| {
            if m.timestamp_ms >= timestamp_ms {
                found = found.or(Some(at));
            }
        });
        Ok(found.unwrap_or(log.end()))
    }

    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        lock(&self.cluster).require_answer()?;
        Ok(Box::new(ModelReader {
            cluster: self.cluster.clone(),
            client: self.client,
            places: starts.to_vec(),
            empty_polls: 0,
        }))
    }

    fn join(&self, _: Group) -> Result<Box<dyn Member>, LogError> {
        Err(unavailable("leases are handed out by the scheduler"))
    }

    fn check(&self) -> Result<(), LogError> {
        lock(&self.cluster).require_answer()
    }
}

struct ModelReader {
    cluster: Shared,
    client: Option<ClientId>,
    /// With the offsets from which to go on.
    places: Vec<Start>,
    empty_polls: u32,
}

impl Reader for ModelReader {
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let mut cluster = lock(&self.cluster);
        cluster.require_answer()?;
        let before = into.len();
        for place in &mut self.places {
            let most = match self.client {
                Some(_) => cluster.messages_now(max_bytes),
                None => usize::MAX,
            };
            cluster.fetch(place, most, self.client.is_some(), into)?;
        }
        if into.len() > before {
            self.empty_polls = 0;
            return Ok(());
        }
        self.empty_polls += 1;
        if self.empty_polls > MOST_EMPTY_POLLS {
            return Err(unavailable(format!("{:?} stand still", self.places)));
        }
        cluster.wait(timeout);
        Ok(())
    }

    fn position(&self, topic: Topic, partition: u32) -> Offset {
        let of = |place: &&Start| (place.topic, place.partition) == (topic, partition);
        self.places.iter().find(of).map_or(0, |place| place.offset)
    }
}

impl Cluster {
    /// How many messages a poll gets now.
    fn messages_now(&mut self, max_bytes: usize) -> usize {
        if max_bytes == 0 {
            return 0;
        }
        if self.calm {
            return usize::MAX;
        }
        match self.dice.random_range(0..10) {
            0 => 0,
            1..=4 => self.dice.random_range(1..=6),
            _ => usize::MAX,
        }
    }

    /// Time that a call waits: something else may happen meanwhile.
    fn wait(&mut self, timeout: Duration) {
        let most = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        if most > 0 {
            let ms = self.dice.random_range(1..=most);
            self.pass(ms);
            self.drift(2);
        }
    }

    /// Reads on from a place.
    fn fetch(
        &mut self,
        place: &mut Start,
        most: usize,
        lies: bool,
        into: &mut Messages,
    ) -> Result<(), LogError> {
        let Start {
            topic,
            partition,
            offset,
        } = *place;
        let log = self.log(topic, partition);
        if offset < log.start() {
            return Err(LogError::Gone {
                topic,
                partition,
                offset,
                start: log.start(),
            });
        }
        let planted = self.planted.filter(|_| lies);
        let isolation = match (planted, topic) {
            (Some(Planted::CheckpointAhead), Topic::Checkpoints) => Isolation::Uncommitted,
            _ => Isolation::Committed,
        };
        let mut last = None;
        let past = log.read(offset, most, isolation, |offset, message| {
            let lie = planted.and_then(|planted| match topic {
                Topic::Checkpoints if message.key.ends_with(b"manifest") => {
                    planted.manifest(&message.value)
                }
                Topic::Changes => planted.change(&message.value),
                _ => None,
            });
            push(into, (topic, partition, offset), message, lie.as_deref());
            last = Some(offset);
        });
        // Markers behind the last message are seen at once, or by the next poll.
        place.offset = match last {
            Some(last) if !self.calm && self.chance(0.5) => last + 1,
            _ => past,
        };
        Ok(())
    }
}

fn push(
    into: &mut Messages,
    (topic, partition, offset): (Topic, u32, Offset),
    message: &Message,
    instead: Option<&[u8]>,
) {
    let headers = message.headers.iter().map(|(k, v)| (*k, v.as_slice()));
    let value = instead.unwrap_or(&message.value);
    into.push(
        topic,
        partition,
        offset,
        message.timestamp_ms,
        &message.key,
        value,
        headers,
    );
}

/// All that was ever committed in a partition, what retention removed too.
pub(crate) fn history(cluster: &Cluster, topic: Topic, partition: u32) -> Messages {
    let mut all = Messages::new();
    cluster.log(topic, partition).history(|offset, message| {
        push(&mut all, (topic, partition, offset), message, None);
    });
    all
}

/// A process's claim to one partition under one assignment.
pub(crate) struct ModelLease {
    cluster: Shared,
    client: ClientId,
    partition: u32,
    hold: u64,
    id: LeaseId,
    epoch: u32,
    next: Offset,
    fresh: bool,
}

impl ModelLease {
    pub(crate) fn new(cluster: &Shared, client: ClientId, partition: u32, hold: u64) -> Self {
        let id = lock(cluster).new_lease();
        Self {
            cluster: cluster.clone(),
            client,
            partition,
            hold,
            id,
            epoch: 0,
            next: 0,
            fresh: true,
        }
    }

    fn require_hold(&self, cluster: &Cluster) -> Result<(), LogError> {
        let ours = cluster.hold(self.client, self.partition) == Some(self.hold);
        if ours || cluster.is(Planted::OldEpoch) {
            return Ok(());
        }
        Err(lost(self.partition, self.next, "it was taken away"))
    }
}

impl Lease for ModelLease {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn fence(&mut self) -> Result<Option<Offset>, LogError> {
        let mut cluster = lock(&self.cluster);
        cluster.require_answer()?;
        self.require_hold(&cluster)?;
        self.epoch = cluster.init_producer(self.partition);
        if cluster.lost_fences > 0 {
            cluster.lost_fences -= 1;
            return Err(unavailable("no answer to the fence"));
        }
        let events = cluster.dice.random_range(0..3);
        cluster.drift(events);
        while cluster.is_ending(self.partition) {
            cluster.write_marker(self.partition);
        }
        Ok(cluster.committed(self.partition))
    }

    fn seek(&mut self, offset: Offset) -> Result<(), LogError> {
        let cluster = lock(&self.cluster);
        cluster.require_answer()?;
        self.require_hold(&cluster)?;
        let log = cluster.log(Topic::Ticks, self.partition);
        let (topic, partition, start) = (Topic::Ticks, self.partition, log.start());
        if offset < start {
            return Err(LogError::Gone {
                topic,
                partition,
                offset,
                start,
            });
        }
        if offset > log.end() {
            let detail = format!("it ends at {}, and {offset} was asked for", log.end());
            let log = topic.to_string();
            return Err(LogError::Damaged { log, detail });
        }
        self.next = offset;
        Ok(())
    }

    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let mut cluster = lock(&self.cluster);
        self.require_hold(&cluster)?;
        if cluster.is_down() {
            cluster.wait(timeout);
            return Ok(());
        }
        let before = into.len();
        if cluster.is(Planted::SequencesAhead) && std::mem::take(&mut self.fresh) {
            self.foresee(&cluster, into);
        }
        let mut place = Start {
            topic: Topic::Ticks,
            partition: self.partition,
            offset: self.next,
        };
        let most = cluster.messages_now(max_bytes);
        cluster.fetch(&mut place, most, true, into)?;
        self.next = place.offset;
        if into.len() == before {
            cluster.wait(timeout);
        }
        Ok(())
    }

    fn submit(&mut self, step: Step) -> Result<(), LogError> {
        let mut cluster = lock(&self.cluster);
        self.require_hold(&cluster)?;
        if cluster.commits.contains_key(&self.id) {
            let message = format!("{}: a step while one is in hand", self.partition);
            return Err(LogError::Mismatch(message));
        }
        let fate = cluster.fates.pop_front().unwrap_or(Fate::Arrives);
        let place = (self.client, self.partition, self.hold);
        let commit = Commit::new(place, self.epoch, step, fate, cluster.now_ms);
        cluster.commits.insert(self.id, commit);
        Ok(())
    }

    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError> {
        let mut cluster = lock(&self.cluster);
        if !cluster.commits.contains_key(&self.id) {
            return Ok(true);
        }
        if !cluster.clients[self.client].paused {
            cluster.wait(timeout);
        }
        match cluster.take_outcome(self.id) {
            None => Ok(false),
            Some(outcome) => outcome.map(|()| true),
        }
    }
}

impl ModelLease {
    /// Lets the engine see the sequence of a later message before its first one.
    fn foresee(&self, cluster: &Cluster, into: &mut Messages) {
        let mut later = Vec::new();
        let log = cluster.log(Topic::Ticks, self.partition);
        log.read(self.next, 6, Isolation::Committed, |offset, message| {
            later.push((offset, message.clone()));
        });
        if let (Some((first, _)), Some((_, message))) = (later.first(), later.last()) {
            let place = (Topic::Ticks, self.partition, *first);
            push(into, place, message, Some(b""));
        }
    }
}

impl Drop for ModelLease {
    fn drop(&mut self) {
        lock(&self.cluster).forget(self.id);
    }
}
