//! What strangers' plugins cost: from an upload to live, fifty strategies on one stream, what others notice while a plugin
//! is compiled, how soon a strategy is back after a trap, and how soon a compile bomb is refused.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "support/service.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod service;
mod support;

use std::{
    fmt::Write as _,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use service::{Latencies, NDJSON, Service, block_on, folder, latencies, now, post, send_all};
use support::{
    Market, at_most, figure, in_turn, median, plugin, quantile, runtime, selected, strategy, time,
};
use wigwag::{
    engine::{Outputs, Partition},
    log::{Messages, Topic},
    plugin::{self as host, BUILT_IN, Plugin},
    strategy::Strategy,
};
use wigwag_plugin::{Batch, Strategy as Native};

const SYMBOLS: usize = 1_000;

/// A plugin that panics at a certain close.
const MISBEHAVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehave.wasm"));

fn main() {
    for (name, measure) in [
        ("lifecycle/upload", upload as fn(&str)),
        ("lifecycle/fifty", fifty),
        ("lifecycle/others", others),
        ("lifecycle/trap", trap),
        ("lifecycle/bomb", bomb),
    ] {
        if selected(name) {
            measure(name);
        }
    }
}

/// From the first byte of an upload until its strategy is live on all partitions of a service that has ticks.
fn upload(name: &str) {
    const ROUNDS: usize = 9;
    let data = folder("upload").join("data");
    let (mut taken, mut defined, mut live) = (Vec::new(), Vec::new(), Vec::new());
    block_on(async {
        let service = Service::start(&data, &[]).await;
        with_ticks(&service).await;
        let client = Client::of(&service, &data);
        for round in 0..ROUNDS {
            let bytes = marked(built_in("ma"), round);
            let started = Instant::now();
            let plugin = client.upload(bytes).await;
            taken.push(started.elapsed().as_secs_f64() * 1e3);
            let id = format!("up-{round}");
            client.define(&id, &plugin, json!({"period": 21})).await;
            defined.push(started.elapsed().as_secs_f64() * 1e3);
            client.live(&id).await;
            live.push(started.elapsed().as_secs_f64() * 1e3);
        }
        service.stop();
    });
    // Without a cache: check, compilation in a child, and description.
    let load = |n: &usize| {
        let bytes = marked(built_in("ma"), 1_000 + n);
        time(|| drop(runtime(None).load(&bytes).expect("it loads"))).as_secs_f64() * 1e3
    };
    let loads = median((0..5).collect::<Vec<_>>().iter().map(load).collect());
    let bytes = built_in("ma").len() / 1000;
    at_most(name, median(live), "ms", 300.0);
    println!(
        "  {bytes} kB, of a new definition with parameters of its own; taken in after {:.0}, defined after {:.0} ms; \
         its compilation alone, in a child, {loads:.0} ms",
        median(taken),
        median(defined)
    );
}

/// Fifty instances over one stream of ticks, against fifty native ones: that is judged. What the engine adds for each
/// strategy, with all that it writes, is told beside it.
fn fifty(name: &str) {
    const STRATEGIES: usize = 50;
    const ROWS: usize = 1024;
    const BATCHES: usize = 8;
    const ROUNDS: usize = 41;
    let (batches, names) = (
        batches(ROWS, BATCHES),
        (0..SYMBOLS as u32).map(Market::name).collect::<Vec<_>>(),
    );
    let mut natives: Vec<Box<dyn FnMut()>> = (0..STRATEGIES)
        .map(|n| match n % 3 {
            0 => native::<wigwag_ma::Ma>(&batches, &names),
            1 => native::<wigwag_ema::ExponentialMa>(&batches, &names),
            _ => native::<wigwag_rsi::Rsi>(&batches, &names),
        })
        .collect();
    let plugins = ["ma", "ema", "rsi"].map(plugin);
    let mut components: Vec<_> = (0..STRATEGIES)
        .map(|n| component(&plugins[n % 3], &batches, &names))
        .collect();
    let measured = in_turn(
        ROUNDS,
        &mut [
            &mut || time(|| natives.iter_mut().for_each(|run| run())),
            &mut || time(|| components.iter_mut().for_each(|run| run())),
        ],
    );
    let each = (ROWS * BATCHES * STRATEGIES) as f64;
    at_most(name, measured.ratios[1], "x native", 3.0);
    println!(
        "  judged: {STRATEGIES} plugins that are called with a batch, against {STRATEGIES} native ones, over {SYMBOLS} \
         symbols; each takes {:.1} ns a tick, natively {:.1}",
        measured.nanos[1] / each,
        measured.nanos[0] / each
    );
    let (mut none, mut all) = (Feed::new(0), Feed::new(STRATEGIES));
    let measured = in_turn(ROUNDS / 4, &mut [&mut || none.round(), &mut || all.round()]);
    let ticks = (Feed::MESSAGES * Feed::LINES) as f64;
    let adds = (measured.nanos[1] - measured.nanos[0]) / ticks / STRATEGIES as f64;
    println!(
        "  not judged: in the engine each adds {adds:.0} ns a tick, signals and values made and written included, which no \
         native form does"
    );
}

/// What the signals of others wait for, with uploads that keep the compiler busy all the time, and without.
fn others(name: &str) {
    const RATE: usize = 5_000;
    const WARM_UP: Duration = Duration::from_secs(5);
    const TIME: Duration = Duration::from_secs(10);
    const ROUNDS: usize = 3;
    let data = folder("others").join("data");
    // From the time of the POST, which is judged, and from its answer.
    let (mut alone, mut beside) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut uploads = 0;
    block_on(async {
        for round in 0..ROUNDS {
            let service = Service::start(&data, &["--sync", "normal"]).await;
            let keep = |all: &mut [Vec<f64>; 2], seen: &Latencies| {
                all[0].push(quantile(&seen.posted, 0.99));
                all[1].push(quantile(&seen.answered, 0.99));
            };
            let seen = latencies(&service, RATE, SYMBOLS, WARM_UP, TIME).await;
            keep(&mut alone, &seen);
            let client = Client::of(&service, &data);
            let busy = async {
                for n in 0.. {
                    client.refused(bomb_of(2_000, 500, round * 1_000 + n)).await;
                    client
                        .upload(marked(built_in("rsi"), round * 1_000 + n))
                        .await;
                    uploads += 2;
                }
            };
            let measured = latencies(&service, RATE, SYMBOLS, WARM_UP, TIME);
            let seen = tokio::select! {
                () = busy => unreachable!("it has no end"),
                seen = measured => seen,
            };
            keep(&mut beside, &seen);
            service.stop();
        }
    });
    let ratios = beside[0].iter().zip(&alone[0]).map(|(b, a)| b / a);
    at_most(name, median(ratios.collect()), "x alone", 2.0);
    let [posted_alone, answered_alone] = alone.map(median);
    let [posted, answered] = beside.map(median);
    println!(
        "  judged: p99 from the time of a POST to its signal on a stream at {RATE} ticks/s, {posted_alone:.1} ms alone, \
         {posted:.1} ms while {uploads} plugins came, half of them bombs"
    );
    println!(
        "  not judged: the same from its answer, {answered_alone:.1} ms alone, {answered:.1} ms then"
    );
}

/// A strategy that traps, with state of 1,000 symbols and about as many rows since its last picture as the service lets
/// come together.
fn trap(name: &str) {
    const ROUNDS: usize = 9;
    const PICTURE_ROUNDS: usize = 100_000 / (Feed::MESSAGES * Feed::LINES);
    let plugin = runtime(None).load(MISBEHAVE).expect("it loads");
    let mut took = Vec::new();
    let mut usual = Vec::new();
    for _ in 0..ROUNDS {
        let mut feed = Feed::of("misbehave", &plugin, json!({"how": "panic"}));
        (0..PICTURE_ROUNDS).for_each(|_| {
            feed.round();
        });
        usual.push(feed.lines(&[tick("S0001", 100.0)]).as_secs_f64() * 1e3);
        took.push(feed.lines(&[tick("S0001", 666.0)]).as_secs_f64() * 1e3);
        assert_eq!(feed.skipped, 1, "it traps");
    }
    at_most(name, median(took), "ms", 50.0);
    println!(
        "  back at the row behind the one at which it trapped, {} rows since its last picture; a tick without a trap \
         takes {:.3} ms",
        PICTURE_ROUNDS * Feed::MESSAGES * Feed::LINES,
        median(usual)
    );
}

/// A small component that would keep a compiler busy for minutes.
fn bomb(name: &str) {
    const ROUNDS: usize = 3;
    let data = folder("bomb").join("data");
    let (mut took, mut bytes) = (Vec::new(), 0);
    block_on(async {
        let service = Service::start(&data, &[]).await;
        let client = Client::of(&service, &data);
        for round in 0..ROUNDS {
            let bomb = bomb_of(2_000, 500, round);
            bytes = bomb.len();
            let started = Instant::now();
            client.refused(bomb).await;
            took.push(started.elapsed().as_secs_f64());
        }
        service.stop();
    });
    at_most(name, median(took), "s", 6.0);
    figure(&format!("{name}/size"), &format!("{bytes:>9} bytes"));
}

/// Who deploys.
struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    fn of(service: &Service, data: &std::path::Path) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: format!("http://{}", service.address),
            token: std::fs::read_to_string(data.join("admin.token")).expect("a token"),
        }
    }

    async fn send(&self, bytes: Vec<u8>) -> (u16, Value) {
        let request = self.http.post(format!("{}/v1/plugins", self.url));
        let answer = request.bearer_auth(&self.token).body(bytes).send().await;
        let answer = answer.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Its digest.
    async fn upload(&self, bytes: Vec<u8>) -> String {
        let (status, body) = self.send(bytes).await;
        assert_eq!(status, 201, "{body}");
        body["digest"].as_str().expect("a digest").to_owned()
    }

    async fn refused(&self, bytes: Vec<u8>) {
        let (status, body) = self.send(bytes).await;
        assert_eq!((status, &body["stage"]), (422, &json!("compile")), "{body}");
    }

    async fn define(&self, id: &str, plugin: &str, params: Value) {
        let request = self.http.put(format!("{}/v1/strategies/{id}", self.url));
        let request = request.json(&json!({"plugin": plugin, "params": params}));
        let answer = request.bearer_auth(&self.token).send().await;
        assert_eq!(answer.expect("an answer").status(), 201);
    }

    /// Waits until it runs on all partitions.
    async fn live(&self, id: &str) {
        loop {
            let answer = self.http.get(format!("{}/v1/strategies/{id}", self.url));
            let answer = answer.send().await.expect("an answer");
            let strategy: Value = answer.json().await.expect("JSON");
            let state = strategy["state"].as_array().expect("a list");
            if state.iter().all(|partition| partition["status"] == "live") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Some ticks on which an upload is tried, and by which a strategy is warmed up.
async fn with_ticks(service: &Service) {
    let mut market = Market::starting_at(now() - 60.0, SYMBOLS, 10_000.0);
    let bodies = market.messages(40, 1_000);
    let requests: Vec<_> = bodies.iter().map(|body| post(NDJSON, body)).collect();
    send_all(service.address, 4, &requests).await;
}

fn built_in(name: &str) -> &'static [u8] {
    let found = BUILT_IN.iter().find(|(n, _)| *n == name);
    found.expect("a built-in").1
}

/// The same component with a number in a section that says nothing: another digest.
fn marked(component: &[u8], number: usize) -> Vec<u8> {
    let text = format!("{number:08}");
    let mut marked = component.to_vec();
    // A custom section: kind, length, and its name behind the name's length.
    marked.extend_from_slice(&[0, text.len() as u8 + 1, text.len() as u8]);
    marked.extend_from_slice(text.as_bytes());
    marked
}

/// A function of so many locals in so many nested loops, in what looks like a plugin.
fn bomb_of(locals: usize, loops: usize, number: usize) -> Vec<u8> {
    let (mut mixed, mut body) = (String::new(), String::new());
    for n in 0..locals {
        let next = (n + 1) % locals;
        write!(
            mixed,
            "(local.set {n} (i32.add (local.get {next}) (i32.const {})))",
            n + number
        )
        .expect("writing to memory");
    }
    for n in 0..loops {
        let (a, b) = (n * 7 % locals, n * 13 % locals);
        write!(
            body,
            "(loop (local.set {a} (i32.add (local.get {b}) (local.get {a}))) (br_if 0 (local.get {b}))"
        )
        .expect("writing to memory");
    }
    let (ends, locals) = (")".repeat(loops), "i32 ".repeat(locals));
    let text = format!(
        r#"(component
            (core module (func (export "bomb") (local {locals}) {mixed} {body} {ends} {mixed}))
            (instance $i) (export "wigwag:plugin/strategy@1.0.0" (instance $i)))"#
    );
    wat::parse_str(text).expect("a component")
}

fn batches(rows: usize, count: usize) -> Vec<Batch> {
    let mut market = Market::new(SYMBOLS, 100_000.0);
    let batch = |_| {
        let mut batch = Batch::default();
        for _ in 0..rows {
            let tick = market.tick();
            batch.symbol.push(tick.symbol);
            batch.close.push(tick.close);
        }
        batch
    };
    (0..count).map(batch).collect()
}

fn native<S: Native>(batches: &[Batch], names: &[String]) -> Box<dyn FnMut()> {
    let mut instance = wigwag_plugin::Instance::<S>::with(&[]).expect("defaults are acceptable");
    instance.define_symbols(0, names);
    let batches = batches.to_vec();
    Box::new(move || {
        for batch in &batches {
            black_box(instance.on_batch(black_box(batch)));
        }
    })
}

fn component<'a>(plugin: &Plugin, batches: &'a [Batch], names: &[String]) -> Box<dyn FnMut() + 'a> {
    let description = plugin.description();
    let mut instance = plugin.instantiate().expect("it starts");
    let defaults = description.defaults();
    instance
        .configure(&description.arguments(&defaults))
        .expect("it takes its defaults");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    instance.define_symbols(0, &names).expect("it takes names");
    let (series, budget) = (description.series.len(), plugin.limits().row_fuel);
    Box::new(move || {
        for batch in batches {
            let batch = host::Batch {
                symbol: &batch.symbol,
                time: &[],
                open: &[],
                high: &[],
                low: &[],
                close: &batch.close,
                volume: &[],
                events: &[],
                wanted: &[],
            };
            let output = instance.on_batch(black_box(batch), series, budget);
            black_box(output.expect("it does not fail"));
        }
    })
}

