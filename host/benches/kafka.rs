//! The engine over a real Apache Kafka, against a bare loop of rdkafka's `BaseConsumer` and serde_json that adds up
//! closes: CPU of the whole process for each tick, start-up left out. Then how soon a signal is seen with all roles on.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "../tests/kafka_broker/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod broker;
#[path = "support/service.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod service;
mod support;

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use broker::Broker;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde::Deserialize;
use service::{Latencies, Service, block_on, folder, latencies};
use support::{Market, at_most, cpu_of, cpu_of_self, median, quantile, selected};
use wigwag::market::partition_of;

const PARTITIONS: u32 = 4;
const SYMBOLS: usize = 100;

/// Of the market's time: each symbol ticks a hundred times a second.
const TICKS_PER_SECOND: f64 = 10_000.0;

/// Ticks of a round.
const TICKS: usize = 500_000;

const ROUNDS: usize = 3;

/// A broker that has just started is slow until its JVM has compiled the paths that a step takes.
const WARM_UP: Duration = Duration::from_secs(15);

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let cases = [
        ("kafka/1-a-message", 1, 1.8),
        ("kafka/100-a-message", 100, 0.5),
    ];
    let latency_name = "kafka/latency";
    let throughput: Vec<_> = cases.into_iter().filter(|case| selected(case.0)).collect();
    if throughput.is_empty() && !selected(latency_name) {
        return;
    }
    let broker = Broker::start();
    if !throughput.is_empty() {
        println!(
            "MA + EMA + RSI over {SYMBOLS} symbols in {PARTITIONS} partitions, {TICKS} ticks a round, transactions on; \
             CPU against a bare loop over one tick a message"
        );
        let mut one = Feed::new(&broker, 1);
        for (name, lines, most) in throughput {
            if lines == 1 {
                let rounds = (0..ROUNDS).map(|_| {
                    one.fill();
                    Round::measure(&one, &one)
                });
                report(name, &rounds.collect::<Vec<_>>(), most);
            } else {
                if one.filled == [0; PARTITIONS as usize] {
                    one.fill();
                }
                let mut many = Feed::new(&broker, lines);
                let rounds = (0..ROUNDS).map(|_| {
                    many.fill();
                    Round::measure(&one, &many)
                });
                report(name, &rounds.collect::<Vec<_>>(), most);
            }
        }
    }
    if selected(latency_name) {
        latency(latency_name, &broker);
    }
}

/// What one tick cost in a round, in nanoseconds of CPU.
struct Round {
    bare: f64,
    engine: f64,
    /// Ticks in a second of the wall's clock, start-up included.
    rate: f64,
    bare_rate: f64,
}

impl Round {
    fn measure(bare: &Feed, feed: &Feed) -> Self {
        let started = Instant::now();
        let bare_cpu = bare.read();
        let bare_rate = TICKS as f64 / started.elapsed().as_secs_f64();
        block_on(async {
            let started = Instant::now();
            let service = feed.engine();
            feed.committed().await;
            let rate = TICKS as f64 / started.elapsed().as_secs_f64();
            let all = cpu_of(service.pid());
            service.stop();
            // The same without a tick.
            let service = feed.engine();
            service.answers("/readyz").await;
            let start = cpu_of(service.pid());
            service.stop();
            let of_each = |cpu: Duration| cpu.as_nanos() as f64 / TICKS as f64;
            Self {
                bare: of_each(bare_cpu),
                engine: of_each(all.saturating_sub(start)),
                rate,
                bare_rate,
            }
        })
    }
}

fn report(name: &str, rounds: &[Round], most: f64) {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    at_most(name, of(|r| r.engine / r.bare), "x bare loop", most);
    println!(
        "  CPU of a tick: engine {:.0} ns, bare loop {:.0} ns; ticks/s: engine {:.0} with its start, bare loop {:.0}",
        of(|r| r.engine),
        of(|r| r.bare),
        of(|r| r.rate),
        of(|r| r.bare_rate)
    );
}

/// The topic `ticks` of an engine, and its market.
struct Feed {
    address: String,
    prefix: String,
    lines: usize,
    market: Market,
    data: std::path::PathBuf,
    /// Ends of the partitions before and after it was filled last.
    before: [i64; PARTITIONS as usize],
    filled: [i64; PARTITIONS as usize],
}

impl Feed {
    /// Has the engine make its topics and start its strategies.
    fn new(broker: &Broker, lines: usize) -> Self {
        let feed = Self {
            address: broker.address().to_owned(),
            prefix: format!("of{lines}."),
            lines,
            market: Market::new(SYMBOLS, TICKS_PER_SECOND),
            data: folder(&format!("kafka-{lines}")).join("data"),
            before: [0; PARTITIONS as usize],
            filled: [0; PARTITIONS as usize],
        };
        block_on(async {
            let service = feed.engine();
            service.answers("/readyz").await;
            service.stop();
        });
        feed
    }

    fn topic(&self) -> String {
        format!("{}ticks", self.prefix)
    }

    fn engine(&self) -> Service {
        service(&self.data, &self.address, &self.prefix, "engine")
    }

