//! Takes in what producers wrote to the topic `raw` themselves: what a message led to and the position after it are one
//! step, so that nothing of a message is lost or repeated.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use super::{
    Clock, Content, Options,
    batch::{Batch, Origin},
    retry::Retry,
};
use crate::log::{Group, Lease, Log, LogError, MessageRef, Messages, Offset, Step, Topic};

/// What one poll reads at most.
const POLL_BYTES: usize = 1 << 20;

/// A step that has read this much waits for the one in hand.
const MAX_STEP_BYTES: u64 = 4 << 20;

/// How long an idle partition waits for messages: how soon a stop is seen.
const IDLE: Duration = Duration::from_millis(100);

/// How long a partition without new messages waits for its step in hand before it looks for messages again.
const COMMIT_PATIENCE: Duration = Duration::from_millis(5);

/// How long a stop waits for the step in hand.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// Runs until `stop`: joins those who take in `raw`, with a thread for each partition that it is given.
pub fn run_raw_intake(log: Arc<dyn Log>, options: Options, clock: Clock, stop: Arc<AtomicBool>) {
    let intake = Intake {
        log,
        options,
        clock,
        stop,
        retries: Arc::default(),
    };
    while !intake.is_stopping() {
        if let Err(error) = intake.share() {
            intake.failed(None, &error);
        }
    }
}

#[derive(Clone)]
struct Intake {
    log: Arc<dyn Log>,
    options: Options,
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// By partition; none is the membership.
    retries: Arc<Mutex<BTreeMap<Option<u32>, Retry>>>,
}

impl Intake {
    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Notes a failure, and waits.
    fn failed(&self, partition: Option<u32>, error: &LogError) {
        let time = self.with_retry(partition, |retry| {
            if !retry.is_failing() {
                tracing::warn!(partition, %error, "raw is not taken in; trying again");
            }
            retry.failed()
        });
        let until = Instant::now() + time;
        while !self.is_stopping() && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
    }

    fn worked(&self, partition: Option<u32>) {
        let failures = self.with_retry(partition, Retry::worked);
        if failures > 0 {
            tracing::info!(partition, failures, "raw is taken in again");
        }
    }

    fn with_retry<T>(&self, partition: Option<u32>, with: impl FnOnce(&mut Retry) -> T) -> T {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        with(retries.entry(partition).or_default())
    }

    /// Gives each partition that becomes ours to a thread, until the stop.
    fn share(&self) -> Result<(), LogError> {
        let mut member = self.log.join(Group::RawIntake)?;
        let mut owners: Vec<JoinHandle<()>> = Vec::new();
        while !self.is_stopping() {
            let lease = match member.poll(IDLE) {
                Ok(lease) => lease,
                Err(error) => {
                    self.failed(None, &error);
                    continue;
                }
            };
            self.worked(None);
            owners.retain(|owner| !owner.is_finished());
            let Some(lease) = lease else { continue };
            let (intake, partition) = (self.clone(), lease.partition());
            let owner = std::thread::Builder::new()
                .name(format!("raw-{partition}"))
                .spawn(move || intake.own(lease));
            match owner {
                Ok(owner) => owners.push(owner),
                Err(error) => {
                    tracing::error!(partition, %error, "no thread for a partition of raw")
                }
            }
        }
        // The member stays until the partitions are given up: their last commits need it.
        for owner in owners {
            drop(owner.join());
        }
        Ok(())
    }

    /// Owns one partition until it is lost, fails, or the service stops.
    fn own(&self, mut lease: Box<dyn Lease>) {
        let partition = lease.partition();
        match self.take_in(&mut *lease) {
            Ok(()) => {}
            Err(error @ LogError::Lost { .. }) => {
                tracing::info!(partition, %error, "partition of raw given up");
            }
            // The next owner may be this process again: the lease is kept for so long that it does not come at once.
            Err(error) => self.failed(Some(partition), &error),
        }
    }

    fn take_in(&self, lease: &mut dyn Lease) -> Result<(), LogError> {
        let partition = lease.partition();
        let mut position = self.start(lease)?;
        lease.seek(position)?;
        let mut submitted = position;
        let mut messages = Messages::new();
        let mut batch = self.batch();
        // The step that is being committed, if there is one.
        let mut in_hand: Option<Batch> = None;
        while !self.is_stopping() {
            let is_full = batch.bytes() >= MAX_STEP_BYTES;
            if !is_full {
                messages.clear();
                let patience = if in_hand.is_some() {
                    COMMIT_PATIENCE
                } else {
                    IDLE
                };
                match lease.poll(&mut messages, POLL_BYTES, patience) {
                    Err(error @ LogError::Unavailable { .. }) => {
                        self.failed(Some(partition), &error)
                    }
                    polled => polled?,
                }
                let now = (self.clock)();
                for message in messages.iter() {
                    read(&mut batch, message, now);
                    position = message.offset + 1;
                }
            }
            if let Some(step) = &in_hand
                && lease.settle(if is_full { IDLE } else { Duration::ZERO })?
            {
                step.counts().publish();
                in_hand = None;
                self.worked(Some(partition));
            }
            if in_hand.is_none() && position > submitted {
                let mut step = std::mem::replace(&mut batch, self.batch());
                lease.submit(Step {
                    position,
                    appends: step.take_appends(),
                })?;
                submitted = position;
                in_hand = Some(step);
            }
        }
        // What was read and not submitted is read again by the next owner.
        if let Some(step) = in_hand
            && lease.settle(STOP_WITHIN)?
        {
            step.counts().publish();
        }
        Ok(())
    }

    /// The position from which to go on.
    fn start(&self, lease: &mut dyn Lease) -> Result<Offset, LogError> {
        let partition = lease.partition();
        let committed = lease.fence()?;
        let oldest = self.log.bounds(Topic::Raw, partition)?.start;
        let Some(committed) = committed.filter(|&committed| committed < oldest) else {
            return Ok(committed.unwrap_or(oldest));
        };
        // Nobody can bring them back, and to stand still would lose more.
        let lost = oldest - committed;
        tracing::error!(
            partition,
            committed,
            oldest,
            lost,
            "retention removed messages of raw before they were taken in"
        );
        metrics::counter!("wigwag_ingest_raw_gone_total").increment(lost);
        Ok(oldest)
    }

    fn batch(&self) -> Batch {
        Batch::new(self.options, self.log.partitions(), None)
    }
}

/// Reads one message: a record, an array, or NDJSON.
fn read(batch: &mut Batch, message: MessageRef<'_>, now: f64) {
    let MessageRef {
        topic,
        partition,
        offset,
        key,
        value,
        ..
    } = message;
    let source = format_args!("{topic}/{partition} offset {offset}");
    let origin = Origin {
        source: &source,
        key,
    };
    if let Err(error) = batch.read(value, Content::Auto, origin, now) {
        batch.refuse_whole(value, &error, origin, now);
    }
}
