//! The whole service as its users meet it: the real program, real HTTP, the embedded log. What a route answers in
//! detail, and what the engine does in detail, is checked elsewhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/service.rs"]
mod process;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use process::{Service, answer, eventually, wigwag};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::tick;

/// Time of the first tick, in the past of any clock.
const START: f64 = 1_700_000_000.0;

/// Published figures: prices, and the indicators that other programs compute from them.
const INDICATORS: &str = include_str!("../../plugins/indicators/tests/indicators.csv");

/// A strategy with values at every tick, its series, and the column that the series must equal.
fn indicators() -> [(
    &'static str,
    &'static str,
    Value,
    &'static str,
    &'static str,
); 6] {
    [
        ("t-ma", "ma", json!({"period": 20}), "sma", "sma20"),
        (
            "t-ema",
            "ema",
            json!({"period": 20}),
            "ema",
            "ema20_first_value_seed",
        ),
        (
            "t-ema-sma",
            "ema",
            json!({"period": 20, "seed": "sma"}),
            "ema",
            "ema20_sma_seed",
        ),
        (
            "t-rsi",
            "rsi",
            json!({"period": 14}),
            "rsi",
            "rsi14_wilder_talib",
        ),
        (
            "t-cutler",
            "rsi",
            json!({"smoothing": "cutler"}),
            "rsi",
            "rsi14_cutler",
        ),
        (
            "t-zero",
            "rsi",
            json!({"smoothing": "cutler-zero"}),
            "rsi",
            "rsi14_student",
        ),
    ]
}

/// Rows of [`INDICATORS`] by column; an empty cell is no value.
fn rows() -> Vec<BTreeMap<String, Option<f64>>> {
    let mut reader = csv::Reader::from_reader(INDICATORS.as_bytes());
    reader
        .deserialize()
        .collect::<Result<_, _>>()
        .expect("the file is CSV of numbers")
}

