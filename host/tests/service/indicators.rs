//! The built-in indicators, over HTTP and offline, are those that others publish.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    START,
    process::{Service, eventually, wigwag},
};

/// Published figures: prices, and the indicators that other programs compute from them.
const INDICATORS: &str = include_str!("../../../plugins/indicators/tests/indicators.csv");

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
