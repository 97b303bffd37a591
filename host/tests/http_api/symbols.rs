//! `/v1/symbols`: sessions, bars and indicator values.

use reqwest::Method;
use serde_json::{Value, json};
use wigwag::{
    log::{Append, Topic},
    view::Limits,
};

use crate::{
    server::{
        START, Server, Settings, TestLog, answer, appends, eventually, ids, refused, single,
        sketches,
    },
    support::tick,
};

/// Sends ticks through the front door.
async fn post(server: &Server, lines: &[String]) {
    let request = server
        .request(Method::POST, "/ingest")
        .body(lines.join("\n"));
    let (status, body) = answer(request).await;
    assert_eq!(
        (status, &body["accepted"]),
        (200, &json!(lines.len())),
        "{body}"
    );
}

async fn session(server: &Server, symbol: &str, ticks: u64) -> Value {
    eventually("the ticks", async || {
        let (_, session) = answer(server.get(&format!("/v1/symbols/{symbol}"))).await;
        (session["ticks"] == ticks).then_some(session)
    })
    .await
}

fn point(topic: Topic, key: &str, json: &Value) -> Append {
    Append {
        topic,
        partition: 0,
        key: key.as_bytes().to_vec(),
        value: serde_json::to_vec(json).unwrap(),
        headers: vec![],
    }
}

fn value(strategy: &str, symbol: &str, n: u64) -> Append {
    let json = json!({"strategy": strategy, "symbol": symbol, "timestamp": START + n as f64,
        "series": {"ma": n}, "partition": 0, "offset": n, "row": 0});
    point(Topic::Values, &format!("{strategy}/{symbol}"), &json)
}

pub(crate) fn bar(symbol: &str, interval: &str, n: u64) -> Append {
    let json = json!({"symbol": symbol, "interval": interval, "open_time": START + n as f64, "open": 1.0,
        "high": 2.0, "low": 0.5, "close": 1.5, "volume": 9.0, "vwap": 1.1, "ticks": n, "partition": 0, "offset": n});
    point(Topic::Bars, &format!("{symbol}/{interval}"), &json)
}

