//! The comparison of one partition: signals as they are recomputed on one side, the topic `signals` on the other, each
//! read once and held no longer than until they meet. Between strategies the order in the topic depends on how batches
//! were split, so they meet by strategy, where the order is that of the ticks.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

use hashbrown::HashMap;

use super::{
    Difference, Kind, Stored,
    partition::{CannotTell, change_of},
    record::{Id, Other, Place},
};
use crate::{
    change::{Change, What},
    engine::Stall,
    log::{Append, Log, MessageRef, Messages, Offset, Reader, Start, Topic},
};

/// What one poll of `signals` reads.
const POLL_BYTES: usize = 2 << 20;

/// How long a poll waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// A signal is appended after its tick, but by the clock of another broker perhaps, and clocks jump: so much earlier the
/// reading begins.
const CLOCKS_APART_MS: i64 = 60 * 60 * 1000;

/// A batch of the engine puts out one strategy after the other, so that signals for later ticks may stand before others.
/// Once the topic has gone on by more offsets, or more signals of a strategy wait, than any batch has, one is missing.
const BATCH_OFFSETS: Offset = 200_000;
const BATCH_SIGNALS: usize = 250_000;

/// Reasons that are told at most.
const MAX_UNKNOWN: usize = 20;

/// The two sides, as far as they have come.
pub(super) struct Comparison {
    partition: u32,
    range: Range<Offset>,
    /// The position that was committed before the end was seen, and the last signal that is of no tick before it.
    committed: Offset,
    past: Option<Difference>,
    reader: Box<dyn Reader>,
    /// Of the topic, as it was seen first.
    end: Offset,
    messages: Messages,
    /// The message of these that comes next.
    next: usize,
    stall: Stall,
    lanes: HashMap<String, Lane>,
    unsure: Vec<Unsure>,
    /// Where each strategy was started.
    starts: Vec<(String, Offset)>,
    unknown: Vec<String>,
}

/// One strategy.
#[derive(Default)]
struct Lane {
    /// Recomputed, and not met yet.
    made: VecDeque<Made>,
    /// What met last.
    last: Option<Place>,
    same: u64,
}

struct Made {
    place: Place,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What cannot be told of a strategy: its signals from a place up to the offset where it was started anew.
struct Unsure {
    strategy: String,
    from: Place,
    until: Offset,
}

/// How far a look at what was read came.
enum Looked {
    Through,
    /// A signal comes next that is not recomputed yet.
    Ahead,
    Differs(Box<Difference>),
}

impl Comparison {
    /// Begins to read `signals` where those of the range's first tick may stand, up to `end`.
    ///
    /// # Errors
    /// Where the log does not answer, or has forgotten signals of the range.
    pub(super) fn start(
        log: &dyn Log,
        partition: u32,
        range: Range<Offset>,
        (committed, end): (Offset, Offset),
        changes: &[Change],
    ) -> Result<Self, CannotTell> {
        let offset = begin_at(log, partition, &range, end)?;
        let reader = log.read(&[Start {
            topic: Topic::Signals,
            partition,
            offset,
        }])?;
        let starts = changes
            .iter()
            .filter(|change| matches!(change.what, What::Start { .. } | What::Promote { .. }))
            .map(|change| (change.strategy.clone(), change.offset))
            .collect();
        Ok(Self {
            partition,
            range,
            committed,
            past: None,
            reader,
            end,
            messages: Messages::new(),
            next: 0,
            stall: Stall::new(),
            lanes: HashMap::new(),
            unsure: Vec::new(),
            starts,
            unknown: Vec::new(),
        })
    }

    /// Takes what was recomputed, in its order.
    pub(super) fn take(&mut self, appends: Vec<Append>) {
        for append in appends {
            if let Some(change) = change_of(&append) {
                self.give_up(&change);
                let Change {
                    strategy, offset, ..
                } = &change;
                if let What::Quarantine { row, reason } = &change.what {
                    let partition = self.partition;
                    self.cannot_tell(format!(
                        "strategy {strategy:?} fails at ticks/{partition} offset {offset}, row {row}, and it is not recorded that it did: {reason}"
                    ));
                }
                continue;
            }
            let id = Id::of(&append.value).filter(|_| append.topic == Topic::Signals);
            let Some(id) = id.filter(|id| self.range.contains(&id.place.offset)) else {
                continue;
            };
            let place = id.place;
            let made = |Append { key, value, .. }| Made { place, key, value };
            if let Some(lane) = self.lanes.get_mut(id.strategy) {
                lane.made.push_back(made(append));
            } else {
                let strategy = id.strategy.to_owned();
                let lane = self.lanes.entry(strategy).or_default();
                lane.made.push_back(made(append));
            }
        }
    }

