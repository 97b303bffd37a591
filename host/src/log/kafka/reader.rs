//! Reads committed messages of given partitions; belongs to no group.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};

use super::{
    cluster::{Cluster, Plain, number, offset, retire},
    fetch::{self, Stopped},
};
use crate::log::{LogError, Messages, Offset, Reader, Start, Topic};

/// One consumer over some partitions.
pub(super) struct KafkaReader {
    cluster: Arc<Cluster>,
    /// Some until the drop.
    consumer: Option<BaseConsumer<Plain>>,
    places: Vec<Place>,
    /// The place of the message before: they come in runs.
    latest: usize,
    /// Whether all places are of one topic.
    one_topic: bool,
    /// Said by the client after messages that had to be handed over first.
    said: Option<KafkaError>,
    /// Why there is no going on.
    ended: Option<LogError>,
    /// The sum of all positions when the end of a partition was last seen.
    at_end: Offset,
}

struct Place {
    topic: Topic,
    partition: u32,
    /// The offset after the last message that was handed out.
    next: Offset,
    /// What the client said when it was last asked: markers of transactions count too.
    passed: Offset,
}

impl Place {
    fn position(&self) -> Offset {
        self.next.max(self.passed)
    }
}

impl KafkaReader {
    pub(super) fn new(cluster: Arc<Cluster>, starts: &[Start]) -> Result<Self, LogError> {
        let mut assignment = TopicPartitionList::with_capacity(starts.len());
        for start in starts {
            cluster.require(start.topic, start.partition)?;
            let from = KafkaOffset::Offset(i64::try_from(start.offset).unwrap_or(i64::MAX));
            assignment
                .add_partition_offset(cluster.name(start.topic), number(start.partition), from)
                .map_err(|error| LogError::Mismatch(format!("{start:?}: {error}")))?;
        }
        let consumer = match cluster.idle_readers().take() {
            Some(consumer) => consumer,
            None => client(&cluster)?,
        };
        consumer
            .assign(&assignment)
            .map_err(|error| cluster.unavailable(format!("reading {starts:?}: {error}")))?;
        Ok(Self {
            cluster,
            consumer: Some(consumer),
            one_topic: starts.windows(2).all(|two| two[0].topic == two[1].topic),
            places: starts
                .iter()
                .map(|start| Place {
                    topic: start.topic,
                    partition: start.partition,
                    next: start.offset,
                    passed: start.offset,
                })
                .collect(),
            latest: 0,
            said: None,
            ended: None,
            at_end: starts.iter().map(|start| start.offset).sum(),
        })
    }

    /// What a caller must know of what the client said; true where there is something to see at once.
    fn judge(&mut self, error: &KafkaError) -> Result<bool, LogError> {
        match error.rdkafka_error_code() {
            None | Some(RDKafkaErrorCode::PartitionEOF) => {
                // Behind the last message may stand a transaction's marker, and the position has passed it: whoever
                // reads up to an end need not wait longer.
                self.look();
                let at_end = self.places.iter().map(Place::position).sum();
                Ok(std::mem::replace(&mut self.at_end, at_end) != at_end)
            }
            // What the client tries again by itself.
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut,
            ) => Ok(false),
            // The client does not say of which partition.
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                for n in 0..self.places.len() {
                    let Place {
                        topic, partition, ..
                    } = self.places[n];
                    if let Some(why) = self.cluster.unreadable(
                        topic,
                        partition,
                        self.position(topic, partition),
                    )? {
                        self.ended = Some(why.clone());
                        return Err(why);
                    }
                }
                Err(self
                    .cluster
                    .unavailable(format!("reading {}: {error}", self.places())))
            }
            Some(_) => {
                let told = self.cluster.health().told(error);
                Err(self
                    .cluster
                    .unavailable(format!("reading {}: {told}", self.places())))
            }
        }
    }

    /// Asks the client where it stands: a transaction's marker counts when it was passed by. Each question goes to
    /// another thread of the client and back, so that one is asked for all partitions, and only where no message comes.
    fn look(&mut self) {
        let positions = self.consumer.as_ref().map(|consumer| consumer.position());
        let Some(Ok(positions)) = positions else {
            return;
        };
        for place in &mut self.places {
            let name = self.cluster.name(place.topic);
            let found = positions.find_partition(name, number(place.partition));
            if let Some(KafkaOffset::Offset(at)) = found.map(|found| found.offset()) {
                place.passed = offset(at);
            }
        }
    }

    /// Where it stands, for an error.
    fn places(&self) -> String {
        let place = |&Place {
                         topic, partition, ..
                     }: &Place| {
            format!(
                "{}/{partition} at offset {}",
                self.cluster.name(topic),
                self.position(topic, partition)
            )
        };
        let mut places: Vec<_> = self.places.iter().take(3).map(place).collect();
        if self.places.len() > 3 {
            places.push(format!("{} more", self.places.len() - 3));
        }
        places.join(", ")
    }
}

