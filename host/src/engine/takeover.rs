//! Brings a partition to its committed position: newest valid checkpoint, then a silent replay of `ticks` that
//! obeys `changes`.

use std::time::Instant;

use super::{
    Deployment, Found, Gallery, Outputs, Partition, Picture, PictureError, Replay, ReplayError,
    album::Album, replay::read_changes_from,
};
use crate::{
    log::{Log, LogError, Offset, Topic},
    plugin::Digest,
};

/// Why a partition cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The log does not give what is needed.
    #[error(transparent)]
    Log(LogError),
    /// Retention has removed ticks that a replay needs.
    #[error(
        "{0}; keep `ticks` longer than a checkpoint is old: restore them, or remove the group's position to start anew"
    )]
    TicksGone(LogError),
    /// What came after the checkpoint cannot be run again.
    #[error(transparent)]
    Replay(ReplayError),
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
}

impl From<LogError> for TakeoverError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Gone {
                topic: Topic::Ticks,
                ..
            } => Self::TicksGone(error),
            _ => Self::Log(error),
        }
    }
}

impl From<ReplayError> for TakeoverError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Log(error) => error.into(),
            _ => Self::Replay(error),
        }
    }
}

/// A partition as it was at its committed position.
pub(super) struct TakenOver {
    pub(super) partition: Partition,
    pub(super) album: Album,
    /// Where the picture that it was made of was taken, if there was one.
    pub(super) picture_at: Option<Offset>,
    /// What the replay itself brought about; belongs into the first step.
    pub(super) outputs: Outputs,
    /// Whether there was any change since the checkpoint that it began with.
    pub(super) changed: bool,
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
    let found = Gallery::search(log, number, position)?;
    let album = found.album(log.bounds(Topic::Changes, number)?.end);
    let Found { picture, wrong, .. } = found;
    for why in &wrong {
        tracing::warn!(partition = number, why, "checkpoint passed over");
    }
    let read_millis = millis_since(started);
    let picture_at = picture.as_ref().map(Picture::position);
    let changes_from = picture.as_ref().map_or(0, Picture::changes_from);
    let (changes, unreadable) = read_changes_from(log, number, changes_from)?;
    for why in &unreadable {
        tracing::error!(partition = number, why, "message of changes passed over");
    }
    let mut outputs = Outputs::default();
    let find = |digest: Digest| deployment.find(digest);
    let partition = match picture {
        Some(picture) => Partition::resume(number, picture, &find, &mut outputs)?,
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
    let changed = changes.iter().any(|c| c.seq >= partition.next_change());
    let resumed_millis = millis_since(started);
    let mut replay = Replay::start(log, &find, partition, changes)?;
    while !replay.step(position, &mut outputs)? {}
    let partition = replay.into_partition();
    tracing::info!(
        partition = number,
        position,
        replayed_from = from,
        strategies = partition.strategies().count(),
        symbols = partition.symbols(),
        read_millis,
        resumed_millis,
        millis = millis_since(started),
        "partition taken over"
    );
    Ok(TakenOver {
        partition,
        album,
        picture_at,
        outputs,
        changed,
    })
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
