//! Membership in a group: one thread polls the group's consumer, and says which partitions are ours. Their messages come
//! by another client (`input`), so that a rebalance pauses none that stays.
//!
//! A partition goes through: assigned → leased → a producer lives ("producing") → none lives → given up. The client
//! is told that a partition is given up only when no producer of it lives, so that nobody takes it over from under
//! a commit; all other partitions go on meanwhile.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset as KafkaOffset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use tracing::{debug, info, warn};

use super::{
    cluster::{Cluster, Health, number, spawn},
    commit::Order,
    input::Input,
    lease::KafkaLease,
};
use crate::log::{Group, Lease, LogError, Member};

/// How soon a member hears, at the latest, that another comes or goes: it is told in the answers to these.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
/// How long the thread waits for the client at a time.
const SERVE_INTERVAL: Duration = Duration::from_millis(100);
/// The same while commits are awaited.
const RELEASE_INTERVAL: Duration = Duration::from_millis(2);
/// How long a partition is held back for a commit in hand, from others and from our own next lease. It is above the limit of a
/// commit, and past it the successor's fence decides: a call of the client may never return.
const RELEASE_LIMIT: Duration = Duration::from_secs(15);
/// A lease that was dropped is handed out again after this.
const LEASE_BACKOFF: Duration = Duration::from_millis(100);
/// How long leaving the group may hold up whoever stops.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// The consumer of a group.
pub(super) type GroupConsumer = BaseConsumer<Rebalances>;

/// A member of a group.
pub(super) struct KafkaMember {
    cluster: Arc<Cluster>,
    group: Group,
    ownership: Arc<Ownership>,
    consumer: std::sync::Weak<GroupConsumer>,
    input: Arc<Input>,
    left: Receiver<()>,
}

impl KafkaMember {
    pub(super) fn new(cluster: Arc<Cluster>, group: Group) -> Result<Self, LogError> {
        let topic = group.input();
        let partitions = topic.partitions(cluster.options().partitions);
        let ownership = Arc::new(Ownership::new(partitions));
        let session = cluster.options().group_session_timeout;
        let mut config = cluster.consumer_settings();
        config
            .set("group.id", cluster.group(group))
            .set("session.timeout.ms", session.as_millis().to_string())
            .set(
                "heartbeat.interval.ms",
                (session / 4)
                    .min(HEARTBEAT_INTERVAL)
                    .as_millis()
                    .to_string(),
            )
            // A rebalance takes only the partitions that move.
            .set("partition.assignment.strategy", "cooperative-sticky");
        let context = Rebalances {
            name: cluster.name(topic).to_owned(),
            health: Arc::clone(cluster.health()),
            ownership: Arc::clone(&ownership),
        };
        let consumer: Arc<GroupConsumer> = Arc::new(cluster.create(config, context)?);
        let input = Arc::new(Input::new(Arc::clone(&cluster), topic)?);
        consumer
            .subscribe(&[cluster.name(topic)])
            .map_err(|error| {
                cluster.unavailable(format!(
                    "joining group \"{}\": {error}",
                    cluster.group(group)
                ))
            })?;
        let (leaves, left) = mpsc::channel();
        let weak = Arc::downgrade(&consumer);
        let serving = Serving {
            consumer,
            ownership: Arc::clone(&ownership),
        };
        spawn(format!("kafka-{group}", group = group.name()), move || {
            serving.run();
            drop(leaves);
        })?;
        Ok(Self {
            cluster,
            group,
            ownership,
            consumer: weak,
            input,
            left,
        })
    }
}

