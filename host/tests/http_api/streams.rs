//! `/v1/stream`: each signal once, in the order of its partition, whoever is slow or comes again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Response;
use serde_json::{Value, json};
use wigwag::{
    http,
    log::{Append, Topic},
    view::Limits,
};

use crate::{
    server::{
        PARTITIONS, START, Server, Settings, Sketch, TestLog, appends, eventually, refused, single,
        sketches,
    },
    support::tick,
};

/// A client of a stream.
struct Client {
    response: Response,
    text: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Client {
    async fn open(server: &Server, query: &str, last: Option<&str>) -> Self {
        let mut request = server.get(&format!("/v1/stream{query}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event; none at the stream's end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                let event = Event {
                    name: field("event: "),
                    id: field("id: "),
                    data: serde_json::from_str(&field("data: ")).unwrap(),
                };
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk());
            let chunk = chunk.await.expect("an event in time").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event that is no heartbeat.
    async fn news(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("an open stream");
            if event.name != "heartbeat" {
                return event;
            }
        }
    }

    async fn signals(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = self.news().await;
            assert_eq!(event.name, "signal");
            events.push(event);
        }
        events
    }
}

fn id_of(event: &Event) -> String {
    event.data["id"].as_str().unwrap().to_owned()
}

/// Asserts that these are these signals, each once and in the order of its partition.
fn assert_all(events: &[String], sketches: &[Sketch]) {
    let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for sketch in sketches {
        expected
            .entry(sketch.partition)
            .or_default()
            .push(sketch.signal().id);
    }
    let mut found: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for id in events {
        let partition = id.split(':').nth(1).unwrap().parse().unwrap();
        found.entry(partition).or_default().push(id.clone());
    }
    for partition in 0..PARTITIONS {
        assert!(
            found.get(&partition) == expected.get(&partition),
            "partition {partition} differs"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_a_heartbeat_and_then_gives_what_is_committed_from_now_on() {
    let (log, _folder, server) = single(Settings::default()).await;
    log.append(appends(&sketches(0, 100))).await;
    server.has_signals(100).await;
    let mut client = Client::open(&server, "", None).await;
    let first = client.next().await.unwrap();
    assert_eq!((&*first.name, &first.data), ("heartbeat", &json!({})));
    assert_eq!(
        first.id, "25.25.25.25",
        "the next position of each partition"
    );
    let later = sketches(100, 50);
    log.append(appends(&later)).await;
    let events = client.signals(50).await;
    assert_all(&events.iter().map(id_of).collect::<Vec<_>>(), &later);
    for event in &events {
        let sketch = later
            .iter()
            .find(|s| s.signal().id == id_of(event))
            .unwrap();
        assert_eq!(event.data, serde_json::to_value(sketch.signal()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_again_to_any_replica_gets_each_signal_once() {
    let (log, _folder, first) = single(Settings::default()).await;
    let other = tempfile::tempdir().unwrap();
    let second = Server::start(&log, other.path(), Settings::default()).await;
    let mut client = Client::open(&first, "", None).await;
    let mut last = client.next().await.unwrap().id;
    let all = sketches(0, 4_000);
    let mut seen = Vec::new();
    for (n, some) in all.chunks(400).enumerate() {
        log.append(appends(some)).await;
        // Leaves in the midst of what there is, and loses what it has not looked at.
        for event in client.signals(37 + 61 * n).await {
            seen.push(id_of(&event));
            last = event.id;
        }
        client = Client::open([&second, &first][n % 2], "", Some(&last)).await;
    }
    let rest = all.len() - seen.len();
    seen.extend(client.signals(rest).await.iter().map(id_of));
    assert_all(&seen, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_filter_comes_again_without_loss_or_repeat() {
    let (log, _folder, server) = single(Settings::default()).await;
    let query = "?symbol=TSLA&strategy=rsi-14&side=sell";
    let mut client = Client::open(&server, query, None).await;
    let mut last = client.next().await.unwrap().id;
    let all = sketches(0, 3_000);
    let wanted: Vec<_> = all
        .iter()
        .filter(|s| {
            (s.symbol, s.strategy, s.side) == ("TSLA", "rsi-14", wigwag::market::Side::Sell)
        })
        .copied()
        .collect();
    assert!(wanted.len() > 200);
    let mut seen = Vec::new();
    for some in all.chunks(500) {
        log.append(appends(some)).await;
        for event in client.signals(10).await {
            seen.push(id_of(&event));
            last = event.id;
        }
        client = Client::open(&server, query, Some(&last)).await;
    }
    let rest = wanted.len() - seen.len();
    seen.extend(client.signals(rest).await.iter().map(id_of));
    assert_all(&seen, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_misses_no_signal_and_delays_nobody() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut slow = Client::open(&server, "", None).await;
    let mut quick = Client::open(&server, "?symbol=TSLA", None).await;
    // More than sockets and the memory for recent signals hold together.
    let all = sketches(0, 60_000);
    for some in all.chunks(5_000) {
        log.append(appends(some)).await;
        let mine = some.iter().filter(|s| s.symbol == "TSLA").count();
        quick.signals(mine).await;
    }
    let events = slow.signals(all.len()).await;
    assert_all(&events.iter().map(id_of).collect::<Vec<_>>(), &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_are_no_longer_kept_are_told_as_a_gap() {
    let settings = Settings {
        view: Limits {
            signals: 1_000,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let (log, _folder, server) = single(settings).await;
    let all = sketches(0, 40_000);
    for some in all.chunks(1_000) {
        log.append(appends(some)).await;
    }
    let newest = format!("/v1/signals/{}", all.last().unwrap().signal().id);
    eventually("the newest signal", async || {
        (crate::server::answer(server.get(&newest)).await.0 == 200).then_some(())
    })
    .await;
    let mut client = Client::open(&server, "", Some("0.0.0.0")).await;
    let mut floors = BTreeMap::new();
    let first = loop {
        let event = client.news().await;
        if event.name == "signal" {
            break event;
        }
        assert_eq!((&*event.name, &event.data["from"]), ("gap", &json!(0)));
        floors.insert(
            event.data["partition"].as_u64().unwrap(),
            event.data["to"].as_u64().unwrap(),
        );
    };
    assert_eq!(floors.len(), PARTITIONS as usize, "{floors:?}");
    let kept: Vec<_> = all
        .iter()
        .enumerate()
        // Each partition has every fourth signal.
        .filter(|(n, s)| *n as u64 / 4 >= floors[&u64::from(s.partition)])
        .map(|(_, s)| *s)
        .collect();
    assert!((1_000..20_000).contains(&kept.len()), "{}", kept.len());
    let mut events = vec![first];
    events.extend(client.signals(kept.len() - 1).await);
    assert_all(&events.iter().map(id_of).collect::<Vec<_>>(), &kept);
}

pub(crate) fn value(strategy: &str, symbol: &str, n: u64) -> Append {
    let json = json!({
        "strategy": strategy, "symbol": symbol, "timestamp": START + n as f64, "series": {"ma": n},
        "partition": 0, "offset": n, "row": 0,
    });
    Append {
        topic: Topic::Values,
        partition: 0,
        key: format!("{strategy}/{symbol}").into_bytes(),
        value: serde_json::to_vec(&json).unwrap(),
        headers: vec![],
    }
}

pub(crate) fn ticks(symbol: &str, numbers: std::ops::Range<u64>) -> Append {
    let lines: Vec<_> = numbers
        .map(|n| tick(symbol, START + n as f64, 100.0 + n as f64))
        .collect();
    Append {
        topic: Topic::Ticks,
        partition: 1,
        key: symbol.as_bytes().to_vec(),
        value: lines.join("\n").into_bytes(),
        headers: vec![],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_ticks_come_to_those_who_asked_for_them() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut values = Client::open(&server, "?types=value&strategy=ma-20", None).await;
    let mut ticks_of = Client::open(&server, "?types=tick&symbol=AAPL", None).await;
    let mut both = Client::open(&server, "?types=signal,tick", None).await;
    for client in [&mut values, &mut ticks_of, &mut both] {
        assert_eq!(client.next().await.unwrap().name, "heartbeat");
    }
    log.append(
        (0..50)
            .map(|n| value(["ma-20", "ema-20"][(n % 2) as usize], "AAPL", n))
            .collect(),
    )
    .await;
    for n in (0..50).step_by(2) {
        let event = values.news().await;
        assert_eq!(
            (&*event.name, &event.data["series"]["ma"]),
            ("value", &json!(n))
        );
        assert_eq!(event.id, "", "only signals have a place");
    }
    log.append(vec![ticks("MSFT", 0..3), ticks("AAPL", 0..5)])
        .await;
    let event = ticks_of.news().await;
    assert_eq!(
        event.data,
        json!({"symbol": "AAPL", "timestamp": START + 4.0, "open": 104.0, "high": 104.25, "low": 103.75,
            "close": 104.0, "volume": 3.0, "partition": 1, "offset": 1, "row": 4}),
        "of ticks that were read together, the newest"
    );
    log.append(appends(&sketches(0, 1))).await;
    let names: BTreeSet<_> = [both.news().await, both.news().await, both.news().await]
        .map(|e| e.name)
        .into();
    assert_eq!(names, BTreeSet::from(["signal".into(), "tick".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lags_gets_the_newest_value_of_each_series_and_no_older_one_after_it() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut client = Client::open(&server, "?types=value", None).await;
    let symbols: Vec<_> = (0..50).map(|n| format!("S{n}")).collect();
    let last = 200_000;
    for first in (0..last).step_by(10_000) {
        let some = (first..first + 10_000).map(|n| value("ma-20", &symbols[n as usize % 50], n));
        log.append(some.collect()).await;
    }
    let path = "/v1/symbols/S49/values?limit=1";
    eventually("the last value", async || {
        (server.json(path).await["values"][0]["offset"] == last - 1).then_some(())
    })
    .await;
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = 0;
    while newest.len() < 50 || newest.values().any(|&n| n < last - 50) {
        let event = client.news().await;
        let (symbol, n) = (
            event.data["symbol"].as_str().unwrap(),
            event.data["offset"].as_u64().unwrap(),
        );
        let before = newest.insert(symbol.to_owned(), n);
        assert!(before < Some(n), "{symbol}: {n} came after {before:?}");
        seen += 1;
    }
    assert!(seen < last / 2, "{seen} of {last}: it did not lag");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_once_when_the_service_stops() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::open(&server, "?types=signal,value,tick", None).await;
        client.next().await.unwrap();
        clients.push(client);
    }
    let took = server.stop().await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    for client in &mut clients {
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_streamed_is_refused() {
    let settings = Settings {
        http: http::Limits {
            streams: 2,
            ..http::Limits::default()
        },
        ..Settings::default()
    };
    let (_log, _folder, server) = single(settings).await;
    let with_last = |last: &str| server.get("/v1/stream").header("Last-Event-ID", last);
    refused(with_last("garbage"), 400, "event id \"garbage\"").await;
    refused(
        with_last("1.2.3"),
        400,
        "holds 3 positions where the log has 4 partitions",
    )
    .await;
    refused(
        server.get("/v1/stream?types=signals"),
        400,
        "types has \"signals\"",
    )
    .await;
    refused(server.get("/v1/stream?type=signal"), 400, "`type`").await;
    let clients = [
        Client::open(&server, "", None).await,
        Client::open(&server, "", None).await,
    ];
    let problem = refused(server.get("/v1/stream"), 503, "2 streams are open").await;
    assert_eq!(problem["title"], "The service cannot do this now");
    drop(clients);
    eventually("a free place", async || {
        (server.get("/v1/stream").send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_when_the_view_begins_anew() {
    // Retention has removed what the view wants to read next, so it begins anew and says what is missing.
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&log, folder.path(), Settings::default()).await;
    log.append(appends(&sketches(0, 400))).await;
    server.has_signals(400).await;
    server.stop().await;
    log.append(appends(&sketches(400, 400))).await;
    for partition in 0..PARTITIONS {
        log.embedded.trim(Topic::Signals, partition, 150).unwrap();
    }
    let server = Server::start(&log, folder.path(), Settings::default()).await;
    let mut client = Client::open(&server, "", Some("100.100.100.100")).await;
    for partition in 0..PARTITIONS {
        let event = client.news().await;
        assert_eq!(event.name, "gap");
        assert_eq!(
            event.data,
            json!({"partition": partition, "from": 100, "to": 150})
        );
    }
    let events = client.signals(200).await;
    assert_all(
        &events.iter().map(id_of).collect::<Vec<_>>(),
        &sketches(600, 200),
    );
}
