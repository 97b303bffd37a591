//! What a client does to commit a step, one request at a time, so that anything may happen between two of them: the
//! position, the messages, the end, the answer. Faults of a step are decided here.

use rand::RngExt as _;
use wigwag::log::{LogError, Offset, Step, Topic};

use super::{
    cluster::{Cluster, unavailable},
    group::ClientId,
    planted::Planted,
    transactions::Refused,
};

/// A step is given up after this.
const COMMIT_LIMIT_MS: u64 = 1_000;

pub(crate) type LeaseId = u64;

/// A step on its way.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(super) client: ClientId,
    pub(super) partition: u32,
    /// The assignment under which it was made.
    pub(super) hold: u64,
    pub(super) epoch: u32,
    pub(super) step: Step,
    pub(super) fate: Fate,
    pub(super) given_up_ms: u64,
    phase: Phase,
    outcome: Option<Result<(), LogError>>,
    /// Nobody waits for the outcome.
    forgotten: bool,
    /// The client is gone; only the request on its way may still arrive.
    last_request: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Position,
    /// So many messages arrived.
    Messages(usize),
    End,
    Answer,
}

/// What goes wrong with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Arrives,
    /// A message is refused, as with too few replicas; the transaction is aborted.
    Refused,
    /// A message is refused, and the request to abort is lost.
    LeftOpen,
    /// It is committed, and the answer lost.
    AnswerLost,
    /// Nothing of it moves until then.
    Delayed(u64),
    /// It is committed, and the answer comes then.
    AnswerDelayed(u64),
}

impl Commit {
    pub(super) const fn new(
        (client, partition, hold): (ClientId, u32, u64),
        epoch: u32,
        step: Step,
        fate: Fate,
        now_ms: u64,
    ) -> Self {
        Self {
            client,
            partition,
            hold,
            epoch,
            step,
            fate,
            given_up_ms: now_ms + COMMIT_LIMIT_MS,
            phase: Phase::Position,
            outcome: None,
            forgotten: false,
            last_request: false,
        }
    }
}

impl Cluster {
    /// Whether a client's step for a partition is in hand: it does not give the partition up before.
    pub(super) fn has_commit(&self, client: ClientId, partition: u32) -> bool {
        let of = |c: &Commit| {
            (c.client, c.partition) == (client, partition) && c.outcome.is_none() && !c.last_request
        };
        self.commits.values().any(of)
    }

    /// What became of a lease's step; none while it is on its way.
    pub(super) fn take_outcome(&mut self, lease: LeaseId) -> Option<Result<(), LogError>> {
        let outcome = self.commits.get_mut(&lease)?.outcome.take()?;
        self.commits.remove(&lease);
        Some(outcome)
    }

    /// A lease is dropped. A live client finishes its step; of a dead one at most one more request arrives.
    pub(super) fn forget(&mut self, lease: LeaseId) {
        let arrives = self.chance(0.5);
        let Some(commit) = self.commits.get_mut(&lease) else {
            return;
        };
        let dead = self.clients[commit.client].crashed;
        if commit.outcome.is_some() || dead && !arrives {
            self.commits.remove(&lease);
            return;
        }
        commit.forgotten = true;
        commit.last_request = dead;
    }

    /// The next request of a step, and its answer.
    pub(super) fn advance(&mut self, lease: LeaseId) {
        let Some(mut commit) = self.commits.remove(&lease) else {
            return;
        };
        if commit.outcome.is_none() {
            let client = &self.clients[commit.client];
            let waits = match commit.fate {
                Fate::Delayed(until) => self.now_ms < until,
                Fate::AnswerDelayed(until) => commit.phase == Phase::Answer && self.now_ms < until,
                _ => false,
            };
            if !commit.last_request && (client.paused || waits) {
                self.commits.insert(lease, commit);
                return;
            }
            commit.outcome = self.request(&mut commit);
        }
        if commit.last_request || commit.forgotten && commit.outcome.is_some() {
            return;
        }
        self.commits.insert(lease, commit);
    }

