//! One partition that is ours, a turn at a time: what was read is run, and committed while the next is computed. It has
//! no thread and no clock of its own, so that a test can drive any number of owners by the turn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Counts, Deployment, Outputs, Partition,
    takeover::{TakenOver, TakeoverError, take_over, warm_up},
};
use crate::{
    change::StopReason,
    log::{Lease, Log, Messages, Offset, Step},
    plugin::LogLine,
    strategy::Strategy,
};

/// What one poll reads at most: about ten thousand ticks.
const POLL_BYTES: usize = 1 << 20;

/// How long an idle partition waits for ticks: how soon a new strategy is taken up.
const IDLE: Duration = Duration::from_millis(25);

/// How long a partition without new ticks waits for its step in hand before it looks for ticks again.
const COMMIT_PATIENCE: Duration = Duration::from_millis(5);

/// A step that is behind gathers ticks for this long, so that each commit is worth its cost.
const GATHER: Duration = Duration::from_millis(25);

/// What a step may hold, in messages and bytes put out, before it waits for the one in hand.
const MAX_STEP_APPENDS: usize = 50_000;
const MAX_STEP_BYTES: usize = 16 << 20;

/// When the state of a partition is kept anew.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointEvery {
    /// After this many rows: bounds what a failed instance replays, and the memory held for it.
    pub rows: usize,
    /// After this long, if there was any message or change: bounds the replay of a takeover.
    pub interval: Duration,
}

impl Default for CheckpointEvery {
    fn default() -> Self {
        Self {
            rows: 100_000,
            interval: Duration::from_secs(10),
        }
    }
}

/// A partition that is ours, live.
pub struct Owner {
    log: Arc<dyn Log>,
    deployment: Arc<dyn Deployment>,
    every: CheckpointEvery,
    number: u32,
    partition: Partition,
    next_picture: u64,
    /// The step in the making.
    outputs: Outputs,
    bytes: usize,
    /// Position of the step that was submitted last.
    submitted: Offset,
    in_hand: bool,
    submitted_at: Instant,
    checkpoint_at: Instant,
    /// Whether there was a message or a change since the newest checkpoint. Without a new one, a takeover in the far
    /// future would need these ticks, which retention has removed by then, even where none of them counted.
    unkept: bool,
    /// Version of the deployment that was looked at.
    deployed: Option<u64>,
    /// Room for what is read.
    messages: Messages,
}

impl Owner {
    /// Shuts out every earlier owner and brings the partition to its committed position.
    ///
    /// # Errors
    /// Why that cannot be done; the lease is of no more use then.
    pub fn take_over(
        log: Arc<dyn Log>,
        deployment: Arc<dyn Deployment>,
        every: CheckpointEvery,
        lease: &mut dyn Lease,
        now: Instant,
    ) -> Result<Self, TakeoverError> {
        let number = lease.partition();
        let committed = lease.fence()?;
        let taken = take_over(&*log, &*deployment, number, committed)?;
        let TakenOver {
            partition,
            next_picture,
            outputs,
            unkept,
        } = taken;
        let position = partition.position().max(committed.unwrap_or(0));
        lease.seek(position)?;
        Ok(Self {
            log,
            deployment,
            every,
            number,
            partition,
            next_picture,
            outputs,
            bytes: 0,
            submitted: position,
            in_hand: false,
            submitted_at: now,
            checkpoint_at: now,
            unkept,
            deployed: None,
            messages: Messages::new(),
        })
    }

    /// One round: follows `control`, reads, runs, and submits a step where none is in hand.
    ///
    /// # Errors
    /// The partition is to be taken over anew.
    pub fn turn(&mut self, lease: &mut dyn Lease, now: Instant) -> Result<(), TakeoverError> {
        self.follow_control()?;
        // A full step waits for the one in hand: nothing more is read before.
        let read_bytes = match self.in_hand && self.is_full() {
            true => 0,
            false => self.read(lease)?,
        };
        self.checkpoint_if_due(now);
        if self.in_hand {
            let patience = match read_bytes {
                0 => COMMIT_PATIENCE,
                _ => Duration::ZERO,
            };
            self.in_hand = !lease.settle(patience)?;
        }
        let behind = read_bytes >= POLL_BYTES / 2;
        let gather = behind && !self.is_full() && now.duration_since(self.submitted_at) < GATHER;
        if !self.in_hand && !self.is_empty() && !gather {
            self.submit(lease, now)?;
        }
        Ok(())
    }

    /// Runs what there is to read; says how many bytes that was.
    fn read(&mut self, lease: &mut dyn Lease) -> Result<usize, TakeoverError> {
        let nothing_to_do = !self.in_hand && self.is_empty();
        let patience = if nothing_to_do { IDLE } else { Duration::ZERO };
        self.messages.clear();
        lease.poll(&mut self.messages, POLL_BYTES, patience)?;
        self.unkept |= !self.messages.is_empty();
        let before = self.outputs.appends.len();
        self.partition.feed(self.messages.iter(), &mut self.outputs);
        self.bytes += self.outputs.appends[before..]
            .iter()
            .map(|a| a.key.len() + a.value.len())
            .sum::<usize>();
        Ok(self.messages.bytes())
    }

