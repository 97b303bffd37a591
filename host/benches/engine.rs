//! The engine's core over decoded messages, against a loop that reads the same JSON with serde_json and adds up the
//! closes: what one tick costs, and where it goes. Feeds as much at once, and takes checkpoints as often, as the
//! service does.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::{hint::black_box, time::Duration};

use serde::Deserialize;
use support::{Market, figure, in_turn, median, plugin, selected, strategy, time};
use wigwag::{
    engine::{Album, CheckpointEvery, Outputs, Partition},
    log::{Messages, Topic},
    market::{Limits, Record, read_record},
};

/// Ticks that every run goes through in each round: few, so that a round in which something else ran is one of many.
const TICKS: usize = 5_000;

/// Of each symbol, in a second of the market's time.
const TICKS_PER_SYMBOL_SECOND: f64 = 100.0;

/// Bytes that are fed at once.
const POLL_BYTES: usize = 1 << 20;

const ROUNDS: usize = 161;

fn main() {
    println!("MA + EMA + RSI; ns a tick, and ratio to serde_json::from_slice adding up the closes");
    for symbols in [100, 1_000] {
        for lines in [1, 100, 1_000] {
            let name = format!("engine/{symbols}-symbols/{lines}-a-message");
            if selected(&name) {
                measure(&name, symbols, lines);
            }
        }
    }
}

fn measure(name: &str, symbols: usize, lines: usize) {
    let values = market(symbols).messages(TICKS / lines, lines);
    let lines_of_all: Vec<&str> = values.iter().flat_map(|value| value.lines()).collect();
    let closes = || {
        let mut sum = 0.0;
        for line in &lines_of_all {
            let tick: Tick<'_> = serde_json::from_slice(line.as_bytes()).expect("a tick");
            sum += black_box(tick).closing_price;
        }
        black_box(sum);
    };
    let read = || {
        let mut sum = 0.0;
        for line in &lines_of_all {
            if let Ok(Record::Tick(tick)) = read_record(line.as_bytes(), &Limits::none()) {
                sum += black_box(tick).close;
            }
        }
        black_box(sum);
    };
    let mut bare = Run::new(symbols, lines, &[]);
    let mut ma = Run::new(symbols, lines, &["ma"]);
    let mut all = Run::new(symbols, lines, &["ma", "ema", "rsi"]);
    let measured = in_turn(
        ROUNDS,
        &mut [
            &mut || time(closes),
            &mut || time(read),
            &mut || bare.round(),
            &mut || ma.round(),
            &mut || all.round(),
        ],
    );
    let ns = |n: usize| measured.nanos[n] / TICKS as f64;
    let checkpoint =
        median(std::mem::take(&mut all.checkpoints)) / CheckpointEvery::default().rows as f64;
    figure(
        name,
        &format!("{:>9.2} x serde_json, {:.0} ns", measured.ratios[4], ns(4)),
    );
    println!(
        "  serde_json {:.0}; read_record {:.0}; core without strategies {:.0}, with ma {:.0}, with all three {:.0}; \
         checkpoints {checkpoint:.0} more",
        ns(0),
        ns(1),
        ns(2),
        ns(3),
        ns(4)
    );
    let ticks = all.ticks as f64;
    println!(
        "  a tick puts out {:.2} signals, {:.2} messages, {:.0} bytes",
        all.signals as f64 / ticks,
        all.messages as f64 / ticks,
        all.bytes as f64 / ticks
    );
}

/// The record as the baseline reads it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "all fields are read, one is used")]
struct Tick<'a> {
    stock_symbol: &'a str,
    opening_price: f64,
    closing_price: f64,
    high: f64,
    low: f64,
    volume: f64,
    timestamp: f64,
}

fn market(symbols: usize) -> Market {
    Market::new(symbols, TICKS_PER_SYMBOL_SECOND * symbols as f64)
}

/// One partition and its market, which go on from round to round.
struct Run {
    partition: Partition,
    album: Album,
    market: Market,
    lines: usize,
    offset: u64,
    /// How long each checkpoint took, in nanoseconds.
    checkpoints: Vec<f64>,
    ticks: u64,
    signals: u64,
    messages: usize,
    bytes: usize,
}

impl Run {
    fn new(symbols: usize, lines: usize, plugins: &[&str]) -> Self {
        let (mut partition, mut outputs) = (Partition::new(0, 0), Outputs::default());
        for name in plugins {
            let plugin = plugin(name);
            let strategy = strategy(&format!("{name}-20"), &plugin);
            partition.start(strategy, plugin, &Messages::new(), 0, false, &mut outputs);
        }
        Self {
            partition,
            album: Album::default(),
            market: market(symbols),
            lines,
            offset: 0,
            checkpoints: Vec::new(),
            ticks: 0,
            signals: 0,
            messages: 0,
            bytes: 0,
        }
    }

    /// The next ticks, as they are polled.
    fn polls(&mut self) -> Vec<Messages> {
        let (mut polls, mut poll) = (Vec::new(), Messages::new());
        for value in self.market.messages(TICKS / self.lines, self.lines) {
            poll.push(
                Topic::Ticks,
                0,
                self.offset,
                0,
                b"S0000",
                value.as_bytes(),
                [],
            );
            self.offset += 1;
            if poll.bytes() >= POLL_BYTES {
                polls.push(std::mem::take(&mut poll));
            }
        }
        polls.push(poll);
        polls
    }

    /// Feeds them, which alone counts.
    fn round(&mut self) -> Duration {
        let polls = self.polls();
        if self.partition.rows_since_checkpoint() >= CheckpointEvery::default().rows {
            let mut outputs = Outputs::default();
            let took = time(|| {
                self.partition.take_picture(&mut self.album, &mut outputs);
            });
            self.checkpoints.push(took.as_nanos() as f64);
        }
        time(|| self.feed(&polls))
    }

    fn feed(&mut self, polls: &[Messages]) {
        for poll in polls {
            let mut outputs = Outputs::default();
            self.partition.feed(poll.iter(), &mut outputs);
            let outputs = black_box(outputs);
            self.ticks += outputs.counts.ticks;
            self.signals += outputs.counts.signals;
            self.messages += outputs.appends.len();
            self.bytes += outputs
                .appends
                .iter()
                .map(|a| a.key.len() + a.value.len())
                .sum::<usize>();
        }
    }
}
