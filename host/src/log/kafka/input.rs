//! The messages of a group's input, by a client apart from the membership: for each rebalance the client of a group pauses
//! all of its partitions, those that stay too. Knows offsets, and nothing of who owns what.
//!
//! A partition is always started at an offset that is a number. Where it was assigned at a logical one ("end") and
//! sought while the broker's answer to the question for that end was under way, librdkafka 2.12.1 found the answer
//! outdated and **asked again half a second later**, now in the name of the seek, and went on from the end:
//! everything between was never seen (`rd_kafka_toppar_handle_Offset` in rdkafka_partition.c: `ERR__OUTDATED` leads to
//! `rd_kafka_toppar_offset_retry`, whose timer takes `rktp_query_pos` and the newest version). With a number nothing is
//! asked, and with `auto.offset.reset=error` nothing ever is.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Offset as KafkaOffset,
    consumer::{BaseConsumer, Consumer, base_consumer::PartitionQueue},
    error::KafkaError,
    message::BorrowedMessage,
};
use tracing::debug;

use super::cluster::{Cluster, Plain, list, number, retire};
use crate::log::{LogError, Offset, Topic};

/// One client for all partitions of a topic that this process owns.
pub(super) struct Input {
    cluster: Arc<Cluster>,
    topic: Topic,
    /// Some until the drop.
    client: Option<Client>,
}

struct Client {
    // The queues keep the consumer alive too.
    queues: Vec<PartitionQueue<Plain>>,
    consumer: Arc<BaseConsumer<Plain>>,
}

impl Input {
    pub(super) fn new(cluster: Arc<Cluster>, topic: Topic) -> Result<Self, LogError> {
        let mut config = cluster.consumer_settings();
        // The client wants a group even where it joins none.
        config.set("group.id", format!("{}reader", cluster.options().prefix));
        let context = Plain(Arc::clone(cluster.health()));
        let consumer: Arc<BaseConsumer<Plain>> = Arc::new(cluster.create(config, context)?);
        let name = cluster.name(topic);
        let partitions = topic.partitions(cluster.options().partitions);
        // A partition's queue stays apart for the life of the client once it was taken.
        let queues: Option<Vec<_>> = (0..partitions)
            .map(|partition| consumer.split_partition_queue(name, number(partition)))
            .collect();
        let Some(queues) = queues else {
            return Err(cluster.unavailable(format!("no queues for topic \"{name}\"")));
        };
        Ok(Self {
            client: Some(Client { queues, consumer }),
            cluster,
            topic,
        })
    }

    /// Begins to read a partition, which must not be started.
    pub(super) fn start(&self, partition: u32, offset: Offset) -> Result<(), LogError> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        // What was said before belongs to an earlier start. Its messages the client drops by itself.
        while self.poll(partition, Duration::ZERO).is_some() {}
        let name = self.cluster.name(self.topic);
        let from = KafkaOffset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        list(name, partition, from)
            .and_then(|list| client.consumer.incremental_assign(&list))
            .map_err(|error| {
                self.cluster.unavailable(format!(
                    "reading {name}/{partition} from offset {offset}: {error}"
                ))
            })
    }

    /// Ends to read a partition that was started.
    pub(super) fn stop(&self, partition: u32) {
        let Some(client) = &self.client else { return };
        let stopped = list(
            self.cluster.name(self.topic),
            partition,
            KafkaOffset::Invalid,
        )
        .and_then(|list| client.consumer.incremental_unassign(&list));
        if let Err(error) = stopped {
            debug!(topic = %self.topic, partition, %error, "ending to read");
        }
    }

    /// The next message of a partition that was started, or what the client says of it.
    pub(super) fn poll(
        &self,
        partition: u32,
        wait: Duration,
    ) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.client.as_ref()?.queues[partition as usize].poll(wait)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            retire(client);
        }
    }
}
