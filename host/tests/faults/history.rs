//! What a log holds, read with a consumer of its own: committed messages only, up to the high watermark.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers as _,
};
use wigwag::log::Topic;

/// How long a question may take with all its tries, and how long each.
const ASK_LIMIT: Duration = Duration::from_secs(40);
const ASK_SLICE: Duration = Duration::from_secs(4);
/// A read that has not come to its end by then has found a reader that is held up.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// A log on a cluster.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) brokers: String,
    pub(crate) prefix: String,
    pub(crate) partitions: u32,
    clients: Arc<Clients>,
}

/// Clients of one log, which last: a fresh one looks for its brokers for longer than the answer takes.
#[derive(Default)]
struct Clients {
    /// Reads uncommitted, so that an end is the high watermark and not the last stable offset.
    asking: OnceLock<BaseConsumer>,
    reading: OnceLock<Mutex<BaseConsumer>>,
}

/// A message as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    /// When the broker appended it, milliseconds since the epoch.
    pub(crate) appended_ms: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Place {
    pub(crate) fn new(brokers: String, prefix: String, partitions: u32) -> Self {
        Self {
            brokers,
            prefix,
            partitions,
            clients: Arc::default(),
        }
    }

    pub(crate) fn topic(&self, topic: Topic) -> String {
        format!("{}{topic}", self.prefix)
    }

    pub(crate) fn asking(&self) -> &BaseConsumer {
        self.clients
            .asking
            .get_or_init(|| self.consumer("read_uncommitted"))
    }

    fn reading(&self) -> MutexGuard<'_, BaseConsumer> {
        let reading = self
            .clients
            .reading
            .get_or_init(|| Mutex::new(self.consumer("read_committed")));
        reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consumer(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", format!("{}engine", self.prefix))
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20")
            .create()
            .expect("a consumer")
    }

    /// Oldest offset and end, with what is not committed.
    pub(crate) fn bounds(&self, topic: Topic, partition: u32) -> (u64, u64) {
        let name = self.topic(topic);
        let asked = |limit| {
            let asking = self.asking();
            let answer = asking.fetch_watermarks(&name, partition as i32, limit);
            // A client without a subscription remembers a leader that is gone until it asks who leads.
            answer.or_else(|_| {
                asking.fetch_metadata(Some(&name), limit)?;
                asking.fetch_watermarks(&name, partition as i32, limit)
            })
        };
        let (start, end) = ask(&format!("bounds of {name}/{partition}"), asked);
        (start as u64, end as u64)
    }

    /// All committed messages of a partition, once nothing before the end is undecided.
    pub(crate) fn read(&self, topic: Topic, partition: u32) -> Vec<Entry> {
        let (start, end) = self.bounds(topic, partition);
        let (name, number) = (self.topic(topic), partition as i32);
        let consumer = self.reading();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&name, number, Offset::Offset(start as i64))
            .expect("an offset");
        consumer.assign(&from).expect("assigned");
        let (mut entries, until) = (Vec::new(), Instant::now() + READ_LIMIT);
        loop {
            // A connection to a broker that was killed is told as an error once; the client goes on by itself.
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
                entries.push(Entry {
                    offset: message.offset() as u64,
                    appended_ms: message.timestamp().to_millis().unwrap_or(0),
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let own = headers
                            .iter()
                            .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()));
                        own.collect()
                    }),
                });
                continue;
            }
            let position = consumer.position().expect("positions");
            let at = position.find_partition(&name, number).map(|p| p.offset());
            let at = match at {
                Some(Offset::Offset(at)) => at as u64,
                _ => start,
            };
            if at >= end {
                return entries;
            }
            assert!(
                Instant::now() < until,
                "a reader of {name}/{partition} stands at {at} of {end} for {READ_LIMIT:?}"
            );
        }
    }

    /// The engines' position in each partition.
    pub(crate) fn committed(&self) -> Vec<u64> {
        let mut asked = TopicPartitionList::new();
        let name = self.topic(Topic::Ticks);
        asked.add_partition_range(&name, 0, self.partitions as i32 - 1);
        // Without what is not committed yet. A consumer of committed messages would wait for a moment in which no
        // partition has a transaction open, which under load does not come.
        let answer = ask("committed positions", |limit| {
            self.asking().committed_offsets(asked.clone(), limit)
        });
        let position = |partition| match answer.find_partition(&name, partition).map(|p| p.offset())
        {
            Some(Offset::Offset(at)) => at as u64,
            _ => 0,
        };
        (0..self.partitions as i32).map(position).collect()
    }

    /// The end of each partition of `ticks`.
    pub(crate) fn ends(&self) -> Vec<u64> {
        (0..self.partitions)
            .map(|p| self.bounds(Topic::Ticks, p).1)
            .collect()
    }
}

/// Asks again where a coordinator or leader is just changing.
fn ask<T>(what: &str, question: impl Fn(Duration) -> Result<T, KafkaError>) -> T {
    let until = Instant::now() + ASK_LIMIT;
    loop {
        match question(ASK_SLICE) {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < until, "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
