//! Looks at the log beside the engine from time to time: how far each partition is behind, and how near retention is to
//! what a takeover would have to replay, so that it is noticed before it bites.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{EngineStatus, checkpoints::Kept, runner::wait};
use crate::log::{Bounds, Log, Offset, Topic};

const RETENTION_NEAR: &str = "wigwag_engine_retention_near";

const EVERY: Duration = Duration::from_secs(5);

/// An operator may change it at any time.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// Retention is near where what it has left before a checkpoint is less than one part in so many of all that is kept:
/// Kafka removes an eighth of it, or a day, at once.
const NEAR: u64 = 4;

/// And where the checkpoint's age is more than one part in so many of the age at which messages go.
const NEAR_AGE: u32 = 4;

/// Says what the engine's numbers about checkpoints and the log mean.
pub(crate) fn describe_metrics() {
    for (name, help) in [
        (
            "wigwag_engine_lag_messages",
            "Messages of ticks that a partition is behind the log's end.",
        ),
        (
            "wigwag_engine_replay_floor_margin_messages",
            "Messages of ticks that are left before the newest checkpoint; retention takes from these.",
        ),
        (
            RETENTION_NEAR,
            "1 where retention is about to remove what a takeover would have to replay.",
        ),
        (
            "wigwag_engine_checkpoint_age_seconds",
            "Since the newest checkpoint of a partition was committed.",
        ),
        (
            "wigwag_engine_quarantined_strategies",
            "Strategies that do not run on a partition, since they failed too often.",
        ),
        (
            "wigwag_engine_checkpoint_bytes",
            "Size of a partition's newest checkpoint.",
        ),
    ] {
        metrics::describe_gauge!(name, help);
    }
    for (name, help) in [
        (
            "wigwag_engine_checkpoint_seconds",
            "From where a checkpoint is begun to where it is complete.",
        ),
        (
            "wigwag_engine_checkpoint_stall_seconds",
            "For how long one turn of a partition works on a checkpoint.",
        ),
        (
            "wigwag_engine_commit_seconds",
            "From where a step is submitted to where it is committed.",
        ),
    ] {
        metrics::describe_histogram!(name, metrics::Unit::Seconds, help);
    }
}

/// Watches the partitions of this process until `stop`.
pub fn watch(log: &dyn Log, status: &EngineStatus, stop: &AtomicBool) {
    let (mut seen, mut retention) = (BTreeSet::new(), None);
    let mut asked: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        if asked.is_none_or(|asked| asked.elapsed() >= RETENTION_EVERY) {
            // A log that does not answer is told by its own check.
            if let Ok(told) = log.retention(Topic::Ticks) {
                (retention, asked) = (told, Some(Instant::now()));
            }
        }
        look(log, status, retention, &mut seen);
        wait(stop, EVERY);
    }
}

fn look(
    log: &dyn Log,
    status: &EngineStatus,
    retention: Option<Duration>,
    seen: &mut BTreeSet<u32>,
) {
    let mut endangered = BTreeMap::new();
    let before = status.endangered();
    let partitions = status.partitions();
    for (&number, progress) in &partitions {
        // A log that does not answer is told by its own check.
        let Ok(bounds) = log.bounds(Topic::Ticks, number) else {
            continue;
        };
        let label = number.to_string();
        let gauge =
            |name, value: f64| metrics::gauge!(name, "partition" => label.clone()).set(value);
        if progress.live {
            let lag = bounds.end.saturating_sub(progress.position);
            gauge("wigwag_engine_lag_messages", lag as f64);
        }
        let Some(kept) = progress.checkpoint else {
            continue;
        };
        gauge(
            "wigwag_engine_checkpoint_age_seconds",
            kept.at.elapsed().as_secs_f64(),
        );
        let margin = kept.position.saturating_sub(bounds.start);
        gauge("wigwag_engine_replay_floor_margin_messages", margin as f64);
        let danger = danger(number, bounds, kept.position)
            .or_else(|| aged(number, bounds, kept, retention?));
        gauge(RETENTION_NEAR, f64::from(u8::from(danger.is_some())));
        if let Some(why) = danger {
            if !before.contains_key(&number) {
                tracing::warn!(partition = number, why, "retention comes near");
            }
            endangered.insert(number, why);
        }
    }
    status.set_endangered(endangered);
    // Another replica tells of those that were lost.
    for number in seen
        .iter()
        .filter(|number| !partitions.contains_key(number))
    {
        for name in [
            "wigwag_engine_lag_messages",
            "wigwag_engine_checkpoint_age_seconds",
            "wigwag_engine_quarantined_strategies",
            RETENTION_NEAR,
        ] {
            metrics::gauge!(name, "partition" => number.to_string()).set(0.0);
        }
    }
    seen.extend(partitions.keys());
}

