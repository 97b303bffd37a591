//! Brings a partition from one offset of `ticks` to another as `changes` says that it went: strategies start and stop
//! at their offsets, and skip the rows that they skipped. Knows nothing of checkpoints and commits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    FindPlugin, Outputs, Partition, PictureError, partition::find_plugin, warm_up::read_bars,
};
use crate::{
    change::{Change, What},
    log::{Log, LogError, Messages, Offset, Reader, Start, Topic},
    strategy::{Input, Strategy},
};

/// What one poll of a replay reads at most.
const POLL_BYTES: usize = 4 << 20;

/// How long a poll waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// A read that gets nothing for this long is given up: it ends at offsets that are known to be there.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Why the past cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log does not give what is needed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A strategy that was started cannot be.
    #[error(transparent)]
    Picture(#[from] PictureError),
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
    /// Changes that were written are not there any more.
    #[error("changes/{partition}: those with the numbers {first} to {last} are gone")]
    ChangesGone {
        /// Partition.
        partition: u32,
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
    },
}

/// A partition on its way through what it has seen before.
pub struct Replay<'a> {
    log: &'a dyn Log,
    find: FindPlugin<'a>,
    number: u32,
    partition: Partition,
    /// By number, from the partition's next one on.
    changes: Vec<Change>,
    /// How many of them lie behind the partition.
    done: usize,
    reader: Box<dyn Reader>,
    messages: Messages,
    stall: Stall,
    with_signals: bool,
}

impl<'a> Replay<'a> {
    /// From where the partition is. `changes` are all of its partition, also those that it has seen.
    ///
    /// # Errors
    /// Where the log does not answer.
    pub fn start(
        log: &'a dyn Log,
        find: FindPlugin<'a>,
        mut partition: Partition,
        mut changes: Vec<Change>,
    ) -> Result<Self, ReplayError> {
        let number = partition.number();
        let reader = log.read(&[Start {
            topic: Topic::Ticks,
            partition: number,
            offset: partition.position(),
        }])?;
        changes.retain(|change| change.seq >= partition.next_change());
        changes.sort_by_key(|change| change.seq);
        // What the replay itself brings about gets numbers behind all of these.
        changes.iter().for_each(|change| partition.note(change));
        obey_until_next_start(&mut partition, &changes, None);
        Ok(Self {
            log,
            find,
            number,
            partition,
            changes,
            done: 0,
            reader,
            messages: Messages::new(),
            stall: Stall::new(),
            with_signals: false,
        })
    }

    /// From here on the signals are put out that were put out live; without it only changes that the replay itself
    /// brings about are.
    pub const fn put_out_signals(&mut self) {
        self.with_signals = true;
    }

    /// Goes on by one poll, at most up to, and without, the message at `to`; true where it has come there, and has
    /// followed the changes up to, and with, that offset.
    ///
    /// # Errors
    /// Where the log does not give what is needed, or a plugin is missing.
    pub fn step(&mut self, to: Offset, out: &mut Outputs) -> Result<bool, ReplayError> {
        let mut polled = false;
        loop {
            let turn = self.next_turn();
            let until = turn.map_or(to, |at| self.changes[at].offset.min(to));
            let position = self.partition.position();
            let due = self.messages.iter();
            let due = due.filter(|m| (position..until).contains(&m.offset));
            match self.with_signals {
                true => self.partition.recompute(due, out),
                false => self.partition.replay(due, out),
            }
            let read_to = self.reader.position(Topic::Ticks, self.number);
            if read_to < until {
                if polled {
                    return Ok(false);
                }
                (self.stall).check(Topic::Ticks, self.number, read_to, until)?;
                self.messages.clear();
                self.reader.poll(&mut self.messages, POLL_BYTES, PATIENCE)?;
                polled = true;
                continue;
            }
            match turn.filter(|&at| self.changes[at].offset <= to) {
                Some(at) => self.follow(at, out)?,
                None => return Ok(true),
            }
        }
    }

