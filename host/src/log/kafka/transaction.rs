//! One transactional producer and its transactions. Each call of it blocks.
//!
//! Whoever makes the next producer with the same `transactional.id` shuts out this one and ends what it left open.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext, PurgeConfig},
};
use tracing::debug;

use super::{
    appender::record,
    cluster::{Cluster, Health, MAX_MESSAGE_BYTES, offset},
    hanging::{Endings, Writes},
    wire::Failure,
};
use crate::log::{Append, LogError, Start, Topic};

/// How long shutting out an earlier owner may take; its open transaction is aborted meanwhile.
const FENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long one look at that takes, between which it may turn out that the place is gone.
const FENCE_SLICE: Duration = Duration::from_millis(100);
/// Between two questions to brokers that do not answer.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a transaction may take.
pub(super) const COMMIT_LIMIT: Duration = Duration::from_secs(10);
/// How long undoing it may take.
const ABORT_LIMIT: Duration = Duration::from_secs(3);
/// The broker aborts what is open for so long: readers wait no longer for a dead member without successor.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at the messages under way.
const SERVE_INTERVAL: Duration = Duration::from_millis(1);
/// What is handed to the client before it is waited for: less than one batch of a partition. While messages whose
/// linger is over wait behind five *messages* in flight of their partition, librdkafka's broker thread spins
/// (`rd_kafka_msgq_allow_wakeup_at` wakes it at once, `rd_kafka_toppar_producer_serve` then finds no room), and on a
/// small machine starves the broker, whose answer it waits for, and the heartbeats.
const WINDOW_BYTES: usize = 1_500_000;
const BATCH_BYTES: usize = 1_900_000;
/// What a message takes of a batch beside key and value.
const FRAMING_BYTES: usize = 100;
/// Longer than it takes to hand a window over, so that nothing goes out in pieces; a flush ends it.
const LINGER: Duration = Duration::from_millis(20);
/// Before a call is tried again.
pub(super) const AGAIN_INTERVAL: Duration = Duration::from_millis(2);

/// A producer, initialised.
pub(super) struct Transactions {
    cluster: Arc<Cluster>,
    /// What it is about, in errors.
    place: (Topic, u32),
    producer: BaseProducer<Deliveries>,
    /// None where nothing is known of what brokers leave open.
    endings: Option<Endings>,
}

impl Transactions {
    /// Shuts out every earlier producer of the same `id`, as long as the `place` is ours, and ends what a broker left
    /// open of theirs.
    pub(super) fn fence(
        cluster: Arc<Cluster>,
        id: String,
        writes: Writes,
        place: (Topic, u32),
        is_ours: impl Fn() -> bool,
    ) -> Result<Self, LogError> {
        let mut config = cluster.settings();
        config
            .set("transactional.id", &id)
            .set(
                "transaction.timeout.ms",
                TRANSACTION_LIMIT.as_millis().to_string(),
            )
            .set("message.timeout.ms", COMMIT_LIMIT.as_millis().to_string())
            .set("message.max.bytes", (2 * MAX_MESSAGE_BYTES).to_string())
            // The broker answers a commit before it has ended the transaction, and refuses the next one until then, for
            // some milliseconds; the default waits 100.
            .set("retry.backoff.ms", "2")
            .set("retry.backoff.max.ms", "100")
            .set("linger.ms", LINGER.as_millis().to_string())
            .set("batch.size", BATCH_BYTES.to_string())
            .set("batch.num.messages", "1000000");
        let deliveries = Deliveries {
            health: Arc::clone(cluster.health()),
            arrived: Mutex::default(),
        };
        let producer = cluster.create(config, deliveries)?;
        let mut endings = Endings::new(&cluster, &id, writes);
        let mut transactions = Self {
            cluster,
            place,
            producer,
            endings: None,
        };
        let deadline = Instant::now() + FENCE_LIMIT;
        // Without an answer nothing may be initialised: that makes the coordinator forget what it was asked.
        let before = thread::scope(|scope| {
            scope.spawn(|| transactions.connect());
            match &endings {
                Some(endings) => transactions.patiently(deadline, &is_ours, || endings.before()),
                None => Ok(None),
            }
        })?;
        transactions.initialise(&id, deadline, &is_ours)?;
        if let Some(endings) = &mut endings {
            transactions.patiently(deadline, &is_ours, || endings.take_over(before))?;
        }
        transactions.endings = endings;
        Ok(transactions)
    }

    /// Where no broker is connected yet, as in a client that is new, the search for the coordinator begins half a second
    /// later (`rd_kafka_txn_coord_query` in rdkafka_txnmgr.c). An answer to any question is a connection; without one
    /// the search says what is wrong.
    fn connect(&self) {
        let name = self.cluster.name(self.place.0);
        let client = self.producer.client();
        let _ = client.fetch_metadata(Some(name), FENCE_SLICE);
    }