    /// Compares no signals of a strategy from a quarantine on that the live run did not know of when it passed the place.
    pub(super) fn give_up(&mut self, change: &Change) {
        let What::Quarantine { row, .. } = change.what else {
            return;
        };
        let later = |(strategy, offset): &&(String, Offset)| {
            *strategy == change.strategy && *offset > change.offset
        };
        let until = self.starts.iter().find(later).map_or(Offset::MAX, |s| s.1);
        self.unsure.push(Unsure {
            strategy: change.strategy.clone(),
            from: Place {
                offset: change.offset,
                row,
                n: 0,
            },
            until,
        });
    }

    /// Reads the topic on, as far as signals below `upto` are recomputed.
    ///
    /// # Errors
    /// Where the log does not give it.
    pub(super) fn read_on(&mut self, upto: Offset) -> Result<Option<Difference>, CannotTell> {
        loop {
            let messages = std::mem::take(&mut self.messages);
            let looked = self.look(&messages, upto);
            self.messages = messages;
            match looked {
                Looked::Differs(difference) => return Ok(Some(*difference)),
                Looked::Ahead => {
                    return Ok(self.missing(upto.saturating_sub(BATCH_OFFSETS), BATCH_SIGNALS));
                }
                Looked::Through => {}
            }
            let position = self.reader.position(Topic::Signals, self.partition);
            if position >= self.end {
                return Ok(self.missing(upto, 0));
            }
            self.stall
                .check(Topic::Signals, self.partition, position, self.end)?;
            self.messages.clear();
            self.next = 0;
            self.reader.poll(&mut self.messages, POLL_BYTES, PATIENCE)?;
        }
    }

    /// Reads the rest: everything is recomputed.
    ///
    /// # Errors
    /// Where the log does not give it.
    pub(super) fn finish(&mut self) -> Result<Option<Difference>, CannotTell> {
        self.read_on(Offset::MAX)
    }

    /// The last signal that is of no tick before the position that was committed when the reading began.
    pub(super) fn take_past(&mut self) -> Option<Difference> {
        self.past.take()
    }

    /// How many signals of each strategy were the same, and what could not be told.
    pub(super) fn into_counts(self) -> (BTreeMap<String, u64>, Vec<String>) {
        let same = |(strategy, lane): (String, Lane)| (strategy, lane.same);
        (self.lanes.into_iter().map(same).collect(), self.unknown)
    }

    fn look(&mut self, messages: &Messages, upto: Offset) -> Looked {
        for message in messages.iter().skip(self.next) {
            // What came after the end was seen belongs to no tick of the range.
            if message.offset >= self.end {
                return Looked::Through;
            }
            let form;
            let id = match Id::of(message.value) {
                Some(id) => id,
                None => match Other::of(message.value) {
                    Other::Form(strategy, partition, place) => {
                        form = strategy;
                        let strategy = form.as_str();
                        Id {
                            strategy,
                            partition,
                            place,
                        }
                    }
                    other => {
                        self.pass_over(message, &other);
                        self.next += 1;
                        continue;
                    }
                },
            };
            if self.range.contains(&id.place.offset) {
                if id.place.offset >= upto {
                    return Looked::Ahead;
                }
                if let Some(difference) = self.meet(id, message) {
                    return Looked::Differs(Box::new(difference));
                }
            }
            if id.place.offset >= self.committed {
                self.past = Some(Difference::of(
                    Kind::Extra,
                    id.strategy,
                    self.partition,
                    id.place,
                    None,
                    Some(Stored::of(message)),
                ));
            }
            self.next += 1;
        }
        Looked::Through
    }

