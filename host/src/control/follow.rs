//! The threads that read `control`, `changes` and `logs` for as long as the service runs.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Shared, catalogue::Step, plugin_log::READ_BACK};
use crate::{
    change::Change,
    log::{Log, LogError, MessageRef, Messages, Start, Topic},
    plugin::{LoadError, Plugin, Runtime},
};

/// How long a poll waits: how soon a stop is seen.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often a plugin is loaded where it is no fault of its own that it is not.
const LOAD_TRIES: u32 = 10;

/// What one poll reads at most.
const POLL_BYTES: usize = 4 << 20;

pub(super) fn start(log: Arc<dyn Log>, runtime: Runtime, shared: Arc<Shared>) -> io::Result<()> {
    for (n, topic) in [Topic::Control, Topic::Changes, Topic::Logs]
        .into_iter()
        .enumerate()
    {
        let (log, runtime, shared) = (log.clone(), runtime.clone(), shared.clone());
        std::thread::Builder::new()
            .name(format!("follow-{topic}"))
            .spawn(move || {
                let take = |message: MessageRef<'_>| match topic {
                    Topic::Control => take_control(&shared, &runtime, message),
                    Topic::Changes => take_change(&shared, message),
                    _ => shared.plugin_log().take(message),
                };
                let mut places = Vec::new();
                while !shared.stop.load(Ordering::Relaxed) {
                    let followed = follow(&*log, topic, &shared, n, &mut places, take);
                    if let Err(error) = followed {
                        tracing::warn!(%topic, %error, "not followed; going on where it was");
                        std::thread::sleep(PATIENCE);
                    }
                }
            })?;
    }
    Ok(())
}

/// Reads on from `places`, which are the beginnings where there are none, and keeps them at what was taken: whoever began
/// anew would show what was long ago as if it were now.
fn follow(
    log: &dyn Log,
    topic: Topic,
    shared: &Shared,
    n: usize,
    places: &mut Vec<Start>,
    take: impl Fn(MessageRef<'_>),
) -> Result<(), LogError> {
    if places.is_empty() {
        *places = beginnings(log, topic)?;
    }
    let mut ends = Vec::new();
    for place in &*places {
        ends.push(log.bounds(topic, place.partition)?.end);
    }
    let mut reader = log.read(places)?;
    let mut messages = Messages::new();
    while !shared.stop.load(Ordering::Relaxed) {
        for place in &mut *places {
            place.offset = reader.position(topic, place.partition);
        }
        if topic == Topic::Control {
            let read = places[0].offset;
            shared.control_read.send_if_modified(|before| {
                let has_moved = *before != read;
                *before = read;
                has_moved
            });
        }
        let is_behind = || {
            places
                .iter()
                .zip(&ends)
                .any(|(place, end)| place.offset < *end)
        };
        if !shared.caught_up[n].load(Ordering::Acquire) && !is_behind() {
            shared.caught_up[n].store(true, Ordering::Release);
            shared.bump();
        }
        messages.clear();
        match reader.poll(&mut messages, POLL_BYTES, PATIENCE) {
            // Retention was faster than we: what is gone says nothing of now.
            Err(LogError::Gone {
                partition, start, ..
            }) => {
                tracing::warn!(%topic, partition, start, "retention passed its follower; going on behind it");
                let gone = places.iter_mut().find(|p| p.partition == partition);
                gone.into_iter().for_each(|place| place.offset = start);
                reader = log.read(places)?;
                continue;
            }
            polled => polled?,
        }
        if !messages.is_empty() {
            messages.iter().for_each(&take);
            // The engines look at each version.
            if topic != Topic::Logs {
                shared.bump();
            }
        }
    }
    Ok(())
}

/// Where a topic is read from at first.
fn beginnings(log: &dyn Log, topic: Topic) -> Result<Vec<Start>, LogError> {
    let partitions = 0..topic.partitions(log.partitions());
    partitions
        .map(|partition| {
            let bounds = log.bounds(topic, partition)?;
            let offset = match topic {
                Topic::Logs => bounds.end.saturating_sub(READ_BACK).max(bounds.start),
                _ => bounds.start,
            };
            Ok(Start {
                topic,
                partition,
                offset,
            })
        })
        .collect()
}

fn take_control(shared: &Shared, runtime: &Runtime, message: MessageRef<'_>) {
    let step = shared
        .catalogue()
        .take(message.key, message.value, message.offset);
    match step {
        Step::Done => {}
        Step::Unreadable(why) => tracing::error!(
            offset = message.offset,
            why,
            "message of control passed over"
        ),
        // Without the lock: it takes as long as a compilation.
        Step::Load {
            digest,
            record,
            bytes,
        } => match load(shared, runtime, &bytes) {
            Ok(plugin) => shared.catalogue().add(plugin, record, message.offset),
            Err(error) => {
                tracing::error!(%error, plugin = record.name, ?digest, "plugin of control not loaded")
            }
        },
    }
}

/// Loads a plugin that was taken in before, by whatever replica; a machine that has too much to do is asked again.
fn load(shared: &Shared, runtime: &Runtime, bytes: &[u8]) -> Result<Arc<Plugin>, LoadError> {
    let mut tries_left = LOAD_TRIES;
    loop {
        tries_left -= 1;
        match runtime.load(bytes) {
            Err(error)
                if error.is_no_fault_of_it()
                    && tries_left > 0
                    && !shared.stop.load(Ordering::Relaxed) =>
            {
                tracing::warn!(%error, tries_left, "plugin of control not loaded yet");
                std::thread::sleep(PATIENCE);
            }
            loaded => return loaded,
        }
    }
}

fn take_change(shared: &Shared, message: MessageRef<'_>) {
    match serde_json::from_slice::<Change>(message.value) {
        Ok(change) => (shared.catalogue()).take_change(change, message.timestamp_ms),
        Err(error) => {
            let (partition, offset) = (message.partition, message.offset);
            tracing::error!(partition, offset, %error, "message of changes passed over");
        }
    }
}