    fn request(&mut self, commit: &mut Commit) -> Option<Result<(), LogError>> {
        let (partition, epoch) = (commit.partition, commit.epoch);
        let late = self.now_ms > commit.given_up_ms;
        if late && commit.phase != Phase::Answer && !commit.last_request {
            return Some(Err(self.abort(commit, "it took too long")));
        }
        match commit.phase {
            Phase::Position => {
                if !self.is_ours(commit) && !self.is(Planted::OldEpoch) {
                    return Some(Err(self.lost(commit, "it moved before the commit")));
                }
                let member = (commit.client, self.clients[commit.client].generation);
                match self.send_position(partition, epoch, member, commit.step.position) {
                    Ok(()) => commit.phase = Phase::Messages(0),
                    Err(refused) => return self.refused(commit, refused),
                }
            }
            Phase::Messages(arrived) => {
                let left = commit.step.appends.len() - arrived;
                let now = match left {
                    0 | 1 => left,
                    _ => self.dice.random_range(1..=left),
                };
                for append in &commit.step.appends[arrived..arrived + now] {
                    if let Err(refused) = self.produce(partition, epoch, append) {
                        return self.refused(commit, refused);
                    }
                }
                if now < left {
                    commit.phase = Phase::Messages(arrived + now);
                    return None;
                }
                match commit.fate {
                    Fate::Refused => return Some(Err(self.abort(commit, "not enough replicas"))),
                    Fate::LeftOpen => {
                        return Some(Err(unavailable(
                            "not enough replicas, and no answer to the abort",
                        )));
                    }
                    _ => commit.phase = Phase::End,
                }
            }
            Phase::End => match self.end(partition, epoch, true) {
                Ok(()) if commit.fate != Fate::AnswerLost => commit.phase = Phase::Answer,
                Ok(()) if self.is(Planted::LostAnswerRepeated) => {
                    (commit.phase, commit.fate) = (Phase::Position, Fate::Arrives);
                }
                Ok(()) => {
                    return Some(Err(unavailable(
                        "no answer; it is not known whether it was committed",
                    )));
                }
                Err(refused) => return self.refused(commit, refused),
            },
            Phase::Answer => return Some(Ok(())),
        }
        None
    }

    /// Whether the client still holds the assignment under which the step was made.
    fn is_ours(&self, commit: &Commit) -> bool {
        self.hold(commit.client, commit.partition) == Some(commit.hold)
    }

    fn refused(&mut self, commit: &mut Commit, refused: Refused) -> Option<Result<(), LogError>> {
        match refused {
            // The client asks again.
            Refused::Busy => {
                self.write_marker(commit.partition);
                None
            }
            Refused::Fenced if self.is(Planted::OldEpoch) => {
                commit.epoch = self.init_producer(commit.partition);
                commit.phase = Phase::Position;
                None
            }
            Refused::Fenced => Some(Err(self.lost(commit, "another producer has its id"))),
            // A rebalance came across: the step is aborted, and made again if the partition is still ours.
            Refused::Generation => {
                let why = self.abort(commit, "the group is of another generation");
                commit.phase = Phase::Position;
                let again = self.is_ours(commit) || self.is(Planted::OldEpoch);
                (!again || commit.last_request).then_some(Err(why))
            }
        }
    }

    fn abort(&mut self, commit: &Commit, why: &str) -> LogError {
        match self.end(commit.partition, commit.epoch, false) {
            Ok(()) => unavailable(format!("{why}; it was aborted")),
            Err(_) => self.lost(commit, why),
        }
    }

    fn lost(&self, commit: &Commit, why: &str) -> LogError {
        lost(commit.partition, commit.step.position, why)
    }
}

pub(super) fn lost(partition: u32, position: Offset, why: &str) -> LogError {
    LogError::Lost {
        topic: Topic::Ticks,
        partition,
        detail: format!("step to offset {position}: {why}"),
    }
}
