//! The transaction coordinator: one transactional id a partition of `ticks`, its epochs, and the markers that end a
//! transaction in each partition that it touched, one after the other.

use wigwag::log::{Append, Offset, Topic};

use super::{
    cluster::{Cluster, PARTITIONS},
    group::ClientId,
    partition_log::TransactionId,
    planted::Planted,
};

/// An open transaction is aborted after this.
const TRANSACTION_LIMIT_MS: u64 = 4_000;

/// What the coordinator knows of one transactional id.
#[derive(Debug, Default)]
pub(super) struct Producer {
    epoch: u32,
    state: State,
    /// The group's position.
    pub(super) committed: Option<Offset>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Open(Transaction),
    /// Decided; markers are being written.
    Ending(Transaction, bool),
}

#[derive(Debug)]
struct Transaction {
    id: TransactionId,
    touched: Vec<(Topic, u32)>,
    position: Option<Offset>,
    since_ms: u64,
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another producer has this transactional id.
    Fenced,
    /// The group knows no such member of this generation.
    Generation,
    /// The transaction before is still being ended.
    Busy,
}

impl Cluster {
    /// Ends what the producer before left and shuts it out; returns the new epoch.
    pub(super) fn init_producer(&mut self, partition: u32) -> u32 {
        if self.is(Planted::NoFence) {
            return self.producers[partition as usize].epoch;
        }
        self.shut_out(partition);
        self.producers[partition as usize].epoch
    }

    /// Whoever has this transactional id has it no more; what it decided is carried out, what it left open aborted.
    pub(crate) fn shut_out(&mut self, partition: u32) {
        self.decide(partition, false);
        while self.is_ending(partition) {
            self.write_marker(partition);
        }
        self.producers[partition as usize].epoch += 1;
    }

    /// The group's position goes into the transaction. The group checks member and generation, not who owns what.
    pub(super) fn send_position(
        &mut self,
        partition: u32,
        epoch: u32,
        (client, generation): (ClientId, u32),
        position: Offset,
    ) -> Result<(), Refused> {
        let known = self.group.knows(client, generation);
        let transaction = self.open(partition, epoch)?;
        if !known {
            return Err(Refused::Generation);
        }
        transaction.position = Some(position);
        Ok(())
    }

    /// Messages go into the transaction.
    pub(super) fn produce(
        &mut self,
        partition: u32,
        epoch: u32,
        append: &Append,
    ) -> Result<(), Refused> {
        let message = self.stamped(append);
        let place = (append.topic, append.partition);
        let transaction = self.open(partition, epoch)?;
        let id = transaction.id;
        if !transaction.touched.contains(&place) {
            transaction.touched.push(place);
        }
        self.log_mut(place.0, place.1).append(Some(id), message);
        Ok(())
    }

    /// Decides what becomes of the transaction.
    pub(super) fn end(&mut self, partition: u32, epoch: u32, commit: bool) -> Result<(), Refused> {
        if self.producers[partition as usize].epoch != epoch {
            return Err(Refused::Fenced);
        }
        self.decide(partition, commit);
        Ok(())
    }

    fn open(&mut self, partition: u32, epoch: u32) -> Result<&mut Transaction, Refused> {
        let (id, since_ms) = (self.new_transaction(), self.now_ms);
        let producer = &mut self.producers[partition as usize];
        if producer.epoch != epoch {
            return Err(Refused::Fenced);
        }
        if let State::Idle = producer.state {
            producer.state = State::Open(Transaction {
                id,
                touched: Vec::new(),
                position: None,
                since_ms,
            });
        }
        match &mut producer.state {
            State::Open(transaction) => Ok(transaction),
            State::Idle | State::Ending(..) => Err(Refused::Busy),
        }
    }

    fn decide(&mut self, partition: u32, commit: bool) {
        let state = &mut self.producers[partition as usize].state;
        *state = match std::mem::take(state) {
            State::Open(transaction) => State::Ending(transaction, commit),
            other => other,
        };
    }

    pub(super) fn is_ending(&self, partition: u32) -> bool {
        matches!(self.producers[partition as usize].state, State::Ending(..))
    }

    /// Writes the next marker of a transaction that is being ended; the group's position is the last of them, or
    /// the first.
    pub(super) fn write_marker(&mut self, partition: u32) {
        let position_first = self.chance(0.5);
        let producer = &mut self.producers[partition as usize];
        let State::Ending(transaction, commit) = &mut producer.state else {
            return;
        };
        let (id, commit) = (transaction.id, *commit);
        let last = transaction.touched.is_empty();
        if let Some(position) = transaction.position.take_if(|_| position_first || last) {
            let before = producer.committed;
            if commit {
                producer.committed = Some(position);
                if before.is_some_and(|before| before > position) {
                    self.violations.push(format!(
                        "partition {partition}: the committed position went from {before:?} back to {position}"
                    ));
                }
            }
            return;
        }
        match transaction.touched.pop() {
            Some((topic, of)) => self.log_mut(topic, of).mark(id, commit),
            None => producer.state = State::Idle,
        }
    }

    pub(super) fn expire_transactions(&mut self) {
        for partition in 0..PARTITIONS {
            let state = &self.producers[partition as usize].state;
            let expired =
                matches!(state, State::Open(t) if t.since_ms + TRANSACTION_LIMIT_MS < self.now_ms);
            if expired {
                self.shut_out(partition);
            }
        }
    }

    /// The group's position in a partition of `ticks`.
    pub(crate) fn committed(&self, partition: u32) -> Option<Offset> {
        self.producers[partition as usize].committed
    }
}
