//! One simulation: a seed decides what happens at each step, faults too, and at the end all faults stop, every process
//! dies once more, and the oracle judges. One thread, no clock, no randomness but the seed.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use wigwag::engine::CheckpointEvery;

use super::{
    STEPS,
    cluster::{Cluster, PARTITIONS, Shared, lock},
    deployment::Truth,
    fault::Fault,
    market::Market,
    node::{Node, Seat},
    oracle::{self, Judged},
    planted::Planted,
};

/// Processes at a time.
const NODES: usize = 2;

/// How long a fault lasts at most.
pub(crate) const LONGEST_MS: u64 = 5_000;

/// Rounds after which all must have come to the end once no fault happens any more.
const HEALING_ROUNDS: usize = 400;

/// What a seed is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) planted: Option<Planted>,
    pub(crate) traced: bool,
}

/// What happened.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Story {
    pub(crate) steps: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) takeovers: usize,
    pub(crate) judged: Judged,
    /// In words, where that was wanted.
    pub(crate) lines: Vec<String>,
}

pub(crate) struct World {
    pub(crate) dice: ChaCha8Rng,
    pub(crate) cluster: Shared,
    pub(crate) truth: Truth,
    pub(crate) market: Market,
    pub(crate) places: Vec<Place>,
    pub(crate) every: CheckpointEvery,
    traced: bool,
    pub(crate) story: Story,
}

/// Where a process runs, one after the other.
pub(crate) struct Place {
    pub(crate) node: Node,
    /// None while a process runs, else when the next one starts.
    pub(crate) down_until_ms: Option<u64>,
    /// When a stopped process goes on.
    pub(crate) paused_until_ms: Option<u64>,
    /// When its heartbeats arrive again.
    pub(crate) deaf_until_ms: Option<u64>,
}