    /// Asks brokers until they answer, as long as the place is ours.
    fn patiently<T>(
        &self,
        deadline: Instant,
        is_ours: impl Fn() -> bool,
        mut ask: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, LogError> {
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(_) if !is_ours() => return Err(self.lost("it moved while it was fenced")),
                Err(_) if Instant::now() < deadline => thread::sleep(ASK_INTERVAL),
                Err(error) => return Err(self.unavailable(&left_open(&error))),
            }
        }
    }

    fn initialise(
        &self,
        id: &str,
        deadline: Instant,
        is_ours: impl Fn() -> bool,
    ) -> Result<(), LogError> {
        loop {
            match self.producer.init_transactions(FENCE_SLICE) {
                _ if !is_ours() => return Err(self.lost("it moved while it was fenced")),
                Ok(()) => return Ok(()),
                // The same call goes on where the time ended it.
                Err(error) if retriable(&error) && Instant::now() < deadline => {}
                Err(error) => {
                    let told = self.cluster.health().told(&error);
                    return Err(self.unavailable(&format!(
                        "initialising transactional id \"{id}\" within {} s: {told}",
                        FENCE_LIMIT.as_secs()
                    )));
                }
            }
        }
    }

    /// To be called after a transaction, before the next: ends what brokers left open of it.
    pub(super) fn settle(&mut self) -> Result<(), LogError> {
        let deadline = Instant::now() + COMMIT_LIMIT;
        let settled = (self.endings.as_mut()).map_or(Ok(()), |endings| endings.settle(deadline));
        settled.map_err(|error| self.unavailable(&left_open(&error)))
    }

    /// One transaction: what comes `first`, and these messages.
    pub(super) fn attempt(
        &self,
        appends: &[Append],
        deadline: Instant,
        first: impl FnOnce(&BaseProducer<Deliveries>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.producer.context().forget();
        self.producer
            .begin_transaction()
            .map_err(|error| self.fault("begin", &error))?;
        first(&self.producer)?;
        let mut window = 0;
        for append in appends {
            let bytes = append.key.len() + append.value.len() + FRAMING_BYTES;
            if window + bytes > WINDOW_BYTES {
                self.arrive(deadline)?;
                window = 0;
            }
            window += bytes;
            let name = self.cluster.name(append.topic);
            let mut waiting = record(name, append, ());
            while let Err((error, back)) = self.producer.send(waiting) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(
                        self.fault(&format!("append to {name}/{}", append.partition), &error)
                    );
                }
                if Instant::now() >= deadline {
                    return Err(Fault::late("queueing its messages"));
                }
                self.serve();
                waiting = back;
            }
        }
        // With messages under way, `commit_transaction` waits in steps of 100 ms.
        self.arrive(deadline)?;
        if let Some(detail) = self.producer.context().failure() {
            return Err(self.refused(detail));
        }
        until(deadline, || {
            self.producer.commit_transaction(left(deadline))
        })
        .map_err(|error| Fault {
            at_commit: true,
            ..self.fault("commit", &error)
        })
    }

    /// Whether the transaction in hand is undone for certain.
    pub(super) fn abort(&mut self) -> bool {
        let deadline = Instant::now() + ABORT_LIMIT;
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.serve();
        }
        let result = until(deadline, || self.producer.abort_transaction(left(deadline)));
        if let Err(error) = &result {
            let (topic, partition) = self.place;
            debug!(%topic, partition, %error, "abort");
        }
        result.is_ok() && self.settle().is_ok()
    }

    /// Where the first message of the newest transaction was written.
    pub(super) fn place_of_first(&self) -> Option<Start> {
        let (name, partition, at) = self.producer.context().first()?;
        let is_of_it = |topic: &&Topic| self.cluster.name(**topic) == name;
        Some(Start {
            topic: *Topic::ALL.iter().find(is_of_it)?,
            partition: u32::try_from(partition).ok()?,
            offset: offset(at),
        })
    }

    pub(super) fn fault(&self, what: &str, error: &KafkaError) -> Fault {
        Fault::new(what, error, self.cluster.health())
    }

    pub(super) fn unavailable(&self, detail: &str) -> LogError {
        let (topic, partition) = self.place;
        let name = self.cluster.name(topic);
        self.cluster
            .unavailable(format!("{name}/{partition}: {detail}"))
    }

    pub(super) fn lost(&self, detail: &str) -> LogError {
        let (topic, partition) = self.place;
        LogError::Lost {
            topic,
            partition,
            detail: detail.to_owned(),
        }
    }

    /// Whether another producer of the same id is known to be there.
    pub(super) fn is_shut_out(&self) -> bool {
        let fatal = self.producer.client().fatal_error();
        fatal.is_some_and(|(code, _)| is_shut_out(code))
    }

    /// A message was not taken: where that is because the producer was shut out, the client knows.
    fn refused(&self, detail: String) -> Fault {
        match self.producer.client().fatal_error() {
            Some((code, _)) => Fault {
                detail,
                fatal: true,
                lost: is_shut_out(code),
                again: false,
                at_commit: false,
            },
            None => Fault::refused(detail),
        }
    }

    /// Waits until all that was handed to the client has arrived.
    fn arrive(&self, deadline: Instant) -> Result<(), Fault> {
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return Err(Fault::late("appending its messages"));
            }
            self.serve();
        }
        Ok(())
    }

    /// Sends what waits, and hears which messages arrived. The crate's `flush` gives the client no time to see that it
    /// flushes, and its `poll` spins through the last millisecond of its time, so that it is given none.
    fn serve(&self) {
        let wait_ms = SERVE_INTERVAL.as_millis() as i32;
        #[expect(unsafe_code, reason = "the crate offers no flush that takes time")]
        // SAFETY: the pointer is that of a producer that lives as long as `self`; librdkafka is thread-safe.
        unsafe {
            rdkafka::bindings::rd_kafka_flush(self.producer.client().native_ptr(), wait_ms)
        };
        self.producer.poll(Duration::ZERO);
    }
}

