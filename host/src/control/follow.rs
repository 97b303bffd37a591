//! The threads that read `control`, `changes` and `logs` for as long as the service runs.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Shared, catalogue::Step, plugin_log::READ_BACK};
use crate::{
    change::Change,
    log::{Log, LogError, MessageRef, Messages, Reader, Start, Topic},
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
                while !shared.stop.load(Ordering::Relaxed) {
                    let take = |message: MessageRef<'_>| match topic {
                        Topic::Control => take_control(&shared, &runtime, message),
                        Topic::Changes => take_change(&shared, message),
                        _ => shared.plugin_log().take(message),
                    };
                    if let Err(error) = follow(&*log, topic, &shared, n, take) {
                        tracing::warn!(%topic, %error, "not followed; trying again from the start");
                        std::thread::sleep(PATIENCE);
                    }
                }
            })?;
    }
    Ok(())
}

fn follow(
    log: &dyn Log,
    topic: Topic,
    shared: &Shared,
    n: usize,
    take: impl Fn(MessageRef<'_>),
) -> Result<(), LogError> {
    match topic {
        Topic::Changes => shared.catalogue().forget_changes(),
        Topic::Logs => shared.plugin_log().forget(),
        _ => {}
    }
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    for partition in 0..topic.partitions(log.partitions()) {
        let bounds = log.bounds(topic, partition)?;
        starts.push(Start {
            topic,
            partition,
            offset: match topic {
                Topic::Logs => bounds.end.saturating_sub(READ_BACK).max(bounds.start),
                _ => bounds.start,
            },
        });
        ends.push((partition, bounds.end));
    }
    let mut reader = log.read(&starts)?;
    let mut messages = Messages::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let behind =
            |reader: &dyn Reader| ends.iter().any(|&(p, end)| reader.position(topic, p) < end);
        if !shared.caught_up[n].load(Ordering::Acquire) && !behind(&*reader) {
            shared.caught_up[n].store(true, Ordering::Release);
            shared.bump();
        }
        messages.clear();
        reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
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
