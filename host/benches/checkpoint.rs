//! Checkpoints of 100,000 symbols with MA, EMA and RSI in 12 partitions: memory of a (strategy, symbol) pair, how long a
//! picture keeps a turn, its size, and what a takeover of one partition takes. The engine is the service's, `Owner`; its
//! input is made up in memory, but for the takeover, which reads a real log.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use support::{Market, at_most, figure, median, plugin, quantile, selected, strategy, time};
use wigwag::{
    engine::{CheckpointEvery, Deployment, Owner},
    log::{
        Append, Lease, Log, LogError, Messages, Offset, Step, Topic,
        embedded::{EmbeddedLog, Options, Sync},
    },
    plugin::{Digest, Plugin},
    strategy::Strategy,
};

const SYMBOLS: usize = 100_000;
const PARTITIONS: usize = 12;
const PLUGINS: [&str; 3] = ["ma", "ema", "rsi"];

/// Symbols of the largest partition.
const SYMBOLS_EACH: usize = SYMBOLS.div_ceil(PARTITIONS);

/// Lines of a message, and messages of a full poll: about a megabyte.
const LINES: usize = 100;
const MESSAGES: usize = 65;

/// Of the market's time: each symbol ticks ten times a second.
const TICKS_PER_SYMBOL_SECOND: f64 = 10.0;

const NEVER: CheckpointEvery = CheckpointEvery {
    rows: usize::MAX,
    interval: Duration::from_secs(24 * 60 * 60),
};

fn main() {
    if selected("checkpoint/memory") {
        memory();
    }
    for (name, symbols) in [
        ("checkpoint/stall/8334-symbols", SYMBOLS_EACH),
        ("checkpoint/stall/100000-symbols", SYMBOLS),
    ] {
        if selected(name) {
            stall(name, symbols);
        }
    }
    if selected("checkpoint/takeover") {
        takeover();
    }
}

/// All partitions in this process, each symbol warm, each partition with the most rows that it holds for a recovery.
fn memory() {
    let before = status_bytes("VmRSS:");
    let log = log(PARTITIONS as u32);
    let mut partitions: Vec<_> = (0..PARTITIONS)
        .map(|_| Live::new(&log.1, SYMBOLS_EACH, CheckpointEvery::default()))
        .collect();
    let most = CheckpointEvery::default().rows;
    let polls = (3 * most).div_ceil(LINES * MESSAGES);
    for live in &mut partitions {
        for _ in 0..polls {
            live.turn(MESSAGES);
        }
    }
    let pairs = (PARTITIONS * SYMBOLS_EACH * PLUGINS.len()) as f64;
    let of_pair = |bytes: usize| bytes.saturating_sub(before) as f64 / pairs;
    let (now, peak) = (status_bytes("VmRSS:"), status_bytes("VmHWM:"));
    at_most("checkpoint/memory", of_pair(now), "bytes a pair", 1024.0);
    println!(
        "  {:.0} MB for {pairs} pairs, at most {:.0} bytes a pair while pictures were made; {:.0} MB before",
        now as f64 / 1e6,
        of_pair(peak),
        before as f64 / 1e6
    );
}

/// One partition: its turns with pictures against the same turns without.
fn stall(name: &str, symbols: usize) {
    const TURNS: usize = 150;
    let log = log(1);
    for (messages, what) in [(MESSAGES, "full polls"), (1, "polls of 100 ticks")] {
        let of = |every| {
            let mut live = Live::new(&log.1, symbols, every);
            // Every symbol is there, and warm.
            let warm = 20 * symbols / (LINES * MESSAGES);
            (0..=warm).for_each(|_| {
                live.turn(MESSAGES);
            });
            live.lease.picture_bytes = 0;
            let times = (0..TURNS).map(|_| live.turn(messages).as_nanos() as f64);
            let mut times: Vec<f64> = times.collect();
            times.sort_by(f64::total_cmp);
            (times, live.lease)
        };
        // So often that many turns are among those of a picture.
        let every = CheckpointEvery {
            rows: CheckpointEvery::default().rows,
            interval: Duration::from_millis(200),
        };
        let (with, lease) = of(every);
        let (without, _) = of(NEVER);
        let millis = |times: &[f64], share| quantile(times, share) / 1e6;
        figure(
            name,
            &format!(
                "{what}: longest turn {:.1} ms, without pictures {:.1} ms",
                millis(&with, 1.0),
                millis(&without, 1.0)
            ),
        );
        println!(
            "  median {:.1} against {:.1} ms, 95 of 100 within {:.1} against {:.1} ms; {} pictures, the last of {:.2} MB, at \
             most {:.2} MB of them in one step",
            millis(&with, 0.5),
            millis(&without, 0.5),
            millis(&with, 0.95),
            millis(&without, 0.95),
            lease.pictures,
            lease.last_picture as f64 / 1e6,
            lease.most_in_step as f64 / 1e6,
        );
    }
}

