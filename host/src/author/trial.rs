//! `wigwag plugin test`: a plugin over a file of ticks, in the engine of the service, and what came of it as tables.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};

use super::{found, look, price};
use crate::{
    bars::Interval,
    change::{Change, What},
    engine::Outputs,
    log::{Append, Messages, Topic},
    market::{Limits, Record, read_record},
    offline,
    plugin::{Compiler, Plugin, TickColumns, conform},
    signal::Signal,
    strategy::Input,
};

/// What to run over what.
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) ticks: Option<PathBuf>,
    pub(super) params: String,
    /// What the plugin reads: the ticks, or bars of them.
    pub(super) input: Input,
    /// How many are printed.
    pub(super) signals: usize,
}

/// The file of ticks that each template has.
const TICKS: &str = "ticks.csv";

/// Runs it, and prints what comes of it.
pub(super) fn test(
    request: &Request,
    compiler: Compiler,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let found = found::find(&request.subject, out)?;
    let file = match (&request.ticks, &found.folder) {
        (Some(file), _) => file.clone(),
        (None, Some(folder)) if folder.join(TICKS).is_file() => folder.join(TICKS),
        (None, _) if Path::new(TICKS).is_file() => PathBuf::from(TICKS),
        _ => bail!("no {TICKS} is here; name a file of ticks with --ticks"),
    };
    let plugin = look::load(&found.name, &found.bytes, compiler, out)?;
    let params = offline::parameters(&plugin, &request.params)?;
    let lines = offline::records(&file)?.collect::<anyhow::Result<Vec<_>>>()?;
    let mut ticks = TickColumns::default();
    for line in &lines {
        if let Ok(Record::Tick(tick)) = read_record(line, &Limits::none()) {
            ticks.push(&tick);
        }
    }
    if ticks.is_empty() {
        bail!("{} has no ticks", file.display());
    }
    let outputs = run(&plugin, params.clone(), request.input, &lines, out)?;
    write_signals(&outputs, request.signals, out)?;
    write_values(&plugin, &outputs, ticks.len(), out)?;
    let counts = outputs.counts;
    if counts.late + counts.repeats > 0 {
        writeln!(
            out,
            "dropped      {} late ticks and {} repeats, as in the service",
            counts.late, counts.repeats
        )?;
    }
    let price = price::measure(&plugin, &params, &ticks)?;
    let allowed = plugin.limits().row_fuel;
    let symbols = ticks.names().len();
    let bars = match request.input {
        Input::Ticks => String::new(),
        Input::Bars(interval) => {
            let bars = bars_of(&outputs, interval);
            format!(", which closed {bars} bars of {}", interval.name())
        }
    };
    writeln!(
        out,
        "ticks        {} of {symbols} symbols, from {}{bars}",
        ticks.len(),
        file.display()
    )?;
    writeln!(
        out,
        "cost         {:.0} ns and {} fuel a tick; the dearest took {} of {allowed} fuel",
        price.nanos_per_tick, price.fuel_per_tick, price.fuel_of_dearest
    )?;
    out.flush()?;
    let held = conform(&plugin, &params, None).context("conformance")?;
    writeln!(
        out,
        "memory       {} bytes of {} allowed",
        held.memory_bytes,
        plugin.limits().memory_bytes
    )?;
    writeln!(
        out,
        "warm-up      {} ticks of a symbol before its first value",
        held.warm_up_ticks
    )?;
    match held.values + held.signals {
        0 => writeln!(
            out,
            "conformance  holds over nothing: no value and no signal came of {} made-up ticks; try it with parameters of a \
             shorter warm-up too",
            held.ticks
        )?,
        _ => writeln!(
            out,
            "conformance  holds on {} made-up ticks, for {} values and {} signals: a second run, any split of batches, a \
             snapshot and restore at any cut",
            held.ticks, held.values, held.signals
        )?,
    }
    Ok(())
}