impl Reader for KafkaReader {
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        if let Some(why) = &self.ended {
            return Err(why.clone());
        }
        let deadline = Instant::now() + timeout;
        let before = into.len();
        loop {
            let Self {
                cluster,
                places,
                latest,
                one_topic,
                consumer,
                said,
                ..
            } = self;
            let seen = |message: &BorrowedMessage<'_>| {
                let is = |place: &Place| {
                    number(place.partition) == message.partition()
                        && (*one_topic || cluster.name(place.topic) == message.topic())
                };
                if !is(&places[*latest]) {
                    *latest = places.iter().position(is)?;
                }
                let place = &mut places[*latest];
                let at = offset(message.offset());
                // What the client hands out twice counts once.
                (at >= place.next).then(|| {
                    place.next = at + 1;
                    place.topic
                })
            };
            let wait = deadline.saturating_duration_since(Instant::now());
            let stopped = match (said.take(), consumer) {
                (Some(error), _) => Stopped::Said(error),
                (None, Some(consumer)) => {
                    fetch::fill(into, max_bytes, wait, |wait| consumer.poll(wait), seen)
                }
                (None, None) => return Ok(()),
            };
            match stopped {
                Stopped::Said(error) if into.len() > before => {
                    self.said = Some(error);
                    return Ok(());
                }
                Stopped::Said(error) if self.judge(&error)? => return Ok(()),
                // The next round finds the time over, or waits for the rest of it.
                Stopped::Said(_) if Instant::now() < deadline => {}
                Stopped::Said(_) | Stopped::Drained | Stopped::Full => {
                    if into.len() == before {
                        self.look();
                    }
                    return Ok(());
                }
            }
        }
    }

    fn position(&self, topic: Topic, partition: u32) -> Offset {
        let of = |place: &&Place| (place.topic, place.partition) == (topic, partition);
        self.places.iter().find(of).map_or(0, Place::position)
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        let is_well = self.said.is_none() && self.ended.is_none();
        if is_well && consumer.unassign().is_ok() {
            self.cluster.idle_readers().keep(consumer);
        } else {
            retire(consumer);
        }
    }
}

fn client(cluster: &Arc<Cluster>) -> Result<BaseConsumer<Plain>, LogError> {
    let mut config = cluster.consumer_settings();
    config
        // The client wants a group even where it joins none.
        .set("group.id", format!("{}reader", cluster.options().prefix))
        // Wakes a poll at the end, behind which only a transaction's marker may stand.
        .set("enable.partition.eof", "true");
    cluster.create(config, Plain(Arc::clone(cluster.health())))
}

/// Clients that read nothing now. One that is connected need not connect: a takeover reads several times.
#[derive(Default)]
pub(super) struct IdleReaders(Mutex<Vec<(Instant, BaseConsumer<Plain>)>>);

/// As many as partitions that are commonly taken over at once.
const MAX_IDLE: usize = 6;
/// Brokers close connections without questions after ten minutes.
const MAX_IDLE_TIME: Duration = Duration::from_secs(300);

impl IdleReaders {
    fn take(&self) -> Option<BaseConsumer<Plain>> {
        let (since, consumer) = self.lock().pop()?;
        // What an earlier reader was told.
        while consumer.poll(Duration::ZERO).is_some() {}
        if since.elapsed() < MAX_IDLE_TIME {
            return Some(consumer);
        }
        retire(consumer);
        None
    }

    fn keep(&self, consumer: BaseConsumer<Plain>) {
        let mut idle = self.lock();
        idle.push((Instant::now(), consumer));
        if idle.len() > MAX_IDLE {
            retire(idle.remove(0));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, BaseConsumer<Plain>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for IdleReaders {
    fn drop(&mut self) {
        for consumer in self.lock().drain(..) {
            retire(consumer);
        }
    }
}
