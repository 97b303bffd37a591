//! What all clients of one cluster share: names, settings, the words of an error, and whether a broker answers.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Offset as KafkaOffset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{debug, warn};

use super::{Options, reader::IdleReaders, wire::Lines};
use crate::log::{Bounds, Group, LogError, Offset, Topic};

/// How long a question to the cluster may take.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Between two tries of one.
const ASK_INTERVAL: Duration = Duration::from_millis(10);

/// How long the client that lasts is asked, before one that remembers nothing is.
const FIRST_LIMIT: Duration = Duration::from_secs(2);
/// How often it is asked whether it still answers, and how long that may take.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
const WATCH_LIMIT: Duration = Duration::from_secs(2);

/// A message with key, headers and framing stays below the broker's default limit (1 MiB and some bytes).
pub(super) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Settings on which a guarantee rests, or which this module sets for each client by itself.
const OURS: [&str; 17] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "isolation.level",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id",
];

/// One cluster as one log sees it.
pub(super) struct Cluster {
    options: Options,
    names: [String; Topic::ALL.len()],
    health: Arc<Health>,
    lines: Lines,
    idle_readers: IdleReaders,
    /// For questions only: assigned to nothing. It reads uncommitted, so that an end is the high watermark and
    /// not the last stable offset.
    asking: BaseConsumer<Plain>,
}

impl Cluster {
    pub(super) fn new(options: Options) -> Result<Self, LogError> {
        if let Some((name, value)) = options
            .extra
            .iter()
            .find(|(name, _)| OURS.contains(&name.as_str()))
        {
            return Err(LogError::Mismatch(format!(
                "librdkafka setting \"{name}\" is \"{value}\"; it is not to be changed, since a guarantee rests on it"
            )));
        }
        if options.partitions == 0 {
            return Err(LogError::Mismatch("partitions is 0; use 1 or more".into()));
        }
        let names = Topic::ALL.map(|topic| format!("{}{topic}", options.prefix));
        let health = Arc::new(Health::new(&options.brokers));
        let asking = asking(&options, &health)?;
        Ok(Self {
            options,
            names,
            health,
            lines: Lines::default(),
            idle_readers: IdleReaders::default(),
            asking,
        })
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    pub(super) const fn health(&self) -> &Arc<Health> {
        &self.health
    }

    pub(super) const fn lines(&self) -> &Lines {
        &self.lines
    }

    pub(super) const fn idle_readers(&self) -> &IdleReaders {
        &self.idle_readers
    }

    /// A topic's name on the cluster.
    pub(super) fn name(&self, topic: Topic) -> &str {
        // `Topic::ALL` is in the order of declaration, which `as` counts by; a test below says so.
        &self.names[topic as usize]
    }

    pub(super) fn group(&self, group: Group) -> String {
        format!("{}{}", self.options.prefix, group.name())
    }

    /// Settings for any client.
    pub(super) fn settings(&self) -> ClientConfig {
        settings(&self.options)
    }

    /// Settings for a consumer of committed messages.
    pub(super) fn consumer_settings(&self) -> ClientConfig {
        let mut config = self.settings();
        config
            .set("isolation.level", "read_committed")
            // An offset that retention removed is the caller's matter, never a silent jump.
            .set("auto.offset.reset", "error")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A fetch is answered at the first byte; this is only how long an empty one is held.
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "100")
            // At its default of 1 s, reading faster than a full queue costs a factor of 3.5 to 7.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "8192");
        config
    }

    /// A client, with what the operator wants beyond `config`.
    pub(super) fn create<C, T>(&self, config: ClientConfig, context: C) -> Result<T, LogError>
    where
        C: ClientContext,
        T: FromClientConfigAndContext<C>,
    {
        create(&self.options, config, context)
    }

    pub(super) fn unavailable(&self, detail: impl Into<String>) -> LogError {
        self.health.unavailable(detail)
    }

    /// Why a question was not answered, in words.
    pub(super) fn no_answer(&self, what: &str, error: &KafkaError) -> LogError {
        self.listen();
        self.unavailable(format!("{what}: {}", self.health.told(error)))
    }

