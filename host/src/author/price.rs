//! What a plugin costs: nanoseconds and fuel a tick, by calling it as the engine does.

use std::time::{Duration, Instant};

use crate::plugin::{ConfigureError, Failure, Plugin, TickColumns};

/// Rows of one call, as the engine calls.
const ROWS: usize = 1024;

/// For how long the ticks are run again and again, and how often at most.
const MEASURED_FOR: Duration = Duration::from_millis(300);
const PASSES: usize = 200;

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
    ticks: &TickColumns,
) -> Result<Price, Failure> {
    let columns = plugin.description().columns;
    let series = plugin.description().series.len();
    let budget = plugin.limits().row_fuel;
    let names = ticks.names();
    let fresh = || {
        let mut instance = plugin.instantiate()?;
        match instance.configure(&plugin.description().arguments(params)) {
            Ok(_) => {}
            Err(ConfigureError::Failed(failure)) => return Err(failure),
            Err(error) => return Err(Failure::Nonsense(error.to_string())),
        }
        instance.define_symbols(0, &names)?;
        Ok(instance)
    };
    let mut alone = fresh()?;
    let mut dearest = 0;
    for row in 0..ticks.len() {
        let (_, fuel) =
            alone.on_batch(ticks.batch(row..row + 1, columns, &[], &[]), series, budget)?;
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
            let (_, fuel) =
                instance.on_batch(ticks.batch(rows, columns, &[], &[]), series, budget)?;
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
