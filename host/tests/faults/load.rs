//! A producer as README tells one to be: it names itself, counts its bodies, has one in flight, and sends it again until
//! it is answered. Remembers what was answered.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::support::close;

/// Above every limit of the service, so that a body is not sent again while it is under way.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// How long the last body is tried.
const FINISH_WITHIN: Duration = Duration::from_secs(90);

/// Before a body is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Of the first tick; long ago, so that no tick lies in the future.
const FIRST_TIME: u64 = 1_700_000_000;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Symbols `S0` to `Sn`.
    pub(crate) symbols: usize,
    /// Ticks in a body: the symbols in turn.
    pub(crate) body: usize,
    /// Between two bodies.
    pub(crate) every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            symbols: 24,
            body: 48,
            every: Duration::from_millis(20),
        }
    }
}

/// A running producer.
pub(crate) struct Load {
    task: JoinHandle<Sent>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
    /// Where to, and which of these is next.
    to: Mutex<(Vec<String>, usize)>,
}

impl Shared {
    fn url(&self) -> String {
        let to = self.to.lock().expect("no holder panics");
        to.0[to.1 % to.0.len()].clone()
    }

    fn next_url(&self) {
        self.to.lock().expect("no holder panics").1 += 1;
    }
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Symbol and time of each tick that was answered 200.
    pub(crate) answered: Vec<(String, u64)>,
    /// Bodies.
    pub(crate) bodies: u64,
    /// Bodies that were sent again.
    pub(crate) again: u64,
}

impl Load {
    /// Sends to these addresses, to the next one after each failure.
    pub(crate) fn start(urls: Vec<String>, pace: Pace) -> Self {
        let shared = Arc::<Shared>::default();
        *shared.to.lock().expect("no holder panics") = (urls, 0);
        let task = tokio::spawn(send(pace, Arc::clone(&shared)));
        Self { task, shared }
    }

    /// Sends to these addresses from now on, to the first of them first.
    pub(crate) fn send_to(&self, urls: &[&str]) {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        *self.shared.to.lock().expect("no holder panics") = (urls, 0);
    }

    /// Bodies answered 200 so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Bodies answered 503 so far.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Waits until so many more bodies were answered.
    pub(crate) async fn goes_on(&self, bodies: u64, within: Duration) {
        let (until, from) = (Instant::now() + within, self.answered());
        while self.answered() < from + bodies {
            assert!(
                Instant::now() < until,
                "{} bodies answered within {within:?}, and {bodies} were wanted",
                self.answered() - from
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends after the body in hand.
    pub(crate) async fn stop(self) -> Sent {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the producer ends")
    }
}

async fn send(pace: Pace, shared: Arc<Shared>) -> Sent {
    let client = reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        .build()
        .expect("a client");
    let (mut sent, mut tick) = (Sent::default(), 0);
    let mut clock = tokio::time::interval(pace.every);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.stop.load(Ordering::Relaxed) {
        clock.tick().await;
        let (mut lines, mut ticks) = (String::new(), Vec::new());
        for _ in 0..pace.body {
            let (symbol, n) = (tick % pace.symbols, tick / pace.symbols);
            let (name, time) = (format!("S{symbol}"), FIRST_TIME + n as u64);
            lines += &crate::support::tick(&name, time as f64, close(symbol, n));
            lines.push('\n');
            ticks.push((name, time));
            tick += 1;
        }
        sent.bodies += 1;
        let mut stopped_at = None;
        loop {
            let request = client
                .post(format!("{}/ingest", shared.url()))
                .header("Content-Type", "application/x-ndjson")
                .header("Producer-Id", "faults")
                .header("Sequence", sent.bodies)
                .body(lines.clone());
            match request.send().await {
                Ok(answer) if answer.status() == 200 => break,
                Ok(answer) => {
                    let status = answer.status();
                    let retry = answer.headers().contains_key("Retry-After");
                    let body = answer.text().await.unwrap_or_default();
                    assert!(
                        status == 503 && retry,
                        "{status}, Retry-After {retry}: {body}"
                    );
                    shared.refused.fetch_add(1, Ordering::Relaxed);
                }
                // The process is gone, or was while it answered.
                Err(_) => {}
            }
            if shared.stop.load(Ordering::Relaxed) {
                let since = *stopped_at.get_or_insert_with(Instant::now);
                assert!(
                    since.elapsed() < FINISH_WITHIN,
                    "the last body was not answered within {FINISH_WITHIN:?}"
                );
            }
            sent.again += 1;
            shared.next_url();
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        sent.answered.extend(ticks);
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    sent
}