/// The numbers of a list of points, in its order.
fn numbers(list: &Value, field: &str) -> Vec<u64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|p| p[field].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbols_summary_has_its_session_indicators_and_latest_signals() {
    let (log, _folder, server) = single(Settings::default()).await;
    refused(server.get("/v1/symbols/AAPL"), 404, "\"AAPL\"").await;
    let lines = [
        tick("AAPL", START, 100.0),
        tick("AAPL", START + 2.0, 104.0),
        // The same again, one that is too late, and one that is only a little late.
        tick("AAPL", START + 2.0, 104.0),
        tick("AAPL", START - 9.0, 50.0),
        tick("AAPL", START + 1.0, 98.0),
        tick("MSFT", START, 10.0),
    ];
    post(&server, &lines).await;
    let session = session(&server, "AAPL", 3).await;
    let expected = json!({
        "symbol": "AAPL", "session_start": 1_699_920_000.0, "timestamp": START + 2.0, "open": 100.0,
        "high": 104.25, "low": 97.75, "last": 104.0, "change": 4.0, "change_percent": 4.0, "volume": 9.0,
        "vwap": (100.0 + 104.0 + 98.0) / 3.0, "ticks": 3, "late": 1, "repeats": 1, "indicators": [], "signals": [],
    });
    for (name, expected) in expected.as_object().unwrap() {
        match (expected.as_f64(), session[name].as_f64()) {
            (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9, "{name}: {b}"),
            _ => assert_eq!(&session[name], expected, "{name}"),
        }
    }
    log.append(
        (0..30)
            .flat_map(|n| {
                [
                    value("rsi-14", "AAPL", n),
                    value("ma-20", "AAPL", n),
                    value("ma-20", "MSFT", n),
                ]
            })
            .collect(),
    )
    .await;
    let all = sketches(0, 90);
    log.append(appends(&all)).await;
    let summary = eventually("all of it", async || {
        let summary = server.json("/v1/symbols/AAPL").await;
        (summary["indicators"][0]["offset"] == 29
            && summary["signals"].as_array().unwrap().len() == 10)
            .then_some(summary)
    })
    .await;
    let strategies: Vec<_> = summary["indicators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (&v["strategy"], &v["offset"]))
        .collect();
    assert_eq!(
        strategies,
        [
            (&json!("ma-20"), &json!(29)),
            (&json!("rsi-14"), &json!(29))
        ]
    );
    let listed = server.json("/v1/signals?symbol=AAPL&limit=10").await;
    assert_eq!(ids(&summary["signals"]), ids(&listed["signals"]));
    let symbols = server.json("/v1/symbols").await;
    let names: Vec<_> = symbols["symbols"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["symbol"])
        .collect();
    assert_eq!(names, ["AAPL", "MSFT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_counts_no_tick_twice() {
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    for n in 0..4_u64 {
        let server = Server::start(&log, folder.path(), Settings::default()).await;
        let lines: Vec<_> = (0..100)
            .map(|k| tick("AAPL", START + (n * 100 + k) as f64, 100.0 + k as f64))
            .collect();
        post(&server, &lines).await;
        let session = session(&server, "AAPL", (n + 1) * 100).await;
        assert_eq!(session["volume"], 3.0 * 100.0 * (n + 1) as f64);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_and_values_are_listed_newest_first_by_their_series() {
    let (log, _folder, server) = single(Settings::default()).await;
    let mut messages = Vec::new();
    for n in 0..300 {
        messages.extend([bar("AAPL", "1s", n), bar("MSFT", "1s", n)]);
        messages.extend((n % 60 == 0).then(|| bar("AAPL", "1m", n)));
        messages.extend([
            value("ma-20", "AAPL", n),
            value("rsi-14", "AAPL", n),
            value("ma-20", "MSFT", n),
        ]);
    }
    log.append(messages).await;
    eventually("the last value", async || {
        let values = server.json("/v1/symbols/MSFT/values?limit=1").await;
        (values["values"][0]["offset"] == 299).then_some(())
    })
    .await;
    let newest = |count: u64| (0..count).map(|n| 299 - n).collect::<Vec<_>>();
    let bars = server.json("/v1/symbols/AAPL/bars?interval=1s").await;
    assert_eq!(numbers(&bars["bars"], "offset"), newest(100));
    assert_eq!(
        bars["bars"][0],
        serde_json::from_slice::<Value>(&bar("AAPL", "1s", 299).value).unwrap()
    );
    let bars = server.json("/v1/symbols/AAPL/bars").await;
    assert_eq!(numbers(&bars["bars"], "offset"), [240, 180, 120, 60, 0]);
    let values = server
        .json("/v1/symbols/AAPL/values?strategy=ma-20&limit=1000")
        .await;
    assert_eq!(numbers(&values["values"], "offset"), newest(300));
    let values = server
        .json("/v1/symbols/AAPL/values?strategy=ma-20&interval=1m")
        .await;
    let last_of_each_minute = [299, 279, 219, 159, 99, 39];
    assert_eq!(
        numbers(&values["values"], "offset"),
        last_of_each_minute,
        "as a chart of minutes shows them"
    );
    let since = START + 290.0;
    let values = server
        .json(&format!(
            "/v1/symbols/AAPL/values?strategy=rsi-14&since={since}"
        ))
        .await;
    assert_eq!(numbers(&values["values"], "offset"), newest(10));
    // What lies between two times, the second excluded: so a list goes on where the last one ended.
    let (from, to) = (START + 40.0, START + 50.0);
    let between: Vec<u64> = (40..50).rev().collect();
    for list in ["bars?interval=1s", "values?strategy=ma-20"] {
        let path = format!("/v1/symbols/AAPL/{list}&since={from}&until={to}");
        let points = server.json(&path).await;
        let points = &points[list.split('?').next().unwrap()];
        assert_eq!(numbers(points, "offset"), between, "{list}");
    }
    let path = format!("/v1/symbols/AAPL/values?strategy=ma-20&interval=1m&until={to}");
    let values = server.json(&path).await;
    assert_eq!(numbers(&values["values"], "offset"), [49, 39]);
    let values = server.json("/v1/symbols/AAPL/values?limit=4").await;
    assert_eq!(numbers(&values["values"], "offset"), [299, 299, 298, 298]);
    for empty in ["/v1/symbols/TSLA/bars", "/v1/symbols/AAPL/bars?interval=1d"] {
        assert_eq!(server.json(empty).await, json!({"bars": []}));
    }
    assert_eq!(
        server.json("/v1/symbols/AAPL/values?strategy=none").await,
        json!({"values": []})
    );
    for (path, wanted) in [
        (
            "/v1/symbols/AAPL/bars?interval=2m",
            "interval is \"2m\"; use one of 1s, 1m, 5m, 1h, 1d",
        ),
        ("/v1/symbols/AAPL/bars?strategy=x", "`strategy`"),
        ("/v1/symbols/AAPL/values?interval=2s", "interval is \"2s\""),
        ("/v1/symbols/AAPL/bars?until=noon", "until is \"noon\""),
        ("/v1/symbols/AAPL/values?until=noon", "until is \"noon\""),
        ("/v1/symbols/aapl", "\"aapl\""),
        (
            "/v1/symbols/TOOLONGTOBEASYMBOL/bars",
            "\"TOOLONGTOBEASYMBOL\"",
        ),
    ] {
        refused(server.get(path), 400, wanted).await;
    }
}

/// Waits until the newest point of a list is of this offset.
async fn newest(server: &Server, list: &str, offset: u64) {
    let path = format!("/v1/symbols/{list}&limit=1");
    let name = if list.contains("/bars") {
        "bars"
    } else {
        "values"
    };
    eventually("the newest", async || {
        let points = server.json(&path).await;
        (points[name][0]["offset"] == offset).then_some(())
    })
    .await;
}

/// Appends points of a busy symbol one after the other, and waits for the last. What is read at once with the newest is
/// never removed, so the last comes alone.
async fn append_busy(log: &TestLog, server: &Server, list: &str, of: impl Fn(u64) -> Append) {
    const COUNT: u64 = 10_000;
    for first in (0..COUNT).step_by(1_000) {
        log.append((first..first + 1_000).map(&of).collect()).await;
    }
    newest(server, list, COUNT - 1).await;
    log.append(vec![of(COUNT)]).await;
    newest(server, list, COUNT).await;
}

fn small(limits: Limits) -> Settings {
    Settings {
        view: limits,
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_of_a_second_push_out_no_longer_ones() {
    const LONGER: [&str; 4] = ["1m", "5m", "1h", "1d"];
    let settings = small(Limits {
        bars: 2_000,
        ..Limits::default()
    });
    let (log, _folder, server) = single(settings.clone()).await;
    let all = |interval| (0..5).map(move |n| bar("AAPL", interval, n));
    log.append(LONGER.into_iter().flat_map(all).collect()).await;
    append_busy(&log, &server, "MSFT/bars?interval=1s", |n| {
        bar("MSFT", "1s", n)
    })
    .await;
    let another = tempfile::tempdir().unwrap();
    let anew = Server::start(&log, another.path(), settings).await;
    for server in [&server, &anew] {
        for interval in LONGER {
            let path = format!("/v1/symbols/AAPL/bars?interval={interval}");
            let bars = server.json(&path).await;
            assert_eq!(numbers(&bars["bars"], "offset"), [4, 3, 2, 1, 0]);
        }
        let until = START + 10.0;
        let path = format!("/v1/symbols/MSFT/bars?interval=1s&until={until}");
        let oldest = server.json(&path).await;
        assert_eq!(oldest, json!({"bars": []}), "they went");
        newest(server, "MSFT/bars?interval=1s", 10_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_values_of_a_quiet_symbol_outlive_those_of_busy_ones() {
    let settings = small(Limits {
        values: 1_000,
        ..Limits::default()
    });
    let log = TestLog::new();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&log, folder.path(), settings.clone()).await;
    post(&server, &[tick("AAPL", START, 100.0)]).await;
    session(&server, "AAPL", 1).await;
    let quiet = [("ma-20", 7), ("rsi-14", 7), ("ma-20", 8)];
    let quiet = quiet.map(|(strategy, n)| value(strategy, "AAPL", n));
    log.append(quiet.clone().into()).await;
    append_busy(&log, &server, "MSFT/values?strategy=ma-20", |n| {
        value("ma-20", "MSFT", n)
    })
    .await;
    let indicators = async |server: &Server| {
        let summary = server.json("/v1/symbols/AAPL").await;
        summary["indicators"].as_array().unwrap().clone()
    };
    let expected =
        [&quiet[2], &quiet[1]].map(|m| serde_json::from_slice::<Value>(&m.value).unwrap());
    let listed = server.json("/v1/symbols/AAPL/values").await;
    assert_eq!(listed, json!({"values": []}), "the list is bounded");
    assert_eq!(indicators(&server).await, expected);
    server.stop().await;

    let server = Server::start(&log, folder.path(), settings).await;
    assert_eq!(indicators(&server).await, expected, "after a restart");
    log.append(vec![value("ma-20", "AAPL", 9)]).await;
    newest(&server, "AAPL/values?strategy=ma-20", 9).await;
    let offsets = numbers(&Value::Array(indicators(&server).await), "offset");
    assert_eq!(offsets, [9, 7], "a newer one takes its place");
}
