//! A partition of a group's input, while it is ours: its messages, and the steps made of them.

use std::{
    sync::{
        Arc, PoisonError, Weak,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset as KafkaOffset,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    appender,
    cluster::{ASK_LIMIT, Cluster, list, offset, spawn},
    commit::{Committer, Order},
    fetch::{self, Stopped},
    member::{GroupConsumer, Hold, Queue},
};
use crate::log::{Group, Lease, LogError, Messages, Offset, Step, Topic};

/// How long the queue is held at a time, so that a member that leaves can take it away.
const POLL_SLICE: Duration = Duration::from_millis(50);
/// Between two tries to set the position of a partition that the client is still starting.
const SEEK_INTERVAL: Duration = Duration::from_millis(2);

/// A leased partition.
pub(super) struct KafkaLease {
    cluster: Arc<Cluster>,
    group: Group,
    partition: u32,
    hold: Hold,
    consumer: Weak<GroupConsumer>,
    queue: Queue,
    /// The offset of the next message.
    next: Offset,
    /// Said by the client after messages that had to be handed over first.
    said: Option<KafkaError>,
    commits: Option<Commits>,
}

/// The way to the thread that has the producer.
struct Commits {
    orders: Sender<Order>,
    outcomes: Receiver<Result<(), LogError>>,
    /// The position of the step that has not settled.
    in_hand: Option<Offset>,
}

impl KafkaLease {
    pub(super) const fn new(
        cluster: Arc<Cluster>,
        group: Group,
        partition: u32,
        hold: Hold,
        consumer: Weak<GroupConsumer>,
        queue: Queue,
    ) -> Self {
        Self {
            cluster,
            group,
            partition,
            hold,
            consumer,
            queue,
            next: 0,
            said: None,
            commits: None,
        }
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

    /// Refuses where the partition is not ours any more.
    fn require_hold(&self) -> Result<(), LogError> {
        if self.hold.is_ours() {
            Ok(())
        } else {
            Err(self.lost("it was taken away by a rebalance"))
        }
    }

    fn consumer(&self) -> Result<Arc<GroupConsumer>, LogError> {
        self.consumer
            .upgrade()
            .ok_or_else(|| self.lost("the member has left its group"))
    }

    /// What a caller must know of what the client said.
    fn judge(&self, error: &KafkaError) -> Result<(), LogError> {
        match error.rdkafka_error_code() {
            // What the client tries again by itself.
            None
            | Some(
                RDKafkaErrorCode::PartitionEOF
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut,
            ) => return Ok(()),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                if let Some(why) =
                    self.cluster
                        .unreadable(self.input(), self.partition, self.next)?
                {
                    return Err(why);
                }
            }
            Some(_) => {}
        }
        let told = self.cluster.health().told(error);
        Err(self.cluster.unavailable(format!(
            "reading {} at offset {}: {told}",
            self.place(),
            self.next
        )))
    }

    /// Messages that come within a slice of time.
    fn fetch(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        wait: Duration,
    ) -> Result<Stopped, LogError> {
        let topic = self.group.input();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else {
            return Err(self.lost("the member has left its group"));
        };
        let next = &mut self.next;
        let seen = |message: &rdkafka::message::BorrowedMessage<'_>| {
            *next = offset(message.offset()) + 1;
            Some(topic)
        };
        Ok(fetch::fill(
            into,
            max_bytes,
            wait,
            |wait| queue.poll(wait),
            seen,
        ))
    }
}

impl Lease for KafkaLease {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn fence(&mut self) -> Result<Option<Offset>, LogError> {
        let consumer = self.consumer()?;
        let Some(producing) = self.hold.produce() else {
            return Err(self.lost("it was taken away by a rebalance"));
        };
        let committer = Committer::fence(
            Arc::clone(&self.cluster),
            self.group,
            self.partition,
            consumer,
            producing,
        )?;
        let position = committer.committed()?;
        let (orders, ordered) = mpsc::channel();
        let (reports, outcomes) = mpsc::channel();
        if !committer.takes_orders(orders.clone()) {
            return Err(self.lost("it was taken away by a rebalance"));
        }
        spawn(
            format!("commit-{}-{}", self.input(), self.partition),
            move || committer.run(&ordered, &reports),
        )?;
        self.commits = Some(Commits {
            orders,
            outcomes,
            in_hand: None,
        });
        Ok(position)
    }

