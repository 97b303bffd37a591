//! Steps as transactions: one producer for a partition, on a thread of its own since each call of it blocks.
//!
//! The `transactional.id` stays the same for a partition, so that whoever makes the next producer shuts out this one
//! and ends what it left open.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset as KafkaOffset,
    config::RDKafkaLogLevel,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext, PurgeConfig},
};
use tracing::debug;

use super::{
    appender::record,
    cluster::{ASK_LIMIT, Cluster, Health, MAX_MESSAGE_BYTES, list, number, offset},
    hanging::Hanging,
    member::{GroupConsumer, Producing},
};
use crate::log::{Group, LogError, Offset, Step, Topic};

/// How long shutting out an earlier owner may take; its open transaction is aborted meanwhile.
const FENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long one look at that takes, between which it may turn out that the partition is gone.
const FENCE_SLICE: Duration = Duration::from_millis(100);
/// How long a commit may take.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);
/// A commit that took longer may have gone on across a broker's restart.
const SLOW_COMMIT: Duration = Duration::from_secs(2);
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
/// Before a call, or a step that a rebalance came across, is tried again.
const AGAIN_INTERVAL: Duration = Duration::from_millis(2);

/// To the thread that has the producer.
pub(super) enum Order {
    /// Commit this.
    Commit(Step),
    /// Finish what was ordered before, and drop the producer.
    Release,
}

/// A producer of one partition, initialised.
pub(super) struct Committer {
    cluster: Arc<Cluster>,
    group: Group,
    partition: u32,
    // The order of the fields is the order of their end: `producing` says that none lives any more.
    producer: BaseProducer<Deliveries>,
    consumer: Arc<GroupConsumer>,
    producing: Producing,
}

fn transactional_id(cluster: &Cluster, group: Group, partition: u32) -> String {
    format!("{}-{partition}", cluster.group(group))
}

/// Asks what became of the newest transaction for a partition of the group's input.
fn hanging(cluster: &Cluster, group: Group, partition: u32) -> Option<Hanging> {
    let written = group.output().iter().map(|topic| {
        let partitions = match group {
            // What an engine writes goes to the partition of its input.
            Group::Engine => vec![number(partition)],
            Group::RawIntake => (0..topic.partitions(cluster.options().partitions))
                .map(number)
                .collect(),
        };
        (cluster.name(*topic).to_owned(), partitions)
    });
    Hanging::ask(
        cluster.options(),
        cluster.decisions(),
        &transactional_id(cluster, group, partition),
        cluster.group(group),
        written.collect(),
    )
}

