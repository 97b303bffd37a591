//! The three built-in plugins as components, through the same door as in the service, against the same Rust code
//! called natively: one batch after another, fuel and epochs on, values at the rows at which the service wants them.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::hint::black_box;

use support::{Market, at_most, figure, in_turn, plugin, selected, time};
use wigwag::plugin::{self as host, Plugin};
use wigwag_plugin::{Batch, Strategy};

/// Symbols of the market.
const SYMBOLS: usize = 1_000;

/// Ticks that every run goes through in each round.
const TICKS: usize = 1 << 15;

/// Of the market's time. Values are wanted once a second for each symbol, so here at one row of a hundred.
const TICKS_PER_SECOND: f64 = 100_000.0;

const ROUNDS: usize = 161;

fn main() {
    println!(
        "MA + EMA + RSI over {SYMBOLS} symbols, components against native code, ns for all three"
    );
    for rows in [1024, 16, 64, 256, 4096] {
        let name = format!("plugin/batch-{rows}");
        if selected(&name) {
            measure(&name, rows);
        }
    }
}

fn measure(name: &str, rows: usize) {
    let batches = batches(rows);
    let names: Vec<String> = (0..SYMBOLS as u32).map(Market::name).collect();
    let mut native = [
        native::<wigwag_ma::Ma>(&batches, &names),
        native::<wigwag_ema::ExponentialMa>(&batches, &names),
        native::<wigwag_rsi::Rsi>(&batches, &names),
    ];
    let plugins = ["ma", "ema", "rsi"].map(plugin);
    let (mut fuel, mut signals) = ([0; 3], [0; 3]);
    let mut components: Vec<_> = plugins
        .iter()
        .zip(fuel.iter_mut().zip(&mut signals))
        .map(|(plugin, (fuel, signals))| component(plugin, &batches, &names, fuel, signals))
        .collect();
    let measured = in_turn(
        ROUNDS,
        &mut [
            &mut || time(|| native.iter_mut().for_each(|run| run())),
            &mut || time(|| components.iter_mut().for_each(|run| run())),
        ],
    );
    drop(components);
    let ticks = TICKS as f64;
    let [native, component] = [0, 1].map(|n| measured.nanos[n] / ticks);
    if rows == 1024 {
        at_most(name, measured.ratios[1], "x native", 1.7);
    } else {
        figure(name, &format!("{:>9.2} x native", measured.ratios[1]));
    }
    let fuel = fuel.map(|fuel| fuel as f64 / ticks);
    let signals = signals.iter().sum::<usize>() as f64 / ticks;
    println!(
        "  native {native:.1} ns, components {component:.1} ns a tick; fuel a row: ma {:.0}, ema {:.0}, rsi {:.0}; \
         signals a tick {signals:.2}",
        fuel[0], fuel[1], fuel[2]
    );
}

fn batches(rows: usize) -> Vec<Batch> {
    let mut market = Market::new(SYMBOLS, TICKS_PER_SECOND);
    let mut seconds = vec![0; SYMBOLS];
    let batch = |_| {
        let mut batch = Batch::default();
        for row in 0..rows {
            let tick = market.tick();
            let second = &mut seconds[tick.symbol as usize];
            if tick.time as u64 > std::mem::replace(second, tick.time as u64) {
                batch.wanted.push(row as u32);
            }
            batch.symbol.push(tick.symbol);
            batch.close.push(tick.close);
        }
        batch
    };
    (0..TICKS / rows).map(batch).collect()
}

/// A run of all batches through the code itself.
fn native<S: Strategy>(batches: &[Batch], names: &[String]) -> Box<dyn FnMut()> {
    let mut instance = wigwag_plugin::Instance::<S>::with(&[]).expect("defaults are acceptable");
    instance.define_symbols(0, names);
    let batches = batches.to_vec();
    Box::new(move || {
        for batch in &batches {
            black_box(instance.on_batch(black_box(batch)));
        }
    })
}

/// A run of all batches through the component; tells the fuel and the signals of the last run.
fn component<'a>(
    plugin: &Plugin,
    batches: &'a [Batch],
    names: &[String],
    fuel: &'a mut u64,
    signals: &'a mut usize,
) -> Box<dyn FnMut() + 'a> {
    let description = plugin.description();
    let params = description.resolve(&serde_json::Map::new());
    let params = params.expect("defaults are acceptable");
    let mut instance = plugin.instantiate().expect("it starts");
    instance
        .configure(&description.arguments(&params))
        .expect("it takes its defaults");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    instance.define_symbols(0, &names).expect("it takes names");
    let (series, budget) = (description.series.len(), plugin.limits().row_fuel);
    Box::new(move || {
        (*fuel, *signals) = (0, 0);
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
                wanted: &batch.wanted,
            };
            let (output, used) = instance
                .on_batch(black_box(batch), series, budget)
                .expect("it does not fail");
            *fuel += used;
            *signals += black_box(output).signals.row.len();
        }
    })
}
