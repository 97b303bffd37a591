//! What a plugin costs: nanoseconds and fuel a tick, by calling it as the engine does.

use std::time::{Duration, Instant};

use crate::{
    market::{Limits, Record, read_record},
    plugin::{Batch, Columns, Failure, Plugin},
};

/// Rows of one call, as the engine calls.
const ROWS: usize = 1024;

/// For how long the ticks are run again and again, and how often at most.
const MEASURED_FOR: Duration = Duration::from_millis(300);
const PASSES: usize = 200;

/// Ticks as columns, and the symbols' names.
#[derive(Default)]
pub(super) struct Ticks {
    pub(super) names: Vec<String>,
    symbol: Vec<u32>,
    time: Vec<f64>,
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    volume: Vec<f64>,
}

impl Ticks {
    /// Takes a valid line; what is no tick is passed over.
    pub(super) fn push(&mut self, line: &[u8]) {
        let Ok(Record::Tick(tick)) = read_record(line, &Limits::none()) else {
            return;
        };
        let known = self.names.iter().position(|name| *name == tick.symbol);
        let symbol = known.unwrap_or_else(|| {
            self.names.push(tick.symbol.to_string());
            self.names.len() - 1
        });
        self.symbol.push(symbol as u32);
        self.time.push(tick.time);
        self.open.push(tick.open);
        self.high.push(tick.high);
        self.low.push(tick.low);
        self.close.push(tick.close);
        self.volume.push(tick.volume);
    }

    pub(super) fn len(&self) -> usize {
        self.symbol.len()
    }

    /// Some rows, as the plugin asked for them; no row's values are wanted.
    fn batch<'a>(&'a self, rows: std::ops::Range<usize>, columns: Columns) -> Batch<'a> {
        let column = |flag, column: &'a [f64]| match columns.contains(flag) {
            true => &column[rows.clone()],
            false => &[],
        };
        Batch {
            symbol: &self.symbol[rows.clone()],
            time: column(Columns::TIME, &self.time),
            open: column(Columns::OPEN, &self.open),
            high: column(Columns::HIGH, &self.high),
            low: column(Columns::LOW, &self.low),
            close: column(Columns::CLOSE, &self.close),
            volume: column(Columns::VOLUME, &self.volume),
            events: &[],
            wanted: &[],
        }
    }
}

/// What it costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    /// Of one tick in calls of many, the median of some passes.
    pub(super) nanos_per_tick: f64,
    /// Of one tick, on average.
    pub(super) fuel_per_tick: u64,
    /// Of the dearest tick, called alone.
    pub(super) fuel_of_dearest: u64,
}

/// Measures it on these ticks.
pub(super) fn measure(
    plugin: &Plugin,
    params: &serde_json::Map<String, serde_json::Value>,
    ticks: &Ticks,
) -> Result<Price, Failure> {
    let columns = plugin.description().columns;
    let series = plugin.description().series.len();
    let budget = plugin.limits().row_fuel;
    let names: Vec<_> = ticks.names.iter().map(String::as_str).collect();
    let fresh = || {
        let mut instance = plugin.instantiate()?;
        match instance.configure(&plugin.description().arguments(params)) {
            Ok(_) => {}
            Err(crate::plugin::ConfigureError::Failed(failure)) => return Err(failure),
            Err(error) => return Err(Failure::Nonsense(error.to_string())),
        }
        instance.define_symbols(0, &names)?;
        Ok(instance)
    };
    let mut alone = fresh()?;
    let mut dearest = 0;
    for row in 0..ticks.len() {
        let (_, fuel) = alone.on_batch(ticks.batch(row..row + 1, columns), series, budget)?;
        dearest = dearest.max(fuel);
    }
    let mut instance = fresh()?;
    let (mut passes, mut fuel_of_first) = (Vec::new(), 0);
    let started = Instant::now();
    while passes.is_empty() || started.elapsed() < MEASURED_FOR && passes.len() < PASSES {
        let (pass, mut fuel_of_pass) = (Instant::now(), 0);
        for start in (0..ticks.len()).step_by(ROWS) {
            let rows = start..ticks.len().min(start + ROWS);
            let budget = budget.saturating_mul(rows.len() as u64);
            let (_, fuel) = instance.on_batch(ticks.batch(rows, columns), series, budget)?;
            fuel_of_pass += fuel;
        }
        passes.push(pass.elapsed());
        if passes.len() == 1 {
            fuel_of_first = fuel_of_pass;
        }
    }
    passes.sort();
    let count = ticks.len().max(1);
    Ok(Price {
        nanos_per_tick: passes[passes.len() / 2].as_nanos() as f64 / count as f64,
        fuel_per_tick: fuel_of_first / count as u64,
        fuel_of_dearest: dearest,
    })
}
