//! A partition of a group's input, while it is ours: its messages, and the steps made of them.

use std::{
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::warn;

use super::{
    account::{Account, Gap, Verdict},
    appender,
    cluster::{ASK_LIMIT, Cluster, offset, spawn},
    commit::{Committer, Order},
    fetch::{self, Stopped},
    input::Input,
    member::{GroupConsumer, Hold},
    reader::KafkaReader,
};
use crate::log::{Group, Lease, LogError, Messages, Offset, Reader as _, Start, Step, Topic};

/// How soon a poll sees that the partition was taken away.
const POLL_SLICE: Duration = Duration::from_millis(50);
/// After this long a step is given up that should have failed by itself: librdkafka 2.12.1 may wait without an end in
/// `rd_kafka_send_offsets_to_transaction` when the group's coordinator moves, whatever time it was given.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// What is read to see a message behind a gap.
const LOOK_BYTES: usize = 1;

/// A leased partition.
pub(super) struct KafkaLease {
    cluster: Arc<Cluster>,
    group: Group,
    partition: u32,
    hold: Hold,
    consumer: Weak<GroupConsumer>,
    input: Arc<Input>,
    /// Some since `seek`.
    account: Option<Account>,
    /// Said by the client after messages that had to be handed over first.
    said: Option<KafkaError>,
    commits: Option<Commits>,
}

/// The way to the thread that has the producer.
struct Commits {
    orders: Sender<Order>,
    outcomes: Receiver<Result<(), LogError>>,
    /// The position of the step that has not settled, and since when.
    in_hand: Option<(Offset, Instant)>,
}

impl KafkaLease {
    pub(super) const fn new(
        cluster: Arc<Cluster>,
        group: Group,
        partition: u32,
        hold: Hold,
        consumer: Weak<GroupConsumer>,
        input: Arc<Input>,
    ) -> Self {
        Self {
            cluster,
            group,
            partition,
            hold,
            consumer,
            input,
            account: None,
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

    /// The offset of the next message.
    fn next(&self) -> Offset {
        self.account.as_ref().map_or(0, Account::next)
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
                        .unreadable(self.input(), self.partition, self.next())?
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
            self.next()
        )))
    }

    /// Ends to read.
    fn end(&mut self) {
        if self.account.take().is_some() {
            self.input.stop(self.partition);
        }
    }

    /// Messages that come within a slice of time.
    fn fetch(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        wait: Duration,
    ) -> Result<Stopped, LogError> {
        let topic = self.group.input();
        let Some(account) = &mut self.account else {
            return Ok(Stopped::Drained);
        };
        let mut gaps = Vec::new();
        let (input, partition) = (&self.input, self.partition);
        let stopped = fetch::fill(
            into,
            max_bytes,
            wait,
            |wait| input.poll(partition, wait),
            |message| {
                match account.take(offset(message.offset())) {
                    Verdict::Next => {}
                    Verdict::After(gap) => gaps.push(gap),
                    Verdict::Repeat => return None,
                }
                Some(topic)
            },
        );
        for gap in gaps {
            // The messages behind it are handed over already: this lease must not be polled again.
            self.explain(gap)
                .map_err(|error| self.lost(&error.to_string()))?;
        }
        Ok(stopped)
    }

    /// Asks a client that knows nothing of this one whether there is no message in a gap. Offsets alone do not tell:
    /// transactions leave markers, and aborted ones messages that nobody sees.
    fn explain(&self, gap: Gap) -> Result<(), LogError> {
        let start = Start {
            topic: self.input(),
            partition: self.partition,
            offset: gap.from,
        };
        let mut reader = KafkaReader::new(Arc::clone(&self.cluster), &[start])?;
        let mut found = Messages::new();
        let deadline = Instant::now() + ASK_LIMIT;
        while found.is_empty() && Instant::now() < deadline {
            self.require_hold()?;
            reader.poll(&mut found, LOOK_BYTES, POLL_SLICE)?;
        }
        let place = self.place();
        let Gap { from, to } = gap;
        match found.iter().next().map(|message| message.offset) {
            Some(first) if first == to => Ok(()),
            Some(first) => {
                warn!(topic = %self.input(), partition = self.partition, from, to, first, "the client passed messages over; they are read again");
                Err(self.cluster.unavailable(format!(
                    "{place}: the client went from offset {from} to {to} and passed over {first}; read again from {from}"
                )))
            }
            None => Err(self.cluster.unavailable(format!(
                "{place}: waited {} s to see what lies between offset {from} and {to}",
                ASK_LIMIT.as_secs()
            ))),
        }
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
        self.require_hold()?;
        self.end();
        self.input.start(self.partition, offset)?;
        self.account = Some(Account::new(offset));
        Ok(())
    }

    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        if self.account.is_none() {
            let place = self.place();
            return Err(LogError::Mismatch(format!(
                "{place}: a poll before its seek"
            )));
        }
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
        if let Some((in_hand, _)) = commits.in_hand {
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
        commits.in_hand = Some((position, Instant::now()));
        Ok(())
    }

    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError> {
        let Some(commits) = &mut self.commits else {
            return Ok(true);
        };
        let Some((in_hand, since)) = commits.in_hand else {
            return Ok(true);
        };
        match commits.outcomes.recv_timeout(timeout) {
            Ok(outcome) => {
                commits.in_hand = None;
                outcome.map(|()| true)
            }
            Err(RecvTimeoutError::Timeout) if since.elapsed() < SETTLE_LIMIT => Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                self.commits = None;
                self.hold.give_up_producer();
                let (place, limit_s) = (self.place(), SETTLE_LIMIT.as_secs());
                warn!(topic = %self.input(), partition = self.partition, position = in_hand, limit_s, "the client does not come back from a commit; another takes its place");
                Err(self.cluster.unavailable(format!(
                    "{place}: step to offset {in_hand}: the client said nothing for {limit_s} s; it is not known whether it was committed"
                )))
            }
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
        self.end();
        // Without orders the thread ends, after the step in hand; until then the partition is not handed out again.
        self.commits = None;
        self.hold.let_go();
    }
}
