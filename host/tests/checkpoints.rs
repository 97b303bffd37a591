//! Owners over a real log that keep checkpoints while they go on: killed anywhere, they lose and repeat nothing, and the
//! log is told which ticks a replay still needs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(unreachable_pub, reason = "shared with other test binaries")]
mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use support::{find, strategy, walk};
use wigwag::{
    engine::{CheckpointEvery, Deployment, Gallery, Owner},
    log::{
        Append, Appended, Bounds, Group, Lease, Log, LogError, Member, Messages, Offset, Reader,
        Start, Topic,
        embedded::{EmbeddedLog, Options},
    },
    plugin::{Digest, Plugin},
    strategy::Strategy,
};

/// A real log that remembers what it was told to keep.
struct Told {
    log: EmbeddedLog,
    floors: Mutex<Vec<Offset>>,
    /// The committed position that it tells of in place of the one that it has.
    forged: Mutex<Option<Option<Offset>>>,
}

impl Log for Told {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
    fn append(&self, appends: Vec<Append>) -> Appended {
        self.log.append(appends)
    }
    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition)
    }
    fn offset_at(&self, topic: Topic, partition: u32, ms: i64) -> Result<Offset, LogError> {
        self.log.offset_at(topic, partition, ms)
    }
    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError> {
        self.log.read(starts)
    }
    fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        self.log.join(group)
    }
    fn keep_from(&self, topic: Topic, partition: u32, offset: Offset) {
        assert_eq!((topic, partition), (Topic::Ticks, 0));
        self.log.keep_from(topic, partition, offset);
        self.floors.lock().unwrap().push(offset);
    }
    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError> {
        match *self.forged.lock().unwrap() {
            Some(forged) => Ok(forged),
            None => self.log.committed(group, partition),
        }
    }
    fn check(&self) -> Result<(), LogError> {
        self.log.check()
    }
}

/// MA, and one that fails at some rows.
struct Two;

impl Deployment for Two {
    fn version(&self) -> u64 {
        1
    }
    fn enabled(&self) -> Vec<Arc<Strategy>> {
        let bad = strategy("bad", "misbehave", json!({ "how": "panic" }));
        vec![bad, strategy("ma-20", "ma", json!({}))]
    }
    fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        self.enabled().into_iter().find(|s| s.id == id)
    }
    fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        find(digest)
    }
}

