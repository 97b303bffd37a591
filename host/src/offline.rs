//! Runs one plugin over a file of ticks, through the same engine code as the service, and prints what comes of
//! it. Knows nothing of logs on disk: the file is the log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    engine::{Outputs, Partition},
    log::{Messages, Topic},
    market::{Limits, Record, Tick, read_record},
    plugin::{Compiler, ConfigureError, Plugin, Runtime},
    strategy::{Input, Strategy},
};

/// What to run over what.
#[derive(Clone, Debug)]
pub struct Request {
    /// What a person calls the plugin.
    pub plugin: String,
    /// Its bytes.
    pub component: Vec<u8>,
    /// NDJSON of records, or CSV of ticks with a header; `-` is standard input.
    pub ticks: PathBuf,
    /// A JSON object.
    pub params: String,
    /// What the plugin reads: the ticks, or bars of them.
    pub input: Input,
    /// Whether values are printed too.
    pub values: bool,
}

/// Records that go through the engine at once.
const BATCH: usize = 1000;

/// Runs it, and writes one object a line: `{"signal": ...}`, and `{"values": ...}` where asked for.
///
/// # Errors
/// What is wrong with the plugin, its parameters, or a line of the file.
pub fn run(request: &Request, compiler: Compiler, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = Runtime::try_new(compiler, crate::plugin::Limits::default())?;
    let plugin = runtime
        .load(&request.component)
        .with_context(|| format!("plugin {:?}", request.plugin))?;
    let params = parameters(&plugin, &request.params)?;
    let (mut partition, mut outputs) = alone(plugin, params, request.input);
    let mut batch = Messages::new();
    for (offset, line) in (0..).zip(records(&request.ticks)?) {
        batch.push(Topic::Ticks, 0, offset, 0, b"", &line?, []);
        if batch.len() == BATCH {
            partition.feed(batch.iter(), &mut outputs);
            print(&mut outputs, request.values, out)?;
            batch.clear();
        }
    }
    partition.feed(batch.iter(), &mut outputs);
    let counts = outputs.counts;
    print(&mut outputs, request.values, out)?;
    if counts.late + counts.repeats > 0 {
        tracing::warn!(
            late = counts.late,
            repeats = counts.repeats,
            "ticks dropped"
        );
    }
    for (_, line) in partition.take_logs() {
        tracing::info!(level = ?line.level, message = line.message, "plugin");
    }
    if let Some(reason) = partition.status().find_map(|s| s.quarantined) {
        bail!("plugin {:?} was quarantined: {reason}", request.plugin);
    }
    Ok(())
}

/// A partition on which a plugin is the only strategy.
#[must_use]
pub fn alone(
    plugin: Arc<Plugin>,
    params: Map<String, Value>,
    input: Input,
) -> (Partition, Outputs) {
    let strategy = Arc::new(strategy(&plugin, params, input));
    let (mut partition, mut outputs) = (Partition::new(0, 0), Outputs::default());
    let no_past = Messages::new();
    partition.start(strategy, plugin, &no_past, 0, false, &mut outputs);
    (partition, outputs)
}

/// The plugin as a strategy of its name, over all symbols, with values at each tick or bar.
#[must_use]
pub fn strategy(plugin: &Plugin, params: Map<String, Value>, input: Input) -> Strategy {
    let name = &plugin.description().name;
    Strategy {
        id: name.clone(),
        plugin: name.clone(),
        plugin_digest: plugin.digest().to_string(),
        params_digest: Strategy::digest_of(&params),
        params,
        symbols: None,
        input,
        values_interval_ms: 0,
        enabled: true,
        version: 1,
    }
}

/// All parameters, from those that a person gives; the plugin accepts them.
pub(crate) fn parameters(plugin: &Arc<Plugin>, text: &str) -> anyhow::Result<Map<String, Value>> {
    let given: Map<String, Value> = serde_json::from_str(text)
        .with_context(|| format!("--params is {text:?}; give a JSON object"))?;
    let resolved = plugin.description().resolve(&given).map_err(|errors| {
        anyhow::anyhow!(
            errors
                .into_iter()
                .map(|e| e.message)
                .collect::<Vec<_>>()
                .join("; ")
        )
    })?;
    match plugin
        .instantiate()?
        .configure(&plugin.description().arguments(&resolved))
    {
        Ok(_) => Ok(resolved),
        Err(error @ ConfigureError::Refused(_)) => {
            bail!("plugin {:?} {error}", plugin.description().name)
        }
        Err(ConfigureError::Failed(failure)) => Err(failure.into()),
    }
}