    /// Hears what was said to the asking client while nobody listened.
    fn listen(&self) {
        while self.asking.poll(Duration::from_millis(1)).is_some() {}
    }

    /// Refuses a partition that there is not.
    pub(super) fn require(&self, topic: Topic, partition: u32) -> Result<(), LogError> {
        let count = topic.partitions(self.options.partitions);
        if partition < count {
            return Ok(());
        }
        Err(LogError::Mismatch(format!(
            "{}/{partition} does not exist: the topic has {count} partitions",
            self.name(topic)
        )))
    }

    pub(super) fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.ask("offsets", topic, partition, |client, left| {
            let (start, end) =
                client.fetch_watermarks(self.name(topic), number(partition), left)?;
            Ok(Bounds {
                start: offset(start),
                end: offset(end),
            })
        })
    }

    pub(super) fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        // librdkafka takes the time where the offset goes, and negative ones have other meanings there.
        let time = KafkaOffset::Offset(timestamp_ms.max(0));
        let found = self.ask("offset at a time", topic, partition, |client, left| {
            let answer =
                client.offsets_for_times(list(self.name(topic), partition, time)?, left)?;
            let elements = answer.elements();
            let element = elements.first().ok_or(KafkaError::NoMessageReceived)?;
            element.error()?;
            Ok(element.offset())
        })?;
        match found {
            KafkaOffset::Offset(found) => Ok(offset(found)),
            _ => Ok(self.bounds(topic, partition)?.end),
        }
    }

    /// The committed position of a group, asked for by a client that never joins it. One that is just being committed
    /// is none yet, and is not waited for.
    pub(super) fn committed(
        &self,
        group: Group,
        partition: u32,
    ) -> Result<Option<Offset>, LogError> {
        let mut config = self.settings();
        config
            .set("group.id", self.group(group))
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_uncommitted");
        let asking: BaseConsumer<Plain> = self.create(config, Plain(Arc::clone(&self.health)))?;
        let topic = group.input();
        let found = self.ask("committed position", topic, partition, |_, left| {
            let place = list(self.name(topic), partition, KafkaOffset::Invalid)?;
            let answer = asking.committed_offsets(place, left)?;
            let elements = answer.elements();
            let element = elements.first().ok_or(KafkaError::NoMessageReceived)?;
            element.error()?;
            Ok(element.offset())
        });
        retire(asking);
        match found? {
            KafkaOffset::Offset(found) => Ok(Some(offset(found))),
            _ => Ok(None),
        }
    }

    /// Asks about a partition, again where its leader is just changing, as it also is when a topic is new.
    fn ask<T>(
        &self,
        what: &str,
        topic: Topic,
        partition: u32,
        question: impl Fn(&BaseConsumer<Plain>, Duration) -> Result<T, KafkaError>,
    ) -> Result<T, LogError> {
        self.require(topic, partition)?;
        let deadline = Instant::now() + ASK_LIMIT;
        let mut fresh: Option<BaseConsumer<Plain>> = None;
        let answer = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (client, limit) = match &fresh {
                None => (&self.asking, left.min(FIRST_LIMIT)),
                Some(fresh) => (fresh, left),
            };
            match question(client, limit) {
                Ok(answer) => break Ok(answer),
                Err(error) if goes_by_memory(&error) && fresh.is_none() => {
                    fresh = Some(self.another_asking()?);
                }
                Err(error)
                    if leader_changes(&error) && Instant::now() + ASK_INTERVAL < deadline =>
                {
                    thread::sleep(ASK_INTERVAL);
                }
                Err(error) => {
                    break Err(self.no_answer(
                        &format!("{what} of {}/{partition}", self.name(topic)),
                        &error,
                    ));
                }
            }
        };
        fresh.into_iter().for_each(retire);
        answer
    }

    /// A client for questions that remembers nothing.
    fn another_asking(&self) -> Result<BaseConsumer<Plain>, LogError> {
        asking(&self.options, &self.health)
    }

    /// What `position` of a partition became unreadable by: retention, or a topic that is not the one it was.
    /// None where it is readable.
    pub(super) fn unreadable(
        &self,
        topic: Topic,
        partition: u32,
        position: Offset,
    ) -> Result<Option<LogError>, LogError> {
        let Bounds { start, end } = self.bounds(topic, partition)?;
        Ok(if position < start {
            Some(LogError::Gone {
                topic,
                partition,
                offset: position,
                start,
            })
        } else if position > end {
            Some(LogError::Damaged {
                log: format!("topic \"{}\" on {}", self.name(topic), self.options.brokers),
                detail: format!(
                    "{topic}/{partition} ends at offset {end}, and {position} was asked for: it was cut or created anew"
                ),
            })
        } else {
            None
        })
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        self.health
            .seen()
            .answers
            .clone()
            .map_err(|detail| self.unavailable(detail))
    }

    pub(super) const fn client(&self) -> &BaseConsumer<Plain> {
        &self.asking
    }

    /// Asks for the leaders of `ticks`; an answer without one is none.
    fn ask_for_leaders(&self) -> Result<(), Silence> {
        let name = self.name(Topic::Ticks);
        let metadata = self.asking.fetch_metadata(Some(name), WATCH_LIMIT);
        self.listen();
        let metadata = metadata.map_err(|error| {
            let told = self.health.told(&error);
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::BrokerTransportFailure) => Silence::Away(told),
                _ => Silence::Lame(told),
            }
        })?;
        let partitions = metadata
            .topics()
            .first()
            .map_or(&[][..], |topic| topic.partitions());
        match partitions.iter().find(|partition| partition.leader() < 0) {
            Some(partition) => Err(Silence::Lame(format!(
                "{name}/{} has no leader",
                partition.id()
            ))),
            None if partitions.is_empty() => Err(Silence::Lame(format!(
                "topic \"{name}\" does not exist any more"
            ))),
            None => Ok(()),
        }
    }
}