    fn client(&self) -> BaseConsumer {
        let client = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", format!("{}engine", self.prefix))
            .set("enable.auto.commit", "false")
            // As the engine has them; at its default of 1 s the first makes the loop wait, at no less CPU.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "50")
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "8192")
            .create();
        client.expect("a client")
    }

    /// Appends the next ticks, each to its symbol's partition.
    fn fill(&mut self) {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("linger.ms", "20")
            .create()
            .expect("a producer");
        let topic = self.topic();
        let send = |partition: u32, key: &str, value: &str| {
            let mut record = BaseRecord::to(&topic)
                .partition(partition as i32)
                .key(key)
                .payload(value);
            while let Err((error, back)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(error, full);
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        };
        let mut waiting = vec![(0, String::new(), String::new()); PARTITIONS as usize];
        for _ in 0..TICKS {
            let mut text = String::with_capacity(160);
            let symbol = Market::name(self.market.json(&mut text));
            let partition = partition_of(&symbol, PARTITIONS);
            let (lines, key, value) = &mut waiting[partition as usize];
            if *lines == 0 {
                *key = symbol;
            } else {
                value.push('\n');
            }
            value.push_str(&text);
            *lines += 1;
            if *lines == self.lines {
                send(partition, key, value);
                *lines = 0;
                value.clear();
            }
        }
        for (partition, (lines, key, value)) in (0..).zip(&waiting) {
            if *lines > 0 {
                send(partition, key, value);
            }
        }
        producer.flush(PATIENCE).expect("all arrive");
        let client = self.client();
        self.before = self.filled;
        for (partition, end) in (0..).zip(&mut self.filled) {
            let bounds = client.fetch_watermarks(&topic, partition, PATIENCE);
            *end = bounds.expect("the topic's end").1;
        }
    }

    /// The bare loop over what was filled in last; the CPU that it took.
    fn read(&self) -> Duration {
        let used = cpu_of_self();
        let client = self.client();
        let mut starts = TopicPartitionList::new();
        for (partition, start) in (0..).zip(self.before) {
            let start = Offset::Offset(start);
            starts
                .add_partition_offset(&self.topic(), partition, start)
                .expect("an offset");
        }
        client.assign(&starts).expect("it takes them");
        let (mut ticks, mut sum) = (0, 0.0);
        while ticks < TICKS {
            let message = client
                .poll(PATIENCE)
                .expect("more comes")
                .expect("a message");
            let tick: Tick<'_> =
                serde_json::from_slice(message.payload().expect("a value")).expect("a tick");
            sum += black_box(tick).closing_price;
            ticks += 1;
        }
        black_box(sum);
        drop(client);
        cpu_of_self() - used
    }

    /// Waits until the engine has committed all of it.
    async fn committed(&self) {
        let client = self.client();
        let mut places = TopicPartitionList::new();
        for partition in 0..PARTITIONS as i32 {
            places.add_partition(&self.topic(), partition);
        }
        let started = Instant::now();
        loop {
            // A broker that has just started answers with errors for a while.
            if let Ok(committed) = client.committed_offsets(places.clone(), PATIENCE) {
                let reached = |(partition, end): (i32, &i64)| {
                    let place = committed.find_partition(&self.topic(), partition);
                    place.is_some_and(|place| place.offset() == Offset::Offset(*end))
                };
                if (0..).zip(&self.filled).all(reached) {
                    return;
                }
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the engine stands still; see {}",
                self.data.display()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The record as the bare loop reads it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "all fields are read, one is used")]
struct Tick<'a> {
    stock_symbol: &'a str,
    opening_price: f64,
    closing_price: f64,
    high: f64,
    low: f64,
    volume: f64,
    timestamp: f64,
}

fn service(data: &Path, address: &str, prefix: &str, roles: &str) -> Service {
    let log = format!("kafka://{address}");
    let partitions = PARTITIONS.to_string();
    Service::spawn(
        data,
        &[
            "--log",
            &log,
            "--topic-prefix",
            prefix,
            "--partitions",
            &partitions,
            "--roles",
            roles,
        ],
    )
}

/// From a tick's POST, and from its answer, until the signal that it caused arrives on a stream.
fn latency(name: &str, broker: &Broker) {
    let data = folder("kafka-latency").join("data");
    let seen = block_on(async {
        let service = service(&data, broker.address(), "latency.", "ingest,engine,api");
        service.answers("/readyz").await;
        let seen = latencies(&service, 10_000, SYMBOLS, WARM_UP, Duration::from_secs(15)).await;
        service.stop();
        seen
    });
    let Latencies { answered, posted } = seen;
    at_most(&format!("{name}/p50"), quantile(&answered, 0.5), "ms", 15.0);
    at_most(
        &format!("{name}/p99"),
        quantile(&answered, 0.99),
        "ms",
        60.0,
    );
    println!(
        "  from the answered POST, at 10,000 ticks/s, {} signals; from the POST's sending p50 {:.1} ms, p99 {:.1} ms",
        answered.len(),
        quantile(&posted, 0.5),
        quantile(&posted, 0.99)
    );
}