    /// The partition where it is now.
    #[must_use]
    pub const fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Makes the state here the one from which a failed instance is brought back, and forgets the rows that were held
    /// for that.
    pub fn rebase(&mut self, out: &mut Outputs) {
        self.partition.rebase_here(out);
    }

    /// Ends the replay here.
    #[must_use]
    pub fn into_partition(self) -> Partition {
        self.partition
    }

    /// The next change that starts, promotes or stops a strategy.
    fn next_turn(&self) -> Option<usize> {
        let is_turn = |change: &Change| {
            let what = &change.what;
            matches!(
                what,
                What::Start { .. } | What::Promote { .. } | What::Stop { .. }
            )
        };
        let next = self.changes[self.done..].iter().position(is_turn);
        next.map(|n| self.done + n)
    }

    /// Starts, promotes or stops what the change at this place says.
    fn follow(&mut self, at: usize, out: &mut Outputs) -> Result<(), ReplayError> {
        self.done = at + 1;
        let (change, later) = (&self.changes[at], &self.changes[at + 1..]);
        match &change.what {
            What::Start { definition, warmed } => {
                let plugin = find_plugin(definition, self.find)?;
                let (log, number) = (self.log, self.number);
                let warm_up = match (definition.input, &warmed.warmed_bars) {
                    (Input::Bars(interval), Some(range)) => {
                        read_bars(log, number, range.clone(), interval)?
                    }
                    _ => read_range(log, number, warmed.warmed_from, change.offset)?,
                };
                let strategy = Arc::new(Strategy::clone(definition));
                self.partition
                    .start(strategy, plugin, &warm_up, warmed.clone(), true, out);
                obey_until_next_start(&mut self.partition, later, Some(&change.strategy));
                if !fails_at_once(change, later) {
                    record_if_quarantined(&mut self.partition, &change.strategy, out);
                }
            }
            What::Promote { definition } => {
                let strategy = Arc::new(Strategy::clone(definition));
                self.partition.promote(strategy, true, out);
                obey_until_next_start(&mut self.partition, later, Some(&change.strategy));
                // The live run had promoted one that ran.
                record_if_quarantined(&mut self.partition, &change.strategy, out);
            }
            What::Stop { why } => self.partition.stop(&change.strategy, *why, true, out),
            What::Skip { .. } | What::Quarantine { .. } => {}
        }
        Ok(())
    }
}

/// Records that a strategy does not run here that ran live.
fn record_if_quarantined(partition: &mut Partition, strategy: &str, out: &mut Outputs) {
    let failed = (partition.status())
        .find(|slot| slot.strategy == strategy)
        .and_then(|slot| slot.quarantined);
    if let Some(reason) = failed {
        partition.record_quarantine(strategy, &reason, out);
    }
}

/// Whether it is recorded that what was started could not run.
fn fails_at_once(start: &Change, later: &[Change]) -> bool {
    let mut own = later.iter().filter(|c| c.strategy == start.strategy);
    own.next().is_some_and(|next| {
        matches!(next.what, What::Quarantine { row: 0, .. }) && next.offset == start.offset
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
            What::Start { .. } | What::Promote { .. } => over.push(&change.strategy),
            _ => partition.obey(change),
        }
    }
}

/// Notices that a read stands still.
pub struct Stall {
    position: Option<Offset>,
    since: Instant,
}

impl Stall {
    /// From now on.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it begins at a time")]
    pub fn new() -> Self {
        Self {
            position: None,
            since: Instant::now(),
        }
    }

