//! What an operator, retention or a foreign program may do to a log: written to directly, cut, configured.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AlterConfig, ConfigSource, ResourceSpecifier},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use wigwag::log::Topic;

use crate::{history::Place, kafka_broker};

const LIMIT: Duration = Duration::from_secs(20);

impl Place {
    /// A producer outside of the service.
    pub(crate) fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().expect("a producer")
    }

    /// Writes a message; no value removes the key.
    pub(crate) fn write(
        &self,
        producer: &BaseProducer,
        topic: Topic,
        partition: u32,
        key: &str,
        value: Option<&[u8]>,
        seq: Option<u64>,
    ) {
        let name = self.topic(topic);
        let mut record = BaseRecord::<str, [u8]>::to(&name)
            .partition(partition as i32)
            .key(key);
        record.payload = value;
        if let Some(seq) = seq {
            let seq = seq.to_string();
            record = record.headers(OwnedHeaders::new().insert(Header {
                key: "Seq",
                value: Some(&seq),
            }));
        }
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("queued");
        producer.flush(LIMIT).expect("written");
    }

    /// Removes all messages below an offset, as retention does.
    pub(crate) fn trim(&self, topic: Topic, partition: u32, offset: u64) {
        let mut below = TopicPartitionList::new();
        let name = self.topic(topic);
        below
            .add_partition_offset(&name, partition as i32, Offset::Offset(offset as i64))
            .expect("an offset");
        let admin = kafka_broker::admin(&self.brokers);
        let trimmed = on_a_thread(|| {
            kafka_broker::wait(admin.delete_records(&below, &kafka_broker::limits()))
        });
        trimmed.expect("an answer").elements()[0]
            .error()
            .expect("trimmed");
    }

    /// Changes a setting of a topic, and nothing else of it; None takes it back.
    pub(crate) fn set(&self, topic: Topic, setting: &str, value: Option<&str>) {
        let name = self.topic(topic);
        let admin = kafka_broker::admin(&self.brokers);
        let asked = [ResourceSpecifier::Topic(&name)];
        let found = on_a_thread(|| {
            kafka_broker::wait(admin.describe_configs(&asked, &kafka_broker::limits()))
        });
        let found = found.expect("an answer").remove(0).expect("the topic");
        // What is not named again goes back to its default.
        let mut wanted = AlterConfig::new(asked[0]);
        for entry in &found.entries {
            if entry.name != setting && entry.source == ConfigSource::DynamicTopic {
                wanted = wanted.set(&entry.name, entry.value.as_deref().unwrap_or_default());
            }
        }
        if let Some(value) = value {
            wanted = wanted.set(setting, value);
        }
        let altered = on_a_thread(|| {
            kafka_broker::wait(admin.alter_configs([&wanted], &kafka_broker::limits()))
        });
        altered.expect("an answer").remove(0).expect("altered");
    }
}

/// The broker's own answers are awaited with a runtime, and a test has one already.
pub(crate) fn on_a_thread<T: Send>(ask: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(ask).join().expect("no panic"))
}