/// Why a cluster does not do its work.
enum Silence {
    /// No broker is connected.
    Away(String),
    /// One is, and is slow, or a partition is led by none: what waits may still arrive.
    Lame(String),
}

/// Whether the same question will be answered soon.
fn leader_changes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                // Said by a leader that has just become one.
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                // Said of every partition for a second after the client had lost all brokers.
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::BrokerTransportFailure
        )
    )
}

/// Whether a client may be asking a broker that is gone. One without a subscription remembers a partition's leader for
/// minutes, and goes on asking it; after the loss of all brokers it says that there is no such partition.
fn goes_by_memory(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

fn asking(options: &Options, health: &Arc<Health>) -> Result<BaseConsumer<Plain>, LogError> {
    let mut config = settings(options);
    config.set("isolation.level", "read_uncommitted");
    create(options, config, Plain(Arc::clone(health)))
}

/// Settings for any client of the cluster.
fn settings(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "wigwag")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // Half-open connections are found out within this time instead of the default minute.
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("log.connection.close", "false");
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// A client, with what the operator wants beyond `config`.
fn create<C, T>(options: &Options, mut config: ClientConfig, context: C) -> Result<T, LogError>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    config.extend(options.extra.iter().cloned());
    config
        .create_with_context(context)
        .map_err(|error| LogError::Mismatch(format!("librdkafka refuses its settings: {error}")))
}

/// A list of one partition.
pub(super) fn list(
    name: &str,
    partition: u32,
    offset: KafkaOffset,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(name, number(partition), offset)?;
    Ok(list)
}

/// A partition as Kafka writes it.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// An offset as Kafka writes it, where it is one.
pub(super) fn offset(raw: i64) -> Offset {
    Offset::try_from(raw).unwrap_or(0)
}

/// What the clients of a cluster were told last.
pub(super) struct Health {
    log: String,
    seen: Mutex<Seen>,
    asked: Condvar,
}

struct Seen {
    answers: Result<(), String>,
    /// Why no broker can be reached, where none can.
    away: Option<String>,
    last_error: Option<String>,
    /// Something went wrong: ask now.
    alarmed: bool,
    stopped: bool,
}

