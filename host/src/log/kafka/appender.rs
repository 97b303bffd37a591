//! Messages outside any transaction: one idempotent producer, whose delivery reports answer the callers.
//!
//! A partition's messages of one call must not have a gap: what follows a failed one is not written. The client does
//! not promise that across timeouts, so that where it matters a message goes out when the one before has arrived.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    util::IntoOpaque,
};
use tokio::sync::oneshot;
use tracing::warn;

use super::cluster::{Cluster, MAX_MESSAGE_BYTES, number, spawn};
use crate::log::{Append, Appended, LogError, MAX_VALUE_BYTES, Topic};

/// What may wait for the brokers at a time; above it, callers are refused at once.
const QUEUE_BYTES: usize = 64 << 20;
/// What a waiting message costs beyond its own bytes.
const MESSAGE_COST: usize = 512;
/// How long a message may wait for its acknowledgement.
const DELIVERY_LIMIT: Duration = Duration::from_secs(10);
/// How soon the thread that serves delivery reports notices that it is to end. The crate spins through the last
/// millisecond of each interval.
const SERVE_INTERVAL: Duration = Duration::from_secs(1);

type Delivering = BaseProducer<Reports>;

/// Appends messages.
pub(super) struct Appender {
    cluster: Arc<Cluster>,
    producer: RwLock<Arc<Delivering>>,
    stopped: Arc<AtomicBool>,
}

impl Appender {
    pub(super) fn new(cluster: Arc<Cluster>) -> Result<Self, LogError> {
        let stopped = Arc::new(AtomicBool::new(false));
        let producer = RwLock::new(connect(&cluster, &stopped)?);
        Ok(Self {
            cluster,
            producer,
            stopped,
        })
    }

    pub(super) fn append(&self, appends: Vec<Append>) -> Appended {
        if let Err(error) = appends
            .iter()
            .try_for_each(|append| check(&self.cluster, append))
        {
            return Box::pin(std::future::ready(Err(error)));
        }
        if appends.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        // A caller who is told at once keeps what it has, and asks again; one that waits holds memory here.
        if let Some(refusal) = self.cluster.health().refusal() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let bytes = appends.iter().map(cost).sum();
        let waiting = &producer.context().waiting;
        if waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            let error = self
                .cluster
                .unavailable(format!("{QUEUE_BYTES} bytes wait for it already"));
            return Box::pin(std::future::ready(Err(error)));
        }
        let (answer, answered) = oneshot::channel();
        let chains = chains(appends);
        let call = Arc::new(Call(Mutex::new(Progress {
            chains: chains.len(),
            error: None,
            answer: Some(answer),
        })));
        for chain in chains {
            producer
                .context()
                .go_on(&producer, chain, Arc::clone(&call));
        }
        let gone = self
            .cluster
            .unavailable("the log was closed before it was answered");
        Box::pin(async move { answered.await.unwrap_or(Err(gone)) })
    }

    /// The producer; a new one where an error has put an end to it.
    fn producer(&self) -> Result<Arc<Delivering>, LogError> {
        let producer = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
        if !producer.context().dead.load(Ordering::Acquire) {
            return Ok(producer);
        }
        let mut place = self
            .producer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if place.context().dead.load(Ordering::Acquire) {
            *place = connect(&self.cluster, &self.stopped)?;
        }
        Ok(Arc::clone(&place))
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
    }
}