    /// One round towards a stop: commits what is done, with a checkpoint, so that the next start has nothing to
    /// replay. True when nothing is left to do.
    ///
    /// # Errors
    /// What was not committed is done again by the next owner.
    pub fn finish(&mut self, lease: &mut dyn Lease, now: Instant) -> Result<bool, TakeoverError> {
        if self.in_hand {
            self.in_hand = !lease.settle(COMMIT_PATIENCE)?;
        }
        if self.in_hand {
            return Ok(false);
        }
        if self.unkept {
            self.checkpoint(now);
        }
        if self.is_empty() {
            return Ok(true);
        }
        self.submit(lease, now)?;
        Ok(false)
    }

    fn is_empty(&self) -> bool {
        self.outputs.appends.is_empty() && self.partition.position() <= self.submitted
    }

    const fn is_full(&self) -> bool {
        self.outputs.appends.len() >= MAX_STEP_APPENDS || self.bytes >= MAX_STEP_BYTES
    }

    fn submit(&mut self, lease: &mut dyn Lease, now: Instant) -> Result<(), TakeoverError> {
        let Outputs { appends, counts } = std::mem::take(&mut self.outputs);
        let position = self.partition.position().max(self.submitted);
        lease.submit(Step { position, appends })?;
        self.submitted = position;
        self.bytes = 0;
        self.in_hand = true;
        self.submitted_at = now;
        record(self.number, &counts);
        Ok(())
    }

    fn checkpoint_if_due(&mut self, now: Instant) {
        let rows = self.partition.rows_since_checkpoint();
        let CheckpointEvery {
            rows: most,
            interval,
        } = self.every;
        let due = now.duration_since(self.checkpoint_at) >= interval;
        if rows >= most || due && self.unkept {
            self.checkpoint(now);
        }
    }

    fn checkpoint(&mut self, now: Instant) {
        let started = Instant::now();
        let picture = self.partition.picture(&mut self.outputs);
        let messages = picture.to_messages(self.number, self.next_picture);
        self.next_picture += 1;
        self.bytes += messages.iter().map(|m| m.value.len()).sum::<usize>();
        self.outputs.appends.extend(messages);
        self.checkpoint_at = now;
        self.unkept = false;
        metrics::histogram!("wigwag_engine_checkpoint_seconds")
            .record(started.elapsed().as_secs_f64());
    }

    /// Starts and stops strategies as the deployment says, between two messages.
    fn follow_control(&mut self) -> Result<(), TakeoverError> {
        let version = self.deployment.version();
        if self.deployed == Some(version) {
            return Ok(());
        }
        let wanted = self.deployment.enabled();
        let running: Vec<Arc<Strategy>> = self.partition.strategies().cloned().collect();
        for strategy in &running {
            let now = self.deployment.definition(&strategy.id);
            let why = match now {
                None => StopReason::Removed,
                Some(now) if !now.enabled => StopReason::Disabled,
                Some(now) if !now.runs_as(strategy) => StopReason::Replaced,
                Some(_) => continue,
            };
            self.partition
                .stop(&strategy.id, why, false, &mut self.outputs);
            self.unkept = true;
            tracing::info!(
                partition = self.number,
                strategy = strategy.id,
                ?why,
                "strategy stopped"
            );
        }
        for strategy in &wanted {
            if self.partition.strategies().any(|s| s.id == strategy.id) {
                continue;
            }
            let plugin = strategy
                .plugin_digest
                .parse()
                .ok()
                .and_then(|digest| self.deployment.find(digest));
            let Some(plugin) = plugin else { continue };
            let (messages, from) =
                warm_up(&*self.log, &self.partition, self.number, strategy, &plugin)?;
            self.partition.start(
                strategy.clone(),
                plugin,
                &messages,
                from,
                false,
                &mut self.outputs,
            );
            self.unkept = true;
            let (position, id) = (self.partition.position(), &strategy.id);
            tracing::info!(
                partition = self.number,
                strategy = id,
                position,
                warmed_from = from,
                "strategy started"
            );
        }
        self.deployed = Some(version);
        Ok(())
    }

    /// The offset of the next message, and how many strategies run over it.
    #[must_use]
    pub fn progress(&self) -> (Offset, usize) {
        (
            self.partition.position(),
            self.partition.strategies().count(),
        )
    }

    /// What the plugins logged since the last look.
    pub fn take_logs(&mut self) -> Vec<(String, LogLine)> {
        self.partition.take_logs()
    }
}

fn record(number: u32, counts: &Counts) {
    let Counts {
        ticks,
        events,
        late,
        repeats,
        repeated_messages,
        unreadable,
        signals,
        skipped_rows,
        failures,
    } = *counts;
    for (name, count) in [
        ("wigwag_engine_ticks_total", ticks),
        ("wigwag_engine_events_total", events),
        ("wigwag_engine_late_ticks_total", late),
        ("wigwag_engine_repeated_ticks_total", repeats),
        ("wigwag_engine_repeated_messages_total", repeated_messages),
        ("wigwag_engine_unreadable_records_total", unreadable),
        ("wigwag_engine_signals_total", signals),
        ("wigwag_engine_skipped_rows_total", skipped_rows),
        ("wigwag_engine_plugin_failures_total", failures),
    ] {
        if count > 0 {
            metrics::counter!(name, "partition" => number.to_string()).increment(count);
        }
    }
    metrics::counter!("wigwag_engine_steps_total", "partition" => number.to_string()).increment(1);
}
