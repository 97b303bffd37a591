//! The reader against serde_json: the same decision and the same bits for every line.

use std::borrow::Cow;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::{
    Limits, MAX_LINE_BYTES, Reading, Record, read_line, read_record, scan::scan_tick,
    symbol_is_valid,
};

/// What serde_json itself makes of a tick: the reference.
#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow)]
    stock_symbol: Cow<'a, str>,
    opening_price: f64,
    closing_price: f64,
    high: f64,
    low: f64,
    volume: f64,
    timestamp: f64,
}

/// The reference's tick, where it keeps the rules.
fn reference(line: &[u8]) -> Option<[u64; 6]> {
    let text = str::from_utf8(line).ok()?;
    let r: Reference<'_> = serde_json::from_str(text).ok()?;
    let prices = [r.opening_price, r.closing_price, r.high, r.low];
    let good = symbol_is_valid(r.stock_symbol.as_bytes())
        && prices.iter().all(|p| p.is_finite() && *p > 0.0)
        && r.low <= r.opening_price.min(r.closing_price)
        && r.high >= r.opening_price.max(r.closing_price)
        && r.volume.is_finite()
        && r.volume >= 0.0
        && (-62_135_596_800.0..=253_402_300_799.0).contains(&r.timestamp);
    let numbers = [
        r.opening_price,
        r.closing_price,
        r.high,
        r.low,
        r.volume,
        r.timestamp,
    ];
    good.then(|| numbers.map(f64::to_bits))
}

fn ours(line: &[u8]) -> Option<[u64; 6]> {
    match read_record(line, &Limits::none()) {
        Ok(Record::Tick(t)) => {
            Some([t.open, t.close, t.high, t.low, t.volume, t.time].map(f64::to_bits))
        }
        _ => None,
    }
}

/// Numbers as text: plain, long, tiny, huge, with exponents, and broken.
fn number_texts() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (1_u32..1_000_000, 0_u32..7).prop_map(|(n, d)| format!("{:.*}", d as usize, f64::from(n) / 100.0)),
        4 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| json!(x.abs()).to_string()),
        2 => any::<u64>().prop_map(|n| n.to_string()),
        2 => "[0-9]{1,25}(\\.[0-9]{1,25})?",
        1 => "-?[0-9]{0,4}(\\.[0-9]{0,4})?([eE][+-]?[0-9]{0,4})?",
        1 => Just("9007199254740993".to_string()),
        1 => Just("0.1000000000000000055511151231257827021181583404541015625".to_string()),
        1 => Just("null".to_string()),
    ]
}

/// Lines of the usual form, their prices in an order that often keeps the rules.
fn lines() -> impl Strategy<Value = String> {
    (
        "[A-Z]{1,17}",
        [
            number_texts(),
            number_texts(),
            number_texts(),
            number_texts(),
            number_texts(),
            number_texts(),
        ],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(symbol, [a, b, c, d, volume, time], sorted, spaced)| {
            let mut prices = [a, b, c, d];
            if sorted {
                prices.sort_by(|x, y| {
                    let value = |s: &str| s.parse::<f64>().unwrap_or_default();
                    value(x).total_cmp(&value(y))
                });
            }
            let [low, open, close, high] = prices;
            let (comma, colon) = if spaced { (", ", ": ") } else { (",", ":") };
            let pairs = [
                ("opening_price", open),
                ("closing_price", close),
                ("high", high),
                ("low", low),
                ("volume", volume),
                ("timestamp", time),
            ];
            let rest: String = pairs
                .iter()
                .map(|(name, value)| format!("{comma}\"{name}\"{colon}{value}"))
                .collect();
            format!("{{\"stock_symbol\"{colon}\"{symbol}\"{rest}}}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_tick_reads_as_serde_json_reads_it(line in lines()) {
        prop_assert_eq!(ours(line.as_bytes()), reference(line.as_bytes()), "{}", line);
    }

    #[test]
    fn a_mutated_tick_reads_as_serde_json_reads_it(
        line in lines(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop_oneof![
            any::<u8>(), prop::sample::select(b"0123456789.eE+-\" ,:{}[]\\ntu\t\r\n".to_vec()),
        ]), 1..4),
    ) {
        let mut bytes = line.into_bytes();
        for (at, how, byte) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        prop_assert_eq!(ours(&bytes), reference(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn what_is_kept_as_it_came_is_short_and_reads_back(line in lines()) {
        if let Ok(Reading { usual: true, .. }) = read_line(line.as_bytes(), &Limits::none()) {
            prop_assert!(line.len() <= MAX_LINE_BYTES);
            prop_assert!(scan_tick(line.as_bytes()).is_some());
        }
    }
}
