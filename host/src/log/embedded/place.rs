//! One partition of one topic: its table, its bounds, and who wants to hear when it grows. Answers for bounds
//! without SQL.

use crate::log::{Bounds, Cleanup, Offset, Topic};
use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// All places of a log.
pub(super) struct Places(Vec<Vec<Place>>);

pub(super) struct Place {
    pub(super) topic: Topic,
    pub(super) partition: u32,
    pub(super) sql: Sql,
    start: AtomicU64,
    end: AtomicU64,
    floor: AtomicU64,
    followers: Mutex<Vec<Weak<Bell>>>,
}

/// The statements on a place's table.
pub(super) struct Sql {
    pub(super) insert: String,
    pub(super) remove_key: String,
    pub(super) remove_tombstones: String,
    pub(super) remove_below: String,
    pub(super) oldest_below: String,
    pub(super) rows: String,
    pub(super) at_or_before: String,
    pub(super) at_or_after: String,
    pub(super) newest: String,
}

/// Wakes one thread that waits for any of several places to grow.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Places {
    pub(super) fn new(partitions: u32) -> Self {
        let of_topic = |topic: Topic| {
            (0..topic.partitions(partitions))
                .map(|p| Place::new(topic, p))
                .collect()
        };
        Self(Topic::ALL.into_iter().map(of_topic).collect())
    }

    pub(super) fn get(&self, topic: Topic, partition: u32) -> Option<&Place> {
        self.0.get(topic as usize)?.get(partition as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().flatten()
    }
}

/// The table of a partition.
pub(super) fn table(topic: Topic, partition: u32) -> String {
    format!("{topic}_{partition}")
}

impl Place {
    fn new(topic: Topic, partition: u32) -> Self {
        Self {
            topic,
            partition,
            sql: Sql::new(&table(topic, partition)),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            floor: AtomicU64::new(Offset::MAX),
            followers: Mutex::default(),
        }
    }

    /// How messages name it, in a log of that name.
    pub(super) fn named(&self, log: &str) -> String {
        format!("{log}: {}/{}", self.topic, self.partition)
    }

    pub(super) fn is_compacted(&self) -> bool {
        self.topic.cleanup() == Cleanup::Compact
    }

    pub(super) fn start(&self) -> Offset {
        self.start.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> Offset {
        self.end.load(Ordering::Acquire)
    }

    /// The start is read first: it never passes an end that was read after it.
    pub(super) fn bounds(&self) -> Bounds {
        let start = self.start();
        Bounds {
            start,
            end: self.end(),
        }
    }

    pub(super) fn floor(&self) -> Offset {
        self.floor.load(Ordering::Relaxed)
    }

    pub(super) fn set_floor(&self, floor: Offset) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    /// Makes a new start known; must come before any row below it is removed.
    pub(super) fn set_start(&self, start: Offset) {
        self.start.store(start, Ordering::Release);
    }

    /// Makes a new end known, after the commit, and wakes those who wait for it.
    pub(super) fn set_end(&self, end: Offset) {
        self.end.store(end, Ordering::Release);
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|follower| {
                let Some(bell) = follower.upgrade() else {
                    return false;
                };
                bell.ring();
                true
            });
    }

    pub(super) fn follow(&self, bell: &Arc<Bell>) {
        let mut followers = self
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Where nothing grows nobody else would forget those that have gone.
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(Arc::downgrade(bell));
    }
}

impl Sql {
    fn new(table: &str) -> Self {
        Self {
            insert: format!(
                "INSERT INTO {table} (offset, count, time_ms, crc, key, headers, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            ),
            remove_key: format!("DELETE FROM {table} WHERE key = ?1"),
            remove_tombstones: format!(
                "DELETE FROM {table} WHERE length(value) = 0 AND time_ms < ?1"
            ),
            remove_below: format!("DELETE FROM {table} WHERE offset < ?1"),
            oldest_below: format!(
                "SELECT offset + count FROM {table} WHERE offset < ?1 AND offset + count <= ?1 ORDER BY offset LIMIT ?2"
            ),
            // From the row that holds ?1, which may begin below it.
            rows: format!(
                "SELECT offset, count, time_ms, crc, key, headers, value FROM {table} \
                 WHERE offset >= ifnull((SELECT max(offset) FROM {table} WHERE offset <= ?1), 0) \
                 AND offset < ?2 ORDER BY offset"
            ),
            at_or_before: format!(
                "SELECT offset, count, time_ms FROM {table} WHERE offset <= ?1 ORDER BY offset DESC LIMIT 1"
            ),
            at_or_after: format!(
                "SELECT offset, count, time_ms FROM {table} WHERE offset >= ?1 ORDER BY offset LIMIT 1"
            ),
            newest: format!(
                "SELECT offset + count, time_ms FROM {table} ORDER BY offset DESC LIMIT 1"
            ),
        }
    }
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Forgets earlier rings. To be called before looking at the places, so that none is missed.
    pub(super) fn silence(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Whether it rang since it was silenced, or does so within `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .heard
            .wait_timeout_while(rung, timeout, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_finds_its_places() {
        let places = Places::new(3);
        for topic in Topic::ALL {
            for partition in 0..topic.partitions(3) {
                let place = places.get(topic, partition).expect("a place");
                assert_eq!((place.topic, place.partition), (topic, partition));
            }
            assert!(places.get(topic, topic.partitions(3)).is_none());
        }
    }

    #[test]
    fn followers_that_went_are_forgotten() {
        let places = Places::new(1);
        let place = places.get(Topic::Ticks, 0).expect("a place");
        for _ in 0..100 {
            place.follow(&Arc::new(Bell::default()));
        }
        assert_eq!(place.followers.lock().expect("no panic").len(), 1);
    }

    #[test]
    fn a_ring_after_the_silence_is_not_missed() {
        let places = Places::new(1);
        let place = places.get(Topic::Ticks, 0).expect("a place");
        let bell = Arc::new(Bell::default());
        place.follow(&bell);
        bell.silence();
        assert!(!bell.wait(Duration::from_millis(1)));
        place.set_end(1);
        assert!(bell.wait(Duration::ZERO));
        bell.silence();
        assert!(!bell.wait(Duration::ZERO));
    }
}
