//! One process of the engine: its membership, its view of `control`, and the partitions that it owns or believes to own.
//! Does by the turn what `engine::run` does on threads.

use std::{sync::Arc, time::Instant};

use wigwag::{
    engine::{CheckpointEvery, Owner, TakeoverError},
    log::Lease as _,
};

use super::{
    client::{ModelLease, ModelLog},
    cluster::{PARTITIONS, Shared, lock},
    deployment::View,
    group::ClientId,
    planted::Planted,
};

/// A lease that was dropped is handed out again after this.
const BACKOFF_MS: u64 = 150;

pub(crate) struct Node {
    pub(crate) cluster: Shared,
    pub(crate) client: ClientId,
    pub(crate) view: Arc<View>,
    pub(crate) seats: Vec<Seat>,
    log: Arc<ModelLog>,
    backoff_ms: [u64; PARTITIONS as usize],
}

/// A lease, and the owner that lives by it.
pub(crate) struct Seat {
    pub(crate) partition: u32,
    pub(crate) hold: u64,
    pub(crate) owner: Option<Owner>,
    lease: ModelLease,
}

impl Node {
    pub(crate) fn start(cluster: &Shared, view: Arc<View>) -> Self {
        let client = lock(cluster).new_client();
        Self {
            cluster: cluster.clone(),
            client,
            view,
            seats: Vec::new(),
            log: Arc::new(ModelLog::new(cluster.clone(), Some(client))),
            backoff_ms: [0; PARTITIONS as usize],
        }
    }

    /// Takes a lease of each partition that is its own and has none.
    pub(crate) fn take_leases(&mut self) {
        for partition in 0..PARTITIONS {
            let cluster = lock(&self.cluster);
            let waits = cluster.now_ms >= self.backoff_ms[partition as usize]
                && !cluster.has_commit(self.client, partition)
                && !self.seats.iter().any(|s| s.partition == partition);
            let Some(hold) = cluster.hold(self.client, partition).filter(|_| waits) else {
                continue;
            };
            drop(cluster);
            self.seats.push(Seat {
                partition,
                hold,
                owner: None,
                lease: ModelLease::new(&self.cluster, self.client, partition, hold),
            });
        }
    }

    /// One turn of a seat: a takeover where there is no owner yet.
    ///
    /// # Errors
    /// Why the seat is no more.
    pub(crate) fn turn(
        &mut self,
        seat: usize,
        every: CheckpointEvery,
        now: Instant,
    ) -> Result<(), TakeoverError> {
        let Seat { owner, lease, .. } = &mut self.seats[seat];
        let result = match owner {
            Some(owner) => owner.turn(lease, now),
            None => {
                let taken =
                    Owner::take_over(self.log.clone(), self.view.clone(), every, lease, now);
                taken.map(|taken| *owner = Some(taken))
            }
        };
        let planted = lock(&self.cluster).planted;
        match result {
            Err(_) if planted == Some(Planted::StateKept) && self.cling(seat).is_ok() => Ok(()),
            Err(error) => {
                self.give_up(seat);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The seat is no more; its partition is taken over anew if it is still ours.
    fn give_up(&mut self, seat: usize) {
        let partition = self.seats.remove(seat).partition;
        self.backoff_ms[partition as usize] = lock(&self.cluster).now_ms + BACKOFF_MS;
    }

    /// The planted bug: the owner goes on with a new lease, from the committed position, and with the state it has.
    fn cling(&mut self, seat: usize) -> Result<(), TakeoverError> {
        let Seat {
            partition,
            hold,
            owner,
            lease,
        } = &mut self.seats[seat];
        if owner.is_none() {
            return Err(TakeoverError::Log(super::commit::lost(
                *partition, 0, "no owner",
            )));
        }
        let mut next = ModelLease::new(&self.cluster, self.client, *partition, *hold);
        let committed = next.fence()?;
        next.seek(committed.unwrap_or(0))?;
        *lease = next;
        Ok(())
    }

    /// Stops as by SIGTERM: finishes each partition, then leaves the group.
    pub(crate) fn leave(&mut self, now: Instant) {
        for Seat { owner, lease, .. } in &mut self.seats {
            let Some(owner) = owner else { continue };
            for _ in 0..20 {
                if !matches!(owner.finish(lease, now), Ok(false)) {
                    break;
                }
                lock(&self.cluster).drift(2);
            }
        }
        self.seats.clear();
        let mut cluster = lock(&self.cluster);
        cluster.drift(10);
        cluster.leave(self.client);
    }

    /// Stops as by SIGKILL.
    pub(crate) fn crash(&mut self) {
        lock(&self.cluster).client_mut(self.client).crashed = true;
        self.seats.clear();
    }
}