    /// What can be told of a stored signal.
    fn meet(&mut self, id: Id<'_>, message: MessageRef<'_>) -> Option<Difference> {
        if self.is_unsure(id.strategy, id.place) {
            return None;
        }
        let lane = match self.lanes.get_mut(id.strategy) {
            Some(lane) => lane,
            None => self.lanes.entry(id.strategy.to_owned()).or_default(),
        };
        let made = lane.made.front();
        let kind = match made {
            _ if id.partition != self.partition => Kind::Extra,
            Some(made) if made.place == id.place => {
                if made.value == message.value
                    && made.key == message.key
                    && message.headers.is_empty()
                {
                    lane.last = Some(id.place);
                    lane.same += 1;
                    lane.made.pop_front();
                    return None;
                }
                Kind::Changed
            }
            _ if lane.last.is_some_and(|last| last >= id.place) => Kind::Repeated,
            Some(made) if made.place < id.place => Kind::Missing,
            _ => Kind::Extra,
        };
        let made = made.filter(|_| matches!(kind, Kind::Changed | Kind::Missing));
        let place = made.map_or(id.place, |made| made.place);
        Some(Difference::of(
            kind,
            id.strategy,
            self.partition,
            place,
            made.map(|made| &*made.value),
            Some(Stored::of(message)),
        ))
    }

    /// The first signal that has not met, of those for ticks below an offset or before more of their strategy.
    fn missing(&self, below: Offset, waiting: usize) -> Option<Difference> {
        let mut first: Option<(&str, &Made)> = None;
        for (strategy, lane) in &self.lanes {
            let is_late = lane.made.len() > waiting;
            let is_missing = |made: &&Made| {
                (is_late || made.place.offset < below) && !self.is_unsure(strategy, made.place)
            };
            if let Some(made) = lane.made.front().filter(is_missing)
                && first.is_none_or(|(_, other)| made.place < other.place)
            {
                first = Some((strategy, made));
            }
        }
        let (strategy, made) = first?;
        Some(Difference::of(
            Kind::Missing,
            strategy,
            self.partition,
            made.place,
            Some(&made.value),
            None,
        ))
    }

    fn is_unsure(&self, strategy: &str, place: Place) -> bool {
        self.unsure.iter().any(|unsure| {
            unsure.strategy == strategy && place >= unsure.from && place.offset < unsure.until
        })
    }

    fn pass_over(&mut self, message: MessageRef<'_>, other: &Other) {
        let (partition, offset) = (self.partition, message.offset);
        self.cannot_tell(match other {
            Other::Schema(schema, _) => format!(
                "signals/{partition} offset {offset} has schema {schema}; this program compares {}",
                crate::signal::SCHEMA
            ),
            _ => format!("signals/{partition} offset {offset} is no signal"),
        });
        if let Other::Schema(_, Some((strategy, place))) = other
            && let Some(lane) = self.lanes.get_mut(strategy)
        {
            lane.made.pop_front_if(|made| made.place == *place);
        }
    }

    fn cannot_tell(&mut self, why: String) {
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.push(why);
        }
    }
}

/// The offset of `signals` at which those of the range begin, or somewhat before.
fn begin_at(
    log: &dyn Log,
    partition: u32,
    range: &Range<Offset>,
    end: Offset,
) -> Result<Offset, CannotTell> {
    if range.is_empty() {
        return Ok(end);
    }
    let start = log.bounds(Topic::Signals, partition)?.start;
    if start == 0 && range.start == 0 {
        return Ok(0);
    }
    let Some(tick_ms) = appended_ms(log, Topic::Ticks, partition, range.start, range.end)? else {
        return Ok(start);
    };
    if start > 0 {
        let kept_ms = appended_ms(log, Topic::Signals, partition, start, end)?;
        if kept_ms.is_none_or(|kept_ms| kept_ms > tick_ms) {
            return Err(CannotTell::Because(format!(
                "signals/{partition}: what was appended before offset {start} is gone, and may be of ticks from offset {} on",
                range.start
            )));
        }
    }
    let from_ms = tick_ms.saturating_sub(CLOCKS_APART_MS);
    Ok(log.offset_at(Topic::Signals, partition, from_ms)?)
}

/// When the first message of a range was appended; none where there is no message.
fn appended_ms(
    log: &dyn Log,
    topic: Topic,
    partition: u32,
    offset: Offset,
    end: Offset,
) -> Result<Option<i64>, CannotTell> {
    let mut reader = log.read(&[Start {
        topic,
        partition,
        offset,
    }])?;
    let (mut messages, mut stall) = (Messages::new(), Stall::new());
    loop {
        if let Some(message) = messages.iter().next() {
            return Ok(Some(message.timestamp_ms).filter(|_| message.offset < end));
        }
        let position = reader.position(topic, partition);
        if position >= end {
            return Ok(None);
        }
        stall.check(topic, partition, position, end)?;
        reader.poll(&mut messages, 1, PATIENCE)?;
    }
}