/// A partition of the engine and its market.
struct Feed {
    partition: Partition,
    market: Market,
    offset: u64,
    skipped: u64,
}

impl Feed {
    const MESSAGES: usize = 8;
    const LINES: usize = 1_000;

    fn new(strategies: usize) -> Self {
        let mut feed = Self::empty();
        for n in 0..strategies {
            let plugin = plugin(["ma", "ema", "rsi"][n % 3]);
            let strategy = strategy(&format!("s{n}"), &plugin);
            feed.start(strategy, plugin);
        }
        feed
    }

    fn of(id: &str, plugin: &Arc<Plugin>, params: Value) -> Self {
        let Value::Object(params) = params else {
            panic!("an object")
        };
        let params = plugin.description().resolve(&params).expect("acceptable");
        let definition = Strategy {
            params_digest: Strategy::digest_of(&params),
            params,
            ..Strategy::clone(&strategy(id, plugin))
        };
        let mut feed = Self::empty();
        feed.start(Arc::new(definition), plugin.clone());
        feed
    }

    fn empty() -> Self {
        Self {
            partition: Partition::new(0, 0),
            market: Market::new(SYMBOLS, 100_000.0),
            offset: 0,
            skipped: 0,
        }
    }

    fn start(&mut self, strategy: Arc<Strategy>, plugin: Arc<Plugin>) {
        let (none, mut outputs) = (Messages::new(), Outputs::default());
        self.partition
            .start(strategy, plugin, &none, 0, false, &mut outputs);
    }

    /// Feeds the next ticks; only that counts.
    fn round(&mut self) -> Duration {
        let values = self.market.messages(Self::MESSAGES, Self::LINES);
        self.lines(&values)
    }

    fn lines(&mut self, values: &[String]) -> Duration {
        let mut messages = Messages::new();
        for value in values {
            messages.push(Topic::Ticks, 0, self.offset, 0, b"", value.as_bytes(), []);
            self.offset += 1;
        }
        let mut outputs = Outputs::default();
        let took = time(|| self.partition.feed(messages.iter(), &mut outputs));
        self.skipped += outputs.counts.skipped_rows;
        black_box(outputs);
        took
    }
}

/// A tick of a later time.
fn tick(symbol: &str, close: f64) -> String {
    format!(
        r#"{{"stock_symbol":"{symbol}","opening_price":{close},"closing_price":{close},"high":{close},"low":{close},"volume":1,"timestamp":1800000000.{close}}}"#
    )
}
