//! Brings a partition to its committed position: newest valid checkpoint, then a silent replay of `ticks` that
//! obeys `changes`. Also reads what a new strategy is warmed up with.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Deployment, Gallery, Outputs, Partition, PictureError, partition::find_plugin};
use crate::{
    change::{Change, What},
    log::{Log, LogError, Messages, Offset, Reader, Start, Topic},
    plugin::Plugin,
    strategy::Strategy,
};

/// What one poll of a replay reads at most.
const POLL_BYTES: usize = 4 << 20;

/// How long a poll waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// A read that gets nothing for this long is given up: it ends at offsets that are known to be there.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Rows with which a strategy is warmed up, at most and at least.
const MAX_WARM_UP_ROWS: usize = 200_000;
const MIN_WARM_UP_ROWS: usize = 2_000;

/// Messages among which these rows are looked for.
const MAX_WARM_UP_MESSAGES: u64 = 100_000;

/// Why a partition cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The log does not give what is needed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// There is nothing to start the replay from.
    #[error(
        "ticks/{partition}: no usable checkpoint at or below the committed offset {committed}, and ticks before {start} are gone; \
         restore the topic checkpoints, or remove the group's position to start anew ({})", wrong.join("; ")
    )]
    NoCheckpoint {
        /// The partition.
        partition: u32,
        /// The committed position.
        committed: Offset,
        /// Oldest offset of `ticks`.
        start: Offset,
        /// What is wrong with the checkpoints that there are.
        wrong: Vec<String>,
    },
    /// A read came to a stop before its end.
    #[error("{topic}/{partition}: stands at offset {position} of {end} for {} s", STALLED_AFTER.as_secs())]
    Stalled {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: u32,
        /// Where it stands.
        position: Offset,
        /// Where it should come to.
        end: Offset,
    },
}

/// A partition as it was at its committed position.
pub(super) struct TakenOver {
    pub(super) partition: Partition,
    /// The number of the next picture.
    pub(super) next_picture: u64,
    /// What the replay itself brought about; belongs into the first step.
    pub(super) outputs: Outputs,
    /// Whether there was a message or a change since the checkpoint that it began with.
    pub(super) unkept: bool,
}

pub(super) fn take_over(
    log: &dyn Log,
    deployment: &dyn Deployment,
    number: u32,
    committed: Option<Offset>,
) -> Result<TakenOver, TakeoverError> {
    let started = Instant::now();
    let ticks = log.bounds(Topic::Ticks, number)?;
    let position = committed.unwrap_or(ticks.start);
    let mut gallery = Gallery::default();
    read_all(log, Topic::Checkpoints, number, |messages| {
        gallery.add(messages)
    })?;
    let mut changes: Vec<Change> = Vec::new();
    read_all(log, Topic::Changes, number, |messages| {
        changes.extend(messages.iter().filter_map(|m| match serde_json::from_slice(m.value) {
            Ok(change) => Some(change),
            Err(error) => {
                tracing::error!(partition = number, offset = m.offset, %error, "message of changes passed over");
                None
            }
        }));
    })?;

    let (picture, wrong) = gallery.newest(position);
    for why in &wrong {
        tracing::warn!(partition = number, why, "checkpoint passed over");
    }
    let mut outputs = Outputs::default();
    let mut partition = match picture {
        Some(picture) => Partition::resume(
            number,
            picture,
            &|digest| deployment.find(digest),
            &mut outputs,
        )?,
        None if committed.is_none() => Partition::new(number, position),
        None if ticks.start == 0 => Partition::new(number, 0),
        None => {
            let start = ticks.start;
            return Err(TakeoverError::NoCheckpoint {
                partition: number,
                committed: position,
                start,
                wrong,
            });
        }
    };

    let from = partition.position();
    changes.retain(|change| change.seq >= partition.next_change());
    changes.sort_by_key(|change| change.seq);
    let mut replay = Replay::start(log, number, from, position)?;
    obey_until_next_start(&mut partition, &changes, None);
    for (n, change) in changes.iter().enumerate() {
        match &change.what {
            What::Start {
                definition,
                warmed_from,
            } => {
                replay.up_to(change.offset, &mut partition, &mut outputs)?;
                let plugin = find_plugin(definition, &|digest| deployment.find(digest))?;
                let warm_up = read_range(log, number, *warmed_from, change.offset)?;
                let strategy = Arc::new(Strategy::clone(definition));
                partition.start(strategy, plugin, &warm_up, *warmed_from, true, &mut outputs);
                obey_until_next_start(&mut partition, &changes[n + 1..], Some(&change.strategy));
            }
            What::Stop { why } => {
                replay.up_to(change.offset, &mut partition, &mut outputs)?;
                partition.stop(&change.strategy, *why, true, &mut outputs);
            }
            What::Skip { .. } | What::Quarantine { .. } => {}
        }
        partition.note(change);
    }
    replay.up_to(position, &mut partition, &mut outputs)?;
    tracing::info!(
        partition = number,
        position,
        replayed_from = from,
        strategies = partition.strategies().count(),
        symbols = partition.symbols(),
        millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "partition taken over"
    );
    let unkept = partition.position() > from || !changes.is_empty();
    Ok(TakenOver {
        partition,
        next_picture: gallery.next_seq(),
        outputs,
        unkept,
    })
}

