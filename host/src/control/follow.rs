//! The two threads that read `control` and `changes` for as long as the service runs.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Shared, catalogue::Step};
use crate::{
    change::Change,
    log::{Log, LogError, MessageRef, Messages, Reader, Start, Topic},
    plugin::Runtime,
};

/// How long a poll waits: how soon a stop is seen.
const PATIENCE: Duration = Duration::from_millis(200);

/// What one poll reads at most.
const POLL_BYTES: usize = 4 << 20;

pub(super) fn start(log: Arc<dyn Log>, runtime: Runtime, shared: Arc<Shared>) -> io::Result<()> {
    for (n, topic) in [Topic::Control, Topic::Changes].into_iter().enumerate() {
        let (log, runtime, shared) = (log.clone(), runtime.clone(), shared.clone());
        std::thread::Builder::new()
            .name(format!("follow-{topic}"))
            .spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    let take = |message: MessageRef<'_>| match topic {
                        Topic::Control => take_control(&shared, &runtime, message),
                        _ => take_change(&shared, message),
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
    if topic == Topic::Changes {
        shared.catalogue().forget_changes();
    }
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    for partition in 0..topic.partitions(log.partitions()) {
        let bounds = log.bounds(topic, partition)?;
        starts.push(Start {
            topic,
            partition,
            offset: bounds.start,
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
            shared.bump();
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
        } => match runtime.load(&bytes) {
            Ok(plugin) => shared.catalogue().add(plugin, record, message.offset),
            Err(error) => {
                tracing::error!(%error, plugin = record.name, ?digest, "plugin of control not loaded")
            }
        },
    }
}

fn take_change(shared: &Shared, message: MessageRef<'_>) {
    match serde_json::from_slice::<Change>(message.value) {
        Ok(change) => shared.catalogue().take_change(change),
        Err(error) => {
            let (partition, offset) = (message.partition, message.offset);
            tracing::error!(partition, offset, %error, "message of changes passed over");
        }
    }
}
