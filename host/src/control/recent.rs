//! The newest ticks of the log, on which a plugin is tried before it is taken.

use std::time::{Duration, Instant};

use crate::{
    log::{Log, LogError, Messages, Offset, Start, Topic},
    market::{Limits, Record, read_record},
    plugin::Sample,
};

/// Partitions from which they are taken, the newest messages of each, and ticks in all.
const PARTITIONS: u32 = 4;
const MESSAGES: Offset = 200;
const TICKS: usize = 1_000;

/// An upload waits no longer for them.
const WITHIN: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_millis(25);
const POLL_BYTES: usize = 1 << 20;

/// What there is of them; a log that does not answer in time has none.
pub(super) fn sample(log: &dyn Log) -> Sample {
    let mut sample = Sample::default();
    if let Err(error) = read(log, &mut sample) {
        tracing::debug!(%error, "no real ticks to try a plugin on");
    }
    sample
}

fn read(log: &dyn Log, sample: &mut Sample) -> Result<(), LogError> {
    let until = Instant::now() + WITHIN;
    for partition in 0..log.partitions().min(PARTITIONS) {
        let bounds = log.bounds(Topic::Ticks, partition)?;
        let start = Start {
            topic: Topic::Ticks,
            partition,
            offset: bounds.end.saturating_sub(MESSAGES).max(bounds.start),
        };
        if start.offset >= bounds.end {
            continue;
        }
        let mut reader = log.read(&[start])?;
        let mut messages = Messages::new();
        while reader.position(Topic::Ticks, partition) < bounds.end {
            if Instant::now() > until || sample.len() >= TICKS {
                return Ok(());
            }
            messages.clear();
            reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
            messages.iter().for_each(|m| take(m.value, sample));
        }
    }
    Ok(())
}

fn take(value: &[u8], sample: &mut Sample) {
    for line in value.split(|byte| *byte == b'\n') {
        let Ok(Record::Tick(tick)) = read_record(line, &Limits::none()) else {
            continue;
        };
        if sample.len() >= TICKS {
            return;
        }
        sample.push(&tick);
    }
}
