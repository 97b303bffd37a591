//! Rows 21, 22 and 27: what comes in is bad or uneven, and who listens is slow or gone.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use rdkafka::producer::{BaseRecord, Producer};
use serde_json::Value;
use wigwag::{log::Topic, market::partition_of};

use crate::{
    cluster::Cluster,
    fleet::Process,
    load::{Load, Pace},
    stage::{PATIENCE, Stage, until},
    support::{close, tick},
};

/// Records of which each breaks a rule.
const BAD: [&str; 8] = [
    r#"{"stock_symbol":"B","opening_price":NaN,"closing_price":1,"high":1,"low":1,"volume":1,"timestamp":1700000000}"#,
    r#"{"stock_symbol":"B","opening_price":-1,"closing_price":1,"high":1,"low":1,"volume":1,"timestamp":1700000000}"#,
    r#"{"stock_symbol":"B","opening_price":1,"closing_price":1,"high":1,"low":1,"volume":-1,"timestamp":1700000000}"#,
    r#"{"stock_symbol":"B","opening_price":1,"closing_price":1,"high":1,"low":2,"volume":1,"timestamp":1700000000}"#,
    r#"{"stock_symbol":"B","opening_price":1,"closing_price":1,"high":1,"low":1,"volume":1,"timestamp":99999999999}"#,
    r#"{"stock_symbol":"no symbol at all","opening_price":1,"closing_price":1,"high":1,"low":1,"volume":1,"timestamp":1700000000}"#,
    r#"{"data_type":"weather","timestamp":1700000000}"#,
    r#"{"stock_symbol":"B","opening_pr"#,
];

/// Sends records.
pub(crate) async fn post(url: &str, body: String) -> (u16, Value) {
    let request = reqwest::Client::new()
        .post(format!("{url}/ingest"))
        .header("Content-Type", "application/x-ndjson")
        .body(body);
    crate::service::answer(request).await
}

