//! The thread that reads `webhooks` and `deliveries` for as long as the service runs.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::book::{Book, Pages};
use crate::log::{Log, LogError, Messages, Reader, Start, Topic};

/// How long a poll waits: how soon a stop is seen.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long to wait after a failure.
const TRY_AGAIN: Duration = Duration::from_millis(500);

const POLL_BYTES: usize = 1 << 20;

pub(super) fn start(log: Arc<dyn Log>, book: Arc<Book>) -> io::Result<()> {
    let run = move || {
        while !book.stop.load(Ordering::Relaxed) {
            if let Err(error) = follow(&*log, &book) {
                tracing::warn!(%error, "webhooks not followed; trying again from the start");
                std::thread::sleep(TRY_AGAIN);
            }
        }
    };
    std::thread::Builder::new()
        .name("follow-webhooks".to_owned())
        .spawn(run)
        .map(drop)
}

/// Reads to the ends aside, so that nobody sees webhooks vanish meanwhile, and from there on in the open.
fn follow(log: &dyn Log, book: &Book) -> Result<(), LogError> {
    let partitions = log.partitions();
    let deliveries = (0..partitions).map(|partition| (Topic::Deliveries, partition));
    let places: Vec<_> = std::iter::once((Topic::Webhooks, 0))
        .chain(deliveries)
        .collect();
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for &(topic, partition) in &places {
        let bounds = log.bounds(topic, partition)?;
        let offset = bounds.start;
        starts.push(Start {
            topic,
            partition,
            offset,
        });
        ends.push(bounds.end);
    }
    let mut reader = log.read(&starts)?;
    let mut messages = Messages::new();
    let mut aside = Some(Pages::new(partitions));
    while !book.stop.load(Ordering::Relaxed) {
        let is_behind = |reader: &dyn Reader| {
            let mut all = places.iter().zip(&ends);
            all.any(|(&(topic, partition), &end)| reader.position(topic, partition) < end)
        };
        if aside.is_some()
            && !is_behind(&*reader)
            && let Some(mut pages) = aside.take()
        {
            note_positions(&mut pages, &*reader);
            book.open(pages);
        }
        messages.clear();
        reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
        if let Some(pages) = &mut aside {
            messages.iter().for_each(|message| pages.take(&message));
            continue;
        }
        {
            let mut pages = book.pages();
            messages.iter().for_each(|message| pages.take(&message));
            note_positions(&mut pages, &*reader);
        }
        if !messages.is_empty() {
            book.ring();
        }
    }
    Ok(())
}

fn note_positions(pages: &mut Pages, reader: &dyn Reader) {
    for (partition, position) in (0..).zip(&mut pages.positions) {
        *position = reader.position(Topic::Deliveries, partition);
    }
}
