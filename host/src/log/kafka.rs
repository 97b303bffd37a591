//! The log on Apache Kafka, by way of librdkafka. This file and its directory are the only ones that say `rdkafka`.
//! It knows topics, partitions, groups and transactions, and nothing of what the messages mean.

mod account;
mod appender;
mod cluster;
mod commit;
mod decided;
mod fetch;
mod hanging;
mod input;
mod lease;
mod member;
mod reader;
mod sole;
mod topics;
mod transaction;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod wait;
mod wire;

use std::{sync::Arc, time::Duration};

use appender::Appender;
use cluster::{Cluster, Watch};

use super::{
    Append, Appended, Bounds, Group, Log, LogError, Member, Offset, Reader, SoleWriter, Start,
    Topic,
};

/// How to reach a cluster, and how this log lies on it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT`, several separated by commas.
    pub brokers: String,
    /// Goes before the names of topics, groups and transactions, so that several logs can share a cluster.
    pub prefix: String,
    /// Partitions of `ticks` and of the topics that follow it; never changes on a live log.
    pub partitions: u32,
    /// Copies of each partition where a topic is created.
    pub replication: i16,
    /// After this long without a sign of life, a member's partitions go to others. The broker's own limits hold.
    pub group_session_timeout: Duration,
    /// Further settings of librdkafka, as for security; those that a guarantee rests on are refused.
    pub extra: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            prefix: String::new(),
            partitions: 12,
            replication: 1,
            group_session_timeout: Duration::from_secs(10),
            extra: Vec::new(),
        }
    }
}

/// A log on a Kafka cluster. Readers and members that it gave out may outlive it.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    appender: Appender,
    _watch: Watch,
}

impl KafkaLog {
    /// Connects, creates the topics that are missing and checks those that are there.
    ///
    /// # Errors
    /// [`LogError::Mismatch`] where a topic does not fit `options`, or a setting is not to be changed;
    /// [`LogError::Unavailable`] where no broker answers in time.
    pub fn open(options: Options) -> Result<Self, LogError> {
        let cluster = Arc::new(Cluster::new(options)?);
        topics::prepare(&cluster)?;
        Self::on(cluster)
    }
}

impl KafkaLog {
    /// Connects to a log that is there already: creates no topic and changes none.
    ///
    /// # Errors
    /// As [`KafkaLog::open`], and [`LogError::Mismatch`] where a topic is missing.
    pub fn open_existing(options: Options) -> Result<Self, LogError> {
        let cluster = Arc::new(Cluster::new(options)?);
        topics::require(&cluster)?;
        Self::on(cluster)
    }

    fn on(cluster: Arc<Cluster>) -> Result<Self, LogError> {
        let appender = Appender::new(Arc::clone(&cluster))?;
        let watch = Watch::new(Arc::clone(&cluster))?;
        Ok(Self {
            cluster,
            appender,
            _watch: watch,
        })
    }
}

impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.cluster.options().partitions
    }

    fn append(&self, appends: Vec<Append>) -> Appended {
        self.appender.append(appends)
    }

    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.cluster.bounds(topic, partition)
    }

    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError> {
        self.cluster.offset_at(topic, partition, timestamp_ms)
    }

    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(reader::KafkaReader::new(
            Arc::clone(&self.cluster),
            starts,
        )?))
    }

    fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        Ok(Box::new(member::KafkaMember::new(
            Arc::clone(&self.cluster),
            group,
        )?))
    }

    fn sole_writer(&self) -> Result<Box<dyn SoleWriter>, LogError> {
        Ok(Box::new(sole::Sole::take(Arc::clone(&self.cluster))?))
    }

    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        self.cluster.committed(group, partition)
    }

    fn retention(&self, topic: Topic) -> Result<Option<Duration>, LogError> {
        topics::retention(&self.cluster, topic)
    }

    fn check(&self) -> Result<(), LogError> {
        self.cluster.check()
    }
}