/// One partition of 12, whose owner was killed right before it would have begun its next picture.
fn takeover() {
    const ROUNDS: usize = 7;
    let (_folder, log) = log(PARTITIONS as u32);
    let mut market = market(SYMBOLS_EACH);
    let append = |market: &mut Market, ticks: usize| {
        for chunk in market.messages(ticks / LINES, LINES).chunks(500) {
            let appends = chunk.iter().map(|value| Append {
                topic: Topic::Ticks,
                partition: 0,
                key: b"S0000".to_vec(),
                value: value.clone().into_bytes(),
                headers: Vec::new(),
            });
            block_on(log.append(appends.collect()));
        }
    };
    let deployment = Arc::new(Fixed::new());
    let own = |every: CheckpointEvery, finish: bool| {
        let mut member = log.join(wigwag::log::Group::Engine).expect("a member");
        let lease = loop {
            let lease = member.poll(Duration::from_secs(1)).expect("a lease");
            match lease {
                Some(lease) if lease.partition() == 0 => break lease,
                _ => {}
            }
        };
        let mut lease = lease;
        let (mut owner, mut took) = (None, Duration::ZERO);
        took += time(|| {
            let (log, deployment) = (log.clone(), deployment.clone());
            let taken = Owner::take_over(log, deployment, every, &mut *lease, Instant::now());
            owner = Some(taken.expect("taken over"));
        });
        let mut owner = owner.expect("set above");
        if finish {
            let end = log.bounds(Topic::Ticks, 0).expect("an answer").end;
            while owner.progress().0 < end {
                owner.turn(&mut *lease, Instant::now()).expect("a turn");
            }
            if every.rows != NEVER.rows {
                while !owner.finish(&mut *lease, Instant::now()).expect("a stop") {}
            }
            // What is in hand.
            while !lease.settle(Duration::from_secs(1)).expect("a commit") {}
        }
        took
    };
    let most = CheckpointEvery::default().rows;
    append(&mut market, 3 * most);
    own(CheckpointEvery::default(), true);
    append(&mut market, most + most / 4);
    own(NEVER, true);
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| own(NEVER, false).as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    let worst = quantile(&times, 1.0);
    at_most("checkpoint/takeover", worst, "s", 2.0);
    println!(
        "  the slowest of {ROUNDS}, median {:.2} s; {SYMBOLS_EACH} symbols, {} ticks replayed",
        median(times),
        most + most / 4
    );
}

/// An engine on one partition, with its input.
struct Live {
    owner: Owner,
    lease: Feed,
}

impl Live {
    fn new(log: &Arc<dyn Log>, symbols: usize, every: CheckpointEvery) -> Self {
        let mut lease = Feed {
            market: market(symbols),
            offset: 0,
            next: Messages::new(),
            picture_bytes: 0,
            pictures: 0,
            last_picture: 0,
            most_in_step: 0,
        };
        let (log, deployment) = (log.clone(), Arc::new(Fixed::new()));
        let owner = Owner::take_over(log, deployment, every, &mut lease, Instant::now());
        Self {
            owner: owner.expect("a log without checkpoints is taken over"),
            lease,
        }
    }

    /// How long a turn with so many messages takes.
    fn turn(&mut self, messages: usize) -> Duration {
        self.lease.fill(messages);
        let (owner, lease) = (&mut self.owner, &mut self.lease);
        time(|| owner.turn(lease, Instant::now()).expect("a turn"))
    }
}

/// Hands out made-up ticks, and commits at once.
struct Feed {
    market: Market,
    offset: Offset,
    next: Messages,
    picture_bytes: usize,
    pictures: usize,
    last_picture: usize,
    most_in_step: usize,
}

impl Feed {
    fn fill(&mut self, messages: usize) {
        for value in self.market.messages(messages, LINES) {
            let value = value.as_bytes();
            (self.next).push(Topic::Ticks, 0, self.offset, 0, b"S0000", value, []);
            self.offset += 1;
        }
    }
}

impl Lease for Feed {
    fn partition(&self) -> u32 {
        0
    }

    fn fence(&mut self) -> Result<Option<Offset>, LogError> {
        Ok(None)
    }

    fn seek(&mut self, _: Offset) -> Result<(), LogError> {
        Ok(())
    }

    fn poll(&mut self, into: &mut Messages, _: usize, _: Duration) -> Result<(), LogError> {
        *into = std::mem::take(&mut self.next);
        Ok(())
    }

    fn submit(&mut self, step: Step) -> Result<(), LogError> {
        let mut in_step = 0;
        for part in step
            .appends
            .iter()
            .filter(|a| a.topic == Topic::Checkpoints)
        {
            in_step += part.value.len();
            self.picture_bytes += part.value.len();
            if part.key.ends_with(b"/manifest") {
                self.pictures += 1;
                self.last_picture = std::mem::take(&mut self.picture_bytes);
            }
        }
        self.most_in_step = self.most_in_step.max(in_step);
        Ok(())
    }

    fn settle(&mut self, _: Duration) -> Result<bool, LogError> {
        Ok(true)
    }
}

/// The built-ins as a new service deploys them.
struct Fixed(Vec<(Arc<Strategy>, Arc<Plugin>)>);

impl Fixed {
    fn new() -> Self {
        let deployed = PLUGINS.map(|name| {
            let plugin = plugin(name);
            (strategy(&format!("{name}-20"), &plugin), plugin)
        });
        Self(deployed.to_vec())
    }
}

impl Deployment for Fixed {
    fn version(&self) -> u64 {
        1
    }

    fn enabled(&self) -> Vec<Arc<Strategy>> {
        self.0
            .iter()
            .map(|(strategy, _)| strategy.clone())
            .collect()
    }

    fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        self.enabled().into_iter().find(|s| s.id == id)
    }

    fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        let mut plugins = self.0.iter().map(|(_, plugin)| plugin);
        plugins.find(|p| p.digest() == digest).cloned()
    }
}

fn market(symbols: usize) -> Market {
    Market::new(symbols, TICKS_PER_SYMBOL_SECOND * symbols as f64)
}

fn log(partitions: u32) -> (tempfile::TempDir, Arc<dyn Log>) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        partitions,
        sync: Sync::Normal,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options).expect("a log");
    (folder, Arc::new(log))
}

fn block_on(appended: wigwag::log::Appended) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let appended = runtime.expect("a runtime").block_on(appended);
    appended.expect("it is written");
}

/// A line of `/proc/self/status`, in bytes.
fn status_bytes(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<usize>().ok());
    kib.expect("a number of KiB") * 1024
}
