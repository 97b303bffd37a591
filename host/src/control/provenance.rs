//! What led to a signal: the ticks of its symbol up to its own, and the parameters of its strategy then.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::info::ControlError;
use crate::{
    log::{Log, LogError, Messages, Offset, Start, Topic},
    market::{Limits, Record, read_record},
};

/// Ticks that are shown, and messages among which they are looked for, nearest first.
const TICKS: usize = 20;
const LOOK_BACK: [Offset; 3] = [64, 512, 4_096];

/// It takes no longer; what was found by then is shown.
const WITHIN: Duration = Duration::from_secs(3);

const POLL_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_millis(100);

/// What led to a signal.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Provenance {
    /// The parameters of the strategy then; null where they are not known any more.
    #[schema(value_type = Object)]
    pub params: Option<Map<String, Value>>,
    /// The newest ticks of the symbol up to the one that caused it, the oldest first. None where `ticks` keeps them no
    /// more.
    pub ticks: Vec<SeenTick>,
}

/// A tick and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SeenTick {
    /// The message of `ticks`.
    pub offset: Offset,
    /// The tick's line in it.
    pub row: u32,
    /// Seconds since the epoch.
    pub timestamp: f64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Pieces traded.
    pub volume: f64,
}

/// The newest ticks of a symbol up to a place. Blocks.
pub(super) fn ticks(
    log: &dyn Log,
    symbol: &str,
    partition: u32,
    last: (Offset, u32),
) -> Result<Vec<SeenTick>, ControlError> {
    find(log, symbol, partition, last).map_err(ControlError::Unavailable)
}

fn find(
    log: &dyn Log,
    symbol: &str,
    partition: u32,
    last: (Offset, u32),
) -> Result<Vec<SeenTick>, LogError> {
    let until = Instant::now() + WITHIN;
    let bounds = log.bounds(Topic::Ticks, partition)?;
    let mut found = Vec::new();
    if last.0 < bounds.start || last.0 >= bounds.end {
        return Ok(found);
    }
    for back in LOOK_BACK {
        let from = last.0.saturating_sub(back).max(bounds.start);
        found = match read(log, symbol, partition, from, last, until) {
            Err(LogError::Gone { .. }) => return Ok(found),
            read => read?,
        };
        if found.len() >= TICKS || from == bounds.start || Instant::now() > until {
            break;
        }
    }
    let first = found.len().saturating_sub(TICKS);
    Ok(found.split_off(first))
}

fn read(
    log: &dyn Log,
    symbol: &str,
    partition: u32,
    from: Offset,
    last: (Offset, u32),
    until: Instant,
) -> Result<Vec<SeenTick>, LogError> {
    let start = Start {
        topic: Topic::Ticks,
        partition,
        offset: from,
    };
    let mut reader = log.read(&[start])?;
    let (mut found, mut messages) = (Vec::new(), Messages::new());
    while reader.position(Topic::Ticks, partition) <= last.0 && Instant::now() <= until {
        messages.clear();
        reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
        for message in messages.iter() {
            for (row, line) in (0..).zip(message.value.split(|byte| *byte == b'\n')) {
                let Ok(Record::Tick(tick)) = read_record(line, &Limits::none()) else {
                    continue;
                };
                if (message.offset, row) <= last && tick.symbol == symbol {
                    found.push(SeenTick {
                        offset: message.offset,
                        row,
                        timestamp: tick.time,
                        open: tick.open,
                        high: tick.high,
                        low: tick.low,
                        close: tick.close,
                        volume: tick.volume,
                    });
                }
            }
        }
    }
    Ok(found)
}
