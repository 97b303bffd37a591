//! The threads around the desks: takes partitions of `signals` as the log gives them, and commits for each what became of
//! its deliveries together with the position, until it is lost, fails, or the service stops. While there is no webhook,
//! nobody joins, and nothing is read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use super::{
    Options, Webhooks,
    deliver::Sender,
    desk::{Desk, Office},
};
use crate::{
    ingest::Clock,
    log::{Group, Lease, LogError, Messages, Offset, Step, Topic},
};

/// What one poll reads at most.
const POLL_BYTES: usize = 1 << 20;

/// How long a partition waits for signals where nothing is at a receiver, and for an answer where something is.
const IDLE: Duration = Duration::from_millis(25);
const BUSY: Duration = Duration::from_millis(5);

/// How often a position is committed behind which nothing happened.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long a takeover waits for what the owner before has recorded.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// How long a stop waits for answers, and then for the last step.
const ANSWERS_WITHIN: Duration = Duration::from_millis(900);
const STEP_WITHIN: Duration = Duration::from_millis(500);

/// Delivers until `stop`. To be called on a thread, within a tokio runtime.
pub fn run(webhooks: Arc<Webhooks>, options: Options, clock: Clock, stop: Arc<AtomicBool>) {
    let sender = match Sender::try_new(&options, clock) {
        Ok(sender) => sender,
        Err(error) => {
            tracing::error!(%error, "webhooks are not delivered: TLS does not start");
            return;
        }
    };
    let office = Arc::new(Office {
        log: webhooks.log().clone(),
        book: webhooks.book().clone(),
        sender,
        options,
        clock,
        runtime: tokio::runtime::Handle::current(),
        holds: Mutex::new(BTreeMap::new()),
    });
    let crew = Crew { office, stop };
    while !crew.is_stopping() {
        let book = &crew.office.book;
        if !book.is_caught_up() || book.pages().is_idle() {
            sleep(IDLE);
        } else if let Err(error) = crew.share() {
            tracing::warn!(%error, "signals are not shared for delivery; trying again");
            crew.wait(TRY_AGAIN);
        }
    }
}

#[derive(Clone)]
struct Crew {
    office: Arc<Office>,
    stop: Arc<AtomicBool>,
}

