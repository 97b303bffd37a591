//! The examples, and with them each indicator: as components in the real host they put out, over ticks, news and orders,
//! what they put out natively, bit for bit. Knows nothing of what they compute.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::{Map, Value};
use support::{close, messages, runtime};
use wigwag::{log::Topic, offline, strategy::Input};
use wigwag_plugin::{
    Batch, Event, EventBody, Instance, NewsSentiment, OrderBook, Side, Strategy as Native, Symbol,
};

const TICKS: usize = 4000;
const SYMBOLS: usize = 3;
/// A little before midnight UTC, so that a day ends within the ticks.
const START: f64 = 1_699_999_800.0;

/// Lines for the host, and the same as a batch for a native instance.
fn market() -> (Vec<String>, Batch) {
    let (mut lines, mut batch) = (Vec::new(), Batch::default());
    for n in 0..TICKS {
        let (symbol, time) = (n % SYMBOLS, START + n as f64 * 0.25);
        let (row, name) = (n as u32, format!("S{symbol}"));
        let mut event = |body| {
            batch.events.push(Event {
                row,
                symbol: Some(Symbol(symbol as u32)),
                time,
                body,
            });
        };
        if n % 7 == 5 {
            let score = ((n % 41) as f64 - 20.0) / 20.0;
            lines.push(format!(
                r#"{{"data_type":"news_sentiment","stock_symbol":"{name}","sentiment_score":{score},"sentiment_magnitude":0.5,"timestamp":{time}}}"#
            ));
            event(EventBody::NewsSentiment(NewsSentiment {
                score,
                magnitude: 0.5,
            }));
        }
        if n % 5 == 3 {
            let (word, side) = if n % 3 == 0 {
                ("buy", Side::Buy)
            } else {
                ("sell", Side::Sell)
            };
            let (price, quantity) = (close(symbol, n / SYMBOLS), (n % 13) as f64);
            lines.push(format!(
                r#"{{"data_type":"order_book","stock_symbol":"{name}","order_type":"{word}","price":{price},"quantity":{quantity},"timestamp":{time}}}"#
            ));
            event(EventBody::OrderBook(OrderBook {
                side,
                price,
                quantity,
            }));
        }
        let (open, close) = (
            close(symbol, (n / SYMBOLS).saturating_sub(1)),
            close(symbol, n / SYMBOLS),
        );
        let (high, low) = (
            open.max(close) + (n % 4) as f64 * 0.1,
            open.min(close) - (n % 3) as f64 * 0.1,
        );
        let volume = (n * 31 % 100) as f64;
        lines.push(format!(
            r#"{{"stock_symbol":"{name}","opening_price":{open},"closing_price":{close},"high":{high},"low":{low},"volume":{volume},"timestamp":{time}}}"#
        ));
        batch.symbol.push(symbol as u32);
        batch.time.push(time);
        batch.open.push(open);
        batch.high.push(high);
        batch.low.push(low);
        batch.close.push(close);
        batch.volume.push(volume);
        batch.wanted.push(row);
    }
    (lines, batch)
}

/// Signals and values, each as its time and what it says; a number as Rust prints it, which tells all numbers apart.
#[derive(Debug, Default, PartialEq)]
struct PutOut {
    signals: Vec<String>,
    values: Vec<String>,
}

