//! The faults, and how each strikes.

use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use wigwag::{
    change::{Change, What},
    engine::Gallery,
    log::{Append, Topic},
};

use super::{
    client::history,
    cluster::{Cluster, PARTITIONS, lock},
    commit::Fate,
    partition_log::Isolation,
    world::{LONGEST_MS, World},
};

/// What goes wrong; the numbers are those of the table of faults.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) enum Fault {
    /// A process is gone without goodbye, at any point of a step (1 to 4).
    Crash,
    /// A process stops for longer than its session or not, and goes on as if nothing had been (5).
    Pause,
    /// A process goes on, and the group does not hear of it: two owners.
    Deaf,
    /// A partition is given to another process (8, 9).
    Move,
    /// A process leaves as told, and another starts (7, 8).
    Leave,
    /// Another program initialises a producer with the engine's id (6).
    ShutOut,
    /// The answer to a fence is lost.
    FenceAnswerLost,
    /// A step is refused and aborted (16).
    StepRefused,
    /// A step is refused and its transaction stays open.
    StepLeftOpen,
    /// A step is committed and its answer lost (4).
    AnswerLost,
    /// A step, or its answer, comes late (15).
    StepDelayed,
    /// No broker answers for some time (12).
    Down,
    /// Another's transaction stays open (17).
    Stranger,
    /// The newest checkpoint is damaged (18).
    Damage,
    /// `checkpoints` is compacted.
    Compaction,
    /// Retention removes what no owner should need any more (19).
    Retention,
}

impl Fault {
    pub(crate) const ALL: [Self; 16] = [
        Self::Crash,
        Self::Pause,
        Self::Deaf,
        Self::Move,
        Self::Leave,
        Self::ShutOut,
        Self::FenceAnswerLost,
        Self::StepRefused,
        Self::StepLeftOpen,
        Self::AnswerLost,
        Self::StepDelayed,
        Self::Down,
        Self::Stranger,
        Self::Damage,
        Self::Compaction,
        Self::Retention,
    ];

    pub(crate) fn any(dice: &mut ChaCha8Rng) -> Self {
        *Self::ALL.choose(dice).expect("there are some")
    }
}