/// Makes a producer and the thread that serves it.
fn connect(cluster: &Arc<Cluster>, stopped: &Arc<AtomicBool>) -> Result<Arc<Delivering>, LogError> {
    let mut config = cluster.settings();
    config
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("message.timeout.ms", DELIVERY_LIMIT.as_millis().to_string())
        .set("message.max.bytes", (2 * MAX_MESSAGE_BYTES).to_string())
        // The limit is QUEUE_BYTES; these only must not come first.
        .set(
            "queue.buffering.max.messages",
            (QUEUE_BYTES / MESSAGE_COST).to_string(),
        )
        .set(
            "queue.buffering.max.kbytes",
            (2 * QUEUE_BYTES / 1024).to_string(),
        );
    let reports = Reports {
        cluster: Arc::clone(cluster),
        producer: OnceLock::new(),
        waiting: AtomicUsize::new(0),
        dead: AtomicBool::new(false),
    };
    let producer: Arc<Delivering> = Arc::new(cluster.create(config, reports)?);
    let _ = producer.context().producer.set(Arc::downgrade(&producer));
    let (serving, stopped) = (Arc::clone(&producer), Arc::clone(stopped));
    spawn("kafka-append", move || {
        // A dead one still owes reports for what it was given.
        while !stopped.load(Ordering::Acquire) {
            serving.poll(SERVE_INTERVAL);
            if serving.context().dead.load(Ordering::Acquire) && serving.in_flight_count() == 0 {
                return;
            }
        }
    })?;
    Ok(producer)
}

/// Refuses what can never be written.
pub(super) fn check(cluster: &Cluster, append: &Append) -> Result<(), LogError> {
    let Append {
        topic,
        partition,
        key,
        value,
        headers,
    } = append;
    cluster.require(*topic, *partition)?;
    let too_large = |bytes, limit| LogError::TooLarge {
        topic: *topic,
        partition: *partition,
        bytes,
        limit,
    };
    if value.len() > MAX_VALUE_BYTES {
        return Err(too_large(value.len(), MAX_VALUE_BYTES));
    }
    let beside = key.len()
        + headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 16)
            .sum::<usize>();
    // A broker counts the framing of a batch too, which is below a hundred bytes.
    let limit = MAX_MESSAGE_BYTES - 1024;
    if value.len() + beside > limit {
        return Err(too_large(value.len() + beside, limit));
    }
    Ok(())
}

/// A message as the client takes it.
pub(super) fn record<'a, D: IntoOpaque>(
    name: &'a str,
    append: &'a Append,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let mut record = BaseRecord::with_opaque_to(name, opaque).partition(number(append.partition));
    // An empty value removes its key where a topic is compacted; Kafka says that with none.
    record.payload = (!append.value.is_empty()).then_some(&append.value[..]);
    record.key = (!append.key.is_empty()).then_some(&append.key[..]);
    if !append.headers.is_empty() {
        record.headers = Some(append.headers.iter().fold(
            OwnedHeaders::new(),
            |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(&value[..]),
                })
            },
        ));
    }
    record
}

/// Messages of one call of which each goes out when the one before has arrived.
type Chain = VecDeque<Append>;

/// One chain for each partition of the topics where a gap would be misread: what follows a lost part of `ticks`
/// would make its repetition look old, and a plugin counts as present once its last chunk is. Elsewhere nobody
/// misses one message for the sake of another, and all go at once.
fn chains(appends: Vec<Append>) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::with_capacity(appends.len().min(64));
    for append in appends {
        let follows = |chain: &&mut Chain| {
            matches!(append.topic, Topic::Ticks | Topic::Control)
                && chain.front().is_some_and(|first| {
                    (first.topic, first.partition) == (append.topic, append.partition)
                })
        };
        match chains.iter_mut().find(follows) {
            Some(chain) => chain.push_back(append),
            None => chains.push(Chain::from([append])),
        }
    }
    chains
}

/// What a message counts against [`QUEUE_BYTES`].
fn cost(append: &Append) -> usize {
    append.key.len() + append.value.len() + MESSAGE_COST
}

/// One call of [`Appender::append`].
struct Call(Mutex<Progress>);

struct Progress {
    /// How many are not at their end.
    chains: usize,
    /// The first.
    error: Option<LogError>,
    answer: Option<oneshot::Sender<Result<(), LogError>>>,
}

impl Call {
    fn failed(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .error
            .is_some()
    }