fn natively<S: Native>(batch: &Batch) -> PutOut {
    let mut instance = Instance::<S>::with(&[])
        .map_err(|errors| format!("{errors:?}"))
        .unwrap();
    let names: Vec<_> = (0..SYMBOLS).map(|symbol| format!("S{symbol}")).collect();
    instance.define_symbols(0, &names);
    // Of events the columns are not needed, and of the batch only what the description asks for: the rest is not read.
    let output = instance.on_batch(batch);
    let named = |values: &[f64]| {
        let mut named: Vec<_> = S::SERIES
            .iter()
            .zip(values)
            .filter(|(_, value)| !value.is_nan())
            .map(|(series, value)| format!("{} {value}", series.name))
            .collect();
        named.sort();
        named.join(", ")
    };
    let signals = output.signals.iter().map(|signal| {
        let (time, side) = (
            batch.time[signal.row as usize],
            format!("{:?}", signal.side),
        );
        let (side, strength, reason) = (side.to_lowercase(), signal.strength, signal.reason);
        format!(
            "{time} {side} {strength} {reason}: {}",
            named(signal.values)
        )
    });
    let values = output.values.chunks(S::SERIES.len()).zip(&batch.time);
    PutOut {
        signals: signals.collect(),
        values: values
            .map(|(values, time)| format!("{time}: {}", named(values)))
            .filter(|line| !line.ends_with(": "))
            .collect(),
    }
}

fn in_the_host(component: &[u8], lines: &[String], a_message: usize) -> PutOut {
    let plugin = runtime().load(component).unwrap();
    let params = plugin.description().defaults();
    let (mut partition, mut outputs) = offline::alone(plugin, params, Input::Ticks);
    partition.feed(messages(lines, a_message, 0).iter(), &mut outputs);
    let mut put_out = PutOut::default();
    for append in &outputs.appends {
        let told = |field: &str| -> Value {
            let all: Map<String, Value> = serde_json::from_slice(&append.value).unwrap();
            all.get(field).cloned().unwrap_or_default()
        };
        let named = |field: &str| {
            let Value::Object(values) = told(field) else {
                panic!("{field} is no object")
            };
            let values = values.iter().filter(|(_, value)| !value.is_null());
            let mut named: Vec<_> = values
                .map(|(name, value)| format!("{name} {}", value.as_f64().unwrap()))
                .collect();
            named.sort();
            named.join(", ")
        };
        match append.topic {
            Topic::Signals => put_out.signals.push(format!(
                "{} {} {} {}: {}",
                told("timestamp").as_f64().unwrap(),
                told("side").as_str().unwrap(),
                told("strength").as_f64().unwrap(),
                told("reason").as_str().unwrap(),
                named("values")
            )),
            Topic::Values => put_out.values.push(format!(
                "{}: {}",
                told("timestamp").as_f64().unwrap(),
                named("series")
            )),
            _ => {}
        }
    }
    put_out
}

/// The same natively and as a component, in messages of one line and of many.
fn agree<S: Native>(component: &[u8], at_least_signals: usize) {
    let (lines, batch) = market();
    let native = natively::<S>(&batch);
    assert!(
        native.signals.len() >= at_least_signals,
        "only {} signals",
        native.signals.len()
    );
    assert!(
        native.values.len() > TICKS / 2,
        "only {} values",
        native.values.len()
    );
    for a_message in [1, 700] {
        let hosted = in_the_host(component, &lines, a_message);
        for (hosted, native) in [
            (&hosted.signals, &native.signals),
            (&hosted.values, &native.values),
        ] {
            let differs = hosted
                .iter()
                .zip(native)
                .find(|(hosted, native)| hosted != native);
            assert_eq!(differs, None, "{a_message} lines a message");
            assert_eq!(hosted.len(), native.len());
        }
    }
}

macro_rules! component {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm"))
    };
}

#[test]
fn the_macd_cross_is_the_same_as_a_component() {
    agree::<macd_cross::MacdCross>(component!("macd-cross"), 100);
}

#[test]
fn the_bollinger_breakout_is_the_same_as_a_component() {
    agree::<bollinger_breakout::Breakout>(component!("bollinger-breakout"), 50);
}

#[test]
fn two_indicators_with_news_and_orders_are_the_same_as_a_component() {
    agree::<confluence::Confluence>(component!("confluence"), 50);
}

#[test]
fn all_other_indicators_are_the_same_as_a_component() {
    agree::<panel::Panel>(component!("panel"), 0);
}