    fn seek(&mut self, offset: Offset) -> Result<(), LogError> {
        if let Some(why) = self
            .cluster
            .unreadable(self.input(), self.partition, offset)?
        {
            return Err(why);
        }
        let consumer = self.consumer()?;
        let deadline = Instant::now() + ASK_LIMIT;
        let to = KafkaOffset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        loop {
            self.require_hold()?;
            let result = list(self.cluster.name(self.input()), self.partition, to)
                .and_then(|list| consumer.seek_partitions(list, ASK_LIMIT))
                .and_then(|list| {
                    list.elements()
                        .first()
                        .map_or(Ok(()), |element| element.error())
                });
            match result {
                Ok(()) => break,
                // The client is still starting, or stopping, to fetch it.
                Err(error) if Instant::now() < deadline => {
                    let starting = matches!(
                        error.rdkafka_error_code(),
                        Some(
                            RDKafkaErrorCode::State
                                | RDKafkaErrorCode::PreviousInProgress
                                | RDKafkaErrorCode::UnknownPartition
                        )
                    );
                    if !starting {
                        return Err(self
                            .cluster
                            .unavailable(format!("{} to offset {offset}: {error}", self.place())));
                    }
                    thread::sleep(SEEK_INTERVAL);
                }
                Err(error) => {
                    let (place, limit_s) = (self.place(), ASK_LIMIT.as_secs());
                    return Err(self.cluster.unavailable(format!(
                        "{place}: waited {limit_s} s to read from offset {offset}: {error}"
                    )));
                }
            }
        }
        self.next = offset;
        Ok(())
    }

    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let deadline = Instant::now() + timeout;
        let before = into.len();
        loop {
            self.require_hold()?;
            if let Some(error) = self.said.take() {
                self.judge(&error)?;
            }
            let wait = deadline
                .saturating_duration_since(Instant::now())
                .min(POLL_SLICE);
            match self.fetch(into, max_bytes, wait)? {
                // What was fetched is handed over first.
                Stopped::Said(error) => self.said = Some(error),
                Stopped::Full | Stopped::Drained => {}
            }
            if into.len() > before || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    fn submit(&mut self, step: Step) -> Result<(), LogError> {
        self.require_hold()?;
        for append in &step.appends {
            appender::check(&self.cluster, append)?;
        }
        let place = self.place();
        let Some(commits) = &mut self.commits else {
            return Err(LogError::Mismatch(format!(
                "{place}: a step before its fence"
            )));
        };
        if let Some(in_hand) = commits.in_hand {
            return Err(LogError::Mismatch(format!(
                "{place}: a step while the one to offset {in_hand} is in hand"
            )));
        }
        let position = step.position;
        if commits.orders.send(Order::Commit(step)).is_err() {
            return Err(self.lost(&format!(
                "its producer is gone before the step to offset {position}"
            )));
        }
        commits.in_hand = Some(position);
        Ok(())
    }

    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError> {
        let Some(commits) = &mut self.commits else {
            return Ok(true);
        };
        let Some(in_hand) = commits.in_hand else {
            return Ok(true);
        };
        match commits.outcomes.recv_timeout(timeout) {
            Ok(outcome) => {
                commits.in_hand = None;
                outcome.map(|()| true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                commits.in_hand = None;
                Err(self.lost(&format!(
                    "its producer is gone; the step to offset {in_hand} was not begun"
                )))
            }
        }
    }
}

impl Drop for KafkaLease {
    fn drop(&mut self) {
        // Without orders the thread ends, after the step in hand; until then the partition is not handed out again.
        self.commits = None;
        self.hold.let_go();
    }
}
