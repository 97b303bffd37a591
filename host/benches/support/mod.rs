//! What the benchmarks share: a made-up market, and measuring one thing beside another. Absolute times on a shared
//! machine say little, so whatever is measured runs in turn with its baseline, and the medians of the rounds count.

#![allow(unreachable_pub, reason = "each benchmark uses a part of it")]
#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each benchmark uses a part of it, and prints"
)]

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use wigwag::{
    offline,
    plugin::{BUILT_IN, Compiler, Limits, Plugin, Runtime},
    strategy::{DEFAULT_VALUES_INTERVAL_MS, Input, Strategy},
};

/// Whether the command line selects this benchmark: one of its words is a part of the name, or there is none.
pub(crate) fn selected(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|a| !a.starts_with('-'));
    let first = words.next();
    first.is_none_or(|first| name.contains(&first) || words.any(|word| name.contains(&word)))
}

/// Prints a figure that has no target.
pub(crate) fn figure(name: &str, text: &str) {
    println!("{name:<44} {text}");
}

/// Prints a figure beside the most that it may be.
pub(crate) fn at_most(name: &str, value: f64, unit: &str, most: f64) {
    let verdict = if value <= most { "reached" } else { "MISSED" };
    println!("{name:<44} {value:>9.2} {unit:<14} target <= {most} {verdict}");
}

/// Prints a figure beside the least that it may be.
pub(crate) fn at_least(name: &str, value: f64, unit: &str, least: f64) {
    let verdict = if value >= least { "reached" } else { "MISSED" };
    println!("{name:<44} {value:>9.0} {unit:<14} target >= {least} {verdict}");
}

/// The middle one, or of two the higher.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn undisturbed(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    quantile(&numbers, 0.1)
}

/// The number below which this share of them lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Of what ran in turn: times in nanoseconds, each the lowest tenth's highest, as on a machine that does nothing else;
/// and medians of the ratios to the first of the same round.
pub(crate) struct Rounds {
    pub(crate) nanos: Vec<f64>,
    pub(crate) ratios: Vec<f64>,
}

/// How long it takes.
pub(crate) fn time(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

/// Runs all of them in each round, the first one as the baseline; every other round in reverse, so that none is
/// always the one after a certain other. Each says how long it took. The first round does not count.
pub(crate) fn in_turn(rounds: usize, runs: &mut [&mut dyn FnMut() -> Duration]) -> Rounds {
    let mut times = vec![Vec::with_capacity(rounds); runs.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..runs.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for n in order {
            let took = runs[n]();
            if round > 0 {
                times[n].push(took.as_nanos() as f64);
            }
        }
    }
    let ratio =
        |of: &Vec<f64>| median(of.iter().zip(&times[0]).map(|(t, base)| t / base).collect());
    let ratios = times.iter().map(ratio).collect();
    let nanos = times.into_iter().map(undisturbed).collect();
    Rounds { nanos, ratios }
}

/// Ticks of some symbols in turn: random walks in steps of a cent, at even distances in time.
pub(crate) struct Market {
    closes: Vec<f64>,
    random: u64,
    next: u64,
    ticks_per_second: f64,
}

/// One tick. Its symbol is `Market::name` of the number.
pub(crate) struct Tick {
    pub(crate) symbol: u32,
    pub(crate) time: f64,
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) volume: u64,
}

impl Market {
    /// So many ticks of all symbols together in each second of their time.
    pub(crate) fn new(symbols: usize, ticks_per_second: f64) -> Self {
        Self::starting_at(1_700_000_000.0, symbols, ticks_per_second)
    }

    /// The same from another time on, in seconds since the epoch.
    pub(crate) fn starting_at(time: f64, symbols: usize, ticks_per_second: f64) -> Self {
        Self {
            closes: vec![100.0; symbols],
            random: 0x9e37_79b9_7f4a_7c15,
            next: (time * ticks_per_second) as u64 / symbols as u64 * symbols as u64,
            ticks_per_second,
        }
    }

    /// A symbol by its number.
    pub(crate) fn name(symbol: u32) -> String {
        format!("S{symbol:04}")
    }

    /// The next tick.
    pub(crate) fn tick(&mut self) -> Tick {
        let symbol = (self.next % self.closes.len() as u64) as usize;
        let time = (self.next as f64 / self.ticks_per_second * 1e6).round() / 1e6;
        self.next += 1;
        let open = self.closes[symbol];
        let close = cents(open * (1.0 + 0.001 * self.draw()));
        self.closes[symbol] = close;
        let spread = 0.0005 * (self.draw() + 1.0) * open;
        Tick {
            symbol: symbol as u32,
            time,
            open,
            high: cents(open.max(close) + spread),
            low: cents(open.min(close) - spread),
            close,
            volume: (500.0 * (self.draw() + 1.0)) as u64,
        }
    }

    /// The next tick's JSON, as the generator writes it; returns its symbol.
    pub(crate) fn json(&mut self, out: &mut String) -> u32 {
        let Tick {
            symbol,
            time,
            open,
            high,
            low,
            close,
            volume,
        } = self.tick();
        write!(
            out,
            r#"{{"stock_symbol":"{}","opening_price":{open},"closing_price":{close},"high":{high},"low":{low},"volume":{volume},"timestamp":{time}}}"#,
            Self::name(symbol)
        )
        .expect("a String takes every write");
        symbol
    }

    /// The values of so many messages, each of so many lines.
    pub(crate) fn messages(&mut self, messages: usize, lines: usize) -> Vec<String> {
        let message = |_| {
            let mut text = String::with_capacity(lines * 160);
            for line in 0..lines {
                if line > 0 {
                    text.push('\n');
                }
                self.json(&mut text);
            }
            text
        };
        (0..messages).map(message).collect()
    }

    /// -1 to 1.
    fn draw(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }
}

fn cents(price: f64) -> f64 {
    (price * 100.0).round() / 100.0
}

/// A runtime that compiles with the real program, and keeps what it compiled in a folder where one is given.
pub(crate) fn runtime(cache: Option<PathBuf>) -> Runtime {
    let compiler = Compiler::new(env!("CARGO_BIN_EXE_wigwag").into(), cache);
    Runtime::try_new(compiler, Limits::default()).expect("wasmtime runs here")
}

/// The built-in plugin of that name, ready to run.
pub(crate) fn plugin(name: &str) -> Arc<Plugin> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let cache = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let runtime = RUNTIME.get_or_init(|| runtime(Some(cache())));
    let (_, bytes) = BUILT_IN
        .into_iter()
        .find(|(built_in, _)| *built_in == name)
        .expect("a built-in");
    runtime.load(bytes).expect("a built-in loads")
}

/// A strategy as a new service has it: default parameters, all symbols, conflated values.
pub(crate) fn strategy(id: &str, plugin: &Plugin) -> Arc<Strategy> {
    Arc::new(Strategy {
        id: id.to_owned(),
        values_interval_ms: DEFAULT_VALUES_INTERVAL_MS,
        ..offline::strategy(plugin, plugin.description().defaults(), Input::Ticks)
    })
}

/// CPU time that this process has used, user and system.
pub(crate) fn cpu_of_self() -> Duration {
    cpu_of(std::process::id())
}

/// CPU time that a process has used, user and system, in steps of 10 ms.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    // utime and stime are fields 14 and 15 of proc(5), in ticks of 1/100 s; `fields` begins with field 3.
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|t| t.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * ticks)
}