impl Health {
    fn new(brokers: &str) -> Self {
        Self {
            log: format!("Kafka at {brokers}"),
            seen: Mutex::new(Seen {
                answers: Ok(()),
                away: None,
                last_error: None,
                alarmed: false,
                stopped: false,
            }),
            asked: Condvar::new(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unavailable(&self, detail: impl Into<String>) -> LogError {
        LogError::Unavailable {
            log: self.log.clone(),
            detail: detail.into(),
        }
    }

    /// The refusal of what would only wait, while no broker can be reached.
    pub(super) fn refusal(&self) -> Option<LogError> {
        let away = self.seen().away.clone();
        away.map(|detail| self.unavailable(detail))
    }

    /// An error in words, with what was last heard from a broker: librdkafka's own say neither which nor why.
    pub(super) fn told(&self, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        let transport = matches!(
            code,
            Some(
                RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::MessageTimedOut
            )
        );
        match &self.seen().last_error {
            Some(last) if transport => format!("{error}; last heard: {last}"),
            _ => error.to_string(),
        }
    }

    /// What librdkafka says to any client by itself.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        debug!(log = self.log, %error, reason, "kafka client error");
        let mut seen = self.seen();
        // This one only counts the others.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            seen.last_error = Some(reason.to_owned());
        }
        seen.alarmed = true;
        drop(seen);
        self.asked.notify_all();
    }

    /// A line that librdkafka would print.
    pub(super) fn line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A broker that cannot be reached is told once a second to each client, and by `check`.
        if (level as i32) < RDKafkaLogLevel::Error as i32 {
            warn!(log = self.log, facility, message, "librdkafka");
        } else {
            debug!(log = self.log, facility, message, "librdkafka");
        }
    }
}

/// A client's ear that only listens.
#[derive(Clone)]
pub(super) struct Plain(pub(super) Arc<Health>);

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl ConsumerContext for Plain {}

/// Keeps asking the cluster whether it answers, until dropped.
pub(super) struct Watch(Arc<Cluster>);

impl Watch {
    pub(super) fn new(cluster: Arc<Cluster>) -> Result<Self, LogError> {
        let asking = Arc::clone(&cluster);
        spawn("kafka-watch", move || {
            loop {
                let answers = asking.ask_for_leaders();
                let mut seen = asking.health.seen();
                (seen.answers, seen.away) = match answers {
                    Ok(()) => (Ok(()), None),
                    Err(Silence::Lame(detail)) => (Err(detail), None),
                    Err(Silence::Away(detail)) => (Err(detail.clone()), Some(detail)),
                };
                seen.alarmed = false;
                let (seen, _) = asking
                    .health
                    .asked
                    .wait_timeout_while(seen, WATCH_INTERVAL, |seen| !seen.stopped && !seen.alarmed)
                    .unwrap_or_else(PoisonError::into_inner);
                if seen.stopped {
                    return;
                }
            }
        })?;
        Ok(Self(cluster))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread is not waited for: a question without an answer would hold up whoever stops.
        self.0.health.seen().stopped = true;
        self.0.health.asked.notify_all();
    }
}

/// A named thread.
pub(super) fn spawn(
    name: impl Into<String>,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), LogError> {
    let name = name.into();
    thread::Builder::new()
        .name(name.clone())
        .spawn(run)
        .map(drop)
        .map_err(|error| LogError::Unavailable {
            log: "this machine".into(),
            detail: format!("thread \"{name}\": {error}"),
        })
}

/// Drops a client elsewhere: closing one can take long, and can hang.
pub(super) fn retire<T: Send + 'static>(client: T) {
    // Where no thread can be had, the client is dropped here as the closure is.
    let _ = spawn("kafka-close", move || drop(client));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_topics_stand_in_the_order_of_declaration() {
        assert!(
            Topic::ALL
                .iter()
                .enumerate()
                .all(|(n, &topic)| topic as usize == n)
        );
    }
}