/// The file's records as valid lines of JSON.
pub(crate) fn records(
    path: &Path,
) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Vec<u8>>>>> {
    let name = path.display().to_string();
    let input: Box<dyn Read> = if name == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("ticks {name:?} cannot be opened"))?)
    };
    let mut input = BufReader::new(input);
    let first = input
        .fill_buf()?
        .iter()
        .find(|b| !b.is_ascii_whitespace())
        .copied();
    if first == Some(b'{') {
        let lines = (1..)
            .zip(input.split(b'\n'))
            .filter_map(move |(number, line): (u64, _)| {
                let line = match line {
                    Ok(line) if line.trim_ascii().is_empty() => return None,
                    Ok(line) => line,
                    Err(error) => return Some(Err(error.into())),
                };
                let valid = read_record(&line, &Limits::none()).map(drop);
                Some(
                    valid
                        .map(|()| line.trim_ascii().to_vec())
                        .with_context(|| format!("{name}:{number}")),
                )
            });
        return Ok(Box::new(lines));
    }
    csv_records(input, name)
}

/// Ticks of a CSV file with a header: `open`, `high`, `low`, `close`, `volume`, and where they are there `symbol`
/// (else `FILE`) and `timestamp` in seconds (else the row's number).
fn csv_records(
    input: impl Read + 'static,
    name: String,
) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Vec<u8>>>>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(input);
    let headers = reader.headers().with_context(|| name.clone())?.clone();
    let column = |names: &[&str]| {
        headers
            .iter()
            .position(|h| names.iter().any(|n| h.eq_ignore_ascii_case(n)))
    };
    let needed = |names: &[&str]| {
        column(names)
            .with_context(|| format!("{name}: has no column {:?}; it has {headers:?}", names[0]))
    };
    let (open, close) = (
        needed(&["open", "opening_price"])?,
        needed(&["close", "closing_price"])?,
    );
    let (high, low, volume) = (needed(&["high"])?, needed(&["low"])?, needed(&["volume"])?);
    let (symbol, time) = (
        column(&["symbol", "stock_symbol", "ticker"]),
        column(&["timestamp", "time"]),
    );
    let rows = (0_u32..).zip(reader.into_records()).map(move |(n, row)| {
        let row = row.with_context(|| name.clone())?;
        let number = |column: usize| -> anyhow::Result<f64> {
            let text = row.get(column).unwrap_or_default();
            text.parse()
                .with_context(|| format!("{name}:{}: {:?} is no number", n + 2, text))
        };
        let record = Record::Tick(Tick {
            symbol: symbol.and_then(|c| row.get(c)).unwrap_or("FILE").into(),
            time: time.map_or(Ok(f64::from(n)), number)?,
            open: number(open)?,
            high: number(high)?,
            low: number(low)?,
            close: number(close)?,
            volume: number(volume)?,
        });
        let mut line = Vec::new();
        record.write_json(&mut line);
        read_record(&line, &Limits::none())
            .map(drop)
            .with_context(|| format!("{name}:{}", n + 2))?;
        Ok(line)
    });
    Ok(Box::new(rows))
}

/// Signals and values in the order of their ticks.
fn print(outputs: &mut Outputs, values: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Values<'a> {
        offset: u64,
        #[serde(borrow)]
        symbol: &'a RawValue,
        #[serde(borrow)]
        timestamp: &'a RawValue,
        #[serde(borrow)]
        series: &'a RawValue,
    }
    #[derive(serde::Deserialize)]
    struct Place {
        offset: u64,
    }
    let mut lines = Vec::new();
    for append in outputs.appends.drain(..) {
        let text = String::from_utf8(append.value).context("output is text")?;
        match append.topic {
            Topic::Signals => {
                let Place { offset } = serde_json::from_str(&text)?;
                lines.push((offset, 1, format!("{{\"signal\":{text}}}")));
            }
            Topic::Values if values => {
                let Values {
                    offset,
                    symbol,
                    timestamp,
                    series,
                } = serde_json::from_str(&text)?;
                let line = format!(
                    "{{\"values\":{{\"symbol\":{symbol},\"timestamp\":{timestamp},\"series\":{series}}}}}"
                );
                lines.push((offset, 0, line));
            }
            _ => {}
        }
    }
    lines.sort_by_key(|(offset, kind, _)| (*offset, *kind));
    for (_, _, line) in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
