//! What several test binaries need: plugins that are ready to run, and made-up ticks.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use wigwag::{
    bars::Interval,
    engine::{Outputs, Partition},
    log::{Messages, Offset, Topic},
    offline,
    plugin::{BUILT_IN, Compiler, Digest, Limits, Plugin, Runtime},
    strategy::{Input, Strategy},
};

/// A plugin that misbehaves as it is told.
pub(crate) const MISBEHAVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehave.wasm"));

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let compiler = Compiler::new(env!("CARGO_BIN_EXE_wigwag").into(), Some(cache));
        Runtime::try_new(compiler, Limits::default()).expect("wasmtime runs here")
    })
}

/// The built-ins and `misbehave`, by name.
pub(crate) fn plugin(name: &str) -> Arc<Plugin> {
    static PLUGINS: OnceLock<Vec<Arc<Plugin>>> = OnceLock::new();
    let plugins = PLUGINS.get_or_init(|| {
        let all = BUILT_IN.iter().map(|(_, bytes)| *bytes).chain([MISBEHAVE]);
        all.map(|bytes| runtime().load(bytes).expect("loads"))
            .collect()
    });
    plugins
        .iter()
        .find(|p| p.description().name == name)
        .expect("one of ours")
        .clone()
}

pub(crate) fn find(digest: Digest) -> Option<Arc<Plugin>> {
    ["ma", "ema", "rsi", "misbehave"]
        .map(plugin)
        .into_iter()
        .find(|p| p.digest() == digest)
}

/// A definition with these parameters; all symbols, values at every tick.
pub(crate) fn strategy(id: &str, plugin_name: &str, params: Value) -> Arc<Strategy> {
    let plugin = plugin(plugin_name);
    let Value::Object(given) = params else {
        panic!("parameters are an object")
    };
    let params: Map<String, Value> = plugin
        .description()
        .resolve(&given)
        .expect("acceptable parameters");
    Arc::new(Strategy {
        id: id.to_owned(),
        ..offline::strategy(&plugin, params, Input::Ticks)
    })
}

/// The same, of which bars are the input.
pub(crate) fn on_bars(strategy: Arc<Strategy>, interval: Interval) -> Arc<Strategy> {
    let input = Input::Bars(interval);
    Arc::new(Strategy {
        input,
        ..Strategy::clone(&strategy)
    })
}

/// One tick as ingest writes it.
pub(crate) fn tick(symbol: &str, time: f64, close: f64) -> String {
    let (high, low) = (close + 0.25, close - 0.25);
    format!(
        r#"{{"stock_symbol":"{symbol}","opening_price":{close},"closing_price":{close},"high":{high},"low":{low},"volume":3,"timestamp":{time}}}"#
    )
}

/// A walk that crosses its averages often: the `n`-th close of a symbol.
pub(crate) fn close(symbol: usize, n: usize) -> f64 {
    let n = n as f64 + 31.0 * symbol as f64;
    let wave = (n * 0.37).sin() * 3.0 + (n * 0.11).sin() * 5.0 + (n * 1.9).cos();
    ((100.0 + wave) * 100.0).round() / 100.0
}

/// Ticks of some symbols in turn.
pub(crate) fn walk(symbols: usize, ticks: usize) -> Vec<String> {
    let of = |n: usize| {
        tick(
            &format!("S{}", n % symbols),
            1_700_000_000.0 + n as f64 * 0.1,
            close(n % symbols, n / symbols),
        )
    };
    (0..ticks).map(of).collect()
}

/// Messages of so many lines each, from an offset on.
pub(crate) fn messages(lines: &[String], a_message: usize, first: Offset) -> Messages {
    let mut messages = Messages::new();
    for (n, lines) in lines.chunks(a_message).enumerate() {
        messages.push(
            Topic::Ticks,
            0,
            first + n as u64,
            0,
            b"",
            lines.join("\n").as_bytes(),
            [],
        );
    }
    messages
}

/// MA, EMA and RSI, as a new service has them.
pub(crate) fn built_ins() -> Partition {
    let mut partition = Partition::new(0, 0);
    add(&mut partition, "ma-20", "ma", json!({}));
    add(&mut partition, "ema-20", "ema", json!({}));
    add(&mut partition, "rsi-14", "rsi", json!({}));
    partition
}

pub(crate) fn add(partition: &mut Partition, id: &str, name: &str, params: Value) {
    add_defined(partition, strategy(id, name, params));
}

pub(crate) fn add_defined(partition: &mut Partition, strategy: Arc<Strategy>) {
    let plugin = plugin(&strategy.plugin);
    let (none, mut out) = (Messages::new(), Outputs::default());
    partition.start(strategy, plugin, &none, 0, false, &mut out);
}

/// What a partition puts out on a topic, as text, for some strategies.
pub(crate) fn put_out(outputs: &Outputs, topic: Topic, of: impl Fn(&str) -> bool) -> Vec<String> {
    let texts = outputs.appends.iter().filter(|a| a.topic == topic);
    let texts = texts.map(|a| String::from_utf8(a.value.clone()).expect("JSON text"));
    texts
        .filter(|t| {
            of(
                serde_json::from_str::<Value>(t).expect("JSON text")["strategy"]
                    .as_str()
                    .expect("JSON text"),
            )
        })
        .collect()
}

pub(crate) fn signals(outputs: &Outputs) -> Vec<String> {
    put_out(outputs, Topic::Signals, |_| true)
}

/// In one order for all splits: within a step each strategy puts out its signals in turn.
pub(crate) fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Ticks of which those of S1 at some places have the close at which `misbehave` misbehaves.
pub(crate) fn provoking(ticks: usize, at: &[usize]) -> Vec<String> {
    let mut lines = walk(4, ticks);
    for &n in at {
        lines[n] = tick("S1", 1_700_000_000.0 + n as f64 * 0.1, 666.0);
    }
    lines
}