impl Committer {
    /// Shuts out every earlier owner of the partition.
    pub(super) fn fence(
        cluster: Arc<Cluster>,
        group: Group,
        partition: u32,
        consumer: Arc<GroupConsumer>,
        producing: Producing,
    ) -> Result<Self, LogError> {
        let id = transactional_id(&cluster, group, partition);
        let hanging = hanging(&cluster, group, partition);
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
            failed: Mutex::new(None),
        };
        let producer = cluster.create(config, deliveries)?;
        let committer = Self {
            cluster,
            group,
            partition,
            producer,
            consumer,
            producing,
        };
        // Where no broker is connected yet, as in a client that is new, the search for the coordinator begins half a second
        // later (`rd_kafka_txn_coord_query` in rdkafka_txnmgr.c). An answer to any question is a connection; without
        // one the search says what is wrong.
        let name = committer.cluster.name(committer.input());
        let _ = committer
            .producer
            .client()
            .fetch_metadata(Some(name), FENCE_SLICE);
        let deadline = Instant::now() + FENCE_LIMIT;
        loop {
            match committer.producer.init_transactions(FENCE_SLICE) {
                _ if !committer.producing.hold().is_ours() => {
                    return Err(committer.lost("it moved while it was fenced"));
                }
                Ok(()) => break,
                // The same call goes on where the time ended it.
                Err(error) if retriable(&error) && Instant::now() < deadline => {}
                Err(error) => {
                    let told = committer.cluster.health().told(&error);
                    let place = committer.place();
                    return Err(committer.cluster.unavailable(format!(
                        "{place}: initialising transactional id \"{id}\" within {} s: {told}",
                        FENCE_LIMIT.as_secs()
                    )));
                }
            }
        }
        committer.end(hanging)?;
        Ok(committer)
    }

    /// Ends what was left open by a broker.
    fn end(&self, hanging: Option<Hanging>) -> Result<(), LogError> {
        hanging.map_or(Ok(()), |hanging| {
            hanging.end().map_err(|error| {
                self.cluster.unavailable(format!(
                    "{}: looking for transactions that hang: {error}",
                    self.place()
                ))
            })
        })
    }

    /// The group's position in the partition. To be asked after the fence; a transaction that is still being
    /// ended is waited for.
    pub(super) fn committed(&self) -> Result<Option<Offset>, LogError> {
        let answer = list(
            self.cluster.name(self.input()),
            self.partition,
            KafkaOffset::Invalid,
        )
        .and_then(|list| self.consumer.committed_offsets(list, ASK_LIMIT))
        .and_then(|list| {
            let elements = list.elements();
            let element = elements.first().ok_or(KafkaError::NoMessageReceived)?;
            element.error().map(|()| element.offset())
        });
        match answer {
            Ok(KafkaOffset::Offset(position)) => Ok(Some(offset(position))),
            Ok(_) => Ok(None),
            Err(error) => {
                let told = self.cluster.health().told(&error);
                Err(self
                    .cluster
                    .unavailable(format!("{}: committed position: {told}", self.place())))
            }
        }
    }

    /// Takes orders also from who gives the partition up. False where it is not ours any more.
    pub(super) fn takes_orders(&self, orders: Sender<Order>) -> bool {
        self.producing.takes_orders(orders)
    }

    /// Commits what is ordered, until released, dropped by the lease, or a step fails.
    pub(super) fn run(self, orders: &Receiver<Order>, outcomes: &Sender<Result<(), LogError>>) {
        while let Ok(Order::Commit(step)) = orders.recv() {
            let began = Instant::now();
            let outcome = self.commit(&step).and_then(|()| {
                // As long as it takes a broker to come back.
                if began.elapsed() < SLOW_COMMIT {
                    return Ok(());
                }
                self.end(hanging(&self.cluster, self.group, self.partition))
            });
            let failed = outcome.is_err();
            // Nobody listens where the lease was dropped meanwhile.
            let _ = outcomes.send(outcome);
            if failed {
                return;
            }
        }
    }

    fn commit(&self, step: &Step) -> Result<(), LogError> {
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            let Err(fault) = self.attempt(step, deadline) else {
                return Ok(());
            };
            let aborted = !fault.fatal && self.abort();
            let again = aborted
                && fault.again
                && Instant::now() < deadline
                && self.producing.hold().is_ours();
            debug!(topic = %self.input(), partition = self.partition, position = step.position, fault.detail, aborted, again, "step failed");
            if !again {
                let outcome = if aborted {
                    "it was aborted"
                } else {
                    "it is not known whether it was committed"
                };
                let detail = format!(
                    "step to offset {}: {}; {outcome}",
                    step.position, fault.detail
                );
                return Err(if fault.lost || !self.producing.hold().is_ours() {
                    self.lost(&detail)
                } else {
                    self.cluster
                        .unavailable(format!("{}: {detail}", self.place()))
                });
            }
            thread::sleep(AGAIN_INTERVAL);
        }
    }

    /// One transaction.
    fn attempt(&self, step: &Step, deadline: Instant) -> Result<(), Fault> {
        self.producer.context().take_failure();
        let fault = |what: &str, error: &KafkaError| Fault::new(what, error, self.cluster.health());
        self.producer
            .begin_transaction()
            .map_err(|error| fault("begin", &error))?;
        // The position goes first. Where the transaction before is still being ended the broker refuses, and the client
        // asks again soon; messages would wait for a timer of 20 ms.
        // Metadata is taken after checking that the partition is ours: the broker checks member and generation, not
        // who owns what.
        if !self.producing.hold().is_ours() {
            return Err(Fault::lost("it moved before the commit"));
        }
        let member = self
            .consumer
            .group_metadata()
            .ok_or_else(|| Fault::lost("the member has left its group"))?;
        let position = KafkaOffset::Offset(i64::try_from(step.position).unwrap_or(i64::MAX));
        let positions = list(self.cluster.name(self.input()), self.partition, position)
            .map_err(|error| fault("position", &error))?;
        self.until(deadline, || {
            self.producer
                .send_offsets_to_transaction(&positions, &member, left(deadline))
        })
        .map_err(|error| fault("position", &error))?;
        let mut window = 0;
        for append in &step.appends {
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
                    return Err(fault(
                        &format!("append to {name}/{}", append.partition),
                        &error,
                    ));
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
        if let Some(detail) = self.producer.context().take_failure() {
            return Err(Fault::refused(detail));
        }
        self.until(deadline, || {
            self.producer.commit_transaction(left(deadline))
        })
        .map_err(|error| fault("commit", &error))
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

    /// Repeats a call that the client says may be repeated.
    fn until(
        &self,
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

    /// Whether the transaction in hand is undone for certain.
    fn abort(&self) -> bool {
        let deadline = Instant::now() + ABORT_LIMIT;
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.serve();
        }
        let result = self.until(deadline, || self.producer.abort_transaction(left(deadline)));
        if let Err(error) = &result {
            debug!(topic = %self.input(), partition = self.partition, %error, "abort");
        }
        result.is_ok()
    }

    const fn input(&self) -> Topic {
        self.group.input()
    }

    fn place(&self) -> String {
        format!("{}/{}", self.cluster.name(self.input()), self.partition)
    }

    fn lost(&self, detail: &str) -> LogError {
        LogError::Lost {
            topic: self.input(),
            partition: self.partition,
            detail: detail.to_owned(),
        }
    }
}

fn left(deadline: Instant) -> Duration {
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

/// Why a transaction failed.
struct Fault {
    detail: String,
    /// The producer is of no use any more, not even to abort.
    fatal: bool,
    /// Another owner is there.
    lost: bool,
    /// A rebalance came across; the partition may still be ours.
    again: bool,
}

impl Fault {
    fn new(what: &str, error: &KafkaError, health: &Health) -> Self {
        let code = error.rdkafka_error_code();
        Self {
            detail: format!("{what}: {}", health.told(error)),
            fatal: matches!(error, KafkaError::Transaction(error) if error.is_fatal()),
            lost: matches!(
                code,
                Some(
                    RDKafkaErrorCode::Fenced
                        | RDKafkaErrorCode::ProducerFenced
                        | RDKafkaErrorCode::InvalidProducerEpoch
                        | RDKafkaErrorCode::FencedInstanceId
                )
            ),
            again: matches!(
                code,
                Some(
                    RDKafkaErrorCode::IllegalGeneration
                        | RDKafkaErrorCode::UnknownMemberId
                        | RDKafkaErrorCode::RebalanceInProgress
                )
            ),
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
        }
    }

    fn lost(detail: &str) -> Self {
        Self {
            detail: detail.to_owned(),
            fatal: false,
            lost: true,
            again: false,
        }
    }
}

/// The producer's ear.
struct Deliveries {
    health: Arc<Health>,
    /// The first message of the transaction in hand that was not taken.
    failed: Mutex<Option<String>>,
}

impl Deliveries {
    fn take_failure(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
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
        if let Err((error, message)) = result {
            use rdkafka::Message as _;
            let detail = format!(
                "append to {}/{}: {}",
                message.topic(),
                message.partition(),
                self.health.told(error)
            );
            self.failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(detail);
        }
    }
}