/// Values by tick must be a column, to nine digits.
fn assert_is_column(series: &[Option<f64>], column: &str, what: &str) {
    let wanted: Vec<_> = rows().iter().map(|row| row[column]).collect();
    assert_eq!(series.len(), wanted.len(), "{what}");
    assert!(wanted.iter().flatten().count() > 100, "{column} is empty");
    for (n, (&found, &wanted)) in series.iter().zip(&wanted).enumerate() {
        let equal = match (found, wanted) {
            (Some(found), Some(wanted)) => (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
            (found, wanted) => found == wanted,
        };
        assert!(equal, "{what}, tick {n}: {found:?} is not {wanted:?}");
    }
}

/// The series by tick, where the ticks are a second apart from `start` on.
fn by_tick(values: &[Value], series: &str, start: f64) -> Vec<Option<f64>> {
    let mut by_tick = vec![None; rows().len()];
    for value in values {
        let n = (value["timestamp"].as_f64().expect("a time") - start) as usize;
        by_tick[n] = value["series"][series].as_f64();
    }
    by_tick
}

fn indicator_lines() -> Vec<String> {
    let line = |(n, row): (usize, &BTreeMap<String, Option<f64>>)| {
        let [open, high, low, close, volume] =
            ["open", "high", "low", "close", "volume"].map(|c| row[c].expect("a number"));
        json!({
            "stock_symbol": "IND", "opening_price": open, "high": high, "low": low, "closing_price": close,
            "volume": volume, "timestamp": START + n as f64,
        })
        .to_string()
    };
    rows().iter().enumerate().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn indicators_over_http_and_offline_are_the_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    for (id, plugin, params, ..) in indicators() {
        let definition = json!({"plugin": plugin, "params": params, "values_interval_ms": 0});
        let (status, body) = service
            .put(&format!("/v1/strategies/{id}"), &definition)
            .await;
        assert_eq!(status, 201, "{body}");
    }
    for (id, ..) in indicators() {
        eventually("the strategy to run", async || {
            let info = service.get(&format!("/v1/strategies/{id}")).await;
            let state = info["state"].as_array()?;
            state.iter().all(|s| s["status"] == "live").then_some(())
        })
        .await;
    }
    let lines = indicator_lines();
    let (status, body) = service.post(lines.join("\n")).await;
    assert_eq!((status, &body["accepted"]), (200, &json!(160)), "{body}");

    let file = folder.path().join("ticks.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let csv_file = folder.path().join("ticks.csv");
    std::fs::write(&csv_file, INDICATORS).unwrap();
    let last = START + (lines.len() - 1) as f64;
    for (id, plugin, params, series, column) in indicators() {
        let path = format!("/v1/symbols/IND/values?strategy={id}&limit=1000");
        let mut values = eventually("the last value", async || {
            let values = service.get(&path).await["values"].as_array()?.clone();
            (values.first()?["timestamp"] == last).then_some(values)
        })
        .await;
        values.reverse();
        assert_is_column(&by_tick(&values, series, START), column, id);

        let run = |file: &std::path::Path| -> Vec<Value> {
            let output = wigwag(folder.path())
                .args(["plugin", "run", plugin, "--values", "--ticks"])
                .arg(file)
                .args(["--params", &params.to_string()])
                .output()
                .expect("the program starts");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
                .filter_map(|mut line| line.get_mut("values").map(Value::take))
                .collect()
        };
        let offline = run(&file);
        let of_service: Vec<_> = values
            .iter()
            .map(|v| json!({"symbol": v["symbol"], "timestamp": v["timestamp"], "series": v["series"]}))
            .collect();
        assert_eq!(offline, of_service, "{id}");
        assert_is_column(&by_tick(&run(&csv_file), series, 0.0), column, id);
    }
}

const SYMBOLS: usize = 8;

/// Time of the last ticks of [`bodies`]: late enough that each has values, and of the same day.
const LAST: f64 = START + 6_000.0;

/// Bodies of 100 ticks of some symbols, and one with the last tick of each.
fn bodies(count: usize) -> Vec<String> {
    let lines = support::walk(SYMBOLS, count * 100);
    let last = (0..SYMBOLS).map(|symbol| tick(&format!("S{symbol}"), LAST, 100.0));
    let last = last.collect::<Vec<_>>().join("\n");
    lines
        .chunks(100)
        .map(|lines| lines.join("\n"))
        .chain([last])
        .collect()
}

/// Waits until the last tick of each symbol and what it led to are seen.
async fn settled(service: &Service) {
    for symbol in 0..SYMBOLS {
        let path = format!("/v1/symbols/S{symbol}");
        eventually("the last tick's values", async || {
            let (_, summary) = answer(service.anonymous(Method::GET, &path)).await;
            let newest = summary["indicators"].as_array()?;
            let done = |v: &Value| v["timestamp"] == LAST;
            (summary["timestamp"] == LAST && newest.len() >= 3 && newest.iter().all(done))
                .then_some(())
        })
        .await;
    }
}

fn ids(signals: &[String]) -> Vec<String> {
    let id = |signal: &String| {
        serde_json::from_str::<Value>(signal).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    signals.iter().map(id).collect()
}

/// Copies `ticks`, message for message, to a new log.
async fn copy_ticks(from: &std::path::Path, to: &std::path::Path) {
    use wigwag::log::{
        Append, Log, Messages, Start, Topic,
        embedded::{EmbeddedLog, Options},
    };
    std::fs::create_dir_all(to).unwrap();
    let open = |path| {
        EmbeddedLog::open(
            path,
            Options {
                partitions: 4,
                ..Options::default()
            },
        )
        .expect("the log opens")
    };
    let (from, to) = (open(from), open(to));
    for partition in 0..from.partitions() {
        let end = from.bounds(Topic::Ticks, partition).unwrap().end;
        let start = Start {
            topic: Topic::Ticks,
            partition,
            offset: 0,
        };
        let mut reader = from.read(&[start]).unwrap();
        let mut messages = Messages::new();
        while reader.position(Topic::Ticks, partition) < end {
            reader
                .poll(&mut messages, 1 << 20, Duration::from_secs(1))
                .unwrap();
            let name = |name: &str| {
                ["Producer-Id", "Sequence", "Part"]
                    .into_iter()
                    .find(|n| *n == name)
                    .expect("known")
            };
            let appends = messages.iter().map(|m| Append {
                topic: Topic::Ticks,
                partition,
                key: m.key.to_vec(),
                value: m.value.to_vec(),
                headers: m
                    .headers
                    .iter()
                    .map(|(n, v)| (name(n), v.to_vec()))
                    .collect(),
            });
            to.append(appends.collect()).await.unwrap();
            messages.clear();
        }
        assert_eq!(to.bounds(Topic::Ticks, partition).unwrap().end, end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_at_any_instant_counts_each_tick_once_and_gives_the_signals_of_one_that_was_not()
 {
    const KILLS: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let options = ["--checkpoint-interval", "100", "--checkpoint-rows", "1000"];
    let mut service = Service::start(folder.path(), &options).await;
    let mut kills = 0;
    let mut killing = false;
    let bodies = bodies(400);
    let client = reqwest::Client::new();
    let (mut n, mut resent) = (0, 0);
    // Goes on until all kills have happened, each under load.
    while n < bodies.len() {
        if !killing && kills < KILLS && n >= (kills + 1) * bodies.len() / (KILLS + 2) {
            let time = Duration::from_micros(rand::random_range(0..20_000));
            service.end_after(time, Signal::KILL);
            killing = true;
        }
        let request = client
            .post(format!("{}/ingest", service.url))
            .header("Producer-Id", "feed")
            .header("Sequence", n + 1)
            .body(bodies[n].clone());
        match request.send().await {
            Ok(answer) if answer.status() == 200 => n += 1,
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(_) => {
                assert!(killing, "it went away by itself");
                service.ended().await;
                service = Service::start(folder.path(), &options).await;
                (killing, kills, resent) = (false, kills + 1, resent + 1);
            }
        }
    }
    if killing {
        service.ended().await;
        service = Service::start(folder.path(), &options).await;
        kills += 1;
    }
    assert_eq!(kills, KILLS);
    let of_each = ((bodies.len() - 1) * 100 / SYMBOLS + 1) as u64;
    settled(&service).await;
    for symbol in 0..SYMBOLS {
        assert_eq!(
            service.ticks(&format!("S{symbol}")).await,
            of_each,
            "S{symbol}"
        );
    }

    // One without faults, on the same ticks.
    let calm = tempfile::tempdir().unwrap();
    service.end_after(Duration::ZERO, Signal::TERM);
    assert!(service.ended().await.success());
    copy_ticks(&folder.path().join("data"), &calm.path().join("data")).await;
    let undisturbed = Service::start(calm.path(), &[]).await;
    let service = Service::start(folder.path(), &options).await;
    settled(&undisturbed).await;
    settled(&service).await;
    let signals = service.signals(997).await;
    assert!(signals.len() > 1000);
    assert!(
        signals == undisturbed.signals(1000).await,
        "the signals differ"
    );
    assert_eq!(
        ids(&signals).into_iter().collect::<BTreeSet<_>>().len(),
        signals.len()
    );
    println!("{} signals, {resent} bodies sent again", signals.len());
}

/// A good tick of `symbol` with one text replaced.
fn bad(symbol: &str, from: &str, to: &str) -> String {
    let line = tick(symbol, START, 10.5);
    assert!(line.contains(from), "{line}");
    line.replace(from, to)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_is_told_by_field_and_rule_and_the_good_ones_beside_it_count() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--max-body", "1000000"]).await;
    let close = "\"closing_price\":10.5";
    let cases = [
        ("{\"stock_symbol\":".to_owned(), "", "json", "not JSON"),
        (
            bad("BAD", close, "\"closing_price\":NaN"),
            "",
            "json",
            "not JSON",
        ),
        (
            bad("BAD", close, "\"closing_price\":Infinity"),
            "",
            "json",
            "not JSON",
        ),
        (
            bad("BAD", close, "\"closing_price\":\"NaN\""),
            "closing_price",
            "type",
            "NaN",
        ),
        (
            bad("BAD", close, "\"closing_price\":1e999"),
            "closing_price",
            "finite",
            "1e999",
        ),
        (
            bad("BAD", close, "\"closing_price\":-1.5"),
            "closing_price",
            "positive",
            "-1.5",
        ),
        (
            bad("BAD", close, "\"closing_price\":0"),
            "closing_price",
            "positive",
            "0",
        ),
        (
            bad("BAD", close, "\"closing_price\":null"),
            "closing_price",
            "type",
            "null",
        ),
        (
            bad("BAD", close, "\"closing_price\":true"),
            "closing_price",
            "type",
            "true",
        ),
        (
            bad("BAD", close, "\"close_price\":10.5"),
            "closing_price",
            "required",
            "closing_price",
        ),
        (
            bad("BAD", "\"volume\":3", "\"volume\":-3"),
            "volume",
            "non_negative",
            "-3",
        ),
        (
            bad("BAD", "\"high\":10.75", "\"high\":9"),
            "high",
            "low_high",
            "9",
        ),
        (
            bad("BAD", "\"BAD\"", "\"bad symbol\""),
            "stock_symbol",
            "symbol",
            "bad symbol",
        ),
        (
            bad("BAD", "{", "{\"data_type\":\"weather\","),
            "data_type",
            "data_type",
            "weather",
        ),
        (
            tick("BAD", 99_999_999_999.0, 10.5),
            "timestamp",
            "future",
            "99999999999",
        ),
        ("17".to_owned(), "", "object", "17"),
    ];
    for (n, (line, field, rule, wanted)) in cases.iter().enumerate() {
        let good = [0.0, 1.0].map(|s| tick("GOOD", START + (2 * n) as f64 + s, 10.0 + n as f64));
        let body = format!("{}\n{line}\n{}", good[0], good[1]);
        let (status, body) = service.post(body).await;
        assert_eq!(status, 200, "{line}: {body}");
        assert_eq!(
            (&body["accepted"], &body["rejected"]),
            (&json!(2), &json!(1)),
            "{line}: {body}"
        );
        let error = &body["errors"][0];
        let told = (
            &error["index"],
            error["field"].as_str(),
            error["rule"].as_str(),
        );
        assert_eq!(
            told,
            (&json!(1), Some(*field), Some(*rule)),
            "{line}: {body}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(wanted), "{line}: {message}");

        // Alone it is an error of the request.
        let (status, body) = service.post(line.clone()).await;
        assert_eq!(
            status,
            if *rule == "json" { 400 } else { 422 },
            "{line}: {body}"
        );
        assert!(
            body["detail"].as_str().unwrap().contains(wanted),
            "{line}: {body}"
        );
    }
    eventually("the good ones", async || {
        (service.ticks("GOOD").await == 2 * cases.len() as u64).then_some(())
    })
    .await;
    assert_eq!(service.ticks("BAD").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_in_each_form_and_refused_as_a_whole_where_it_is_none() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let options = ["--max-body", "1000000", "--ingest-listen", "127.0.0.1:0"];
    let service = Service::start(folder.path(), &options).await;
    let send = |content_type: &'static str, body: Vec<u8>| {
        let request = service.anonymous(Method::POST, "/ingest");
        request.header("Content-Type", content_type).body(body)
    };
    let json_type = "application/json";
    for (request, status, wanted) in [
        (send(json_type, Vec::new()), 400, "empty"),
        (send(json_type, b"<html></html>".to_vec()), 400, "not JSON"),
        (send(json_type, b"\xff\xfe\x00".to_vec()), 400, "not UTF-8"),
        (send("image/png", b"{}".to_vec()), 415, "image/png"),
        (send(json_type, vec![b' '; 10_000_000]), 413, "1000000"),
        (
            send(json_type, b"{}".to_vec()).header("Content-Encoding", "br"),
            415,
            "br",
        ),
        (
            send(json_type, b"{}".to_vec()).header("Content-Encoding", "gzip"),
            400,
            "gzip",
        ),
    ] {
        let (found, body) = answer(request).await;
        assert_eq!(found, status, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(wanted), "{body}");
    }

    let lines: Vec<String> = (0..6)
        .map(|n| tick("FORM", START + f64::from(n), 10.0 + f64::from(n)))
        .collect();
    let packed = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    // A body that is small only while it is packed.
    let bomb = send(json_type, packed(&" ".repeat(10_000_000))).header("Content-Encoding", "gzip");
    assert_eq!(answer(bomb).await.0, 413);

    let news = format!(
        r#"{{"data_type":"news_sentiment","stock_symbol":"FORM","timestamp":{START},"sentiment_score":0.5,"sentiment_magnitude":0.5}}"#
    );
    let array = format!("[{},{}]", lines[1], lines[2]);
    let mix = format!("{}\r\n\n{news}\n{}", lines[3], lines[4]);
    for (request, accepted) in [
        (send(json_type, lines[0].clone().into_bytes()), 1),
        (send(json_type, array.into_bytes()), 2),
        (send("application/x-ndjson", mix.into_bytes()), 3),
        (
            send(json_type, packed(&lines[5])).header("Content-Encoding", "gzip"),
            1,
        ),
        // A repeat of the newest, and one that is late: taken, and then dropped by the one rule of order.
        (send(json_type, lines[5].clone().into_bytes()), 1),
        (
            send(json_type, tick("FORM", START - 60.0, 10.0).into_bytes()),
            1,
        ),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!(
            (status, &body["accepted"]),
            (200, &json!(accepted)),
            "{body}"
        );
    }
    let session = eventually("the ticks", async || {
        let (_, session) = answer(service.anonymous(Method::GET, "/v1/symbols/FORM")).await;
        (session["late"] == 1).then_some(session)
    })
    .await;
    assert_eq!(
        (&session["ticks"], &session["repeats"]),
        (&json!(6), &json!(1)),
        "{session}"
    );
    assert_eq!(session["last"], 15.0);

    // A client that sends one record a request, to the address that takes records alone.
    let client = reqwest::Client::new();
    let url = service.ingest_url.as_ref().unwrap();
    for n in 0..200 {
        let line = tick("ONE", START + f64::from(n), 10.0);
        let request = client
            .post(format!("{url}/ingest"))
            .header("Content-Type", json_type)
            .body(line);
        assert_eq!(answer(request).await.0, 200);
    }
    let (status, _) = answer(client.get(format!("{url}/v1/symbols"))).await;
    assert_eq!(status, 404);
    eventually("the single records", async || {
        (service.ticks("ONE").await == 200).then_some(())
    })
    .await;
}

async fn upload(service: &Service, bytes: &'static [u8]) -> (u16, Value) {
    let request = service.request(Method::POST, "/v1/plugins");
    answer(
        request
            .header("Content-Type", "application/wasm")
            .body(bytes),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_misbehaves_is_quarantined_and_its_neighbours_do_not_notice() {
    const HOWS: [&str; 4] = ["panic", "loop", "memory", "not-a-number"];
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (disturbed, calm) = (
        Service::start(with.path(), &[]).await,
        Service::start(without.path(), &[]).await,
    );
    assert_eq!(upload(&disturbed, support::MISBEHAVE).await.0, 201);
    for how in HOWS {
        let definition =
            json!({"plugin": "misbehave", "params": {"how": how}, "values_interval_ms": 0});
        let (status, body) = disturbed
            .put(&format!("/v1/strategies/m-{how}"), &definition)
            .await;
        assert_eq!(status, 201, "{body}");
    }
    let state = async |how: &str, wanted: &'static str, skipped: u64| {
        eventually(wanted, async || {
            let info = disturbed.get(&format!("/v1/strategies/m-{how}")).await;
            let found = info["state"]
                .as_array()?
                .iter()
                .find(|s| s["skipped_rows"] == skipped)?
                .clone();
            (found["status"] == wanted).then_some(found)
        })
        .await
    };
    for how in HOWS {
        state(how, "live", 0).await;
    }
    // One symbol, and so one partition; its third row and later ones are those that the plugin fails at.
    let mut lines = Vec::new();
    let mut post = async |closes: &[f64]| {
        let body: Vec<String> = closes
            .iter()
            .map(|close| {
                lines.push(());
                tick("S0", START + lines.len() as f64, *close)
            })
            .collect();
        for service in [&disturbed, &calm] {
            let (status, answer) = service.post(body.join("\n")).await;
            assert_eq!((status, &answer["rejected"]), (200, &json!(0)), "{answer}");
        }
    };
    let walk: Vec<f64> = (0..300).map(|n| support::close(0, n)).collect();
    post(&walk[..100]).await;
    post(&[walk[100], 666.0, walk[101]]).await;
    for how in HOWS {
        let state = state(how, "live", 1).await;
        assert_eq!(state["reason"], Value::Null, "{how}");
    }
    post(&walk[102..200]).await;
    // Not equal to each other in every field, which would be repeats: their times differ.
    post(&[666.0; 6]).await;
    post(&walk[200..]).await;
    for how in HOWS {
        let state = state(how, "quarantined", 5).await;
        assert!(
            state["reason"].as_str().is_some_and(|r| !r.is_empty()),
            "{how}: {state}"
        );
        println!("{how}: {}", state["reason"]);
    }
    let last: Vec<String> = (0..SYMBOLS)
        .map(|n| tick(&format!("S{n}"), LAST, 100.0))
        .collect();
    for service in [&disturbed, &calm] {
        assert_eq!(service.post(last.join("\n")).await.0, 200);
        eventually("the last values", async || {
            let summary = service.get("/v1/symbols/S0").await;
            let newest = summary["indicators"].as_array()?;
            let ours = newest
                .iter()
                .filter(|v| !v["strategy"].as_str().unwrap().starts_with("m-"));
            let done = ours.filter(|v| v["timestamp"] == LAST).count();
            (done == 3).then_some(())
        })
        .await;
    }
    let theirs = disturbed.signals(1000).await;
    let (of_it, neighbours): (Vec<_>, Vec<_>) = theirs
        .into_iter()
        .partition(|s| s.contains("\"strategy\":\"m-"));
    assert!(
        !of_it.is_empty() && neighbours.len() > 20,
        "{} {}",
        of_it.len(),
        neighbours.len()
    );
    assert_eq!(neighbours, calm.signals(1000).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_uploaded_while_ticks_flow_gives_its_first_signal_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let (done, flow) = (AtomicBool::new(false), AtomicU32::new(0));
    let feed = async {
        for n in 0.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let lines: Vec<_> = (0..SYMBOLS)
                .map(|s| {
                    tick(
                        &format!("S{s}"),
                        START + f64::from(n) * 0.1,
                        support::close(s, n as usize),
                    )
                })
                .collect();
            assert_eq!(service.post(lines.join("\n")).await.0, 200);
            flow.store(n, Ordering::Relaxed);
        }
    };
    let deploy = async {
        eventually("ticks to flow", async || {
            (flow.load(Ordering::Relaxed) > 20).then_some(())
        })
        .await;
        let started = Instant::now();
        let (status, plugin) = upload(&service, support::MISBEHAVE).await;
        assert_eq!(
            (status, &plugin["name"]),
            (201, &json!("misbehave")),
            "{plugin}"
        );
        assert_eq!(
            upload(&service, support::MISBEHAVE).await,
            (200, plugin.clone())
        );
        let (status, body) = service
            .put("/v1/strategies/new", &json!({"plugin": "misbehave"}))
            .await;
        assert_eq!(
            (status, &body["plugin_digest"]),
            (201, &plugin["digest"]),
            "{body}"
        );
        let signal = eventually("the first signal", async || {
            let page = service.get("/v1/signals?strategy=new&limit=1").await;
            page["signals"].get(0).cloned()
        })
        .await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(signal["plugin_digest"], plugin["digest"]);
        let id = signal["id"].as_str().unwrap();
        let mut explained = service.get(&format!("/v1/signals/{id}")).await;
        let explained = explained.as_object_mut().unwrap();
        assert!(explained.remove("provenance").is_some());
        assert_eq!(Some(&*explained), signal.as_object());
        done.store(true, Ordering::Relaxed);
        println!("first signal after {took:?}");
    };
    tokio::join!(feed, deploy);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deployed_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // SHA-256 of the token that stands before each.
    let file = "[[tokens]]\nname = \"all\"\nsha256 = \"ALL\"\nscopes = [\"admin\"]\n\
                [[tokens]]\nname = \"feed\"\nsha256 = \"FEED\"\nscopes = [\"ingest\"]\n";
    let digest = |token: &str| wigwag::plugin::Digest::of(token.as_bytes()).to_string();
    let file = file
        .replace("ALL", &digest("secret"))
        .replace("FEED", &digest("feeds"));
    std::fs::write(folder.path().join("wigwag.toml"), file).unwrap();
    let mut service = Service::start(folder.path(), &[]).await;
    service.token = "secret".to_owned();
    assert_eq!(upload(&service, support::MISBEHAVE).await.0, 201);
    let path = "/v1/strategies/mine";
    let good = json!({"plugin": "misbehave"});
    let (status, mine) = service.put(path, &good).await;
    assert_eq!(status, 201, "{mine}");

    let put = |body: Value| service.anonymous(Method::PUT, path).json(&body);
    let admin = |request: reqwest::RequestBuilder| request.bearer_auth("secret");
    for (request, status, wanted) in [
        (put(good.clone()), 401, "no token was sent"),
        (put(good.clone()).bearer_auth("guessed"), 401, "not known"),
        (
            put(good.clone()).bearer_auth("feeds"),
            403,
            "\"feed\" lacks scope \"plugins\"",
        ),
        (
            service.anonymous(Method::POST, "/v1/plugins"),
            401,
            "no token was sent",
        ),
        (
            service.anonymous(Method::DELETE, path),
            401,
            "no token was sent",
        ),
        (
            admin(put(json!({"plugin": "misbehave", "parms": {}}))),
            422,
            "parms",
        ),
        (admin(put(json!({"plugin": "nowhere"}))), 422, "nowhere"),
        (
            admin(put(json!({"plugin": "ma", "params": {"period": 0}}))),
            422,
            "0",
        ),
        (
            admin(put(json!({"plugin": "ma", "params": {"perod": 9}}))),
            422,
            "perod",
        ),
        (
            admin(put(json!({"plugin": "ma", "params": {"period": "x"}}))),
            422,
            "x",
        ),
        (
            admin(put(
                json!({"plugin": "rsi", "params": {"oversold": 80, "overbought": 20}}),
            )),
            422,
            "oversold",
        ),
        (
            admin(put(good.clone())).header("If-Match", "\"9-0000000000000000\""),
            412,
            "mine",
        ),
        (
            admin(put(good.clone())).header("If-None-Match", "*"),
            412,
            "mine",
        ),
        (
            admin(service.anonymous(Method::DELETE, "/v1/plugins/misbehave")),
            409,
            "mine",
        ),
    ] {
        let (found, body) = answer(request).await;
        assert_eq!(found, status, "{body}");
        assert!(
            body.to_string().replace("\\\"", "\"").contains(wanted),
            "{wanted}: {body}"
        );
    }
    let bytes = admin(
        service
            .anonymous(Method::POST, "/v1/plugins")
            .body("no component"),
    );
    let (status, body) = answer(bytes.header("Content-Type", "application/wasm")).await;
    assert_eq!((status, &body["stage"]), (422, &json!("check")), "{body}");
    let now = service.get(path).await;
    assert_eq!(
        (&now["version"], &now["etag"]),
        (&mine["version"], &mine["etag"])
    );

    let matching = admin(put(json!({"plugin": "misbehave", "params": {"at": 1.0}})));
    let (status, body) = answer(matching.header("If-Match", mine["etag"].as_str().unwrap())).await;
    assert_eq!((status, &body["version"]), (200, &json!(2)), "{body}");
    assert_eq!(answer(service.request(Method::DELETE, path)).await.0, 204);
    assert_eq!(
        answer(service.request(Method::DELETE, "/v1/plugins/misbehave"))
            .await
            .0,
        204
    );
}

/// A client of `/v1/stream`.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(service: &Service, last: Option<&str>) -> Self {
        let mut request = service.anonymous(Method::GET, "/v1/stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("it answers");
        assert_eq!(response.status(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// Name, id and data of the next event.
    async fn next(&mut self) -> (String, String, String) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                let event = (field("event: "), field("id: "), field("data: "));
                self.text = rest.to_owned();
                return event;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await;
            let chunk = chunk
                .expect("an event in time")
                .expect("a stream")
                .expect("an open stream");
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_a_killed_service_without_a_lost_or_repeated_signal() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let mut stream = Stream::open(&service, None).await;
    let (name, first, _) = stream.next().await;
    assert_eq!(name, "heartbeat");
    let bodies = bodies(60);
    for body in &bodies[..30] {
        assert_eq!(service.post(body.clone()).await.0, 200);
    }
    // Leaves in the midst of what there is.
    let (mut last, mut seen) = (first, Vec::new());
    while seen.len() < 100 {
        let (name, id, data) = stream.next().await;
        if name == "signal" {
            seen.push(data);
            last = id;
        }
    }
    service.kill();

    let service = Service::start(folder.path(), &[]).await;
    for body in &bodies[30..] {
        assert_eq!(service.post(body.clone()).await.0, 200);
    }
    settled(&service).await;
    let all: BTreeSet<String> = service.signals(1000).await.into_iter().collect();
    assert!(all.len() > 200, "{}", all.len());
    let mut stream = Stream::open(&service, Some(&last)).await;
    while seen.len() < all.len() {
        let (name, _, data) = stream.next().await;
        match &*name {
            "signal" => seen.push(data),
            name => assert_eq!(name, "heartbeat"),
        }
    }
    let once: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "a signal came twice");
    assert!(once == all, "the stream and the list differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_asked_to_end_under_load_is_gone_within_two_seconds_and_leaves_nothing_to_replay()
{
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path(), &[]).await;
    let client = reqwest::Client::new();
    let (url, bodies) = (format!("{}/ingest", service.url), bodies(2000));
    let mut asked = None;
    let mut accepted = 0;
    for (n, body) in bodies.iter().enumerate() {
        if n == 200 {
            service.end_after(Duration::ZERO, Signal::TERM);
            asked = Some(Instant::now());
        }
        match client.post(&url).body(body.clone()).send().await {
            Ok(answer) if answer.status() == 200 => accepted = n + 1,
            _ => break,
        }
    }
    let asked = asked.expect("it took two hundred bodies");
    let status = service.ended().await;
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    assert!((200..bodies.len()).contains(&accepted), "{accepted}");

    let service = Service::start(folder.path(), &[]).await;
    let lines = service.lines();
    let taken: Vec<_> = lines
        .iter()
        .filter(|l| l.contains("partition taken over"))
        .collect();
    assert_eq!(taken.len(), 4, "{lines:#?}");
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=")).expect("the field");
        rest.split(' ')
            .next()
            .expect("a value")
            .parse::<u64>()
            .expect("a number")
    };
    for line in &taken {
        assert_eq!(
            field(line, "position"),
            field(line, "replayed_from"),
            "{line}"
        );
    }
    assert!(taken.iter().any(|line| field(line, "position") > 0));
    // What was not yet seen by the engine is now, and what was answered is there.
    let of_each = (accepted * 100 / SYMBOLS) as u64;
    eventually("the rest", async || {
        (service.ticks("S0").await >= of_each).then_some(())
    })
    .await;
}

#[test]
fn a_wrong_option_ends_with_64_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.toml");
    std::fs::write(&file, "lisen = 1\n").unwrap();
    #[expect(clippy::type_complexity, reason = "a table of one test")]
    let cases: [(&[&str], Option<(&str, &str)>, &str); 7] = [
        (&["--lisen", "x"], None, "--lisen"),
        (&["--listen", "nowhere"], None, "--listen"),
        (&["--partitions", "0"], None, "--partitions"),
        (&["--log-level", "wigwag=loud"], None, "--log-level"),
        (&[], Some(("WIGWAG_LISEN", "x")), "WIGWAG_LISEN"),
        (&["--config", "other.toml"], None, "\"lisen\""),
        (&["--config", "absent.toml"], None, "absent.toml"),
    ];
    for (options, variable, wanted) in cases {
        let output = wigwag(folder.path())
            .arg("serve")
            .args(options)
            .envs(variable)
            .output()
            .expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{options:?}: {told}");
        assert!(told.contains(wanted), "{options:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_on_the_same_folder_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let output = wigwag(folder.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"])
        .output()
        .expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("data") && told.contains("another"), "{told}");
    // The first goes on, and its token too.
    assert_eq!(service.post(tick("A", START, 10.0)).await.0, 200);
    assert_eq!(upload(&service, support::MISBEHAVE).await.0, 201);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("data/admin.token")).unwrap(),
        service.token
    );
}

/// A file that names one token, whose text is its name.
fn token_file(path: &std::path::Path, name: &str) {
    use sha2::Digest as _;
    let digest = hex::encode(sha2::Sha256::digest(name));
    let text =
        format!("[[tokens]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]\n");
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_in_their_file_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    token_file(&file, "first");
    let service = Service::start(folder.path(), &["--config", "tokens.toml"]).await;
    let status = async |token: &str| {
        let asked = service.anonymous(Method::GET, "/v1/audit");
        answer(asked.bearer_auth(token)).await.0
    };
    assert_eq!((status("first").await, status("second").await), (200, 401));

    // What cannot be used changes nothing, and is told.
    std::fs::write(
        &file,
        "[[tokens]]\nname = \"second\"\nsha256 = \"x\"\nscopes = []\n",
    )
    .unwrap();
    eventually("the complaint", async || {
        let lines = service.lines();
        lines
            .iter()
            .any(|line| line.contains("the tokens stay as they were"))
            .then_some(())
    })
    .await;
    assert_eq!(status("first").await, 200);

    token_file(&file, "second");
    eventually("the second token", async || {
        (status("second").await == 200).then_some(())
    })
    .await;
    assert_eq!(status("first").await, 401);
    let (_, metrics) = answer(service.anonymous(Method::GET, "/metrics")).await;
    let metrics = metrics.as_str().unwrap();
    for shown in [
        "wigwag_http_token{name=\"first\"} 0",
        "wigwag_http_token{name=\"second\"} 1",
    ] {
        assert!(metrics.contains(shown), "{shown}: {metrics}");
    }
}
