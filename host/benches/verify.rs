//! `wigwag verify` over a log that the real service wrote with MA, EMA and RSI, against a loop that reads the same ticks
//! from the same log with serde_json, on as many threads. How many million ticks can be given: `-- 10`.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "support/service.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod service;
mod support;

use std::{
    hint::black_box,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde::Deserialize;
use service::{NDJSON, Service, block_on, folder, now, post, send_all};
use support::{Market, at_least, cpu_of, selected, time};
use wigwag::log::{Group, Log, Messages, Start, Topic, embedded::ReadOnlyLog};

const SYMBOLS: usize = 1_000;

/// Ticks of one POST.
const TICKS: usize = 1_000;

/// POSTs that are prepared at once.
const POSTS: usize = 500;

/// Of the embedded log, unless it is told otherwise.
const PARTITIONS: u32 = 4;

const MILLIONS: usize = 2;

fn main() {
    let given = std::env::args().skip(1).find_map(|word| word.parse().ok());
    if given.is_some() || selected("verify") {
        measure(given.unwrap_or(MILLIONS));
    }
}

fn measure(millions: usize) {
    let ticks = millions * 1_000_000;
    let name = format!("verify/{millions}-million-ticks");
    let data = folder("verify").join("data");
    block_on(write(&data, ticks));
    // One after the other, twice, so that each finds the same in the machine's memory.
    let (mut bare, mut verified) = (Duration::MAX, Duration::MAX);
    let (mut signals, mut cpu) = (0, Duration::ZERO);
    for _ in 0..2 {
        bare = bare.min(time(|| read(&data, ticks)));
        let started = Instant::now();
        (signals, cpu) = verify(&data, ticks);
        verified = verified.min(started.elapsed());
    }
    let rate = |took: Duration| ticks as f64 / took.as_secs_f64();
    at_least(&name, rate(verified), "ticks/s", 500_000.0);
    println!(
        "  {:.2} x the time of threads that only read the ticks with serde_json ({:.0} ticks/s); {signals} signals compared; {:.0} ns of CPU a tick",
        verified.as_secs_f64() / bare.as_secs_f64(),
        rate(bare),
        cpu.as_nanos() as f64 / ticks as f64
    );
}

/// Has the service make signals of so many ticks.
async fn write(data: &Path, ticks: usize) {
    const CONNECTIONS: usize = 8;
    let service = Service::start(data, &["--sync", "normal"]).await;
    let mut market = Market::starting_at(now() - 7200.0, SYMBOLS, 200_000.0);
    let mut left = ticks / TICKS;
    while left > 0 {
        let posts = left.min(POSTS);
        let bodies = market.messages(posts, TICKS);
        let requests: Vec<_> = bodies.iter().map(|body| post(NDJSON, body)).collect();
        send_all(service.address, CONNECTIONS, &requests).await;
        left -= posts;
    }
    let log = ReadOnlyLog::open(data, None).expect("the log");
    let behind = |partition: u32| {
        let end = log.bounds(Topic::Ticks, partition).expect("an end").end;
        let position = log.committed(Group::Engine, partition);
        end > position.expect("a position").unwrap_or(0)
    };
    while (0..PARTITIONS).any(behind) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service.stop();
}

/// Signals that were the same, and the CPU time that it took.
fn verify(data: &Path, ticks: usize) -> (u64, Duration) {
    #[derive(Deserialize)]
    struct Verdict {
        ticks: usize,
        signals: std::collections::BTreeMap<String, u64>,
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_wigwag"))
        .args(["verify", "--json", "--data-dir"])
        .arg(data)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut text = String::new();
    let out = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_to_string(out, &mut text).expect("text");
    // It has closed its output, and not been waited for.
    let cpu = cpu_of(child.id());
    assert!(child.wait().expect("it ends").success(), "{text}");
    let verdicts = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let verdicts: Vec<Verdict> = verdicts.collect();
    let compared: usize = verdicts.iter().map(|v| v.ticks).sum();
    assert_eq!(compared, ticks, "none is late");
    let signals = verdicts.iter().flat_map(|v| v.signals.values()).sum();
    (signals, cpu)
}

/// Adds up the closes of all ticks.
fn read(data: &Path, ticks: usize) {
    let log = ReadOnlyLog::open(data, None).expect("the log");
    let (next, count) = (AtomicU32::new(0), AtomicU32::new(0));
    let work = || {
        loop {
            let partition = next.fetch_add(1, Ordering::Relaxed);
            if partition >= PARTITIONS {
                return;
            }
            let read = add_up(&log, partition);
            count.fetch_add(read, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(PARTITIONS as usize) {
            scope.spawn(work);
        }
    });
    assert_eq!(count.into_inner() as usize, ticks);
}

fn add_up(log: &ReadOnlyLog, partition: u32) -> u32 {
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
    let end = log.bounds(Topic::Ticks, partition).expect("an end").end;
    let start = Start {
        topic: Topic::Ticks,
        partition,
        offset: 0,
    };
    let mut reader = log.read(&[start]).expect("a reader");
    let (mut messages, mut count, mut sum) = (Messages::new(), 0, 0.0);
    while reader.position(Topic::Ticks, partition) < end {
        messages.clear();
        let polled = reader.poll(&mut messages, 4 << 20, Duration::from_secs(1));
        polled.expect("ticks");
        for message in messages.iter() {
            for line in message.value.split(|&b| b == b'\n') {
                let tick: Tick<'_> = serde_json::from_slice(line).expect("a tick");
                sum += tick.closing_price;
                count += 1;
            }
        }
    }
    black_box(sum);
    count
}
