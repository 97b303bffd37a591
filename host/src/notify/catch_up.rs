//! Reads what a webhook has missed, on a thread of its own, a chunk at a time: nobody else's messages wait for it.

use std::{sync::mpsc::Sender, time::Duration};

use super::desk::Event;
use crate::log::{Log, LogError, Messages, Offset, Reader, Start, Topic};

/// About a hundred signals.
const CHUNK_BYTES: usize = 64 << 10;

const PATIENCE: Duration = Duration::from_millis(500);

/// What was read for a webhook from an offset on.
pub(super) struct Chunk {
    pub(super) webhook: String,
    pub(super) from: Offset,
    pub(super) messages: Messages,
    /// Where reading goes on.
    pub(super) reader: Result<Box<dyn Reader>, LogError>,
}

/// What is to be read.
pub(super) struct Request {
    pub(super) webhook: String,
    pub(super) partition: u32,
    pub(super) from: Offset,
    /// One that stands at `from`, where there is one.
    pub(super) reader: Option<Box<dyn Reader>>,
}

/// Reads, and reports. Blocks.
pub(super) fn read(log: &dyn Log, request: Request, events: &Sender<Event>) {
    let Request {
        webhook,
        partition,
        from,
        reader,
    } = request;
    let start = Start {
        topic: Topic::Signals,
        partition,
        offset: from,
    };
    let mut messages = Messages::new();
    let reader = reader.map_or_else(|| log.read(&[start]), Ok);
    let reader = reader.and_then(|mut reader| {
        reader.poll(&mut messages, CHUNK_BYTES, PATIENCE)?;
        Ok(reader)
    });
    if reader.is_err() {
        std::thread::sleep(PATIENCE);
    }
    // Nobody hears it where the partition was given up.
    drop(events.send(Event::Read(Chunk {
        webhook,
        from,
        messages,
        reader,
    })));
}