impl Crew {
    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopping() && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
    }

    /// Gives each partition that becomes ours to a thread, until the stop.
    fn share(&self) -> Result<(), LogError> {
        let mut member = self.office.log.join(Group::Notify)?;
        let mut owners: Vec<JoinHandle<()>> = Vec::new();
        while !self.is_stopping() {
            let lease = match member.poll(Duration::from_millis(100)) {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::warn!(%error, "no partitions of signals for delivery; trying again");
                    self.wait(TRY_AGAIN);
                    continue;
                }
            };
            owners.retain(|owner| !owner.is_finished());
            let Some(lease) = lease else { continue };
            let (crew, partition) = (self.clone(), lease.partition());
            let owner = std::thread::Builder::new()
                .name(format!("notify-{partition}"))
                .spawn(move || crew.own(lease));
            match owner {
                Ok(owner) => owners.push(owner),
                Err(error) => {
                    tracing::error!(partition, %error, "no thread for a partition of signals")
                }
            }
        }
        // The member stays until the partitions are given up: their last commits need it.
        for owner in owners {
            drop(owner.join());
        }
        Ok(())
    }

    fn own(&self, mut lease: Box<dyn Lease>) {
        let partition = lease.partition();
        match self.deliver(&mut *lease) {
            Ok(()) => {}
            Err(error @ LogError::Lost { .. }) => {
                tracing::info!(partition, %error, "partition of signals given up");
            }
            // The next owner may be this process again: the lease is kept for so long that it does not come at once.
            Err(error) => {
                tracing::warn!(partition, %error, "signals are not delivered; trying again");
                self.wait(TRY_AGAIN);
            }
        }
    }

    fn deliver(&self, lease: &mut dyn Lease) -> Result<(), LogError> {
        let partition = lease.partition();
        let tail = self.take_over(lease)?;
        lease.seek(tail)?;
        let mut desk = Desk::new(self.office.clone(), partition, tail);
        let mut steps = Steps::new(tail);
        let mut messages = Messages::new();
        while !self.is_stopping() {
            desk.sync();
            let next = desk.send();
            desk.catch_up();
            let wait = match desk.is_busy() || steps.in_hand {
                true => Duration::ZERO,
                false => next.unwrap_or(IDLE).min(IDLE),
            };
            messages.clear();
            match lease.poll(&mut messages, POLL_BYTES, wait) {
                Err(error @ LogError::Unavailable { .. }) => {
                    tracing::debug!(partition, %error, "no signals now");
                    sleep(IDLE);
                }
                polled => polled?,
            }
            desk.take(&messages);
            if desk.is_busy() || steps.in_hand {
                desk.hear(if messages.is_empty() {
                    BUSY
                } else {
                    Duration::ZERO
                });
            }
            steps.turn(lease, &mut desk)?;
        }
        self.finish(lease, desk, steps)
    }

    /// Waits for what is at receivers, and records it.
    fn finish(
        &self,
        lease: &mut dyn Lease,
        mut desk: Desk,
        mut steps: Steps,
    ) -> Result<(), LogError> {
        let until = Instant::now() + ANSWERS_WITHIN;
        while desk.is_busy() && Instant::now() < until {
            desk.hear(BUSY);
        }
        let until = Instant::now() + STEP_WITHIN;
        steps.is_last = true;
        while (steps.in_hand || desk.has_records()) && Instant::now() < until {
            steps.turn(lease, &mut desk)?;
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Shuts out the owner before, waits until all that it recorded is in the book, and tells where to read on.
    fn take_over(&self, lease: &mut dyn Lease) -> Result<Offset, LogError> {
        let partition = lease.partition();
        let committed = lease.fence()?;
        let log = &self.office.log;
        let recorded = log.bounds(Topic::Deliveries, partition)?.end;
        let until = Instant::now() + READ_WITHIN;
        while self.office.book.pages().positions[partition as usize] < recorded {
            if self.is_stopping() || Instant::now() > until {
                return Err(LogError::Unavailable {
                    log: format!("{}/{partition}", Topic::Deliveries),
                    detail: format!("what is recorded below offset {recorded} is not read yet"),
                });
            }
            sleep(Duration::from_millis(5));
        }
        let bounds = log.bounds(Topic::Signals, partition)?;
        let pages = self.office.book.pages();
        let standings = &pages.standings[partition as usize];
        // Those that stand at the position go on from it; others know their own place.
        let is_used = standings
            .values()
            .any(|s| s.at.is_some_and(|at| at.next.is_none()));
        match committed {
            Some(committed) if is_used => Ok(committed.max(bounds.start)),
            _ => Ok(bounds.end),
        }
    }
}

/// The step in hand, and when the next is due.
struct Steps {
    submitted: Offset,
    in_hand: bool,
    submitted_at: Instant,
    is_last: bool,
}

impl Steps {
    fn new(position: Offset) -> Self {
        Self {
            submitted: position,
            in_hand: false,
            submitted_at: Instant::now(),
            is_last: false,
        }
    }

    /// Commits what there is, one step at a time.
    fn turn(&mut self, lease: &mut dyn Lease, desk: &mut Desk) -> Result<(), LogError> {
        if self.in_hand {
            if !lease.settle(Duration::ZERO)? {
                return Ok(());
            }
            self.in_hand = false;
        }
        let is_due = self.submitted_at.elapsed() >= COMMIT_EVERY || self.is_last;
        if is_due {
            desk.publish();
        }
        let has_moved = is_due && desk.tail() > self.submitted;
        if !desk.has_records() && !has_moved {
            return Ok(());
        }
        let position = desk.tail();
        let appends = desk.take_records();
        lease.submit(Step { position, appends })?;
        self.submitted = position;
        self.in_hand = true;
        self.submitted_at = Instant::now();
        Ok(())
    }
}
