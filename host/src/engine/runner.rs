//! The loop around the core: takes partitions as the log gives them, brings each to its committed position, then
//! reads, runs and commits, computing the next step while the last one is on its way to disk or broker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    Counts, Outputs, Partition,
    takeover::{TakenOver, TakeoverError, take_over, warm_up},
};
use crate::{
    change::StopReason,
    control::Control,
    log::{Group, Lease, Log, LogError, Messages, Offset, Step, Topic},
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

/// How long to wait before a partition that cannot be taken over is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How long a stop waits for the step in hand.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// When the state of a partition is kept anew.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointEvery {
    /// After this many rows: bounds what a failed instance replays, and the memory held for it.
    pub rows: usize,
    /// After this long, if there was any row: bounds the replay of a takeover.
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

/// What the engine of this process is doing.
#[derive(Debug, Default)]
pub struct EngineStatus {
    partitions: Mutex<BTreeMap<u32, Progress>>,
    logs: Mutex<BTreeMap<String, Vec<LogLine>>>,
}

/// What it is doing on one partition that is its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether it has reached its committed position and takes new ticks.
    pub live: bool,
    /// The offset of the next message.
    pub position: Offset,
    /// Why it stands still, where it does.
    pub trouble: Option<String>,
    /// Strategies that are on it.
    pub strategies: usize,
}

impl EngineStatus {
    /// The partitions of this process, by number.
    #[must_use]
    pub fn partitions(&self) -> BTreeMap<u32, Progress> {
        self.lock().clone()
    }

    /// The newest log lines of a strategy's instances here, the oldest first.
    #[must_use]
    pub fn logs(&self, strategy: &str) -> Vec<LogLine> {
        self.logs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(strategy)
            .cloned()
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Progress>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_logs(&self, lines: Vec<(String, LogLine)>) {
        const KEPT: usize = 200;
        if lines.is_empty() {
            return;
        }
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for (strategy, line) in lines {
            let kept = logs.entry(strategy).or_default();
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push(line);
        }
    }
}

/// What every partition's thread needs.
#[derive(Clone)]
struct Context {
    log: Arc<dyn Log>,
    control: Arc<Control>,
    every: CheckpointEvery,
    status: Arc<EngineStatus>,
    stop: Arc<AtomicBool>,
}

/// Runs until `stop`: joins the engines, and owns a thread for each partition that it is given.
pub fn run(
    log: Arc<dyn Log>,
    control: Arc<Control>,
    every: CheckpointEvery,
    status: Arc<EngineStatus>,
    stop: Arc<AtomicBool>,
) {
    let context = Context {
        log,
        control,
        every,
        status,
        stop,
    };
    let mut owners: Vec<JoinHandle<()>> = Vec::new();
    while !context.stop.load(Ordering::Relaxed) {
        if let Err(error) = share(&context, &mut owners) {
            tracing::warn!(%error, "engine cannot share the partitions; trying again");
            std::thread::sleep(TRY_AGAIN.min(Duration::from_millis(500)));
        }
    }
    for owner in owners {
        drop(owner.join());
    }
}

fn share(context: &Context, owners: &mut Vec<JoinHandle<()>>) -> Result<(), LogError> {
    let mut member = context.log.join(Group::Engine)?;
    while !context.stop.load(Ordering::Relaxed) {
        let lease = member.poll(Duration::from_millis(100))?;
        owners.retain(|owner| !owner.is_finished());
        let Some(lease) = lease else { continue };
        // What an owner gave up because of the stop comes back at once.
        if context.stop.load(Ordering::Relaxed) {
            break;
        }
        let context = context.clone();
        let name = format!("engine-{}", lease.partition());
        let owner = std::thread::Builder::new()
            .name(name)
            .spawn(move || own(&context, lease));
        match owner {
            Ok(owner) => owners.push(owner),
            Err(error) => tracing::error!(%error, "no thread for a partition"),
        }
    }
    // The member stays until the partitions are given up: their last commits need it.
    for owner in owners.drain(..) {
        drop(owner.join());
    }
    Ok(())
}

/// Owns one partition until it is lost, fails, or the engine stops.
fn own(context: &Context, mut lease: Box<dyn Lease>) {
    let number = lease.partition();
    context.status.lock().insert(number, Progress::default());
    let ended =
        Owner::take_over(context, &mut *lease).and_then(|mut owner| owner.live(&mut *lease));
    match ended {
        Ok(()) => {
            context.status.lock().remove(&number);
        }
        Err(TakeoverError::Log(error @ LogError::Lost { .. })) => {
            tracing::info!(partition = number, %error, "partition given up");
            context.status.lock().remove(&number);
        }
        Err(error) => {
            tracing::error!(partition = number, %error, "partition stands still; trying again");
            metrics::counter!("wigwag_engine_partition_failures_total").increment(1);
            let progress = Progress {
                trouble: Some(error.to_string()),
                ..Progress::default()
            };
            context.status.lock().insert(number, progress);
            wait(&context.stop, TRY_AGAIN);
        }
    }
}

fn wait(stop: &AtomicBool, time: Duration) {
    let until = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A partition that is ours.
struct Owner<'a> {
    context: &'a Context,
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
    /// Version of `control` that was looked at.
    control_version: Option<u64>,
}

impl<'a> Owner<'a> {
    fn take_over(context: &'a Context, lease: &mut dyn Lease) -> Result<Self, TakeoverError> {
        let number = lease.partition();
        let committed = lease.fence()?;
        let taken = take_over(&*context.log, &context.control, number, committed)?;
        let TakenOver {
            partition,
            next_picture,
            outputs,
        } = taken;
        let position = partition.position().max(committed.unwrap_or(0));
        lease.seek(position)?;
        let now = Instant::now();
        Ok(Self {
            context,
            number,
            partition,
            next_picture,
            outputs,
            bytes: 0,
            submitted: position,
            in_hand: false,
            submitted_at: now,
            checkpoint_at: now,
            control_version: None,
        })
    }

