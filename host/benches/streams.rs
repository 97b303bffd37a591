//! What clients that listen cost the engine: the real service takes ticks as fast as it can, in turn without clients and with
//! a thousand event streams open, each of one symbol, which also get a paced thousand ticks a second. The clients share
//! the machine's cores with it.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "support/service.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod service;
mod support;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use service::{Connection, NDJSON, Service, block_on, folder, get, now, post, send_all};
use support::{Market, at_least, cpu_of, figure, median, selected};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CLIENTS: usize = 1_000;

/// Each client listens to one of these.
const SYMBOLS: usize = 1_000;

const TICKS_A_SECOND: usize = 1_000;

/// How long each round is paced, and what it then takes at once.
const PACED: Duration = Duration::from_secs(5);
const BURST_POSTS: usize = 200;
const BURST_TICKS: usize = 1_000;

const ROUNDS: usize = 5;

const CONNECTIONS: usize = 8;

fn main() {
    if selected("streams/clients") {
        clients("streams/clients");
    }
}

/// What one round came to.
#[derive(Default)]
struct Round {
    ticks_per_second: f64,
    cpu_nanos_a_tick: f64,
    /// Events that arrived in its paced part.
    paced_events: u64,
}

fn clients(name: &str) {
    let data = folder("streams").join("data");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    block_on(async {
        let service = Service::start(&data, &[]).await;
        let mut market = Market::starting_at(now() - 3_600.0, SYMBOLS, 200_000.0);
        // Until all averages are there.
        let warm = market.messages(30 * SYMBOLS / BURST_TICKS, BURST_TICKS);
        burst(&service, &warm).await;
        for _ in 0..ROUNDS {
            without.push(round(&service, &mut market, &Cell::new(0)).await);
            let received = Cell::new(0);
            let mut streams = Vec::new();
            for n in 0..CLIENTS {
                streams.push(subscribe(&service, n % SYMBOLS).await);
            }
            let listening = futures_util::future::join_all(
                streams.into_iter().map(|stream| listen(stream, &received)),
            );
            tokio::select! {
                _ = listening => panic!("the streams ended"),
                round = round(&service, &mut market, &received) => with.push(round),
            }
        }
        service.stop();
    });
    let rate = |rounds: &[Round]| median(rounds.iter().map(|r| r.ticks_per_second).collect());
    let cpu = |rounds: &[Round]| median(rounds.iter().map(|r| r.cpu_nanos_a_tick).collect());
    let ratios = without.iter().zip(&with);
    let ratios = ratios.map(|(a, b)| b.ticks_per_second / a.ticks_per_second);
    let share = 100.0 * median(ratios.collect());
    at_least(name, share, "% of the rate", 95.0);
    figure(
        &format!("{name}/rates"),
        &format!(
            "{:.0} ticks/s without, {:.0} ticks/s with {CLIENTS} clients; {:.0} and {:.0} ns of CPU a tick",
            rate(&without),
            rate(&with),
            cpu(&without),
            cpu(&with)
        ),
    );
    let events: u64 = with.iter().map(|round| round.paced_events).sum();
    let seconds = PACED.as_secs_f64() * ROUNDS as f64;
    figure(
        &format!("{name}/paced"),
        &format!(
            "{:.0} events/s arrived at {TICKS_A_SECOND} ticks/s",
            events as f64 / seconds
        ),
    );
    assert!(events > 0, "the clients hear nothing");
}

/// Some seconds at the pace, then as much as it takes at once.
async fn round(service: &Service, market: &mut Market, received: &Cell<u64>) -> Round {
    const EVERY: Duration = Duration::from_millis(10);
    let a_post = TICKS_A_SECOND / 100;
    let posts = (PACED.as_millis() / EVERY.as_millis()) as usize;
    let requests: Vec<_> = market.messages(posts, a_post);
    let mut connection = Connection::open(service.address).await.expect("it listens");
    let (begun, before) = (Instant::now(), received.get());
    for (n, body) in (0..).zip(&requests) {
        tokio::time::sleep_until((begun + EVERY * n).into()).await;
        let status = connection.send(&post(NDJSON, body)).await;
        assert_eq!(status.expect("an answer"), 200);
    }
    let paced_events = received.get() - before;
    let bodies = market.messages(BURST_POSTS, BURST_TICKS);
    let used = cpu_of(service.pid());
    let took = burst(service, &bodies).await;
    let ticks = (BURST_POSTS * BURST_TICKS) as f64;
    Round {
        ticks_per_second: ticks / took.as_secs_f64(),
        cpu_nanos_a_tick: (cpu_of(service.pid()) - used).as_nanos() as f64 / ticks,
        paced_events,
    }
}

/// Until the engine has counted them.
async fn burst(service: &Service, bodies: &[String]) -> Duration {
    const COUNTER: &str = "wigwag_engine_ticks_total";
    let sent: usize = bodies.iter().map(|body| body.lines().count()).sum();
    let wanted = service.counter(COUNTER).await + sent as u64;
    let requests: Vec<_> = bodies.iter().map(|body| post(NDJSON, body)).collect();
    let started = Instant::now();
    send_all(service.address, CONNECTIONS, &requests).await;
    while service.counter(COUNTER).await < wanted {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the engine stands still"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

async fn subscribe(service: &Service, symbol: usize) -> tokio::net::TcpStream {
    let connection = Connection::open(service.address).await.expect("it listens");
    let mut stream = connection.into_stream();
    let path = format!("/v1/stream?symbol={}", Market::name(symbol as u32));
    let request = get(&path, service.address);
    stream.write_all(&request).await.expect("it listens");
    stream
}

/// Counts the signals that arrive.
async fn listen(mut stream: tokio::net::TcpStream, received: &Cell<u64>) {
    let mut buffer = vec![0; 16 << 10];
    let mut first = true;
    loop {
        let read = stream.read(&mut buffer).await.expect("the stream goes on");
        assert!(read > 0, "the stream ended");
        if std::mem::take(&mut first) {
            assert!(buffer.starts_with(b"HTTP/1.1 200 "), "it is refused");
        }
        let signals = memchr::memmem::find_iter(&buffer[..read], b"event: signal").count();
        received.set(received.get() + signals as u64);
    }
}
