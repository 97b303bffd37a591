//! One partition that is ours, a turn at a time: what was read is run, and committed while the next is computed. It has
//! no thread and no clock of its own, so that a test can drive any number of owners by the turn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    CheckpointEvery, Counts, Deployment, Outputs, Partition,
    checkpoints::{Checkpoints, Kept},
    takeover::{TakenOver, TakeoverError, take_over},
    warm_up::warm_up,
};
use crate::{
    change::StopReason,
    log::{Lease, Log, Messages, Offset, Step, Topic},
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
const MAX_STEP_APPENDS: usize = 20_000;
const MAX_STEP_BYTES: usize = 4 << 20;

/// A partition that is ours, live.
pub struct Owner {
    log: Arc<dyn Log>,
    deployment: Arc<dyn Deployment>,
    number: u32,
    partition: Partition,
    checkpoints: Checkpoints,
    /// The step in the making.
    outputs: Outputs,
    bytes: usize,
    /// Position of the step that was submitted last, and of the one that was committed last.
    submitted: Offset,
    committed: Offset,
    in_hand: bool,
    /// Whether any step was committed.
    settled: bool,
    submitted_at: Instant,
    /// The least time from one submission to the next.
    step_interval: Duration,
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
            album,
            picture_at,
            outputs,
            changed,
        } = taken;
        log.keep_from(Topic::Ticks, number, picture_at.unwrap_or(0));
        let position = partition.position().max(committed.unwrap_or(0));
        lease.seek(position)?;
        Ok(Self {
            log,
            deployment,
            number,
            partition,
            checkpoints: Checkpoints::new(every, album, picture_at, changed, now),
            outputs,
            bytes: 0,
            submitted: position,
            committed: position,
            in_hand: false,
            settled: false,
            submitted_at: now,
            step_interval: Duration::ZERO,
            deployed: None,
            messages: Messages::new(),
        })
    }

    /// Lets at least this much time pass between two steps, as long as they are not full.
    #[must_use]
    pub const fn with_step_interval(mut self, interval: Duration) -> Self {
        self.step_interval = interval;
        self
    }

    /// One round: follows `control`, reads, runs, and submits a step where none is in hand.
    ///
    /// # Errors
    /// The partition is to be taken over anew.
    pub fn turn(&mut self, lease: &mut dyn Lease, now: Instant) -> Result<(), TakeoverError> {
        // A strategy that is to be warmed up with bars waits until all that there are are committed, and a full step for
        // the one in hand: nothing more is read before.
        let waits = !self.follow_control()?;
        let read_bytes = match waits || self.in_hand && self.is_full() {
            true => 0,
            false => self.read(lease, now)?,
        };
        if !self.is_full() {
            self.bytes += self
                .checkpoints
                .turn(&mut self.partition, &mut self.outputs, now);
        }
        if self.in_hand {
            let patience = match read_bytes {
                0 => COMMIT_PATIENCE,
                _ => Duration::ZERO,
            };
            self.settle(lease, patience)?;
        }
        let behind = read_bytes >= POLL_BYTES / 2;
        let gather = behind && !self.is_full() && now.duration_since(self.submitted_at) < GATHER;
        let early = !self.is_full() && !self.early(now).is_zero();
        if !self.in_hand && !self.is_empty() && !gather && !early {
            self.submit(lease, now)?;
        }
        Ok(())
    }

    /// Runs what there is to read; says how many bytes that was.
    fn read(&mut self, lease: &mut dyn Lease, now: Instant) -> Result<usize, TakeoverError> {
        let patience = match (self.in_hand, self.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => IDLE,
            (false, false) => self.early(now).min(IDLE),
        };
        self.messages.clear();
        lease.poll(&mut self.messages, POLL_BYTES, patience)?;
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
            self.settle(lease, COMMIT_PATIENCE)?;
        }
        if self.in_hand {
            return Ok(false);
        }
        if self.checkpoints.is_wanted(&self.partition) {
            self.bytes += self
                .checkpoints
                .whole(&mut self.partition, &mut self.outputs, now);
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

    /// How long it is until the next step may go.
    fn early(&self, now: Instant) -> Duration {
        (self.step_interval).saturating_sub(now.duration_since(self.submitted_at))
    }

    const fn is_full(&self) -> bool {
        self.outputs.appends.len() >= MAX_STEP_APPENDS || self.bytes >= MAX_STEP_BYTES
    }

    fn submit(&mut self, lease: &mut dyn Lease, now: Instant) -> Result<(), TakeoverError> {
        let Outputs { appends, counts } = std::mem::take(&mut self.outputs);
        let position = self.partition.position().max(self.submitted);
        lease.submit(Step { position, appends })?;
        self.checkpoints.submitted();
        self.submitted = position;
        self.bytes = 0;
        self.in_hand = true;
        self.submitted_at = now;
        record(self.number, &counts);
        let quarantined = (self.partition.status()).filter(|slot| slot.quarantined.is_some());
        metrics::gauge!("wigwag_engine_quarantined_strategies", "partition" => self.number.to_string())
            .set(quarantined.count() as f64);
        Ok(())
    }

    fn settle(&mut self, lease: &mut dyn Lease, patience: Duration) -> Result<(), TakeoverError> {
        self.in_hand = !lease.settle(patience)?;
        if !self.in_hand {
            self.settled = true;
            self.committed = self.submitted;
            self.checkpoints.settled(&*self.log, self.number);
            metrics::histogram!("wigwag_engine_commit_seconds")
                .record(self.submitted_at.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Starts and stops strategies as the deployment says, between two messages; false where that cannot be done yet.
    fn follow_control(&mut self) -> Result<bool, TakeoverError> {
        let version = self.deployment.version();
        if self.deployed == Some(version) || self.checkpoints.holds_strategies(&self.partition) {
            return Ok(true);
        }
        let wanted = self.deployment.enabled();
        if self.committed < self.partition.position() && self.starts_on_bars(&wanted) {
            return Ok(false);
        }
        self.promote_shadows();
        let running: Vec<Arc<Strategy>> = self.partition.strategies().cloned().collect();
        for strategy in &running {
            let now = self.deployment.definition(&strategy.id);
            let why = match now {
                None => StopReason::Removed,
                Some(now) if !now.enabled => StopReason::Disabled,
                Some(now) if !now.runs_as(strategy) => StopReason::Replaced,
                Some(now) if self.is_released(strategy, &now) => StopReason::Replaced,
                Some(_) => continue,
            };
            self.partition
                .stop(&strategy.id, why, false, &mut self.outputs);
            self.checkpoints.note_change();
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
            let (messages, warmed) = warm_up(&*self.log, &self.partition, strategy, &plugin)?;
            self.partition.start(
                strategy.clone(),
                plugin,
                &messages,
                warmed.clone(),
                false,
                &mut self.outputs,
            );
            self.checkpoints.note_change();
            let (position, id) = (self.partition.position(), &strategy.id);
            tracing::info!(
                partition = self.number,
                strategy = id,
                position,
                ?warmed,
                "strategy started"
            );
        }
        self.deployed = Some(version);
        Ok(true)
    }

    /// Whether one of these that reads bars is to start.
    fn starts_on_bars(&self, wanted: &[Arc<Strategy>]) -> bool {
        let goes_on = |strategy: &Strategy| {
            let mut running = self.partition.strategies();
            let same = running.find(|running| strategy.runs_as(running));
            same.is_some_and(|running| !self.is_released(running, strategy))
        };
        let mut on_bars = wanted.iter().filter(|s| s.input.interval().is_some());
        on_bars.any(|strategy| !goes_on(strategy))
    }

    /// A shadow that computes what its strategy is now to compute takes its place.
    fn promote_shadows(&mut self) {
        let due = |shadow: &Arc<Strategy>| {
            let now = self.deployment.definition(shadow.shown_id())?;
            let mut others = self.partition.strategies();
            let is_live = others.any(|live| live.id == now.id && live.runs_as(&now));
            let fits = now.enabled && now.computes_as(shadow) && !is_live;
            (fits && self.quarantined(&shadow.id).is_none()).then_some(now)
        };
        let shadows = self.partition.strategies().filter(|s| s.is_shadow());
        let due: Vec<Arc<Strategy>> = shadows.filter_map(due).collect();
        for strategy in due {
            let (position, id) = (self.partition.position(), strategy.id.clone());
            (self.partition).promote(strategy, false, &mut self.outputs);
            self.checkpoints.note_change();
            tracing::info!(
                partition = self.number,
                strategy = id,
                position,
                "shadow promoted"
            );
        }
    }

    /// Whether a quarantined strategy was defined again, which lets it try again.
    fn is_released(&self, running: &Strategy, now: &Strategy) -> bool {
        now.version > running.version && self.quarantined(&running.id).is_some()
    }

    fn quarantined(&self, id: &str) -> Option<String> {
        let mut status = self.partition.status();
        status.find(|slot| slot.strategy == id)?.quarantined
    }

    /// Whether a step was committed, or there is nothing to commit.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.settled || !self.in_hand && self.is_empty()
    }

    /// The offset of the next message, and how many strategies run over it.
    #[must_use]
    pub fn progress(&self) -> (Offset, usize) {
        (
            self.partition.position(),
            self.partition.strategies().count(),
        )
    }

    /// The newest committed checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<Kept> {
        self.checkpoints.kept()
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
        shadow_signals,
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
        ("wigwag_engine_shadow_signals_total", shadow_signals),
        ("wigwag_engine_skipped_rows_total", skipped_rows),
        ("wigwag_engine_plugin_failures_total", failures),
    ] {
        if count > 0 {
            metrics::counter!(name, "partition" => number.to_string()).increment(count);
        }
    }
    metrics::counter!("wigwag_engine_steps_total", "partition" => number.to_string()).increment(1);
}
