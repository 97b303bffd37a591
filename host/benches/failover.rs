//! How long partitions stand still when engines die, end or are restarted, over a real Apache Kafka at 10,000 ticks a second:
//! seen by a `read_committed` reader of `signals`, as a client would see it.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "../tests/kafka_broker/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod broker;
#[path = "support/service.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod service;
mod support;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use broker::Broker;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use service::{Service, block_on, folder};
use support::{Market, at_most, figure, selected};
use wigwag::market::partition_of;

const PARTITIONS: u32 = 12;
const SYMBOLS: usize = 1_000;
const TICKS_PER_SECOND: usize = 10_000;

/// The service's own default, and below it the time between two heartbeats.
const SESSION: Duration = Duration::from_secs(10);

/// Until the averages are warm and a fresh broker's JVM has compiled what a step takes.
const WARM_UP: Duration = Duration::from_secs(60);

/// Between two faults, and after the last.
const CALM: Duration = Duration::from_secs(5);

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let (kill, term, roll) = ("failover/kill", "failover/term", "failover/rolling");
    if ![kill, term, roll].into_iter().any(selected) {
        return;
    }
    let broker = Broker::start();
    let stage = Stage::new(&broker);
    let mut first = stage.engine(0);
    let mut second = stage.engine(1);
    stage.ready(&first);
    stage.ready(&second);
    let feed = stage.feed();
    let watch = stage.watch();
    std::thread::sleep(WARM_UP);
    println!(
        "{TICKS_PER_SECOND} ticks/s of {SYMBOLS} symbols in {PARTITIONS} partitions, MA + EMA + RSI; what a read_committed reader waits"
    );
    if selected(term) {
        let asked = Instant::now();
        first.stop();
        let gone = asked.elapsed();
        std::thread::sleep(CALM);
        let pauses = watch.pauses(asked, Instant::now());
        at_most(term, longest(&pauses), "s", 1.0);
        figure("  the process itself", &format!("gone after {gone:.1?}"));
        figure("  of each partition, ms", &in_ms(&pauses));
        first = stage.engine(2);
        stage.ready(&first);
        std::thread::sleep(CALM);
    }
    if selected(kill) {
        let asking = stage.client();
        let members = Stage::members(&asking);
        let died = Instant::now();
        second.kill();
        while Stage::members(&asking) >= members {
            assert!(died.elapsed() < PATIENCE, "the group does not notice");
            std::thread::sleep(Duration::from_millis(10));
        }
        let noticed = Instant::now();
        std::thread::sleep(CALM);
        let after: Vec<_> = watch.goes_on_after(noticed);
        at_most(kill, longest(&after), "s", 2.0);
        figure(
            "  the group noticed after",
            &format!("{:.1?} of a session time of {SESSION:?}", noticed - died),
        );
        figure("  of each partition, ms", &in_ms(&after));
        second = stage.engine(3);
        stage.ready(&second);
        std::thread::sleep(CALM);
    }
    if selected(roll) {
        let third = stage.engine(4);
        stage.ready(&third);
        std::thread::sleep(CALM);
        let begun = Instant::now();
        let mut fresh = Vec::new();
        for (n, old) in (5..).zip([first, second, third]) {
            old.stop();
            let engine = stage.engine(n);
            stage.ready(&engine);
            fresh.push(engine);
            std::thread::sleep(CALM);
        }
        let pauses = watch.pauses(begun, Instant::now());
        at_most(roll, longest(&pauses), "s", 2.0);
        figure("  of each partition, ms", &in_ms(&pauses));
    }
    feed.stop();
}

fn longest(pauses: &[Duration]) -> f64 {
    pauses
        .iter()
        .max()
        .map_or(f64::INFINITY, Duration::as_secs_f64)
}

fn in_ms(pauses: &[Duration]) -> String {
    let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
    format!("{millis:?}")
}

/// A log on a broker, and the folders of its engines.
struct Stage {
    address: String,
    folder: PathBuf,
}