/// Runs a plan; the story is told whether or not it ends well.
pub(crate) fn run(plan: Plan) -> (Story, Result<(), String>) {
    let mut world = World::new(plan);
    let ended = world.live(plan.steps);
    (world.story, ended)
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(plan.seed);
        let mut others = dice.clone();
        others.set_stream(1);
        let cluster = Arc::new(Mutex::new(Cluster::new(others, plan.planted)));
        let truth = Truth::new(&mut dice);
        let place = || Place {
            node: Node::start(&cluster, truth.view()),
            down_until_ms: None,
            paused_until_ms: None,
            deaf_until_ms: None,
        };
        let places = (0..NODES).map(|_| place()).collect();
        let every = CheckpointEvery {
            rows: [8, 30, 100][dice.random_range(0..3)],
            interval: Duration::from_millis(400),
        };
        Self {
            market: Market::new(&mut dice),
            dice,
            cluster: cluster.clone(),
            truth,
            places,
            every,
            traced: plan.traced,
            story: Story::default(),
        }
    }

    fn live(&mut self, steps: usize) -> Result<(), String> {
        let faults = self.fault_steps();
        for step in 0..steps {
            let now = faults.iter().filter(|at| **at == step).count();
            for _ in 0..now {
                let fault = Fault::any(&mut self.dice);
                self.strike(fault);
            }
            self.step();
            self.story.steps += 1;
            self.check()?;
        }
        self.heal()?;
        self.note(|| "every process dies".to_owned());
        for place in &mut self.places {
            place.node.crash();
            place.down_until_ms = Some(0);
        }
        for partition in (0..PARTITIONS).cycle().take(2 * 12) {
            self.append(partition);
        }
        self.heal()?;
        // Whatever others left open is over then.
        lock(&self.cluster).pass(4 * LONGEST_MS);
        self.story.judged = oracle::judge(&self.cluster)?;
        Ok(())
    }

    /// When faults strike: one to five in the whole seed, so that fewer steps of it go the same way; often one soon
    /// after the other.
    fn fault_steps(&mut self) -> Vec<usize> {
        let mut at = 0;
        let faults = self.dice.random_range(1..=5);
        let mut next = |_| {
            at = match self.dice.random_bool(0.4) {
                true => (at + self.dice.random_range(1..25)) % STEPS,
                false => self.dice.random_range(0..STEPS),
            };
            at
        };
        (0..faults).map(&mut next).collect()
    }

    /// The instant that the engine is told.
    pub(crate) fn now(&self) -> Instant {
        static BASE: OnceLock<Instant> = OnceLock::new();
        *BASE.get_or_init(Instant::now) + Duration::from_millis(self.now_ms())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        lock(&self.cluster).now_ms
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if !self.traced {
            return;
        }
        // What repeats itself is told once.
        let (line, lines) = (line(), &self.story.lines);
        if lines.iter().rev().take(4).any(|told| told.ends_with(&line)) {
            return;
        }
        let line = format!("{:>6} ms  {line}", self.now_ms());
        self.story.lines.push(line);
    }

    fn check(&self) -> Result<(), String> {
        match lock(&self.cluster).violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    fn step(&mut self) {
        self.pass(0..150);
        match self.dice.random_range(0..100) {
            0..45 => self.turn_any(),
            45..65 => {
                let events = self.dice.random_range(1..=8);
                lock(&self.cluster).drift(events);
                self.note(|| format!("network: {events} events"));
            }
            65..86 => {
                let partition = self.dice.random_range(0..PARTITIONS);
                self.append(partition);
            }
            86..94 => {
                let at = self.dice.random_range(0..NODES);
                let client = self.places[at].node.client;
                lock(&self.cluster).hear(client);
                self.note(|| format!("process {client} hears of the group"));
            }
            94..98 => {
                let at = self.dice.random_range(0..NODES);
                let node = &self.places[at].node;
                let client = node.client;
                self.truth.follow(&node.view, &mut self.dice);
                self.note(|| format!("process {client} follows control"));
            }
            _ => {
                let what = self.truth.change(&mut self.dice);
                self.note(|| format!("control: {what}"));
            }
        }
    }

    /// Lets time pass; processes that were down or stopped go on when theirs has come.
    pub(crate) fn pass(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.dice.random_range(ms);
        lock(&self.cluster).pass(ms);
        let now_ms = self.now_ms();
        let over = |until: &mut u64| *until <= now_ms;
        for at in 0..NODES {
            let place = &mut self.places[at];
            let mut cluster = lock(&self.cluster);
            let client = cluster.client_mut(place.node.client);
            if place.paused_until_ms.take_if(over).is_some() {
                client.paused = false;
            }
            if place.deaf_until_ms.take_if(over).is_some() {
                client.deaf = false;
            }
            drop(cluster);
            if place.down_until_ms.take_if(over).is_some() {
                place.node = Node::start(&self.cluster, self.truth.view());
                lock(&self.cluster).hear(place.node.client);
                let client = place.node.client;
                self.note(|| format!("process {client} starts"));
            }
            self.places[at].take_leases();
        }
    }

    /// A message goes to `ticks`: mostly plainly, else as ingest moves it from `raw`, in a transaction.
    pub(crate) fn append(&mut self, partition: u32) {
        let append = self.market.next(partition, &mut self.dice);
        let mut cluster = lock(&self.cluster);
        let now_ms = cluster.now_ms;
        let how = match self.dice.random_range(0..20) {
            0 => {
                cluster.append_by_stranger(&append, now_ms, false);
                "aborted"
            }
            1 | 2 => {
                cluster.append_by_stranger(&append, now_ms, true);
                "in a transaction"
            }
            3 => {
                let ends_ms = now_ms + self.dice.random_range(0..400);
                cluster.append_by_stranger(&append, ends_ms, self.dice.random_bool(0.8));
                "in a transaction that stays open"
            }
            _ => {
                cluster.append(&append);
                "plainly"
            }
        };
        drop(cluster);
        self.note(|| {
            let headers = append
                .headers
                .iter()
                .map(|(_, v)| String::from_utf8_lossy(v));
            let headers: Vec<_> = headers.collect();
            let lines = append.value.split(|b| *b == b'\n').count();
            format!(
                "ticks/{partition}: {lines} lines {how} {}",
                headers.join(" ")
            )
        });
    }

    fn turn_any(&mut self) {
        let runs = |place: &Place| place.runs();
        let seats: Vec<(usize, usize)> = (0..NODES)
            .filter(|&at| runs(&self.places[at]))
            .flat_map(|at| (0..self.places[at].node.seats.len()).map(move |seat| (at, seat)))
            .collect();
        if seats.is_empty() {
            return;
        }
        let (at, seat) = seats[self.dice.random_range(0..seats.len())];
        let _ = self.turn(at, seat);
    }

    /// Whether the seat is still there.
    fn turn(&mut self, at: usize, seat: usize) -> Result<(), String> {
        let now = self.now();
        let node = &mut self.places[at].node;
        let (client, partition) = (node.client, node.seats[seat].partition);
        let takeover = node.seats[seat].owner.is_none();
        let result = node.turn(seat, self.every, now);
        self.story.takeovers += usize::from(takeover && result.is_ok());
        let progress = || {
            let owner = self.places[at].node.seats.get(seat)?.owner.as_ref()?;
            Some(owner.progress())
        };
        let progress = progress();
        let told = result.map_err(|error| error.to_string());
        self.note(|| {
            let what = if takeover { "takes over" } else { "turns" };
            let how = match (&told, progress) {
                (Err(error), _) => format!("and fails: {error}"),
                (Ok(()), Some((position, strategies))) => {
                    format!("and is at {position} with {strategies} strategies")
                }
                (Ok(()), None) => String::new(),
            };
            format!("process {client} {what} ticks/{partition} {how}")
        });
        told
    }

    /// Everything takes its turn; returns the last error.
    pub(crate) fn round(&mut self) -> Option<String> {
        let mut error = None;
        self.pass(50..100);
        for at in 0..NODES {
            let client = self.places[at].node.client;
            lock(&self.cluster).hear(client);
            self.places[at].take_leases();
            if !self.places[at].runs() {
                continue;
            }
            for seat in (0..self.places[at].node.seats.len()).rev() {
                error = self.turn(at, seat).err().or(error);
            }
        }
        lock(&self.cluster).drift(12);
        error
    }

    /// No more faults: within a bounded time all is done.
    fn heal(&mut self) -> Result<(), String> {
        self.note(|| "no more faults".to_owned());
        let now_ms = self.now_ms();
        let mut cluster = lock(&self.cluster);
        cluster.calm = true;
        cluster.fates.clear();
        cluster.lost_fences = 0;
        cluster.down_until_ms = 0;
        drop(cluster);
        for place in &mut self.places {
            for until_ms in [
                &mut place.down_until_ms,
                &mut place.paused_until_ms,
                &mut place.deaf_until_ms,
            ] {
                *until_ms = until_ms.map(|_| now_ms);
            }
        }
        let (mut quiet, mut error) = (0, None);
        for _ in 0..HEALING_ROUNDS {
            error = self.round().or(error);
            for place in &self.places {
                self.truth.catch_up(&place.node.view);
            }
            self.check()?;
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            if quiet == 3 {
                return Ok(());
            }
        }
        let places: Vec<_> = (0..PARTITIONS)
            .map(|p| {
                let cluster = lock(&self.cluster);
                format!("{:?} of {}", cluster.committed(p), cluster.input_end(p))
            })
            .collect();
        Err(format!(
            "it does not come to the end: {places:?}, {error:?}"
        ))
    }

    fn is_quiet(&self) -> bool {
        (0..PARTITIONS).all(|partition| self.is_idle(partition))
    }

    /// Whether the rightful owner of a partition runs, all input is committed, and nothing is in hand.
    pub(crate) fn is_idle(&self, partition: u32) -> bool {
        let cluster = lock(&self.cluster);
        let owns = |place: &Place| {
            let node = &place.node;
            let hold = cluster.hold(node.client, partition);
            let sits =
                |s: &Seat| s.partition == partition && s.owner.is_some() && Some(s.hold) == hold;
            place.runs()
                && cluster.owner(partition) == Some(node.client)
                && node.seats.iter().any(sits)
                && !cluster.has_commit(node.client, partition)
        };
        let done = cluster.committed(partition).unwrap_or(0) >= cluster.input_end(partition);
        done && self.places.iter().any(owns)
    }
}

impl Place {
    /// Whether a process is there and not stopped.
    pub(crate) const fn runs(&self) -> bool {
        self.down_until_ms.is_none() && self.paused_until_ms.is_none()
    }

    fn take_leases(&mut self) {
        if self.runs() {
            self.node.take_leases();
        }
    }
}
