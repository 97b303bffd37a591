use std::collections::HashMap;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{START, end, run, start, terminate};

#[tokio::test]
async fn the_same_seed_and_start_time_give_the_same_bytes() {
    let args = |seed, rate| {
        format!("--to - --start-time {START} --count 5000 --symbols 11 --seed {seed} --rate {rate}")
    };
    let first = run(&args(7, 0)).await;
    let second = run(&format!("{} --batch 3", args(7, 0))).await;
    assert!(first.status.success(), "{}", first.stderr);
    assert_eq!(first.lines().len(), 5000);
    assert_eq!(first.stdout, second.stdout);
    assert_ne!(first.stdout, run(&args(8, 0)).await.stdout);
    // Paced by the clock, the bytes are the same too.
    assert_eq!(
        run(&args(7, 20_000)).await.stdout,
        run(&args(7, 20_000)).await.stdout
    );
}

#[tokio::test]
async fn three_shares_merged_are_the_whole() {
    let args = format!("--to - --start-time {START} --count 3000 --rate 0");
    let whole = run(&args).await;
    let mut merged = Vec::new();
    for share in ["1/3", "2/3", "3/3"] {
        let part = run(&format!("{args} --share {share}")).await;
        merged.extend(part.lines().into_iter().map(str::to_owned));
    }
    let time = |line: &String| {
        serde_json::from_str::<Value>(line).unwrap()["timestamp"]
            .as_f64()
            .unwrap()
    };
    merged.sort_by(|a, b| time(a).total_cmp(&time(b)));
    assert_eq!(merged, whole.lines());
}

#[tokio::test]
async fn each_kind_has_exactly_its_fields_and_ticks_dominate() {
    let ended = run(&format!(
        "--to - --start-time {START} --count 21000 --rate 0"
    ))
    .await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for line in ended.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let kind = record["data_type"]
            .as_str()
            .unwrap_or("stock_price")
            .to_owned();
        let mut fields: Vec<&str> = record
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        fields.retain(|field| *field != "data_type");
        fields.sort_unstable();
        let expected: &[&str] = match kind.as_str() {
            "stock_price" => &[
                "closing_price",
                "high",
                "low",
                "opening_price",
                "stock_symbol",
                "timestamp",
                "volume",
            ],
            "order_book" => &[
                "order_type",
                "price",
                "quantity",
                "stock_symbol",
                "timestamp",
            ],
            "news_sentiment" => &[
                "sentiment_magnitude",
                "sentiment_score",
                "stock_symbol",
                "timestamp",
            ],
            "market_data" => &["market_cap", "pe_ratio", "stock_symbol", "timestamp"],
            "economic_indicator" => &["indicator_name", "timestamp", "value"],
            other => panic!("{other} in {line}"),
        };
        assert_eq!(fields, expected);
        *counts.entry(kind).or_default() += 1;
    }
    assert_eq!(counts["stock_price"], 20_000);
    assert!(
        counts.len() == 5 && counts.values().all(|n| *n > 150),
        "{counts:?}"
    );
}

#[tokio::test]
async fn a_reader_that_has_enough_ends_it_quietly() {
    let mut child = start(&format!("--to - --start-time {START} --rate 0"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .starts_with("{\"stock_symbol\":\"AAPL\"")
    );
    drop(lines);
    let ended = end(child).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_stalled_reader_does_not_keep_it_from_ending() {
    let mut child = start(&format!("--to - --start-time {START} --rate 0"));
    // Kept open and never read on: the pipe fills up.
    let mut reader = BufReader::new(child.stdout.take().unwrap()).lines();
    reader.next_line().await.unwrap();
    let (ended, took) = terminate(child).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(took.as_millis() < 2_000, "{took:?}");
}