impl World {
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.note(|| format!("fault: {fault:?}"));
        self.story.faults.push(fault);
        let now_ms = self.now_ms();
        let at = self.dice.random_range(0..self.places.len());
        let partition = self.dice.random_range(0..PARTITIONS);
        let until_ms = now_ms + self.dice.random_range(100..LONGEST_MS);
        let place = &mut self.places[at];
        let client = place.node.client;
        let runs = place.runs();
        match fault {
            Fault::Crash if runs => {
                place.node.crash();
                place.down_until_ms = Some(until_ms);
            }
            Fault::Leave if runs => {
                let now = self.now();
                let place = &mut self.places[at];
                place.node.leave(now);
                place.down_until_ms = Some(until_ms);
            }
            Fault::Pause if runs => {
                lock(&self.cluster).client_mut(client).paused = true;
                place.paused_until_ms = Some(until_ms);
            }
            Fault::Deaf if runs => {
                lock(&self.cluster).client_mut(client).deaf = true;
                place.deaf_until_ms = Some(until_ms);
            }
            Fault::Crash | Fault::Leave | Fault::Pause | Fault::Deaf => {}
            Fault::Move => lock(&self.cluster).reassign(partition, client),
            Fault::ShutOut => lock(&self.cluster).shut_out(partition),
            Fault::FenceAnswerLost => lock(&self.cluster).lost_fences += 1,
            Fault::StepRefused => self.fate(Fate::Refused),
            Fault::StepLeftOpen => self.fate(Fate::LeftOpen),
            Fault::AnswerLost => self.fate(Fate::AnswerLost),
            Fault::StepDelayed => {
                let late = [Fate::Delayed(until_ms), Fate::AnswerDelayed(until_ms)];
                let fate = late[self.dice.random_range(0..2)];
                self.fate(fate);
            }
            Fault::Down => lock(&self.cluster).down_until_ms = until_ms,
            Fault::Stranger => {
                // Another's time limit may be far above ours.
                let ends_ms = now_ms + self.dice.random_range(1_000..4 * LONGEST_MS);
                self.stranger(partition, ends_ms);
            }
            Fault::Damage => self.damage(partition),
            Fault::Compaction => {
                let mut cluster = lock(&self.cluster);
                let log = cluster.log(Topic::Checkpoints, partition);
                let below = self.dice.random_range(0..=log.end());
                cluster
                    .log_mut(Topic::Checkpoints, partition)
                    .compact(below);
            }
            Fault::Retention => self.retention(),
        }
    }

    /// The next step meets this.
    fn fate(&mut self, fate: Fate) {
        lock(&self.cluster).fates.push_back(fate);
    }

    fn stranger(&mut self, partition: u32, ends_ms: u64) {
        let topics = [
            Topic::Checkpoints,
            Topic::Changes,
            Topic::Changes,
            Topic::Signals,
            Topic::Ticks,
        ];
        let topic = topics[self.dice.random_range(0..topics.len())];
        let append = match topic {
            Topic::Ticks => self.market.next(partition, &mut self.dice),
            _ => Append {
                topic,
                partition,
                key: b"stranger".to_vec(),
                value: b"{}".to_vec(),
                headers: Vec::new(),
            },
        };
        let commit = topic == Topic::Ticks && self.dice.random_bool(0.5);
        lock(&self.cluster).append_by_stranger(&append, ends_ms, commit);
    }

    /// Changes a byte of the newest checkpoint, where another one is left from which to go on.
    fn damage(&mut self, partition: u32) {
        let mut cluster = lock(&self.cluster);
        let log = cluster.log(Topic::Checkpoints, partition);
        // The chunks of a checkpoint, with its manifest behind them.
        let mut pictures = vec![Vec::new()];
        log.read(log.start(), usize::MAX, Isolation::Committed, |at, m| {
            pictures.last_mut().expect("at least one").push(at);
            if m.key.ends_with(b"/manifest") {
                pictures.push(Vec::new());
            }
        });
        let newest = pictures.iter().rev().find(|p| !p.is_empty());
        let Some(&at) = newest.and_then(|p| p.choose(&mut self.dice)) else {
            return;
        };
        let byte = self.dice.random_range(0..8_u8);
        let change = |cluster: &mut Cluster| {
            let log = cluster.log_mut(Topic::Checkpoints, partition);
            log.damage(at, |value| {
                let place = value.len() / 2;
                if let Some(b) = value.get_mut(place) {
                    *b ^= 1 << byte;
                }
            });
        };
        change(&mut cluster);
        if !can_be_taken_over(&cluster, partition) {
            // Twice is as it was.
            change(&mut cluster);
        }
    }

    /// Time enough for owners to come to rest and to keep what they need; then retention removes input that is done.
    fn retention(&mut self) {
        let interval_ms = u64::try_from(self.every.interval.as_millis()).unwrap_or(u64::MAX);
        let (mut takeovers, mut since_ms) = (self.story.takeovers, self.now_ms());
        for _ in 0..60 {
            self.round();
            if self.story.takeovers != takeovers {
                (takeovers, since_ms) = (self.story.takeovers, self.now_ms());
            }
            if self.now_ms() > since_ms + 3 * interval_ms {
                break;
            }
        }
        if self.now_ms() <= since_ms + 3 * interval_ms {
            return;
        }
        for partition in 0..PARTITIONS {
            if !self.is_idle(partition) {
                continue;
            }
            let mut cluster = lock(&self.cluster);
            let done = cluster.committed(partition).unwrap_or(0);
            let start = done - self.dice.random_range(0..4).min(done);
            cluster.log_mut(Topic::Ticks, partition).remove_below(start);
            drop(cluster);
            self.note(|| format!("ticks/{partition} below {start} are removed"));
        }
    }
}

/// Whether what is kept is enough for a takeover: a checkpoint, and the ticks that its replay needs.
fn can_be_taken_over(cluster: &Cluster, partition: u32) -> bool {
    let start = cluster.log(Topic::Ticks, partition).start();
    let committed = cluster.committed(partition).unwrap_or(0);
    let mut gallery = Gallery::default();
    gallery.add(&history(cluster, Topic::Checkpoints, partition));
    let from = gallery.newest(committed).0.map_or(0, |p| p.position());
    let warmed = |m: wigwag::log::MessageRef<'_>| {
        let change: Change = serde_json::from_slice(m.value).ok()?;
        match change.what {
            What::Start { warmed, .. } if change.offset >= from => Some(warmed.warmed_from),
            _ => None,
        }
    };
    let changes = history(cluster, Topic::Changes, partition);
    let needed = changes.iter().filter_map(warmed).min();
    needed.unwrap_or(from).min(from) >= start
}