/// A log with ticks of 300 symbols, some of them such that `bad` fails.
fn log(folder: &std::path::Path) -> Arc<Told> {
    let options = Options {
        partitions: 1,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder, options).unwrap();
    let mut lines = walk(300, 9_000);
    for n in [3_001, 5_201, 7_301] {
        lines[n] = support::tick("S1", 1_700_000_000.0 + n as f64 * 0.1, 666.0);
    }
    let appends = lines.chunks(20).map(|lines| Append {
        topic: Topic::Ticks,
        partition: 0,
        key: b"S0".to_vec(),
        value: lines.join("\n").into_bytes(),
        headers: Vec::new(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(log.append(appends.collect())).unwrap();
    let (floors, forged) = (Mutex::default(), Mutex::default());
    Arc::new(Told {
        log,
        floors,
        forged,
    })
}

fn lease(member: &mut dyn Member) -> Box<dyn Lease> {
    let lease = member.poll(Duration::from_secs(10)).unwrap();
    lease.expect("the only partition")
}

/// Hands out few messages at once, and may tell of another committed position than there is.
struct Slow(Box<dyn Lease>, Option<Option<Offset>>);

impl Lease for Slow {
    fn partition(&self) -> u32 {
        self.0.partition()
    }
    fn fence(&mut self) -> Result<Option<Offset>, LogError> {
        let committed = self.0.fence()?;
        Ok(self.1.unwrap_or(committed))
    }
    fn seek(&mut self, offset: Offset) -> Result<(), LogError> {
        self.0.seek(offset)
    }
    fn poll(&mut self, into: &mut Messages, _: usize, wait: Duration) -> Result<(), LogError> {
        self.0.poll(into, 8_000, wait)
    }
    fn submit(&mut self, step: wigwag::log::Step) -> Result<(), LogError> {
        self.0.submit(step)
    }
    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError> {
        self.0.settle(timeout)
    }
}

/// All that is in a topic.
fn values(log: &dyn Log, topic: Topic) -> Vec<Vec<u8>> {
    let start = Start {
        topic,
        partition: 0,
        offset: 0,
    };
    let (mut reader, mut values) = (log.read(&[start]).unwrap(), Vec::new());
    let end = log.bounds(topic, 0).unwrap().end;
    while reader.position(topic, 0) < end {
        let mut some = Messages::new();
        reader
            .poll(&mut some, 1 << 20, Duration::from_secs(1))
            .unwrap();
        values.extend(some.iter().map(|m| m.value.to_vec()));
    }
    values.sort();
    values
}

/// Runs owners to the end of the log, each killed after so many turns, and says how many were.
fn run(log: &Arc<Told>, every: CheckpointEvery, turns: &[usize]) -> usize {
    let end = log.bounds(Topic::Ticks, 0).unwrap().end;
    let mut member = log.join(Group::Engine).unwrap();
    let (mut kills, mut turns) = (0, turns.iter().cycle());
    loop {
        let mut lease = Slow(lease(&mut *member), None);
        let (log, two) = (log.clone(), Arc::new(Two));
        let mut owner = Owner::take_over(log, two, every, &mut lease, Instant::now()).unwrap();
        for _ in 0..*turns.next().unwrap() {
            owner.turn(&mut lease, Instant::now()).unwrap();
            if owner.progress().0 == end {
                break;
            }
        }
        if owner.progress().0 == end {
            while !owner.finish(&mut lease, Instant::now()).unwrap() {}
            return kills;
        }
        kills += 1;
    }
}

#[test]
fn owners_killed_while_they_keep_checkpoints_lose_and_repeat_nothing() {
    let (calm, wild) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, log) = (self::log(calm.path()), self::log(wild.path()));
    let never = CheckpointEvery {
        rows: usize::MAX,
        interval: Duration::from_secs(3600),
    };
    assert_eq!(run(&expected, never, &[10_000]), 0);
    // A picture of 300 symbols takes more than one turn, and each owner begins some.
    let often = CheckpointEvery {
        rows: 700,
        interval: Duration::from_millis(20),
    };
    let kills = run(&log, often, &[9, 31, 17, 4, 23]);
    assert!(kills > 3, "{kills} kills");
    for topic in [Topic::Signals, Topic::Values, Topic::Bars, Topic::Changes] {
        assert!(
            values(&*log, topic) == values(&*expected, topic),
            "{topic} after {kills} kills"
        );
    }
    assert!(!values(&*log, Topic::Signals).is_empty());

    // What a replay from the newest checkpoint needs was never given up.
    let floors = log.floors.lock().unwrap().clone();
    assert!(floors.is_sorted(), "{floors:?}");
    let end = log.bounds(Topic::Ticks, 0).unwrap().end;
    let found = Gallery::search(&*log, 0, end).unwrap();
    let newest = found.picture.unwrap().position();
    assert_eq!(newest, end, "the last owner stopped in peace");
    let last = *floors.last().unwrap();
    assert!(0 < last && last < newest, "{last} of {newest}");
    let before = Gallery::search(&*log, 0, newest - 1).unwrap().picture;
    let before = before.unwrap().position();
    assert!(
        last <= before,
        "{last}; the one before the newest is {before}"
    );
}

#[test]
fn steps_keep_their_interval() {
    const TURN: Duration = Duration::from_millis(30);
    let commits_of = |interval| {
        let folder = tempfile::tempdir().unwrap();
        let log = self::log(folder.path());
        let never = CheckpointEvery {
            rows: usize::MAX,
            interval: Duration::from_secs(3600),
        };
        let mut member = log.join(Group::Engine).unwrap();
        let mut lease = Slow(lease(&mut *member), None);
        let mut now = Instant::now();
        let owner = Owner::take_over(log.clone(), Arc::new(Two), never, &mut lease, now).unwrap();
        let mut owner = owner.with_step_interval(interval);
        let mut positions = std::collections::BTreeSet::new();
        for _ in 0..40 {
            now += TURN;
            owner.turn(&mut lease, now).unwrap();
            // Time for a commit to end.
            std::thread::sleep(Duration::from_millis(10));
            positions.extend(log.committed(Group::Engine, 0).unwrap());
        }
        positions.len()
    };
    // Four turns are 120 ms.
    let (apart, at_once) = (
        commits_of(Duration::from_millis(100)),
        commits_of(Duration::ZERO),
    );
    assert!((1..=10).contains(&apart), "{apart} in 40 turns");
    assert!(at_once > 10, "{at_once} in 40 turns");
}

#[test]
fn a_position_that_was_forgotten_or_set_back_is_no_place_to_begin() {
    let folder = tempfile::tempdir().unwrap();
    let log = self::log(folder.path());
    let every = CheckpointEvery {
        rows: usize::MAX,
        interval: Duration::from_secs(3600),
    };
    assert_eq!(run(&log, every, &[10_000]), 0);
    let end = log.bounds(Topic::Ticks, 0).unwrap().end;
    let refused = |seen: Option<Offset>, now: Option<Offset>| {
        *log.forged.lock().unwrap() = Some(now);
        let mut member = log.join(Group::Engine).unwrap();
        let mut lease = Slow(lease(&mut *member), Some(seen));
        let owner = Owner::take_over(
            log.clone(),
            Arc::new(Two),
            every,
            &mut lease,
            Instant::now(),
        );
        owner.err().expect("refused").to_string()
    };
    for (position, wanted) in [
        (
            None,
            format!("has no committed position, and the checkpoint at {end} says"),
        ),
        (
            Some(7),
            format!("committed position is 7, below the checkpoint at {end}"),
        ),
    ] {
        let why = refused(position, position);
        assert!(
            why.contains(&wanted) && why.contains("--topic-prefix"),
            "{why}"
        );
        // What is seen may be of the next owner.
        let why = refused(position, Some(end));
        assert!(why.contains("another owner went on"), "{why}");
    }
}