impl Member for KafkaMember {
    fn poll(&mut self, timeout: Duration) -> Result<Option<Box<dyn Lease>>, LogError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.ownership.state();
        loop {
            if let Some(said) = state.said.take() {
                let group = self.cluster.group(self.group);
                return Err(self
                    .cluster
                    .unavailable(format!("group \"{group}\": {said}")));
            }
            let now = Instant::now();
            if let Some((partition, epoch)) = state.lease(now) {
                drop(state);
                let lease = KafkaLease::new(
                    Arc::clone(&self.cluster),
                    self.group,
                    partition,
                    Hold {
                        ownership: Arc::clone(&self.ownership),
                        partition,
                        epoch,
                    },
                    self.consumer.clone(),
                    Arc::clone(&self.input),
                );
                return Ok(Some(Box::new(lease)));
            }
            let wake = state
                .next_lease()
                .map_or(deadline, |next| next.min(deadline));
            if now >= deadline {
                return Ok(None);
            }
            let pause = wake
                .saturating_duration_since(now)
                .max(Duration::from_millis(1));
            state = self
                .ownership
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.ownership.state().leaving = true;
        self.ownership.changed.notify_all();
        if let Err(mpsc::RecvTimeoutError::Timeout) = self.left.recv_timeout(LEAVE_LIMIT) {
            let group = self.cluster.group(self.group);
            let limit_s = LEAVE_LIMIT.as_secs();
            warn!(
                group,
                limit_s, "still leaving the group; its partitions move when the session ends"
            );
        }
    }
}

/// Which partitions are ours, and what is done with them.
pub(super) struct Ownership {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    slots: Vec<Slot>,
    /// Partitions that the client wants back.
    wanted_back: Option<WantedBack>,
    leaving: bool,
    /// What the caller of `poll` should hear.
    said: Option<String>,
}

#[derive(Clone, Default)]
struct Slot {
    ours: bool,
    /// Counts the times that it became ours.
    epoch: u64,
    /// When it last did.
    since: Option<Instant>,
    leased: bool,
    /// A producer lives, or is being made.
    producing: bool,
    /// Counts the producers that were made, and those that were given up.
    producers: u64,
    /// To the thread that has the producer.
    orders: Option<Sender<Order>>,
    /// Not to be leased before.
    backoff: Option<Instant>,
    /// When its last lease ended.
    let_go: Option<Instant>,
}

struct WantedBack {
    partitions: Vec<u32>,
    deadline: Instant,
}

