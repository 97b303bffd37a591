//! Who consumes what. All members are in this process; the first to ask gets a partition. Which lease may commit
//! is the writer's to decide, in the order of its queue: it knows the owner that fenced last.

use super::{Shared, reader::Follower, writer::Request};
use crate::log::{Group, Lease, LogError, Member, Messages, Offset, Reader, Start, Step};
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    time::Duration,
};

/// Who has which partition.
#[derive(Default)]
pub(super) struct Seats {
    table: Mutex<Table>,
    freed: Condvar,
}

#[derive(Default)]
struct Table {
    taken: HashMap<(Group, u32), Seat>,
    /// Members and owners have numbers of one sequence; a later one is higher.
    last: u64,
}

struct Seat {
    owner: u64,
    /// None once the member has left; then another may take the partition.
    member: Option<u64>,
}

/// Membership in a group.
pub(super) struct Membership {
    shared: Arc<Shared>,
    group: Group,
    number: u64,
}

/// One partition of a group's input.
struct Ownership {
    shared: Arc<Shared>,
    group: Group,
    partition: u32,
    owner: u64,
    follower: Option<Follower>,
    in_hand: Option<mpsc::Receiver<Result<(), LogError>>>,
}

impl Membership {
    pub(super) fn new(shared: &Arc<Shared>, group: Group) -> Self {
        let mut table = shared
            .seats
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        table.last += 1;
        Self {
            shared: Arc::clone(shared),
            group,
            number: table.last,
        }
    }
}

impl Member for Membership {
    fn poll(&mut self, timeout: Duration) -> Result<Option<Box<dyn Lease>>, LogError> {
        let partitions = self.group.input().partitions(self.shared.partitions);
        let free = |table: &Table| {
            (0..partitions).find(|p| {
                table
                    .taken
                    .get(&(self.group, *p))
                    .is_none_or(|seat| seat.member.is_none())
            })
        };
        let seats = &self.shared.seats;
        let table = seats.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut table, _) = (seats.freed)
            .wait_timeout_while(table, timeout, |table| free(table).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let Some(partition) = free(&table) else {
            return Ok(None);
        };
        table.last += 1;
        let owner = table.last;
        table.taken.insert(
            (self.group, partition),
            Seat {
                owner,
                member: Some(self.number),
            },
        );
        Ok(Some(Box::new(Ownership {
            shared: Arc::clone(&self.shared),
            group: self.group,
            partition,
            owner,
            follower: None,
            in_hand: None,
        })))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut table = self
            .shared
            .seats
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for seat in table
            .taken
            .values_mut()
            .filter(|seat| seat.member == Some(self.number))
        {
            seat.member = None;
        }
        drop(table);
        self.shared.seats.freed.notify_all();
    }
}

impl Ownership {
    fn check(&self) -> Result<(), LogError> {
        let table = self
            .shared
            .seats
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match table.taken.get(&(self.group, self.partition)) {
            Some(seat) if seat.owner == self.owner => Ok(()),
            _ => Err(lost(self.group, self.partition)),
        }
    }
}

/// What a lease hears whose partition another has taken.
pub(super) fn lost(group: Group, partition: u32) -> LogError {
    let detail = format!("another member of {} took it", group.name());
    LogError::Lost {
        topic: group.input(),
        partition,
        detail,
    }
}

impl Lease for Ownership {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn fence(&mut self) -> Result<Option<Offset>, LogError> {
        self.check()?;
        let (answer, answered) = mpsc::channel();
        let (group, partition, owner) = (self.group, self.partition, self.owner);
        self.shared.send(Request::Fence {
            group,
            partition,
            owner,
            answer,
        })?;
        answered
            .recv()
            .unwrap_or_else(|_| Err(self.shared.closed()))
    }

    fn seek(&mut self, offset: Offset) -> Result<(), LogError> {
        let (topic, partition) = (self.group.input(), self.partition);
        let start = self.shared.place(topic, partition)?.start();
        if offset < start {
            return Err(LogError::Gone {
                topic,
                partition,
                offset,
                start,
            });
        }
        self.follower = Some(Follower::new(
            &self.shared,
            &[Start {
                topic,
                partition,
                offset,
            }],
        )?);
        Ok(())
    }

    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.check()?;
        match &mut self.follower {
            Some(follower) => follower.poll(into, max_bytes, timeout),
            None => Err(self.shared.unavailable(format!(
                "{}/{}: a lease was polled before it was told where to start",
                self.group.input(),
                self.partition
            ))),
        }
    }

    fn submit(&mut self, step: Step) -> Result<(), LogError> {
        let (group, partition, owner) = (self.group, self.partition, self.owner);
        if self.in_hand.is_some() {
            return Err(self.shared.unavailable(format!(
                "{}/{partition}: a step was submitted before the last one settled",
                group.input()
            )));
        }
        self.shared.admit(&step.appends)?;
        let (answer, answered) = mpsc::channel();
        self.shared.send(Request::Step {
            group,
            partition,
            owner,
            step,
            answer,
        })?;
        self.in_hand = Some(answered);
        Ok(())
    }

    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError> {
        let Some(in_hand) = &self.in_hand else {
            return Ok(true);
        };
        let settled = match in_hand.recv_timeout(timeout) {
            Ok(settled) => settled,
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(false),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.shared.closed()),
        };
        self.in_hand = None;
        settled.map(|()| true)
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if let Some(in_hand) = self.in_hand.take() {
            // The writer answers every request or ends; either way this does not wait for ever.
            let _ = in_hand.recv();
        }
        let mut table = self
            .shared
            .seats
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let place = (self.group, self.partition);
        if table
            .taken
            .get(&place)
            .is_some_and(|seat| seat.owner == self.owner)
        {
            table.taken.remove(&place);
        }
        drop(table);
        self.shared.seats.freed.notify_all();
    }
}