impl Stage {
    fn new(broker: &Broker) -> Self {
        Self {
            address: broker.address().to_owned(),
            folder: folder("failover"),
        }
    }

    fn engine(&self, number: u32) -> Service {
        let log = format!("kafka://{}", self.address);
        let partitions = PARTITIONS.to_string();
        let session = SESSION.as_millis().to_string();
        let options = [
            ["--log", &log],
            ["--partitions", &partitions],
            ["--session-timeout", &session],
            ["--roles", "engine"],
        ];
        Service::spawn(
            &self.folder.join(format!("data-{number}")),
            options.as_flattened(),
        )
    }

    fn ready(&self, engine: &Service) {
        block_on(engine.answers("/readyz"));
    }

    fn client(&self) -> BaseConsumer {
        let client = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", "of-no-member")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "20")
            .create();
        client.expect("a client")
    }

    /// Members of the engines' group.
    fn members(asking: &BaseConsumer) -> usize {
        let groups = asking.fetch_group_list(Some("engine"), PATIENCE);
        let groups = groups.expect("the group");
        groups
            .groups()
            .first()
            .map_or(0, |group| group.members().len())
    }

    /// Writes ticks, a hundred times a second those that are due.
    fn feed(&self) -> Running {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            // What each tick of a hundred a second sends to a partition goes together.
            .set("linger.ms", "50")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .expect("a producer");
        Running::start(move |stop| {
            let mut market = Market::new(SYMBOLS, TICKS_PER_SECOND as f64);
            let (begun, mut sent) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                let due = (begun.elapsed().as_secs_f64() * TICKS_PER_SECOND as f64) as usize;
                while sent < due {
                    let mut text = String::with_capacity(160);
                    let symbol = Market::name(market.json(&mut text));
                    let record = BaseRecord::to("ticks")
                        .partition(partition_of(&symbol, PARTITIONS) as i32)
                        .key(&symbol)
                        .payload(&text);
                    producer
                        .send(record)
                        .map_err(|(error, _)| error)
                        .expect("queued");
                    sent += 1;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            producer.flush(PATIENCE).expect("all arrive");
        })
    }

    /// Reads `signals` as they are committed.
    fn watch(&self) -> Watch {
        let client = self.client();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS as i32 {
            let end = client.fetch_watermarks("signals", partition, PATIENCE);
            let end = Offset::Offset(end.expect("the end").1);
            all.add_partition_offset("signals", partition, end)
                .expect("an offset");
        }
        client.assign(&all).expect("it takes them");
        let seen = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
        let running = Running::start({
            let seen = seen.clone();
            move |stop| {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Ok(message)) = client.poll(Duration::from_millis(50)) {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen[message.partition() as usize].push(Instant::now());
                    }
                }
            }
        });
        Watch {
            seen,
            _running: running,
        }
    }
}

/// When each partition's signals were seen.
struct Watch {
    seen: Arc<Mutex<Vec<Vec<Instant>>>>,
    _running: Running,
}

impl Watch {
    fn of_each(&self, of: impl Fn(&[Instant]) -> Duration) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|times| of(times)).collect()
    }

    /// The longest time without a signal, of each partition.
    fn pauses(&self, from: Instant, to: Instant) -> Vec<Duration> {
        self.of_each(|times| {
            let within = times.iter().filter(|t| (from..to).contains(*t));
            let times: Vec<_> = [&from].into_iter().chain(within).chain([&to]).collect();
            let gaps = times.windows(2).map(|pair| *pair[1] - *pair[0]);
            gaps.max().unwrap_or_default()
        })
    }

    /// From a time on until the next signal, of each partition.
    fn goes_on_after(&self, from: Instant) -> Vec<Duration> {
        self.of_each(|times| {
            let next = times.iter().find(|time| **time >= from);
            next.map_or(PATIENCE, |time| *time - from)
        })
    }
}

/// A thread that ends when this is dropped.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(run: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || run(&stop)
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    fn stop(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