impl Ownership {
    fn new(partitions: u32) -> Self {
        let slots = vec![Slot::default(); partitions as usize];
        Self {
            state: Mutex::new(State {
                slots,
                wanted_back: None,
                leaving: false,
                said: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: String) {
        self.state().said = Some(text);
        self.changed.notify_all();
    }
}

impl State {
    /// Takes a partition that waits for a lease.
    fn lease(&mut self, now: Instant) -> Option<(u32, u64)> {
        let waits = |slot: &Slot| slot.waits_until().is_some_and(|until| until <= now);
        let (partition, slot) = (0..).zip(&mut self.slots).find(|(_, slot)| waits(slot))?;
        slot.leased = true;
        Some((partition, slot.epoch))
    }

    /// When the next partition may be leased that only waits for that.
    fn next_lease(&self) -> Option<Instant> {
        self.slots.iter().filter_map(Slot::waits_until).min()
    }

    /// Gives the right to a partition.
    fn own(&mut self, partition: u32, now: Instant) {
        if let Some(slot) = self.slots.get_mut(partition as usize) {
            slot.ours = !self.leaving;
            slot.epoch += 1;
            slot.since = Some(now);
            slot.backoff = None;
        }
    }

    /// Ends the right to a partition. Its producer, where one lives, goes after the step in hand.
    fn disown(&mut self, partition: u32) {
        if let Some(slot) = self.slots.get_mut(partition as usize) {
            slot.ours = false;
            if let Some(orders) = slot.orders.take() {
                // A thread that has ended has no producer either.
                let _ = orders.send(Order::Release);
            }
        }
    }

    fn producing(&self, partition: u32) -> bool {
        self.slots
            .get(partition as usize)
            .is_some_and(|slot| slot.producing)
    }
}

impl Slot {
    /// From when on it may be leased, where it is ours and is not; none while its first producer is made.
    fn waits_until(&self) -> Option<Instant> {
        if !self.ours || self.leased {
            return None;
        }
        let backoff = self.backoff.unwrap_or(self.since?);
        match self.producing {
            true => Some(backoff.max(self.let_go? + RELEASE_LIMIT)),
            false => Some(backoff),
        }
    }
}

/// A lease's claim to its partition.
#[derive(Clone)]
pub(super) struct Hold {
    ownership: Arc<Ownership>,
    partition: u32,
    epoch: u64,
}

impl Hold {
    pub(super) fn is_ours(&self) -> bool {
        self.ours(&self.ownership.state())
    }

    fn ours(&self, state: &State) -> bool {
        state
            .slots
            .get(self.partition as usize)
            .is_some_and(|slot| slot.ours && slot.epoch == self.epoch)
    }

    /// Announces a producer; from here on the partition is not given up before the answer is dropped. None where
    /// it is not ours any more.
    pub(super) fn produce(&self) -> Option<Producing> {
        let mut state = self.ownership.state();
        if !self.ours(&state) {
            return None;
        }
        let slot = &mut state.slots[self.partition as usize];
        slot.producing = true;
        slot.producers += 1;
        Some(Producing(self.clone(), slot.producers))
    }

    /// Counts on the producer no more, which does not come back from a call: whoever makes the next one shuts it out.
    pub(super) fn give_up_producer(&self) {
        let mut state = self.ownership.state();
        if let Some(slot) = state.slots.get_mut(self.partition as usize) {
            slot.producing = false;
            slot.producers += 1;
        }
        drop(state);
        self.ownership.changed.notify_all();
    }

    /// The lease is no more.
    pub(super) fn let_go(&self) {
        let mut state = self.ownership.state();
        if let Some(slot) = state.slots.get_mut(self.partition as usize) {
            slot.leased = false;
            slot.orders = None;
            let now = Instant::now();
            slot.let_go = Some(now);
            slot.backoff = Some(now + LEASE_BACKOFF);
        }
        drop(state);
        self.ownership.changed.notify_all();
    }
}

/// While it lives, so does a producer of a partition, the one of this number.
pub(super) struct Producing(Hold, u64);

impl Producing {
    pub(super) const fn hold(&self) -> &Hold {
        &self.0
    }

    /// Where the thread that has the producer takes orders. False where the partition is not ours any more.
    pub(super) fn takes_orders(&self, orders: Sender<Order>) -> bool {
        let mut state = self.0.ownership.state();
        if !self.0.ours(&state) {
            return false;
        }
        state.slots[self.0.partition as usize].orders = Some(orders);
        true
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        let mut state = self.0.ownership.state();
        let slot = state.slots.get_mut(self.0.partition as usize);
        if let Some(slot) = slot.filter(|slot| slot.producers == self.1) {
            slot.producing = false;
        }
        drop(state);
        self.0.ownership.changed.notify_all();
    }
}

/// The consumer's ear: hears which partitions come and go. Called within the consumer's poll only.
pub(super) struct Rebalances {
    name: String,
    health: Arc<Health>,
    ownership: Arc<Ownership>,
}

impl Rebalances {
    fn assign(&self, consumer: &GroupConsumer, partitions: &[u32]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition_offset(&self.name, number(partition), KafkaOffset::End)?;
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list)?,
            _ => consumer.assign(&list)?,
        }
        // This client reads nothing.
        consumer.pause(&list)
    }

    fn give_up(&self, consumer: &GroupConsumer, partitions: &[u32]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(&self.name, number(partition));
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&list),
            _ => consumer.unassign(),
        }
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(&error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(
        &self,
        consumer: &GroupConsumer,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions: Vec<_> = list
            .elements()
            .iter()
            .filter_map(|element| u32::try_from(element.partition()).ok())
            .collect();
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            debug!(topic = self.name, ?partitions, "partitions come");
            if let Err(error) = self.assign(consumer, &partitions) {
                self.ownership
                    .say(format!("assigning {}/{partitions:?}: {error}", self.name));
                return;
            }
            let mut state = self.ownership.state();
            for partition in partitions {
                state.own(partition, Instant::now());
            }
        } else {
            debug!(
                topic = self.name,
                ?partitions,
                lost = consumer.assignment_lost(),
                "partitions go"
            );
            let mut state = self.ownership.state();
            for &partition in &partitions {
                state.disown(partition);
            }
            if !state.leaving {
                // The client waits until it is told; see `Serving`.
                state.wanted_back = Some(WantedBack {
                    partitions,
                    deadline: Instant::now() + RELEASE_LIMIT,
                });
            } else if let Err(error) = {
                drop(state);
                self.give_up(consumer, &partitions)
            } {
                debug!(topic = self.name, ?partitions, %error, "giving partitions up on leaving");
            }
        }
        self.ownership.changed.notify_all();
    }
}