    fn chain_ended(&self, result: Result<(), LogError>) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.chains -= 1;
        if let Err(error) = result {
            progress.error.get_or_insert(error);
        }
        if progress.chains == 0
            && let Some(answer) = progress.answer.take()
        {
            // Whoever does not wait any more does not need it.
            let _ = answer.send(progress.error.take().map_or(Ok(()), Err));
        }
    }
}

/// A message under way.
pub(super) struct UnderWay {
    topic: Topic,
    partition: u32,
    cost: usize,
    /// What follows it.
    chain: Chain,
    call: Arc<Call>,
}

/// The producer's ear.
pub(super) struct Reports {
    cluster: Arc<Cluster>,
    producer: OnceLock<Weak<Delivering>>,
    /// Bytes that calls wait for.
    waiting: AtomicUsize,
    /// An error has put an end to the producer.
    dead: AtomicBool,
}

impl Reports {
    /// Sends the first message of a chain. At its end, or after a failure of the call, answers instead.
    fn go_on(&self, producer: &Delivering, mut chain: Chain, call: Arc<Call>) {
        if call.failed() {
            return self.give_up(&chain, &call, Ok(()));
        }
        let Some(first) = chain.pop_front() else {
            return call.chain_ended(Ok(()));
        };
        let Append {
            topic, partition, ..
        } = first;
        let name = self.cluster.name(topic);
        let under_way = Box::new(UnderWay {
            topic,
            partition,
            cost: cost(&first),
            chain,
            call,
        });
        if let Err((error, record)) = producer.send(record(name, &first, under_way)) {
            self.note(&error);
            let under_way = record.delivery_opaque;
            self.waiting.fetch_sub(under_way.cost, Ordering::Relaxed);
            let error = self.cluster.unavailable(format!(
                "{name}/{partition}: {}",
                self.cluster.health().told(&error)
            ));
            self.give_up(&under_way.chain, &under_way.call, Err(error));
        }
    }

    fn give_up(&self, chain: &Chain, call: &Call, result: Result<(), LogError>) {
        self.waiting
            .fetch_sub(chain.iter().map(cost).sum(), Ordering::Relaxed);
        call.chain_ended(result);
    }

    fn note(&self, error: &KafkaError) {
        let ended = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => true,
            // Others reach the brokers: this one holds on to what is not there any more.
            Some(RDKafkaErrorCode::MessageTimedOut) => self.cluster.check().is_ok(),
            _ => false,
        };
        if ended && !self.dead.swap(true, Ordering::AcqRel) {
            warn!(%error, "the appending producer ended; the next append makes another");
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.cluster.health().line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error);
        self.cluster.health().error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<UnderWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, under_way: Box<UnderWay>) {
        let UnderWay {
            topic,
            partition,
            cost,
            chain,
            call,
        } = *under_way;
        self.waiting.fetch_sub(cost, Ordering::Relaxed);
        if let Err((error, _)) = result {
            self.note(error);
            let place = format!("{}/{partition}", self.cluster.name(topic));
            let told = self.cluster.health().told(error);
            let error = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => LogError::TooLarge {
                    topic,
                    partition,
                    bytes: cost - MESSAGE_COST,
                    limit: MAX_VALUE_BYTES,
                },
                Some(RDKafkaErrorCode::MessageTimedOut) => {
                    let limit = DELIVERY_LIMIT.as_secs();
                    self.cluster.unavailable(format!(
                        "{place}: no acknowledgement within {limit} s: {told}"
                    ))
                }
                _ => self.cluster.unavailable(format!("{place}: {told}")),
            };
            return self.give_up(&chain, &call, Err(error));
        }
        match self.producer.get().and_then(Weak::upgrade) {
            Some(producer) => self.go_on(&producer, chain, call),
            None if chain.is_empty() => call.chain_ended(Ok(())),
            None => self.give_up(
                &chain,
                &call,
                Err(self.cluster.unavailable("the log is being closed")),
            ),
        }
    }
}
