//! Steps as transactions: one producer for a partition, on a thread of its own since each call of it blocks.
//!
//! The `transactional.id` stays the same for a partition, so that whoever makes the next producer shuts out this one
//! and ends what it left open.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Instant,
};

use rdkafka::{
    Offset as KafkaOffset,
    consumer::Consumer,
    error::KafkaError,
    producer::{BaseProducer, Producer},
};
use tracing::debug;

use super::{
    cluster::{ASK_LIMIT, Cluster, list, number, offset},
    hanging::Writes,
    member::{GroupConsumer, Producing},
    transaction::{AGAIN_INTERVAL, COMMIT_LIMIT, Deliveries, Fault, Transactions, left, until},
};
use crate::log::{Group, LogError, Offset, Step, Topic};

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
    transactions: Transactions,
    consumer: Arc<GroupConsumer>,
    producing: Producing,
}

/// What the owner of a partition of the group's input writes to.
fn writes(cluster: &Cluster, group: Group, partition: u32) -> Writes {
    let topics = group.output().iter().map(|topic| {
        let count = topic.partitions(cluster.options().partitions);
        let partitions = match group {
            Group::RawIntake => (0..count).map(number).collect(),
            // What they write goes to the partition of their input, or to the only one that there is.
            Group::Engine | Group::Notify => vec![number(partition.min(count - 1))],
        };
        (cluster.name(*topic).to_owned(), partitions)
    });
    Writes {
        topics: topics.collect(),
        group: Some(cluster.group(group)),
    }
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
        let id = format!("{}-{partition}", cluster.group(group));
        let writes = writes(&cluster, group, partition);
        let is_ours = || producing.hold().is_ours();
        let place = (group.input(), partition);
        let transactions = Transactions::fence(Arc::clone(&cluster), id, writes, place, is_ours)?;
        Ok(Self {
            cluster,
            group,
            partition,
            transactions,
            consumer,
            producing,
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
                    .transactions
                    .unavailable(&format!("committed position: {told}")))
            }
        }
    }

    /// Takes orders also from who gives the partition up. False where it is not ours any more.
    pub(super) fn takes_orders(&self, orders: Sender<Order>) -> bool {
        self.producing.takes_orders(orders)
    }

    /// Commits what is ordered, until released, dropped by the lease, or a step fails.
    pub(super) fn run(mut self, orders: &Receiver<Order>, outcomes: &Sender<Result<(), LogError>>) {
        while let Ok(Order::Commit(step)) = orders.recv() {
            let outcome = (self.commit(&step)).and_then(|()| self.transactions.settle());
            let failed = outcome.is_err();
            // Nobody listens where the lease was dropped meanwhile.
            let _ = outcomes.send(outcome);
            if failed {
                return;
            }
        }
    }

    fn commit(&mut self, step: &Step) -> Result<(), LogError> {
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            let position = |producer: &BaseProducer<Deliveries>| {
                self.commit_position(producer, step.position, deadline)
            };
            let attempted = (self.transactions).attempt(&step.appends, deadline, position);
            let Err(fault) = attempted else {
                return Ok(());
            };
            let aborted = !fault.fatal && self.transactions.abort();
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
                    self.transactions.lost(&detail)
                } else {
                    self.transactions.unavailable(&detail)
                });
            }
            thread::sleep(AGAIN_INTERVAL);
        }
    }

    /// The position goes first. Where the transaction before is still being ended the broker refuses, and the client
    /// asks again soon; messages would wait for a timer of 20 ms.
    fn commit_position(
        &self,
        producer: &BaseProducer<Deliveries>,
        position: Offset,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let fault = |error: &KafkaError| self.transactions.fault("position", error);
        // Metadata is taken after checking that the partition is ours: the broker checks member and generation, not
        // who owns what.
        if !self.producing.hold().is_ours() {
            return Err(Fault::lost("it moved before the commit"));
        }
        let member = self
            .consumer
            .group_metadata()
            .ok_or_else(|| Fault::lost("the member has left its group"))?;
        let position = KafkaOffset::Offset(i64::try_from(position).unwrap_or(i64::MAX));
        let positions = list(self.cluster.name(self.input()), self.partition, position)
            .map_err(|error| fault(&error))?;
        until(deadline, || {
            producer.send_offsets_to_transaction(&positions, &member, left(deadline))
        })
        .map_err(|error| fault(&error))
    }

    const fn input(&self) -> Topic {
        self.group.input()
    }
}