fn left_open(error: &str) -> String {
    format!("looking for what transactions left open: {error}")
}

/// Repeats a call that the client says may be repeated.
pub(super) fn until(
    deadline: Instant,
    call: impl Fn() -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    loop {
        match call() {
            Err(error) if retriable(&error) && Instant::now() < deadline => {
                thread::sleep(AGAIN_INTERVAL)
            }
            result => return result,
        }
    }
}

pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => {
            error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort()
        }
        _ => false,
    }
}

const fn is_shut_out(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::FencedInstanceId
    )
}

/// Why a transaction failed.
pub(super) struct Fault {
    pub(super) detail: String,
    /// The producer is of no use any more, not even to abort.
    pub(super) fatal: bool,
    /// Another owner is there.
    pub(super) lost: bool,
    /// A rebalance came across; the partition may still be ours.
    pub(super) again: bool,
    /// The commit itself was not answered as it should be: it may have taken place.
    pub(super) at_commit: bool,
}

impl Fault {
    fn new(what: &str, error: &KafkaError, health: &Health) -> Self {
        let code = error.rdkafka_error_code();
        Self {
            detail: format!("{what}: {}", health.told(error)),
            fatal: matches!(error, KafkaError::Transaction(error) if error.is_fatal()),
            lost: code.is_some_and(is_shut_out),
            again: matches!(
                code,
                Some(
                    RDKafkaErrorCode::IllegalGeneration
                        | RDKafkaErrorCode::UnknownMemberId
                        | RDKafkaErrorCode::RebalanceInProgress
                )
            ),
            at_commit: false,
        }
    }

    fn late(what: &str) -> Self {
        let limit_s = COMMIT_LIMIT.as_secs();
        Self::refused(format!("{what} took more than {limit_s} s"))
    }

    const fn refused(detail: String) -> Self {
        Self {
            detail,
            fatal: false,
            lost: false,
            again: false,
            at_commit: false,
        }
    }

    pub(super) fn lost(detail: &str) -> Self {
        Self {
            detail: detail.to_owned(),
            fatal: false,
            lost: true,
            again: false,
            at_commit: false,
        }
    }
}

/// The producer's ear.
pub(super) struct Deliveries {
    health: Arc<Health>,
    arrived: Mutex<Arrived>,
}

/// What is known of the messages of the newest transaction.
#[derive(Default)]
struct Arrived {
    /// Topic, partition and offset of the first that was written.
    first: Option<(String, i32, i64)>,
    /// Of the first that was not taken.
    failure: Option<String>,
}

impl Deliveries {
    fn forget(&self) {
        *self.lock() = Arrived::default();
    }

    fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn first(&self) -> Option<(String, i32, i64)> {
        self.lock().first.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut arrived = self.lock();
        match result {
            Ok(message) => {
                let place = || {
                    let topic = message.topic().to_owned();
                    (topic, message.partition(), message.offset())
                };
                arrived.first.get_or_insert_with(place);
            }
            Err((error, message)) => {
                let detail = format!(
                    "append to {}/{}: {}",
                    message.topic(),
                    message.partition(),
                    self.health.told(error)
                );
                arrived.failure.get_or_insert(detail);
            }
        }
    }
}
