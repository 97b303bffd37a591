//! The real service with the embedded log, all roles in one process, over HTTP: how much it takes, how soon a signal
//! is seen, what it costs to have it running. The client shares the machine's cores with it, as `make run` does.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "support/service.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod service;
mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection as Sqlite, OpenFlags, OptionalExtension};
use serde::Deserialize;
use service::{Latencies, NDJSON, Service, block_on, folder, latencies, now, post, send_all};
use support::{Market, at_least, at_most, cpu_of, figure, median, quantile, selected};

const SYMBOLS: usize = 1_000;

/// Of the embedded log, unless it is told otherwise.
const PARTITIONS: u32 = 4;

/// The first values come after 20 ticks of a symbol.
const WARM_UP: Duration = Duration::from_secs(4);

const JSON: &str = "application/json";

fn main() {
    for (name, measure) in [
        ("end_to_end/batches", batches as fn(&str)),
        ("end_to_end/single", single),
        ("end_to_end/latency", latency),
        ("end_to_end/start", start),
    ] {
        if selected(name) {
            measure(name);
        }
    }
}

/// NDJSON posts of 1,000 ticks, from the first POST until the engine has committed what came of the last.
fn batches(name: &str) {
    const TICKS: usize = 1_000;
    const POSTS: usize = 600;
    const ROUNDS: usize = 3;
    const CONNECTIONS: usize = 8;
    let data = folder("batches").join("data");
    let (mut rates, mut cpu, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    block_on(async {
        let service = Service::start(&data, &[]).await;
        let mut market = Market::starting_at(now() - 3600.0, SYMBOLS, 200_000.0);
        let warm = requests(&mut market, 20, TICKS);
        send_all(service.address, CONNECTIONS, &warm).await;
        committed(&data).await;
        for _ in 0..ROUNDS {
            let bodies = market.messages(POSTS, TICKS);
            let requests: Vec<_> = bodies.iter().map(|body| post(NDJSON, body)).collect();
            let ticks = (POSTS * TICKS) as f64;
            bare.push(ticks / support::time(|| add_up_closes(&bodies)).as_secs_f64());
            drop(bodies);
            let (started, used) = (Instant::now(), cpu_of(service.pid()));
            send_all(service.address, CONNECTIONS, &requests).await;
            committed(&data).await;
            rates.push(ticks / started.elapsed().as_secs_f64());
            cpu.push((cpu_of(service.pid()) - used).as_nanos() as f64 / ticks);
        }
        let ticks = service.counter("wigwag_engine_ticks_total").await;
        assert_eq!(
            ticks,
            ((20 + ROUNDS * POSTS) * TICKS) as u64,
            "none is late"
        );
        service.stop();
    });
    let (rate, bare) = (median(rates), median(bare));
    at_least(name, rate, "ticks/s", 200_000.0);
    println!(
        "  {:.2} x the rate of one thread that only reads the JSON with serde_json ({bare:.0} ticks/s); the service uses {:.0} ns of CPU a tick",
        rate / bare,
        median(cpu)
    );
}

/// Posts of one record, against a handler that reads the body and answers.
fn single(name: &str) {
    const POSTS: usize = 40_000;
    const ROUNDS: usize = 3;
    const CONNECTIONS: usize = 64;
    let data = folder("single").join("data");
    let (mut rates, mut bare_rates, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let bare = bare_handler();
    block_on(async {
        let service = Service::start(&data, &[]).await;
        let mut market = Market::starting_at(now() - 3600.0, SYMBOLS, 10_000.0);
        let warm = requests(&mut market, 1_000, 1);
        send_all(service.address, CONNECTIONS, &warm).await;
        for _ in 0..ROUNDS {
            let requests = requests(&mut market, POSTS, 1);
            let started = Instant::now();
            send_all(bare, CONNECTIONS, &requests).await;
            bare_rates.push(POSTS as f64 / started.elapsed().as_secs_f64());
            committed(&data).await;
            let (started, used) = (Instant::now(), cpu_of(service.pid()));
            send_all(service.address, CONNECTIONS, &requests).await;
            rates.push(POSTS as f64 / started.elapsed().as_secs_f64());
            cpu.push((cpu_of(service.pid()) - used).as_micros() as f64 / POSTS as f64);
        }
        service.stop();
    });
    let (rate, bare) = (median(rates), median(bare_rates));
    at_least(name, rate, "posts/s", 15_000.0);
    println!(
        "  {:.2} x the rate of a handler that does nothing with the body ({bare:.0} posts/s); the service uses {:.0} us of CPU a post; {CONNECTIONS} connections",
        rate / bare,
        median(cpu)
    );
}

/// From a tick's POST, and from its answer, until the signal that it caused arrives on a stream.
fn latency(name: &str) {
    let data = folder("latency").join("data");
    let seen = block_on(async {
        let service = Service::start(&data, &[]).await;
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

/// What it takes to have it running.
fn start(name: &str) {
    const ROUNDS: usize = 7;
    let data = folder("start").join("data");
    let (first, warm, ready, resident) = block_on(async {
        let service = Service::spawn(&data, &[]);
        let first = service.answers("/livez").await;
        service.answers("/readyz").await;
        service.stop();
        let (mut warm, mut ready) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let service = Service::spawn(&data, &[]);
            warm.push(service.answers("/livez").await.as_secs_f64() * 1e3);
            ready.push(service.answers("/readyz").await.as_secs_f64() * 1e3);
            service.stop();
        }
        let service = Service::start(&data, &[]).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let resident = service.resident_bytes();
        service.stop();
        (first, median(warm), median(ready), resident)
    });
    let first = first.as_secs_f64() * 1e3;
    at_most(&format!("{name}/new"), first, "ms", 300.0);
    at_most(&format!("{name}/again"), warm, "ms", 300.0);
    figure(&format!("{name}/ready"), &format!("{ready:>9.2} ms"));
    at_most(
        &format!("{name}/idle"),
        resident as f64 / 1e6,
        "MB resident",
        80.0,
    );
}

fn requests(market: &mut Market, posts: usize, ticks: usize) -> Vec<Vec<u8>> {
    let content_type = if ticks == 1 { JSON } else { NDJSON };
    let bodies = market.messages(posts, ticks);
    bodies.iter().map(|body| post(content_type, body)).collect()
}

fn add_up_closes(bodies: &[String]) {
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
    let read = |line: &str| -> f64 {
        let tick: Tick<'_> = serde_json::from_str(line).expect("a tick");
        tick.closing_price
    };
    std::hint::black_box(
        bodies
            .iter()
            .flat_map(|body| body.lines())
            .map(read)
            .sum::<f64>(),
    );
}

/// A server that reads bodies and answers as `/ingest` does, on a thread of its own.
fn bare_handler() -> std::net::SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            sender
                .send(listener.local_addr().expect("an address"))
                .expect("it is waited for");
            let answer = async |_: bytes::Bytes| r#"{"accepted":1,"rejected":0,"errors":[]}"#;
            let app = axum::Router::new().route("/ingest", axum::routing::post(answer));
            axum::serve(listener, app).await.expect("it serves");
        });
    });
    receiver.recv().expect("it listens")
}

/// Waits until the engine has committed all ticks that the log holds.
async fn committed(data: &Path) {
    let path = data.join("log.db");
    let log = Sqlite::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the log");
    let number = |sql: &str| -> u64 {
        let number = log.query_row(sql, (), |row| row.get(0)).optional();
        number.expect("the log can be read").unwrap_or(0)
    };
    let behind = || -> u64 {
        let of = |partition: u32| {
            let end = number(&format!(
                "SELECT offset + count FROM ticks_{partition} ORDER BY offset DESC LIMIT 1"
            ));
            let position = number(&format!(
                "SELECT position FROM positions WHERE consumers = 'engine' AND partition = {partition}"
            ));
            end - position
        };
        (0..PARTITIONS).map(of).sum()
    };
    let started = Instant::now();
    while behind() > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the engine stands still"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