    fn live(&mut self, lease: &mut dyn Lease) -> Result<(), TakeoverError> {
        let mut messages = Messages::new();
        while !self.context.stop.load(Ordering::Relaxed) {
            self.follow_control()?;
            messages.clear();
            let nothing_to_do = !self.in_hand && self.is_empty();
            lease.poll(
                &mut messages,
                POLL_BYTES,
                if nothing_to_do { IDLE } else { Duration::ZERO },
            )?;
            let behind = messages.bytes() >= POLL_BYTES / 2;
            let before = self.outputs.appends.len();
            self.partition.feed(messages.iter(), &mut self.outputs);
            self.bytes += self.outputs.appends[before..]
                .iter()
                .map(|a| a.key.len() + a.value.len())
                .sum::<usize>();
            self.checkpoint_if_due();
            if self.in_hand {
                let patience = if messages.is_empty() {
                    COMMIT_PATIENCE
                } else {
                    Duration::ZERO
                };
                self.in_hand = !lease.settle(patience)?;
            }
            while self.in_hand && self.is_full() {
                self.in_hand = !lease.settle(COMMIT_PATIENCE)?;
                if self.context.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            let gather = behind && !self.is_full() && self.submitted_at.elapsed() < GATHER;
            if !self.in_hand && !self.is_empty() && !gather {
                self.submit(lease)?;
            }
        }
        self.finish(lease)
    }

    /// Commits what is done, with a checkpoint, so that the next start has nothing to replay.
    fn finish(&mut self, lease: &mut dyn Lease) -> Result<(), TakeoverError> {
        let until = Instant::now() + STOP_WITHIN;
        while self.in_hand && Instant::now() < until {
            self.in_hand = !lease.settle(COMMIT_PATIENCE)?;
        }
        if self.in_hand {
            return Ok(());
        }
        if self.partition.rows_since_checkpoint() > 0 {
            self.checkpoint();
        }
        if !self.is_empty() {
            self.submit(lease)?;
            while self.in_hand && Instant::now() < until {
                self.in_hand = !lease.settle(COMMIT_PATIENCE)?;
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.outputs.appends.is_empty() && self.partition.position() <= self.submitted
    }

    const fn is_full(&self) -> bool {
        self.outputs.appends.len() >= MAX_STEP_APPENDS || self.bytes >= MAX_STEP_BYTES
    }

    fn submit(&mut self, lease: &mut dyn Lease) -> Result<(), TakeoverError> {
        let Outputs { appends, counts } = std::mem::take(&mut self.outputs);
        let position = self.partition.position().max(self.submitted);
        lease.submit(Step { position, appends })?;
        self.submitted = position;
        self.bytes = 0;
        self.in_hand = true;
        self.submitted_at = Instant::now();
        record(self.number, &counts);
        self.context.status.keep_logs(self.partition.take_logs());
        let progress = Progress {
            live: true,
            position,
            trouble: None,
            strategies: self.partition.strategies().count(),
        };
        self.context.status.lock().insert(self.number, progress);
        Ok(())
    }

    fn checkpoint_if_due(&mut self) {
        let rows = self.partition.rows_since_checkpoint();
        let every = &self.context.every;
        if rows >= every.rows || rows > 0 && self.checkpoint_at.elapsed() >= every.interval {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        let started = Instant::now();
        let picture = self.partition.picture(&mut self.outputs);
        let messages = picture.to_messages(self.number, self.next_picture);
        self.next_picture += 1;
        self.bytes += messages.iter().map(|m| m.value.len()).sum::<usize>();
        self.outputs.appends.extend(messages);
        self.checkpoint_at = Instant::now();
        metrics::histogram!("wigwag_engine_checkpoint_seconds")
            .record(started.elapsed().as_secs_f64());
    }

    /// Starts and stops strategies as `control` says, between two messages.
    fn follow_control(&mut self) -> Result<(), TakeoverError> {
        let version = self.context.control.version();
        if self.control_version == Some(version) {
            return Ok(());
        }
        let control = &self.context.control;
        let wanted = control.enabled();
        let running: Vec<Arc<Strategy>> = self.partition.strategies().cloned().collect();
        for strategy in &running {
            let now = control.definition(&strategy.id);
            let why = match now {
                None => StopReason::Removed,
                Some(now) if !now.enabled => StopReason::Disabled,
                Some(now) if !now.runs_as(strategy) => StopReason::Replaced,
                Some(_) => continue,
            };
            self.partition
                .stop(&strategy.id, why, false, &mut self.outputs);
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
                .and_then(|digest| control.find(digest));
            let Some(plugin) = plugin else { continue };
            let (messages, from) = warm_up(
                &*self.context.log,
                &self.partition,
                self.number,
                strategy,
                &plugin,
            )?;
            self.partition.start(
                strategy.clone(),
                plugin,
                &messages,
                from,
                false,
                &mut self.outputs,
            );
            let (position, id) = (self.partition.position(), &strategy.id);
            tracing::info!(
                partition = self.number,
                strategy = id,
                position,
                warmed_from = from,
                "strategy started"
            );
        }
        self.control_version = Some(version);
        let mut status = self.context.status.lock();
        let progress = status.entry(self.number).or_default();
        progress.live = true;
        progress.position = self.partition.position();
        progress.strategies = self.partition.strategies().count();
        Ok(())
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

/// How far each partition of this process is behind the log's end.
///
/// # Errors
/// Where the log does not answer.
pub fn lag(log: &dyn Log, status: &EngineStatus) -> Result<BTreeMap<u32, u64>, LogError> {
    let mut lags = BTreeMap::new();
    for (number, progress) in status.partitions() {
        let end = log.bounds(Topic::Ticks, number)?.end;
        lags.insert(number, end.saturating_sub(progress.position));
    }
    Ok(lags)
}
