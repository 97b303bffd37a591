//! A strategy over bars on a running service: what it says is what the bars of the API lead to, across a kill and back to
//! what was before it was defined; and a signal is explained by its bars.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    all, feed, reaches,
    service::{Service, answer, eventually, wigwag},
    support::{close, tick},
};

const SYMBOLS: usize = 3;

const PERIOD: usize = 4;

/// Start of a minute.
const START: f64 = 1_699_999_980.0;

/// Ticks of some symbols, half a second apart each.
fn lines(seconds: usize) -> Vec<String> {
    let of = |n: usize| {
        let (symbol, nth) = (n % SYMBOLS, n / SYMBOLS);
        let time = START + nth as f64 * 0.5;
        tick(&format!("S{symbol}"), time, close(symbol, nth))
    };
    (0..seconds * 2 * SYMBOLS).map(of).collect()
}

/// The average over the newest closes at each bar, by its start; and on which side of it the close came to be, where it
/// had been on the other.
fn naive(bars: &[Value]) -> (BTreeMap<u64, f64>, BTreeMap<u64, &'static str>) {
    let (mut averages, mut crossings, mut side) = (BTreeMap::new(), BTreeMap::new(), 0);
    let number = |bar: &Value, name: &str| bar[name].as_f64().unwrap();
    for window in bars.windows(PERIOD) {
        let closes = window.iter().map(|bar| number(bar, "close"));
        let average = closes.sum::<f64>() / PERIOD as f64;
        let last = window.last().unwrap();
        let at = number(last, "open_time") as u64;
        averages.insert(at, average);
        let difference = number(last, "close") - average;
        assert!(difference.abs() > 1e-6, "not to be told by a naive sum");
        let now = if difference > 0.0 { 1 } else { -1 };
        if side != 0 && now != side {
            crossings.insert(at, if now > 0 { "buy" } else { "sell" });
        }
        side = now;
    }
    (averages, crossings)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_average_over_minutes_is_that_of_the_bars_of_the_api_across_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--checkpoint-interval", "100"];
    let service = Service::start(folder.path(), &options).await;
    let lines = lines(40 * 60);
    let (before, after) = lines.split_at(lines.len() / 3);
    feed(&service, before, 120, "S1").await;
    let definition = json!({
        "plugin": "ma", "params": {"period": PERIOD}, "input": {"bars": "1m"}, "values_interval_ms": 0,
    });
    let (status, info) = service.put("/v1/strategies/minutes", &definition).await;
    assert_eq!((status, &info["input"]), (201, &json!({"bars": "1m"})));
    reaches(&service, "minutes", |strategy| all(strategy, "live")).await;
    let (first, last) = after.split_at(after.len() / 2);
    feed(&service, first, 120, "S1").await;
    service.kill();
    let service = Service::start(folder.path(), &options).await;
    feed(&service, last, 120, "S1").await;

    // It was defined in the 14th minute: the bars before it warmed it up.
    let defined = START + 13.0 * 60.0;
    let mut found = 0;
    for symbol in (0..SYMBOLS).map(|n| format!("S{n}")) {
        let path = format!("/v1/symbols/{symbol}/bars?interval=1m&limit=1000");
        let mut bars = eventually("all bars", async || {
            let bars = service.get(&path).await["bars"].as_array()?.clone();
            (bars.len() >= 39).then_some(bars)
        })
        .await;
        bars.sort_by(|a, b| {
            a["open_time"]
                .as_f64()
                .partial_cmp(&b["open_time"].as_f64())
                .unwrap()
        });
        let (averages, crossings) = naive(&bars);
        let number = |value: &Value| value.as_f64().unwrap();

        let path = format!("/v1/symbols/{symbol}/values?strategy=minutes&limit=1000");
        let newest = *averages.last_key_value().unwrap().0;
        let values = eventually("the last value", async || {
            let values = service.get(&path).await["values"].as_array()?.clone();
            (values.first()?["timestamp"].as_f64()? as u64 >= newest).then_some(values)
        })
        .await;
        let wanted: Vec<_> = averages.range(defined as u64..).collect();
        assert_eq!(values.len(), wanted.len(), "{symbol}");
        for (value, (at, average)) in values.iter().rev().zip(wanted) {
            assert_eq!(number(&value["timestamp"]) as u64, *at);
            let said = number(&value["series"]["sma"]);
            assert!((said - average).abs() < 1e-9, "{value}: {average}");
        }

        let wanted = crossings.range(defined as u64..);
        let wanted: BTreeMap<_, _> = wanted.map(|(at, side)| (*at, *side)).collect();
        let path = format!("/v1/signals?strategy=minutes&symbol={symbol}&limit=1000");
        let signals = eventually("all signals", async || {
            let signals = service.get(&path).await["signals"].as_array()?.clone();
            (signals.len() >= wanted.len()).then_some(signals)
        })
        .await;
        let place = |s: &Value| number(&s["bar"]["open_time"]) as u64;
        let side = |s: &Value| s["side"].as_str().unwrap().to_owned();
        let said: BTreeMap<_, _> = signals.iter().map(|s| (place(s), side(s))).collect();
        let wanted: BTreeMap<_, _> = wanted
            .into_iter()
            .map(|(at, s)| (at, s.to_owned()))
            .collect();
        assert_eq!(said, wanted, "{symbol}");
        assert_eq!(said.len(), signals.len(), "one at each bar");
        for signal in &signals {
            let closed_at = number(&signal["bar"]["open_time"]) + 60.0;
            assert_eq!(
                number(&signal["timestamp"]),
                closed_at,
                "the next tick closes it"
            );
        }
        found += signals.len();

        let id = signals[0]["id"].as_str().unwrap();
        let provenance = service.get(&format!("/v1/signals/{id}")).await["provenance"].take();
        let of_signal = provenance["bars"].as_array().unwrap();
        let up_to = number(&signals[0]["bar"]["open_time"]);
        let wanted = bars.iter().filter(|bar| number(&bar["open_time"]) <= up_to);
        let starts = |bars: Vec<&Value>| -> Vec<f64> {
            let newest = bars.len().saturating_sub(20);
            bars[newest..]
                .iter()
                .map(|bar| number(&bar["open_time"]))
                .collect()
        };
        assert_eq!(starts(of_signal.iter().collect()), starts(wanted.collect()));
        assert_eq!(of_signal.last().unwrap()["close"], signals[0]["price"]);
        let ticks = provenance["ticks"].as_array().unwrap();
        assert_eq!(ticks.last().unwrap()["timestamp"], signals[0]["timestamp"]);
    }
    assert!(found > 20, "{found} signals");

    let verified = wigwag(folder.path())
        .args(["verify", "--json"])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let lines = String::from_utf8(verified.stdout).unwrap();
    let of = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["signals"]["minutes"].as_u64().unwrap_or(0) as usize
    };
    assert_eq!(lines.lines().map(of).sum::<usize>(), found);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_puts_a_strategy_on_bars_and_runs_a_plugin_over_bars_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let strategy = |arguments: &[&str]| {
        let mut command = wigwag(folder.path());
        command.arg("strategy").args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    strategy(&["set", "mine", "--plugin", "ma", "--input", "bars:5m"]);
    let (_, info) = answer(service.anonymous(reqwest::Method::GET, "/v1/strategies/mine")).await;
    assert_eq!(info["input"], json!({"bars": "5m"}));
    // What is not given stays.
    strategy(&["set", "mine", "--params", r#"{"period": 7}"#]);
    let info = service.get("/v1/strategies/mine").await;
    assert_eq!(
        (&info["input"], &info["params"]["period"]),
        (&json!({"bars": "5m"}), &json!(7))
    );
    let listed = strategy(&["list"]);
    let line = listed
        .lines()
        .find(|line| line.starts_with("mine "))
        .unwrap();
    assert!(line.contains(" bars:5m "), "{listed}");
    let refused = wigwag(folder.path())
        .args(["strategy", "set", "mine", "--input", "bars:2m"])
        .output()
        .unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && told.contains("bars:1m"),
        "{told}"
    );

    std::fs::write(
        folder.path().join("ticks.ndjson"),
        lines(20 * 60).join("\n"),
    )
    .unwrap();
    let output = wigwag(folder.path())
        .args([
            "plugin",
            "run",
            "ma",
            "--ticks",
            "ticks.ndjson",
            "--bars",
            "1m",
            "--values",
        ])
        .args(["--params", r#"{"period": 4}"#])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let values: Vec<_> = said
        .iter()
        .filter(|line| line["values"]["symbol"] == "S1")
        .collect();
    // Of 20 bars the last is closed by nothing, and three have no average yet.
    assert_eq!(values.len(), 16);
    assert_eq!(values[0]["values"]["timestamp"], START + 3.0 * 60.0);
    let signals = said
        .iter()
        .filter(|line| line["signal"]["bar"]["interval"] == "1m");
    assert_eq!(signals.count() + 16 * SYMBOLS, said.len());
}
