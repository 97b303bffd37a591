//! Records as messages of a topic, one each, by an idempotent producer: librdkafka sends again what was not
//! acknowledged, and the broker drops what it has already.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Sent;
use crate::{batch::Batch, stop::Stop, symbol::Symbol, totals::Totals};

/// How long to wait for room in the producer's queue, or for its last acknowledgements, before looking again.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// While brokers are away librdkafka repeats itself several times a second; one warning in this time
/// says enough.
const WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// Sends records to a topic.
pub struct Kafka {
    producer: ThreadedProducer<Deliveries>,
    address: String,
    topic: String,
    totals: Arc<Totals>,
    failure: Arc<OnceLock<String>>,
}

/// Why sending cannot go on.
#[derive(Debug, Error)]
#[error("kafka://{address}/{topic}: {cause}")]
pub struct KafkaError {
    address: String,
    topic: String,
    cause: String,
}

impl Kafka {
    /// A producer for a topic on the brokers named; connects by itself.
    ///
    /// # Errors
    /// When the client library refuses its settings.
    pub fn new(brokers: &str, topic: &str, totals: Arc<Totals>) -> Result<Self, KafkaError> {
        let failure = Arc::new(OnceLock::new());
        let deliveries = Deliveries {
            totals: Arc::clone(&totals),
            failure: Arc::clone(&failure),
            warned: Mutex::default(),
        };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "wigwag-generator")
            .set("enable.idempotence", "true")
            // Where Java clients put a key, for whoever else reads the topic.
            .set("partitioner", "murmur2_random")
            // No end: brokers that are away for long cost time, not records.
            .set("message.timeout.ms", "0")
            // Its default of 10 s keeps records waiting long after the broker is back.
            .set("reconnect.backoff.max.ms", "1000")
            .set("linger.ms", "5")
            .set("batch.num.messages", "10000")
            // 100,000 records of 200 bytes: what is lost at most when this process is killed.
            .set("queue.buffering.max.messages", "100000")
            .create_with_context(deliveries)
            .map_err(|error: ClientError| KafkaError {
                address: brokers.to_owned(),
                topic: topic.to_owned(),
                cause: error.to_string(),
            })?;
        Ok(Self {
            producer,
            address: brokers.to_owned(),
            topic: topic.to_owned(),
            totals,
            failure,
        })
    }

    /// Gives a batch to the producer, waiting while its queue is full; see [`super::Target::send`].
    ///
    /// # Errors
    /// When a record of this or an earlier batch was refused for good.
    pub async fn send(&mut self, batch: &mut Batch, stop: &Stop) -> Result<Sent, KafkaError> {
        for (symbol, json) in batch.records() {
            let key = symbol.as_ref().map_or(&b""[..], Symbol::as_bytes);
            let mut record = BaseRecord::to(&self.topic).payload(json);
            if !key.is_empty() {
                record = record.key(key);
            }
            while let Err((error, unsent)) = self.producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    self.check()?;
                    return Err(self.error(error.to_string()));
                }
                self.check()?;
                record = unsent;
                tokio::select! {
                    () = sleep(POLL_INTERVAL) => {}
                    () = stop.asked() => return Ok(Sent::Enough),
                }
            }
            self.totals.add_sent(1);
        }
        self.check()?;
        Ok(Sent::Done)
    }

    /// Waits for the last acknowledgements; see [`super::Target::finish`].
    ///
    /// # Errors
    /// When a record was refused for good.
    pub async fn finish(&mut self, stop: &Stop) -> Result<(), KafkaError> {
        let emptied = async {
            while self.producer.in_flight_count() > 0 && self.failure.get().is_none() {
                sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = emptied => {}
            () = stop.overdue() => {
                let records = self.producer.in_flight_count();
                warn!(records, "ended before all records were acknowledged; these may or may not have arrived");
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), KafkaError> {
        self.failure
            .get()
            .map_or(Ok(()), |cause| Err(self.error(cause.clone())))
    }

    fn error(&self, cause: String) -> KafkaError {
        KafkaError {
            address: self.address.clone(),
            topic: self.topic.clone(),
            cause,
        }
    }
}

/// Counts acknowledgements, on the producer's own thread, and keeps the first failure.
struct Deliveries {
    totals: Arc<Totals>,
    failure: Arc<OnceLock<String>>,
    warned: Mutex<Option<Instant>>,
}

impl Deliveries {
    /// Warns, or says it at debug level when it has warned already a moment ago.
    fn complain(&self, words: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            *warned = Some(Instant::now());
            warn!(target: "librdkafka", "{words}");
        } else {
            debug!(target: "librdkafka", "{words}");
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                debug!(target: "librdkafka", facility, "{message}");
            }
            _ => self.complain(message),
        }
    }

    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            let _ = self.failure.set(reason.to_owned());
        } else {
            self.complain(reason);
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        match delivery {
            Ok(_) => self.totals.add_accepted(1),
            // Purged at the end of the run: neither accepted nor rejected.
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PurgeQueue) => {
            }
            Err((error, message)) => {
                self.totals.add_rejected(1);
                let key = message
                    .key()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default();
                let _ = self
                    .failure
                    .set(format!("record of {key:?} was refused: {error}"));
            }
        }
    }
}