/// Whether retention of `ticks` is about to remove what comes after a checkpoint, in words.
fn danger(partition: u32, bounds: Bounds, checkpoint: Offset) -> Option<String> {
    let Bounds { start, end } = bounds;
    // Where nothing was removed yet, nothing says how soon it will.
    let is_near = start > 0 && checkpoint < end && checkpoint < start + (end - start) / NEAR;
    is_near.then(|| {
        let margin = checkpoint.saturating_sub(start);
        format!(
            "ticks/{partition} begins at offset {start}, {margin} messages before the checkpoint at {checkpoint} from \
             which a takeover replays, and ends at {end}; let it keep its messages for longer (retention.ms, \
             retention.bytes), or give the engine more replicas"
        )
    })
}

/// Whether a checkpoint is old for how long `ticks` keeps its messages, in words.
fn aged(partition: u32, bounds: Bounds, kept: Kept, retention: Duration) -> Option<String> {
    let age = kept.at.elapsed();
    let is_near = kept.position < bounds.end && age >= retention / NEAR_AGE;
    is_near.then(|| {
        format!(
            "the newest checkpoint of ticks/{partition} is {} s old, and ticks keeps its messages for {} s (retention.ms): a takeover \
             replays from the checkpoint on; let it keep them for longer, or take checkpoints more often",
            age.as_secs(),
            retention.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_old_by_what_the_topic_keeps() {
        let aged = |age_s, position, retention_s| {
            let at = Instant::now().checked_sub(Duration::from_secs(age_s));
            let at = at.expect("the machine runs for longer");
            let bounds = Bounds { start: 0, end: 100 };
            aged(
                3,
                bounds,
                Kept { position, at },
                Duration::from_secs(retention_s),
            )
        };
        assert_eq!(aged(9, 50, 40), None);
        assert_eq!(aged(30, 100, 40), None, "nothing came since");
        let why = aged(11, 50, 40).expect("near");
        for part in ["ticks/3", "11 s old", "for 40 s", "retention.ms"] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }

    fn is_near(start: Offset, end: Offset, checkpoint: Offset) -> bool {
        danger(3, Bounds { start, end }, checkpoint).is_some()
    }

    #[test]
    fn retention_is_near_where_it_has_little_left_before_the_checkpoint() {
        assert!(is_near(1000, 2000, 1249) && !is_near(1000, 2000, 1250));
        assert!(is_near(1000, 2000, 900), "past it already");
        assert!(!is_near(0, 2000, 10), "nothing was removed yet");
        assert!(!is_near(2000, 2000, 2000), "a partition at rest");
        assert!(!is_near(1999, 2000, 2000), "all of it was seen");
    }

    #[test]
    fn the_warning_names_partition_offsets_and_what_to_do() {
        let why = danger(
            3,
            Bounds {
                start: 100,
                end: 900,
            },
            150,
        )
        .unwrap();
        for part in [
            "ticks/3",
            "offset 100",
            "50 messages",
            "at 150",
            "900",
            "retention.ms",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