/// What the thread works with.
struct Serving {
    consumer: Arc<GroupConsumer>,
    ownership: Arc<Ownership>,
}

impl Serving {
    fn run(self) {
        let mut interval = SERVE_INTERVAL;
        loop {
            match self.consumer.poll(interval) {
                // A message that came before the pause.
                None | Some(Ok(_)) => {}
                Some(Err(error)) => self.hear(&error),
            }
            // The client's own thread looks at its heartbeats when it wakes, once a second where it is asked nothing
            // (`rd_kafka_thread_main` in rdkafka.c): this question wakes it.
            let _ = self.consumer.assignment();
            interval = if self.give_back() {
                SERVE_INTERVAL
            } else {
                RELEASE_INTERVAL
            };
            if self.ownership.state().leaving {
                return self.leave();
            }
        }
    }

    /// Tells the client that partitions are given up once no producer of them lives; false while one does.
    fn give_back(&self) -> bool {
        let mut state = self.ownership.state();
        let Some(wanted) = &state.wanted_back else {
            return true;
        };
        let late = Instant::now() >= wanted.deadline;
        if !late
            && wanted
                .partitions
                .iter()
                .any(|&partition| state.producing(partition))
        {
            return false;
        }
        let partitions = state
            .wanted_back
            .take()
            .map(|wanted| wanted.partitions)
            .unwrap_or_default();
        drop(state);
        let context = self.consumer.context();
        if late {
            let limit_s = RELEASE_LIMIT.as_secs();
            warn!(
                topic = context.name,
                ?partitions,
                limit_s,
                "a commit did not end; its successor fences it"
            );
        }
        if let Err(error) = context.give_up(&self.consumer, &partitions) {
            // Happens where the client gave them up by itself, as after a lost session.
            info!(topic = context.name, ?partitions, %error, "giving partitions up");
        }
        true
    }

    /// Says to the caller what it should hear.
    fn hear(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            // What the client tries again by itself.
            None
            | Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::PartitionEOF,
            ) => {}
            Some(_) => self
                .ownership
                .say(self.consumer.context().health.told(error)),
        }
    }

    /// Waits for the steps in hand, and leaves the group.
    fn leave(self) {
        let mut state = self.ownership.state();
        for partition in (0..).take(state.slots.len()) {
            state.disown(partition);
        }
        let (state, _) = self
            .ownership
            .changed
            .wait_timeout_while(state, RELEASE_LIMIT, |state| {
                state.slots.iter().any(|slot| slot.producing)
            })
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        // A pending demand is met whether or not a commit ended in time; later ones are met as they come.
        if let Some(wanted) = &mut self.ownership.state().wanted_back {
            wanted.deadline = Instant::now();
        }
        self.give_back();
        drop(self.consumer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_does_not_end_holds_its_partition_back_for_a_time_only() {
        let ownership = Arc::new(Ownership::new(2));
        let take = |now| {
            let (partition, epoch) = ownership.state().lease(now)?;
            let ownership = Arc::clone(&ownership);
            Some(Hold {
                ownership,
                partition,
                epoch,
            })
        };
        let now = Instant::now();
        assert!(take(now).is_none(), "none is ours");
        ownership.state().own(1, now);
        let first = take(now).expect("a lease");
        assert!(take(now).is_none(), "it is leased");
        let hung = first.produce().expect("ours");
        // Taken away, and back to the same member.
        ownership.state().disown(1);
        first.let_go();
        assert!(first.produce().is_none(), "it is not ours");
        ownership.state().own(1, now);
        let soon = Instant::now() + RELEASE_LIMIT / 2;
        assert!(take(soon).is_none(), "its producer lives");
        let next = ownership.state().next_lease().expect("it waits");
        let second = take(next).expect("the hung one is shut out by the next");
        let producing = second.produce().expect("ours");
        drop(hung);
        assert!(
            ownership.state().producing(1),
            "the first is counted no more"
        );
        drop(producing);
        assert!(!ownership.state().producing(1));
    }
}
