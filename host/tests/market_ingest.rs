//! Ingest over the embedded log: what was answered is there, and nothing is there twice.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "market_ingest/faulty_log.rs"]
mod faulty_log;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use faulty_log::{Fault, FaultyLog};
use futures_util::poll;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};
use wigwag::{
    ingest::{Answer, Content, Ingest, IngestError, Options, Producer, pull, run_raw_intake},
    log::{Append, Log, MAX_VALUE_BYTES, Topic},
    market::{Limits, partition_of, read_record},
};

const NOW: f64 = 1_700_000_000.0;

fn clock() -> f64 {
    NOW
}

/// The tick number `i`, of one of seven symbols.
fn tick(i: usize) -> String {
    format!(
        r#"{{"stock_symbol":"S{}","opening_price":10.5,"closing_price":10.25,"high":11.0,"low":10.0,"volume":{i}.0,"timestamp":{NOW:.1}}}"#,
        i % 7
    )
}

fn bad(i: usize) -> String {
    tick(i).replace("10.25", "-1.5")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(appends: &[Append]) -> Vec<String> {
    appends
        .iter()
        .flat_map(|append| {
            text(&append.value)
                .lines()
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Numbers of ticks by symbol, in the log's order.
fn by_symbol(lines: &[String]) -> BTreeMap<String, Vec<usize>> {
    let mut symbols: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in lines {
        let wigwag::market::Record::Tick(tick) =
            read_record(line.as_bytes(), &Limits::none()).unwrap()
        else {
            panic!("{line} is no tick")
        };
        symbols
            .entry(tick.symbol.into_owned())
            .or_default()
            .push(tick.volume as usize);
    }
    symbols
}

fn expected(numbers: impl Iterator<Item = usize>) -> BTreeMap<String, Vec<usize>> {
    let mut symbols: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for i in numbers {
        symbols.entry(format!("S{}", i % 7)).or_default().push(i);
    }
    symbols
}

/// Waits until it is so; a test that waits for long has failed.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ingest(log: &Arc<FaultyLog>) -> Ingest {
    Ingest::new(log.clone(), Options::default())
}

async fn post(ingest: &Ingest, body: impl Into<Bytes>) -> Result<Answer, IngestError> {
    ingest
        .post(body.into(), Content::Auto, None, "a test", NOW)
        .await
}

#[tokio::test]
async fn an_answered_post_is_in_ticks_by_symbol_and_its_bad_records_in_rejects() {
    let log = FaultyLog::new(4);
    let body = [tick(0), bad(1), tick(2), "oops".into(), tick(7)].join("\n");
    let answer = post(&ingest(&log), body).await.unwrap();
    assert_eq!((answer.accepted, answer.rejected), (3, 2));
    assert_eq!(
        answer
            .errors
            .iter()
            .map(|e| (e.index, e.field.as_str(), e.rule))
            .collect::<Vec<_>>(),
        [(1, "closing_price", "positive"), (3, "", "json")]
    );
    let ticks = log.all(Topic::Ticks);
    assert_eq!(by_symbol(&lines(&ticks)), expected([0, 2, 7].into_iter()));
    for append in &ticks {
        assert_eq!(append.partition, partition_of(&text(&append.key), 4));
    }
    let mut rejects = lines(&log.all(Topic::Rejects));
    rejects.sort();
    assert_eq!(rejects, ["oops".to_string(), bad(1)]);
}

#[tokio::test]
async fn a_post_is_one_append_and_is_answered_only_once_that_is_durable() {
    let log = FaultyLog::new(4);
    log.gate.forget_permits(usize::MAX);
    let ingest = ingest(&log);
    let mut posted = pin!(post(
        &ingest,
        (0..100)
            .map(tick)
            .chain([bad(100)])
            .collect::<Vec<_>>()
            .join("\n")
    ));
    assert!(poll!(&mut posted).is_pending());
    assert_eq!(log.appended().len(), 1);
    log.gate.add_permits(1);
    assert_eq!(posted.await.unwrap().accepted, 100);
    assert_eq!(log.appended().len(), 1);
}

#[test]
fn a_failed_append_accepts_and_counts_nothing() {
    let log = FaultyLog::new(4);
    log.will(&[Fault::Append]);
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let post = || runtime.block_on(post(&ingest(&log), [tick(1), bad(2)].join("\n")));
    metrics::with_local_recorder(&recorder, || {
        assert!(matches!(post(), Err(IngestError::Unavailable(_))));
        assert_eq!(recorder.handle().render(), "");
        assert!(log.all(Topic::Ticks).is_empty() && log.all(Topic::Rejects).is_empty());

        assert_eq!(post().unwrap().accepted, 1);
        let counted = recorder.handle().render();
        for line in [
            r#"wigwag_ingest_records_total{result="accepted",kind="stock_price"} 1"#,
            r#"wigwag_ingest_records_total{result="rejected",kind="unknown"} 1"#,
            r#"wigwag_ingest_rejected_total{rule="positive"} 1"#,
        ] {
            assert!(
                counted.lines().any(|l| l == line),
                "{line} is not in\n{counted}"
            );
        }
    });
}

#[tokio::test]
async fn a_body_without_any_json_is_refused_and_kept() {
    let log = FaultyLog::new(4);
    let refused = post(&ingest(&log), "<html>\n</html>").await.unwrap_err();
    assert!(matches!(refused, IngestError::NotJson(_)), "{refused}");
    assert_eq!(log.all(Topic::Rejects).len(), 1);
    assert_eq!(post(&ingest(&log), "[]").await.unwrap(), Answer::default());
    assert!(matches!(
        post(&ingest(&log), " ").await,
        Err(IngestError::Empty)
    ));
}

#[tokio::test]
async fn a_large_post_arrives_whole_in_numbered_parts() {
    let log = FaultyLog::new(2);
    let body = (0..20_000).map(tick).collect::<Vec<_>>().join("\n");
    let producer = Producer::parse(Some("p"), Some("41")).unwrap();
    let answer = ingest(&log)
        .post(body.into(), Content::Auto, producer, "a test", NOW)
        .await
        .unwrap();
    assert_eq!((answer.accepted, answer.rejected), (20_000, 0));
    let ticks = log.all(Topic::Ticks);
    assert_eq!(by_symbol(&lines(&ticks)), expected(0..20_000));
    let mut parts: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for append in &ticks {
        assert!(append.value.len() <= MAX_VALUE_BYTES);
        let headers: BTreeMap<&str, String> =
            append.headers.iter().map(|(n, v)| (*n, text(v))).collect();
        assert_eq!(
            (
                headers["Producer-Id"].as_str(),
                headers["Sequence"].as_str()
            ),
            ("p", "41")
        );
        parts
            .entry(append.partition)
            .or_default()
            .push(headers["Part"].clone());
    }
    for parts in parts.values() {
        assert!(parts.len() > 1);
        assert!(
            parts
                .iter()
                .enumerate()
                .all(|(i, part)| *part == i.to_string()),
            "{parts:?}"
        );
    }
}

/// Raw intake in a thread of its own.
struct Intake {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Intake {
    fn start(log: &Arc<FaultyLog>) -> Self {
        let (log, stop) = (log.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread =
            std::thread::spawn(move || run_raw_intake(log, Options::default(), clock, stopped));
        Self { stop, thread }
    }

    fn stop(self) {
        let started = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "it stopped after {:?}",
            started.elapsed()
        );
    }
}

/// Writes ticks of these numbers to `raw`, each with a bad record behind it.
fn write_raw(log: &FaultyLog, numbers: std::ops::Range<usize>) {
    let appends = numbers.map(|i| Append {
        topic: Topic::Raw,
        // As by a producer that goes by the symbol.
        partition: (i % 7) as u32 % log.partitions(),
        key: format!("key {i}").into_bytes(),
        value: format!("{}\n{}", tick(i), bad(i)).into_bytes(),
        headers: Vec::new(),
    });
    let written = log.append(appends.collect());
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(written)
        .unwrap();
}

fn ticks(log: &FaultyLog) -> BTreeMap<String, Vec<usize>> {
    by_symbol(&lines(&log.all(Topic::Ticks)))
}

#[test]
fn what_is_in_raw_comes_to_ticks_and_rejects_once_whatever_fails() {
    use Fault::{CommitAnswer, Fence, LostPartition, Member, Poll, Submit};
    const MESSAGES: usize = 300;

    let log = FaultyLog::new(3);
    write_raw(&log, 0..MESSAGES);
    log.will(&[
        Member,
        Fence,
        Submit,
        CommitAnswer,
        Poll,
        Poll,
        LostPartition,
        CommitAnswer,
        Fence,
        CommitAnswer,
        Submit,
        Member,
        LostPartition,
        Poll,
        CommitAnswer,
    ]);
    let intake = Intake::start(&log);
    until("all messages are in ticks", || {
        lines(&log.all(Topic::Ticks)).len() >= MESSAGES
    });
    until("every fault has happened", || log.faults_left() == 0);
    // Anything that is to come a second time comes before this.
    write_raw(&log, MESSAGES..MESSAGES + 7);
    until("the last messages are in ticks", || {
        lines(&log.all(Topic::Ticks)).len() >= MESSAGES + 7
    });
    intake.stop();

    assert_eq!(ticks(&log), expected(0..MESSAGES + 7));
    let rejects = log.all(Topic::Rejects);
    let mut seen: Vec<String> = lines(&rejects);
    seen.sort();
    let mut wanted: Vec<String> = (0..MESSAGES + 7).map(bad).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
    let reject = rejects
        .iter()
        .find(|reject| reject.key == b"key 0")
        .unwrap();
    assert_eq!(reject.headers[3], ("Source", b"raw/0 offset 0".to_vec()));
}

#[test]
fn raw_intake_goes_on_where_it_stopped() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    for round in 0..3 {
        let log = FaultyLog::at(directory.clone(), 2);
        let intake = Intake::start(&log);
        write_raw(&log, round * 50..(round + 1) * 50);
        until("the round is in ticks", || {
            lines(&log.all(Topic::Ticks)).len() >= (round + 1) * 50
        });
        intake.stop();
        assert_eq!(ticks(&log), expected(0..(round + 1) * 50));
    }
}

#[test]
fn raw_intake_goes_on_from_the_oldest_message_where_retention_overtook_it() {
    let log = FaultyLog::new(1);
    write_raw(&log, 0..10);
    let intake = Intake::start(&log);
    until("the first ten are in ticks", || {
        lines(&log.all(Topic::Ticks)).len() >= 10
    });
    intake.stop();
    write_raw(&log, 10..20);
    log.trim(Topic::Raw, 0, 15);
    let intake = Intake::start(&log);
    until("those left are in ticks", || {
        lines(&log.all(Topic::Ticks)).len() >= 15
    });
    intake.stop();
    assert_eq!(ticks(&log), expected((0..10).chain(15..20)));
}

#[test]
fn a_raw_message_that_is_no_record_is_one_reject_and_the_position_moves_on() {
    let log = FaultyLog::new(1);
    let raw = |value: &[u8]| Append {
        topic: Topic::Raw,
        partition: 0,
        key: Vec::new(),
        value: value.to_vec(),
        headers: Vec::new(),
    };
    let large = vec![b'x'; MAX_VALUE_BYTES];
    let messages = [&b"oops\noops"[..], b"", b"[1,", &large, tick(1).as_bytes()].map(raw);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(log.append(messages.to_vec())).unwrap();
    let intake = Intake::start(&log);
    until("the good one is in ticks", || {
        !log.all(Topic::Ticks).is_empty()
    });
    intake.stop();
    let lengths: Vec<usize> = log
        .all(Topic::Rejects)
        .iter()
        .map(|reject| reject.value.len())
        .collect();
    assert_eq!(lengths, [9, 0, 3, 64_000]);
}

/// A producer that shows one record: answers the next of `bodies` to each request, then the last for ever. It offers to
/// keep connections. Counts requests and connections.
async fn show(bodies: Vec<String>) -> (reqwest::Url, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let (requests, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (requests.clone(), connections.clone());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::Relaxed);
            let (bodies, requests) = (bodies.clone(), requests.clone());
            tokio::spawn(async move {
                let mut request = Vec::new();
                while stream
                    .read_buf(&mut request)
                    .await
                    .is_ok_and(|read| read > 0)
                {
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    request.clear();
                    let body = &bodies[requests
                        .fetch_add(1, Ordering::Relaxed)
                        .min(bodies.len() - 1)];
                    let (status, body) = if body.is_empty() {
                        ("500 Oops", "x")
                    } else {
                        ("200 OK", body.as_str())
                    };
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, counts.0, counts.1)
}

#[tokio::test]
async fn a_pull_opens_a_connection_each_time_and_takes_each_record_once() {
    let log = FaultyLog::new(1);
    // The third fetch fails, the fourth and sixth show an old record, as from a producer that is a little behind.
    let shown = [
        tick(0),
        tick(1),
        String::new(),
        tick(0),
        tick(2),
        tick(1),
        tick(3),
    ];
    let (url, requests, connections) = show(shown.to_vec()).await;
    // Acknowledged by nobody at first.
    log.will(&[Fault::Append, Fault::Append]);
    let http = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let pulling = tokio::spawn(pull(
        url,
        Duration::from_millis(1),
        ingest(&log),
        http,
        clock,
        async {
            stopped.await.unwrap();
        },
    ));
    let reading = log.clone();
    tokio::task::spawn_blocking(move || {
        until("the newest is in ticks", || {
            lines(&reading.all(Topic::Ticks)).len() >= 4
        })
    })
    .await
    .unwrap();
    stop.send(()).unwrap();
    pulling.await.unwrap();
    assert_eq!(
        lines(&log.all(Topic::Ticks)),
        [tick(0), tick(1), tick(2), tick(3)]
    );
    // The stop may have come between the last connection and its request.
    let requests = requests.load(Ordering::Relaxed);
    let connections = connections.load(Ordering::Relaxed);
    assert!(
        requests > 1 && (requests..=requests + 1).contains(&connections),
        "{requests} requests, {connections} connections"
    );
}
