//! The newest ticks of the log, of all of its partitions, on which a plugin is tried before it is taken, and
//! before a strategy is defined.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    log::{Log, LogError, Messages, Offset, Start, Topic},
    market::{Limits, Record, Tick, read_record},
    plugin::Sample,
};

/// Ticks in all: of each partition that holds any, its share.
const TICKS: usize = 1_000;

/// Messages that are looked at first, back from the end of a partition; each further look goes back this many times as
/// far, since a message holds one tick or thousands.
const FIRST_MESSAGES: Offset = 8;
const FARTHER: Offset = 8;

/// No partition is looked at farther back: what it has there is not recent.
const MOST_MESSAGES: Offset = 1 << 15;

/// An upload waits no longer for them.
const WITHIN: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_millis(25);
const POLL_BYTES: usize = 1 << 20;

/// What there is of them; a log that does not answer in time has none, or fewer.
pub(super) fn sample(log: &dyn Log) -> Sample {
    let mut ends = Vec::new();
    if let Err(error) = read(log, &mut ends) {
        tracing::debug!(%error, "not all of the newest ticks to try a plugin on");
    }
    interleaved(&ends)
}

/// The end of a partition's log, as far as it was read.
struct End {
    partition: u32,
    start: Offset,
    end: Offset,
    /// How far back it was looked at; ticks are known from there on.
    from: Offset,
    lines: VecDeque<Vec<u8>>,
}

impl End {
    const fn is_whole(&self) -> bool {
        self.from <= self.start || self.end - self.from >= MOST_MESSAGES
    }

    /// Where the next look begins.
    fn farther(&self) -> Offset {
        let back = FIRST_MESSAGES.max((self.end - self.from).saturating_mul(FARTHER));
        self.end.saturating_sub(back).max(self.start)
    }

    /// Puts these in front of what is there already, and keeps no more than a share.
    fn precede(&mut self, mut older: VecDeque<Vec<u8>>, share: usize) {
        older.append(&mut self.lines);
        older.drain(..older.len().saturating_sub(share));
        self.lines = older;
    }
}

fn read(log: &dyn Log, ends: &mut Vec<End>) -> Result<(), LogError> {
    let until = Instant::now() + WITHIN;
    for partition in 0..log.partitions() {
        let bounds = log.bounds(Topic::Ticks, partition)?;
        if bounds.start < bounds.end {
            ends.push(End {
                partition,
                start: bounds.start,
                end: bounds.end,
                from: bounds.end,
                lines: VecDeque::new(),
            });
        }
    }
    let share = TICKS.div_ceil(ends.len().max(1));
    loop {
        let mut lacking: Vec<&mut End> = ends
            .iter_mut()
            .filter(|end| end.lines.len() < share && !end.is_whole())
            .collect();
        if lacking.is_empty() || Instant::now() > until {
            return Ok(());
        }
        look_back(log, &mut lacking, share, until)?;
    }
}

/// One look farther back into these partitions.
fn look_back(
    log: &dyn Log,
    ends: &mut [&mut End],
    share: usize,
    until: Instant,
) -> Result<(), LogError> {
    let starts = ends.iter().map(|end| Start {
        topic: Topic::Ticks,
        partition: end.partition,
        offset: end.farther(),
    });
    let mut reader = log.read(&starts.collect::<Vec<_>>())?;
    let mut found = vec![VecDeque::new(); ends.len()];
    let mut messages = Messages::new();
    let mut read = Ok(());
    while read.is_ok()
        && Instant::now() <= until
        && (ends.iter()).any(|end| reader.position(Topic::Ticks, end.partition) < end.from)
    {
        messages.clear();
        read = reader.poll(&mut messages, POLL_BYTES, PATIENCE);
        for message in messages.iter() {
            let of = ends
                .iter()
                .position(|end| end.partition == message.partition);
            if let Some(n) = of
                && message.offset < ends[n].from
            {
                let found = &mut found[n];
                found.extend(newest(message.value, share).into_iter().rev());
                found.drain(..found.len().saturating_sub(share));
            }
        }
    }
    for (end, found) in ends.iter_mut().zip(found) {
        end.from = end.farther();
        end.precede(found, share);
    }
    read
}

/// The last lines of a message that are ticks, at most so many, the last one first.
fn newest(value: &[u8], ticks: usize) -> Vec<Vec<u8>> {
    let lines = value.rsplit(|byte| *byte == b'\n');
    lines
        .filter(|line| tick(line).is_some())
        .take(ticks)
        .map(<[u8]>::to_vec)
        .collect()
}

fn tick(line: &[u8]) -> Option<Tick<'_>> {
    match read_record(line, &Limits::none()) {
        Ok(Record::Tick(tick)) => Some(tick),
        _ => None,
    }
}

/// A tick of each partition in turn, so that the newest of all stand at the end.
fn interleaved(ends: &[End]) -> Sample {
    let mut sample = Sample::default();
    let longest = ends.iter().map(|end| end.lines.len()).max().unwrap_or(0);
    for back in (1..=longest).rev() {
        let of = |end: &End| end.lines.len().checked_sub(back);
        for (end, n) in ends.iter().filter_map(|end| Some((end, of(end)?))) {
            if let Some(tick) = tick(&end.lines[n]) {
                sample.push(&tick);
            }
        }
    }
    sample
}
