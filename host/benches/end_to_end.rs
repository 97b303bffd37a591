//! The real service with the embedded log, all roles in one process, over HTTP: how much it takes, how soon a signal
//! is seen, what it costs to have it running. The client shares the machine's cores with it, as `make run` does.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "support/service.rs"]
mod service;
mod support;

use std::{
    future::Future,
    path::Path,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use rusqlite::{Connection as Sqlite, OpenFlags};
use serde::Deserialize;
use service::{Connection, Service, folder, get, post, send_all};
use support::{Market, at_least, at_most, cpu_of, figure, median, quantile, selected};
use tokio::io::AsyncReadExt;

const SYMBOLS: usize = 1_000;
const NDJSON: &str = "application/x-ndjson";
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

/// One thread for the client: the service has the other core.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

#[expect(clippy::disallowed_methods, reason = "ticks are of now")]
fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
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
        let seen = latencies(&service, 10_000, SYMBOLS, Duration::from_secs(15)).await;
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

/// Milliseconds, sorted.
struct Latencies {
    answered: Vec<f64>,
    posted: Vec<f64>,
}

async fn latencies(service: &Service, rate: usize, symbols: usize, time: Duration) -> Latencies {
    const EVERY: Duration = Duration::from_millis(10);
    const CONNECTIONS: usize = 16;
    /// Warm-up: the first values come after 20 ticks of a symbol.
    const SKIPPED: Duration = Duration::from_secs(4);
    let ticks = rate / 100;
    let posts = ((time + SKIPPED).as_millis() / EVERY.as_millis()) as usize;
    let mut market = Market::starting_at(now() - 60.0, symbols, rate as f64);
    let requests: Vec<_> = (0..posts)
        .map(|_| market.messages(1, ticks).swap_remove(0))
        .collect();
    let first = first_time(&requests[0]);
    let requests: Vec<_> = requests.iter().map(|body| post(NDJSON, body)).collect();

    let mut stream = Connection::open(service.address)
        .await
        .expect("it listens")
        .into_stream();
    let subscribe = get("/v1/stream", service.address);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &subscribe)
        .await
        .expect("it listens");

    let begun = Instant::now();
    let at = |n: usize| begun + EVERY * n as u32;
    let answered = Rc::new(std::cell::RefCell::new(vec![None::<Instant>; posts]));
    let send = async |lane: usize| {
        let mut connection = Connection::open(service.address).await.expect("it listens");
        for n in (lane..posts).step_by(CONNECTIONS) {
            tokio::time::sleep_until(at(n).into()).await;
            let status = connection.send(&requests[n]).await.expect("an answer");
            assert_eq!(status, 200);
            answered.borrow_mut()[n] = Some(Instant::now());
        }
    };
    let all = futures_util::future::join_all((0..CONNECTIONS).map(send));
    let mut arrived = Vec::new();
    let listen = async {
        let mut buffer: Vec<u8> = Vec::with_capacity(1 << 20);
        loop {
            if stream
                .read_buf(&mut buffer)
                .await
                .expect("the stream goes on")
                == 0
            {
                return;
            }
            let now = Instant::now();
            let Some(end) = buffer.iter().rposition(|&b| b == b'\n') else {
                continue;
            };
            for line in buffer[..end].split(|&b| b == b'\n') {
                if let Some(time) = signal_time(line) {
                    // The tick's post, from its place in time.
                    let tick = ((time - first) * rate as f64).round() as usize;
                    arrived.push((tick / ticks, now));
                }
            }
            buffer.drain(..=end);
        }
    };
    tokio::select! {
        () = listen => panic!("the stream ended"),
        _ = async { all.await; tokio::time::sleep(Duration::from_millis(500)).await } => {}
    }
    let answered = answered.borrow();
    let skipped = (SKIPPED.as_millis() / EVERY.as_millis()) as usize;
    let after = |since: &dyn Fn(usize) -> Instant| {
        let counted = arrived.iter().filter(|(post, _)| *post >= skipped);
        let mut millis: Vec<f64> = counted
            .map(|&(post, at)| at.saturating_duration_since(since(post)).as_secs_f64() * 1e3)
            .collect();
        millis.sort_by(f64::total_cmp);
        millis
    };
    Latencies {
        answered: after(&|post| answered[post].expect("all are answered")),
        posted: after(&at),
    }
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
    let path = std::fs::read_dir(data)
        .expect("the data folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name == "log.sqlite"))
        .expect("the log");
    let log = Sqlite::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the log");
    let started = Instant::now();
    loop {
        let behind: i64 = log
            .query_row(
                "SELECT sum(ends.\"end\" - ifnull(position, 0)) FROM
                    (SELECT partition, max(offset + count) AS \"end\" FROM ticks GROUP BY partition) AS ends
                    LEFT JOIN positions ON consumers = 'engine' AND positions.partition = ends.partition",
                (),
                |row| row.get(0),
            )
            .expect("positions");
        if behind == 0 {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{behind} messages behind"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The time of a signal in a line of a stream.
fn signal_time(line: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(line.strip_prefix(b"data: {\"schema\"")?).ok()?;
    let (_, rest) = text.split_once("\"timestamp\":")?;
    rest.split(',').next()?.parse().ok()
}

fn first_time(body: &str) -> f64 {
    let (_, rest) = body.split_once("\"timestamp\":").expect("a tick");
    rest.split('}')
        .next()
        .and_then(|time| time.parse().ok())
        .expect("a time")
}