/// Tells the partition what the runs that are now on it skipped, up to each one's next start.
fn obey_until_next_start(partition: &mut Partition, changes: &[Change], only: Option<&str>) {
    let mut over: Vec<&str> = Vec::new();
    for change in changes {
        if only.is_some_and(|only| only != change.strategy)
            || over.contains(&change.strategy.as_str())
        {
            continue;
        }
        match change.what {
            What::Start { .. } => over.push(&change.strategy),
            _ => partition.obey(change),
        }
    }
}

/// Reads `ticks` from one offset to another.
struct Replay {
    reader: Box<dyn Reader>,
    messages: Messages,
    number: u32,
    end: Offset,
}

impl Replay {
    fn start(log: &dyn Log, number: u32, from: Offset, end: Offset) -> Result<Self, LogError> {
        let reader = log.read(&[Start {
            topic: Topic::Ticks,
            partition: number,
            offset: from,
        }])?;
        Ok(Self {
            reader,
            messages: Messages::new(),
            number,
            end,
        })
    }

    /// Replays up to, and without, an offset.
    fn up_to(
        &mut self,
        offset: Offset,
        partition: &mut Partition,
        outputs: &mut Outputs,
    ) -> Result<(), TakeoverError> {
        let offset = offset.min(self.end);
        let mut stalled = Stall::new();
        loop {
            let position = partition.position();
            partition.replay(
                self.messages
                    .iter()
                    .filter(|m| (position..offset).contains(&m.offset)),
                outputs,
            );
            let read_to = self.reader.position(Topic::Ticks, self.number);
            if read_to >= offset {
                return Ok(());
            }
            stalled.check(Topic::Ticks, self.number, read_to, offset)?;
            self.messages.clear();
            self.reader.poll(&mut self.messages, POLL_BYTES, PATIENCE)?;
        }
    }
}

/// Notices that a read stands still.
struct Stall {
    position: Option<Offset>,
    since: Instant,
}

impl Stall {
    fn new() -> Self {
        Self {
            position: None,
            since: Instant::now(),
        }
    }

    fn check(
        &mut self,
        topic: Topic,
        partition: u32,
        position: Offset,
        end: Offset,
    ) -> Result<(), TakeoverError> {
        if self.position != Some(position) {
            *self = Self {
                position: Some(position),
                since: Instant::now(),
            };
        }
        if self.since.elapsed() > STALLED_AFTER {
            return Err(TakeoverError::Stalled {
                topic,
                partition,
                position,
                end,
            });
        }
        Ok(())
    }
}

/// Reads what a partition holds now.
fn read_all(
    log: &dyn Log,
    topic: Topic,
    partition: u32,
    mut take: impl FnMut(&Messages),
) -> Result<(), TakeoverError> {
    let bounds = log.bounds(topic, partition)?;
    if bounds.start >= bounds.end {
        return Ok(());
    }
    let mut reader = log.read(&[Start {
        topic,
        partition,
        offset: bounds.start,
    }])?;
    let mut messages = Messages::new();
    let mut stalled = Stall::new();
    loop {
        let position = reader.position(topic, partition);
        if position >= bounds.end {
            return Ok(());
        }
        stalled.check(topic, partition, position, bounds.end)?;
        messages.clear();
        reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
        take(&messages);
    }
}

/// The messages of `ticks` from one offset up to, and without, another.
fn read_range(
    log: &dyn Log,
    number: u32,
    from: Offset,
    to: Offset,
) -> Result<Messages, TakeoverError> {
    let mut range = Messages::new();
    if from >= to {
        return Ok(range);
    }
    let mut reader = log.read(&[Start {
        topic: Topic::Ticks,
        partition: number,
        offset: from,
    }])?;
    let mut messages = Messages::new();
    let mut stalled = Stall::new();
    loop {
        let position = reader.position(Topic::Ticks, number);
        if position >= to {
            return Ok(range);
        }
        stalled.check(Topic::Ticks, number, position, to)?;
        messages.clear();
        reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
        for m in messages.iter().filter(|m| (from..to).contains(&m.offset)) {
            range.push(
                m.topic,
                m.partition,
                m.offset,
                m.timestamp_ms,
                m.key,
                m.value,
                m.headers.iter(),
            );
        }
    }
}

/// What a strategy that starts at `to` is warmed up with, and the offset from which on that is: enough rows for
/// each symbol, as far as they are in reach.
pub(super) fn warm_up(
    log: &dyn Log,
    partition: &Partition,
    number: u32,
    strategy: &Arc<Strategy>,
    plugin: &Arc<Plugin>,
) -> Result<(Messages, Offset), TakeoverError> {
    let to = partition.position();
    let start = log.bounds(Topic::Ticks, number)?.start.min(to);
    let a_symbol = 2 * Partition::warm_up_ticks(strategy, plugin) as usize;
    let wanted = a_symbol
        .saturating_mul(partition.symbols())
        .clamp(MIN_WARM_UP_ROWS, MAX_WARM_UP_ROWS);
    let mut back = 16;
    loop {
        let from = to.saturating_sub(back).max(start);
        let messages = read_range(log, number, from, to)?;
        let rows: usize = messages
            .iter()
            .map(|m| 1 + m.value.iter().filter(|&&b| b == b'\n').count())
            .sum();
        if rows >= wanted || from == start || back >= MAX_WARM_UP_MESSAGES {
            return Ok((messages, from));
        }
        back = (back * 4).min(MAX_WARM_UP_MESSAGES);
    }
}
