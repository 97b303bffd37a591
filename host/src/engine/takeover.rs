//! Brings a partition to its committed position: newest valid checkpoint, then a silent replay of `ticks` that
//! obeys `changes`.

use std::time::Instant;

use super::{
    Deployment, Found, Gallery, Outputs, Partition, Picture, PictureError, Replay, ReplayError,
    album::Album,
    replay::{check_gaps, read_changes_from},
};
use crate::{
    log::{Group, Log, LogError, Offset, Topic},
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
        "{0}; keep `ticks` longer than a checkpoint is old: restore them, or start anew under another --topic-prefix"
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
         restore the topic checkpoints, or start anew under another --topic-prefix ({})", wrong.join("; ")
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
    /// Checkpoints and changes are committed together with a position, which is not there.
    #[error(
        "ticks/{partition}: the engine has no committed position, and {seen} says that it had one (brokers forget the positions of a \
         group without members after offsets.retention.minutes); {RESET}"
    )]
    NoPosition {
        /// The partition.
        partition: u32,
        /// What was committed with a position.
        seen: String,
    },
    /// A checkpoint is committed together with a position at or above it, and the position is below.
    #[error(
        "ticks/{partition}: the engine's committed position is {committed}, below the checkpoint at {checkpoint} that was committed with \
         it; it was set back, and what was put out would be put out again: {RESET}"
    )]
    SetBack {
        /// The partition.
        partition: u32,
        /// The committed position.
        committed: Offset,
        /// Where the newest checkpoint was taken.
        checkpoint: Offset,
    },
}

/// How an operator gets out of it. What lies behind the newest record that was put out, put nothing out.
const RESET: &str = "set the position of the group to the offset behind the greatest one that a record of signals, values, bars or changes in \
                     this partition names, or start anew under another --topic-prefix";

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
    if let (Some(checkpoint), Some(committed)) = (found.above, committed) {
        check_moved(log, number, committed + 1)?;
        return Err(TakeoverError::SetBack {
            partition: number,
            committed,
            checkpoint,
        });
    }
    let album = found.album(log.bounds(Topic::Changes, number)?.end);
    let Found {
        picture,
        wrong,
        above,
        ..
    } = found;
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
    if committed.is_none() {
        let at = above.or(picture_at);
        let checkpoint = at.map(|at| format!("the checkpoint at {at}"));
        let change = (changes.iter().map(|change| change.offset).max())
            .map(|at| format!("a change at offset {at}"));
        if let Some(seen) = checkpoint.or(change) {
            check_moved(log, number, 0)?;
            return Err(TakeoverError::NoPosition {
                partition: number,
                seen,
            });
        }
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

    check_gaps(&partition, &changes)?;
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

/// What was read after a position was asked for may be of the next owner, which this one does not know of yet.
fn check_moved(log: &dyn Log, number: u32, since: Offset) -> Result<(), LogError> {
    match log.committed(Group::Engine, number)? {
        Some(now) if now >= since => Err(LogError::Lost {
            topic: Topic::Ticks,
            partition: number,
            detail: "another owner went on while it was taken over".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