/// Sends bad records among good ones in every way there is, and waits until each is among the refused.
pub(crate) async fn bad_records(stage: &Stage<'_>, url: &str) {
    let rejects = || {
        (0..stage.place.partitions)
            .map(|p| stage.place.read(Topic::Rejects, p).len())
            .sum::<usize>()
    };
    let before = rejects();
    // Between good ones, over HTTP.
    let good = tick("GOOD", 1_700_000_000.0, 1.0);
    let body = BAD.map(|bad| format!("{bad}\n{good}\n")).concat();
    let (status, answer) = post(url, body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&Value::from(8), &Value::from(8)),
        "{answer}"
    );
    // Ten megabytes in one record, and in one body that is none.
    let (status, answer) = post(
        url,
        format!(
            "{{\"stock_symbol\":\"{}\"}}\n{good}\n",
            "A".repeat(10 << 20)
        ),
    )
    .await;
    assert_eq!(
        (status, &answer["rejected"]),
        (200, &Value::from(1)),
        "{answer}"
    );
    assert_eq!(post(url, "\u{0}".repeat(10 << 20)).await.0 / 100, 4);
    // A tick that is late, and one that is a repeat: not refused, and dropped by each replay alike.
    let late = [
        tick("LATE", 1_700_000_100.0, 1.0),
        tick("LATE", 1_700_000_000.0, 2.0),
        tick("LATE", 1_700_000_100.0, 1.0),
    ];
    let (status, answer) = post(url, late.join("\n")).await;
    assert_eq!(
        (status, &answer["accepted"]),
        (200, &Value::from(3)),
        "{answer}"
    );
    // Through Kafka, where nobody is told: of any key, and no text.
    let raw = stage.place.topic(Topic::Raw);
    let producer = stage.place.producer(&[]);
    for (n, bad) in BAD
        .iter()
        .map(|bad| bad.as_bytes())
        .chain([&b"\xff\xfe\x00"[..]])
        .enumerate()
    {
        let partition = n as i32 % stage.place.partitions as i32;
        producer
            .send(
                BaseRecord::to(&raw)
                    .partition(partition)
                    .key("wrong key")
                    .payload(bad),
            )
            .map_err(|(error, _)| error)
            .expect("queued");
    }
    producer.flush(PATIENCE).expect("written");

    let expected = before + 2 * BAD.len() + 2;
    until("all of them in rejects", async || {
        (rejects() >= expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_21_bad_records() {
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let _engine = stage.engine(&cluster.plain()).await;
    let (desk, load) = stage.load().await;
    bad_records(&stage, desk.url()).await;
    stage.goes_on(PATIENCE).await;
    stage.judge(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_22_one_symbol_is_half_of_the_traffic() {
    const BODIES: usize = 10;
    const TICKS: usize = 5_000;
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let _engine = stage.engine(&cluster.plain()).await;
    let (desk, load) = stage.load().await;
    stage.goes_on(PATIENCE).await;
    for body in 0..BODIES {
        let of = |n: usize| tick("HOT", 1_700_000_000.0 + n as f64 * 0.01, close(1, n));
        let lines: Vec<_> = (0..TICKS).map(|n| of(body * TICKS + n)).collect();
        let (status, answer) = post(desk.url(), lines.join("\n")).await;
        assert_eq!(status, 200, "{answer}");
    }
    stage.goes_on(PATIENCE).await;
    stage.judge(load).await;

    // From a tick's arrival to its signal's, the longest of each partition.
    let longest = |partition| {
        let ticks = stage.place.read(Topic::Ticks, partition);
        let delay = |signal: &crate::history::Entry| {
            let offset = serde_json::from_slice::<Value>(&signal.value).ok()?["offset"].as_u64()?;
            let at = ticks.binary_search_by_key(&offset, |t| t.offset).ok()?;
            Some(signal.appended_ms - ticks[at].appended_ms)
        };
        stage
            .place
            .read(Topic::Signals, partition)
            .iter()
            .filter_map(delay)
            .max()
            .unwrap_or(0)
    };
    let hot = partition_of("HOT", stage.place.partitions);
    let others: Vec<_> = (0..stage.place.partitions)
        .filter(|p| *p != hot)
        .map(longest)
        .collect();
    println!(
        "row 22: longest delay, ms, of the hot partition {}, of the others {others:?}",
        longest(hot)
    );
    // On a machine that also compiles every partition lags, and the oracle alone judges.
    assert!(
        !crate::stage::long() || others.iter().all(|&delay| delay < 10_000),
        "{others:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_27_a_hundred_clients_that_do_not_read() {
    /// Above what the service says it keeps for all of them.
    const MEMORY_KIB: u64 = 200 << 10;
    let cluster = Cluster::shared();
    let stage = Stage::new(cluster);
    let mut service = Process::start(&stage.order(&cluster.plain(), "ingest,engine,api")).await;
    let load = Load::start(vec![service.url().to_owned()], Pace::default());
    let mut without = Duration::ZERO;
    for _ in 0..5 {
        without = without.max(stage.goes_on(PATIENCE).await);
    }
    let before = service.usage();
    let address = service.url().trim_start_matches("http://").to_owned();
    let mut clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = TcpStream::connect(&address).expect("it takes connections");
            let request = format!(
                "GET /v1/stream?types=signal,value,tick HTTP/1.1\r\nHost: {address}\r\n\r\n"
            );
            client.write_all(request.as_bytes()).expect("asked");
            client
        })
        .collect();
    let (since, mut with) = (Instant::now(), Duration::ZERO);
    while since.elapsed() < Duration::from_secs(if crate::stage::long() { 60 } else { 5 }) {
        with = with.max(stage.goes_on(PATIENCE).await);
        // Some vanish, in the middle of what is sent to them.
        clients.truncate(clients.len().saturating_sub(1).max(50));
    }
    let after = service.usage();
    println!(
        "row 27: committed within {without:?} without and {with:?} with the clients; {before:?}, then {after:?}"
    );
    assert!(
        after.memory_kib < before.memory_kib + MEMORY_KIB,
        "{before:?} {after:?}"
    );
    // A broker beside other tests may itself stand still for longer than a session lasts.
    assert!(
        !crate::stage::long() || with < 10 * without.max(Duration::from_millis(500)),
        "{without:?} {with:?}"
    );
    assert!(service.is_running());
    stage.judge(load).await;
}
