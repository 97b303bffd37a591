//! Dead letters that are to be sent again: their signals are read from `signals` once more, where they stand close
//! together by one reader.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::value::RawValue;

use super::record::{Dead, Resend};
use crate::log::{Log, LogError, Messages, Offset, Reader, Start, Topic};

/// Over so many messages it is read to the next signal; further ones get a reader of their own.
const NEAR: Offset = 2_000;

const POLL_BYTES: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_millis(200);
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What to ask for, with the partitions; those whose signals retention has removed are left out. Blocks.
pub(super) fn requests(
    log: &dyn Log,
    mut letters: Vec<(u32, Dead)>,
    now_ms: i64,
) -> Result<Vec<(u32, Resend)>, LogError> {
    letters.sort_by_key(|(partition, dead)| (*partition, dead.position));
    let until = Instant::now() + READ_WITHIN;
    let mut place: Option<Place> = None;
    let mut requests = Vec::new();
    for (partition, dead) in letters {
        let at = match place.take() {
            Some(at) if at.reaches(partition, dead.position) => Some(at),
            _ => Place::open(log, partition, dead.position)?,
        };
        let Some(mut at) = at else { continue };
        if let Some(json) = at.find(dead.position, until)? {
            let Dead {
                signal, position, ..
            } = dead;
            let request = Resend {
                signal,
                position,
                time_ms: now_ms,
                json,
            };
            requests.push((partition, request));
        }
        place = Some(at);
    }
    Ok(requests)
}

/// A reader, and what it read last.
struct Place {
    partition: u32,
    reader: Box<dyn Reader>,
    messages: Messages,
}

impl Place {
    /// None where retention has removed the offset.
    fn open(log: &dyn Log, partition: u32, offset: Offset) -> Result<Option<Self>, LogError> {
        let topic = Topic::Signals;
        if log.bounds(topic, partition)?.start > offset {
            return Ok(None);
        }
        let start = Start {
            topic,
            partition,
            offset,
        };
        Ok(Some(Self {
            partition,
            reader: log.read(&[start])?,
            messages: Messages::new(),
        }))
    }

    fn reaches(&self, partition: u32, offset: Offset) -> bool {
        let first = self.messages.iter().next().map(|message| message.offset);
        let position = self.reader.position(Topic::Signals, partition);
        self.partition == partition
            && first.is_some_and(|first| first <= offset)
            && offset < position.saturating_add(NEAR)
    }

    fn find(&mut self, offset: Offset, until: Instant) -> Result<Option<Arc<RawValue>>, LogError> {
        loop {
            let found = self
                .messages
                .iter()
                .find(|message| message.offset == offset);
            if let Some(message) = found {
                return Ok(serde_json::from_slice(message.value).ok());
            }
            let passed = self.reader.position(Topic::Signals, self.partition) > offset;
            if passed || Instant::now() > until {
                return Ok(None);
            }
            self.messages.clear();
            self.reader.poll(&mut self.messages, POLL_BYTES, PATIENCE)?;
        }
    }
}