/// Runs all lines, and fails where the plugin does.
fn run(
    plugin: &Arc<Plugin>,
    params: serde_json::Map<String, serde_json::Value>,
    input: Input,
    lines: &[Vec<u8>],
    out: &mut dyn Write,
) -> anyhow::Result<Outputs> {
    let (mut partition, mut outputs) = offline::alone(plugin.clone(), params, input);
    let mut messages = Messages::new();
    for (offset, line) in (0..).zip(lines) {
        messages.push(Topic::Ticks, 0, offset, 0, b"", line, []);
    }
    partition.feed(messages.iter(), &mut outputs);
    for (_, line) in partition.take_logs() {
        writeln!(out, "log          {:?}: {}", line.level, line.message)?;
    }
    // A row that failed is skipped and recorded: here the first of them is what its author wants to know.
    for change in outputs
        .appends
        .iter()
        .filter(|append| append.topic == Topic::Changes)
    {
        let change: Change = serde_json::from_slice(&change.value).context("a change is JSON")?;
        if let What::Skip { detail, .. } = &change.what {
            let line = lines
                .get(usize::try_from(change.offset)?)
                .context("a row has its line")?;
            let row = match input {
                Input::Ticks => "at the tick",
                Input::Bars(_) => "at the bar that is closed by",
            };
            bail!("it {detail}\n  {row} {}", String::from_utf8_lossy(line));
        }
    }
    let quarantined = partition.status().find_map(|status| status.quarantined);
    if let Some(reason) = quarantined {
        bail!("it was quarantined: {reason}");
    }
    Ok(outputs)
}

fn write_signals(outputs: &Outputs, most: usize, out: &mut dyn Write) -> anyhow::Result<()> {
    let signals = outputs
        .appends
        .iter()
        .filter(|append| append.topic == Topic::Signals);
    let signals = signals
        .map(|append| serde_json::from_slice::<Signal>(&append.value).context("a signal is JSON"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if signals.is_empty() {
        writeln!(out, "no signals on these ticks")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<14} {:<8} {:<5} {:>8} {:>12}  reason and values",
        "time", "symbol", "side", "strength", "price"
    )?;
    for signal in signals.iter().take(most) {
        let values: Vec<_> = signal
            .values
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let side = serde_json::to_value(signal.side)?;
        writeln!(
            out,
            "{:<14} {:<8} {:<5} {:>8.3} {:>12}  {}: {}",
            signal.timestamp,
            signal.symbol,
            side.as_str().unwrap_or_default(),
            signal.strength,
            signal.price,
            signal.reason,
            values.join(", ")
        )?;
    }
    writeln!(
        out,
        "signals      {}, of which {} are printed",
        signals.len(),
        signals.len().min(most)
    )?;
    Ok(())
}

/// How many bars of an interval the ticks closed.
fn bars_of(outputs: &Outputs, interval: Interval) -> usize {
    let end = format!("/{}", interval.name());
    let is_one = |a: &&Append| a.topic == Topic::Bars && a.key.ends_with(end.as_bytes());
    outputs.appends.iter().filter(is_one).count()
}

/// Of each series: how many values, the least, the greatest, and the last.
fn write_values(
    plugin: &Plugin,
    outputs: &Outputs,
    ticks: usize,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Values {
        series: std::collections::HashMap<String, Option<f64>>,
    }
    let rows = outputs
        .appends
        .iter()
        .filter(|append| append.topic == Topic::Values);
    let rows = rows
        .map(|append| serde_json::from_slice::<Values>(&append.value).context("values are JSON"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for series in &plugin.description().series {
        let values: Vec<f64> = rows
            .iter()
            .filter_map(|row| *row.series.get(&series.name)?)
            .collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match values.last() {
            Some(last) => writeln!(
                out,
                "series       {}: {} values for {ticks} ticks, {least:.6} to {greatest:.6}, the last {last:.6}",
                series.name,
                values.len()
            )?,
            None => writeln!(out, "series       {}: no values", series.name)?,
        }
    }
    Ok(())
}