    /// To be called before each poll with the position and the end.
    ///
    /// # Errors
    /// [`ReplayError::Stalled`] where the position has stayed the same for long.
    pub fn check(
        &mut self,
        topic: Topic,
        partition: u32,
        position: Offset,
        end: Offset,
    ) -> Result<(), ReplayError> {
        if self.position != Some(position) {
            *self = Self {
                position: Some(position),
                since: Instant::now(),
            };
        }
        if self.since.elapsed() > STALLED_AFTER {
            return Err(ReplayError::Stalled {
                topic,
                partition,
                position,
                end,
            });
        }
        Ok(())
    }
}

/// Reads what a partition of a topic holds now.
///
/// # Errors
/// Where the log does not give it.
pub fn read_all(
    log: &dyn Log,
    topic: Topic,
    partition: u32,
    take: impl FnMut(&Messages),
) -> Result<(), ReplayError> {
    let bounds = log.bounds(topic, partition)?;
    read_between(log, topic, partition, bounds.start, bounds.end, take)
}

/// The changes of a partition in the order of the log, and what is wrong with the messages that are none.
///
/// # Errors
/// Where the log does not give them.
pub fn read_changes(
    log: &dyn Log,
    partition: u32,
) -> Result<(Vec<Change>, Vec<String>), ReplayError> {
    read_changes_from(log, partition, 0)
}

/// The changes of a partition from an offset of `changes` on, as far as they are there, in the order of the log; and
/// what is wrong with the messages that are none.
///
/// # Errors
/// Where the log does not give them.
pub(super) fn read_changes_from(
    log: &dyn Log,
    partition: u32,
    from: Offset,
) -> Result<(Vec<Change>, Vec<String>), ReplayError> {
    let (mut changes, mut wrong) = (Vec::new(), Vec::new());
    let bounds = log.bounds(Topic::Changes, partition)?;
    let from = from.max(bounds.start);
    read_between(
        log,
        Topic::Changes,
        partition,
        from,
        bounds.end,
        |messages| {
            for message in messages.iter() {
                match serde_json::from_slice(message.value) {
                    Ok(change) => changes.push(change),
                    Err(error) => {
                        let offset = message.offset;
                        wrong.push(format!("changes/{partition} offset {offset}: {error}"));
                    }
                }
            }
        },
    )?;
    Ok((changes, wrong))
}

/// Refuses changes of which some are lost, from the partition's next one on: they are numbered without gaps.
///
/// # Errors
/// Names those that are not there.
pub fn check_gaps(partition: &Partition, changes: &[Change]) -> Result<(), ReplayError> {
    let mut next = partition.next_change();
    let mut seqs: Vec<u64> = changes.iter().map(|change| change.seq).collect();
    seqs.sort_unstable();
    for seq in seqs {
        if seq > next {
            return Err(ReplayError::ChangesGone {
                partition: partition.number(),
                first: next,
                last: seq - 1,
            });
        }
        next = next.max(seq + 1);
    }
    Ok(())
}

/// The messages of `ticks` from one offset up to, and without, another.
///
/// # Errors
/// Where the log does not give them.
pub(super) fn read_range(
    log: &dyn Log,
    number: u32,
    from: Offset,
    to: Offset,
) -> Result<Messages, ReplayError> {
    let mut range = Messages::new();
    read_between(log, Topic::Ticks, number, from, to, |messages| {
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
    })?;
    Ok(range)
}

/// Reads from one offset to another; what is handed over last may reach beyond.
///
/// # Errors
/// Where the log does not give it.
pub(super) fn read_between(
    log: &dyn Log,
    topic: Topic,
    partition: u32,
    from: Offset,
    to: Offset,
    mut take: impl FnMut(&Messages),
) -> Result<(), ReplayError> {
    if from >= to {
        return Ok(());
    }
    let mut reader = log.read(&[Start {
        topic,
        partition,
        offset: from,
    }])?;
    let mut messages = Messages::new();
    let mut stall = Stall::new();
    loop {
        let position = reader.position(topic, partition);
        if position >= to {
            return Ok(());
        }
        stall.check(topic, partition, position, to)?;
        messages.clear();
        reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
        take(&messages);
    }
}
