//! What a new strategy is warmed up with, by the log: ticks right before its start, or of `bars` those of its interval,
//! which go back much further. How far is decided here once and recorded; a replay reads the same again.

use std::{ops::Range, sync::Arc};

use super::{
    Partition, ReplayError, TakeoverError,
    replay::{read_between, read_range},
};
use crate::{
    bars::Interval,
    change::Warmed,
    log::{Log, Messages, Offset, Topic},
    plugin::Plugin,
    strategy::{Input, Strategy},
};

/// Rows with which a strategy is warmed up, at most and at least.
const MAX_ROWS: usize = 200_000;
const MIN_ROWS: usize = 2_000;

/// Messages of `ticks` among which these rows are looked for.
const MAX_MESSAGES: u64 = 100_000;

/// Messages of `bars` among which those of one interval are looked for: each second of a symbol is one, and the
/// partition stands still meanwhile.
const MAX_BAR_MESSAGES: u64 = 500_000;

/// Messages of `bars` that are read first.
const FIRST_BAR_MESSAGES: u64 = 4_096;

/// What a strategy that starts where the partition is now is warmed up with: enough rows for each symbol, as far as
/// they are in reach. For one that reads bars, all bars up to here must be committed.
pub(super) fn warm_up(
    log: &dyn Log,
    partition: &Partition,
    strategy: &Arc<Strategy>,
    plugin: &Arc<Plugin>,
) -> Result<(Messages, Warmed), TakeoverError> {
    let a_symbol = 2 * Partition::warm_up_ticks(strategy, plugin) as usize;
    let wanted = a_symbol.saturating_mul(partition.symbols());
    match strategy.input {
        Input::Ticks => with_ticks(log, partition, wanted),
        Input::Bars(interval) => with_bars(log, partition, interval, wanted),
    }
}

fn with_ticks(
    log: &dyn Log,
    partition: &Partition,
    wanted: usize,
) -> Result<(Messages, Warmed), TakeoverError> {
    let (number, to) = (partition.number(), partition.position());
    let start = log.bounds(Topic::Ticks, number)?.start.min(to);
    let wanted = wanted.clamp(MIN_ROWS, MAX_ROWS);
    let mut back = 16;
    loop {
        let from = to.saturating_sub(back).max(start);
        let messages = read_range(log, number, from, to)?;
        let rows: usize = messages
            .iter()
            .map(|m| 1 + m.value.iter().filter(|&&b| b == b'\n').count())
            .sum();
        if rows >= wanted || from == start || back >= MAX_MESSAGES {
            return Ok((messages, from.into()));
        }
        back = (back * 4).min(MAX_MESSAGES);
    }
}

fn with_bars(
    log: &dyn Log,
    partition: &Partition,
    interval: Interval,
    wanted: usize,
) -> Result<(Messages, Warmed), TakeoverError> {
    let number = partition.number();
    let bounds = log.bounds(Topic::Bars, number)?;
    let (to, wanted) = (bounds.end, wanted.min(MAX_ROWS));
    let mut back = FIRST_BAR_MESSAGES;
    loop {
        let from = to.saturating_sub(back).max(bounds.start);
        let bars = read_bars(log, number, from..to, interval)?;
        if bars.len() >= wanted || from == bounds.start || back >= MAX_BAR_MESSAGES {
            let warmed = Warmed {
                warmed_from: partition.position(),
                warmed_bars: Some(from..to),
            };
            return Ok((bars, warmed));
        }
        back = (back * 4).min(MAX_BAR_MESSAGES);
    }
}

/// The messages of `bars` at these offsets that are of one interval.
///
/// # Errors
/// Where the log does not give them.
pub(super) fn read_bars(
    log: &dyn Log,
    number: u32,
    range: Range<Offset>,
    interval: Interval,
) -> Result<Messages, ReplayError> {
    let mut bars = Messages::new();
    let key_end = format!("/{}", interval.name());
    let Range { start, end } = range;
    read_between(log, Topic::Bars, number, start, end, |messages| {
        let due = messages.iter().filter(|m| (start..end).contains(&m.offset));
        for m in due.filter(|m| m.key.ends_with(key_end.as_bytes())) {
            bars.push(
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
    Ok(bars)
}
