//! What a step puts out: signals, values, bars and changes as messages, written once and in one way.

use std::{borrow::Cow, io::Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    order::Symbols,
    rows::{Place, Rows},
};
use crate::{
    bars::{Bar, Interval},
    change::{Change, What},
    log::{Append, Offset, Topic},
    plugin::{EventSide, LogLevel, LogLine, Opinion, Output, Plugin},
    signal::SCHEMA,
    strategy::Strategy,
};

/// The outputs of one step, in the making.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Messages in the order in which they came about.
    pub appends: Vec<Append>,
    /// Counted for metrics and API.
    pub counts: Counts,
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ticks that counted.
    pub ticks: u64,
    /// Records of other kinds.
    pub events: u64,
    /// Ticks dropped as late.
    pub late: u64,
    /// Ticks dropped as repeats of their predecessor.
    pub repeats: u64,
    /// Messages dropped because their producer had sent them before.
    pub repeated_messages: u64,
    /// Lines that are no valid record; ingest lets none through.
    pub unreadable: u64,
    /// Signals.
    pub signals: u64,
    /// Signals of shadow versions.
    pub shadow_signals: u64,
    /// Rows that a strategy skipped.
    pub skipped_rows: u64,
    /// Calls into plugins that failed.
    pub failures: u64,
}

/// Why rows are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// For what they lead to.
    Live,
    /// To come to a state that was live once: nothing is put out but changes that the replay itself brings about.
    Replay,
    /// As a replay, and the signals are put out that were put out live.
    Recompute,
    /// To warm a new instance up: nothing is put out.
    WarmUp,
}

impl Mode {
    /// Whether plugins are asked for all that they have to say.
    pub(super) const fn puts_out(self) -> bool {
        matches!(self, Self::Live | Self::Recompute)
    }

    /// Whether what failed is recorded, and nothing else fails.
    pub(super) const fn obeys(self) -> bool {
        matches!(self, Self::Replay | Self::Recompute)
    }
}

/// Writes one partition's outputs.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    pub(super) partition: u32,
    pub(super) mode: Mode,
    pub(super) next_change: &'a mut u64,
    /// When the newest message was appended: the only time that there is here.
    pub(super) append_ms: i64,
    pub(super) out: &'a mut Outputs,
}

/// The parts of a strategy's outputs that never change, written once.
#[derive(Debug)]
pub(super) struct Stamp {
    id: String,
    /// Its signals go to a topic of their own, and its values nowhere.
    pub(super) is_shadow: bool,
    /// From a signal's start up to the partition in its id.
    start: Vec<u8>,
    /// From after the signal's id up to the symbol.
    head: Vec<u8>,
    /// From after the signal's time up to the start of the bar that caused it; empty where ticks do.
    bar: Vec<u8>,
    /// `"NAME":` of each series.
    series: Vec<Vec<u8>>,
}

impl Stamp {
    pub(super) fn new(strategy: &Strategy, plugin: &Plugin) -> Self {
        let id = strategy.shown_id();
        let start = format!("{{\"schema\":{SCHEMA},\"id\":\"{id}:").into_bytes();
        let mut head = Vec::new();
        head.extend_from_slice(b"\",\"strategy\":");
        json(&mut head, id);
        head.extend_from_slice(b",\"plugin\":");
        json(&mut head, &strategy.plugin);
        head.extend_from_slice(b",\"plugin_digest\":");
        json(&mut head, &strategy.plugin_digest);
        head.extend_from_slice(b",\"params_digest\":");
        json(&mut head, &strategy.params_digest);
        head.extend_from_slice(b",\"symbol\":\"");
        let bar = strategy.input.interval().map_or_else(Vec::new, |interval| {
            let interval = interval.name();
            format!(",\"bar\":{{\"interval\":\"{interval}\",\"open_time\":").into_bytes()
        });
        let series = &plugin.description().series;
        let series = series
            .iter()
            .map(|s| format!("{}:", Value::from(s.name.as_str())).into_bytes())
            .collect();
        Self {
            id: id.to_owned(),
            is_shadow: strategy.is_shadow(),
            start,
            head,
            bar,
            series,
        }
    }

    /// `{"NAME":NUMBER,...}`, without the series that have no value.
    fn values(&self, out: &mut Vec<u8>, values: &[f64]) {
        out.push(b'{');
        let mut first = true;
        for (name, value) in self.series.iter().zip(values).filter(|(_, v)| !v.is_nan()) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(name);
            json(out, value);
        }
        out.push(b'}');
    }
}

impl Sink<'_> {
    /// What a plugin put out for the rows from `first` on. Its values belong to the `wanted` ones.
    pub(super) fn output(
        &mut self,
        stamp: &Stamp,
        rows: &Rows,
        first: usize,
        symbols: &Symbols,
        wanted: &[u32],
        output: &Output,
    ) {
        if !self.mode.puts_out() {
            return;
        }
        let series = stamp.series.len();
        let signals = &output.signals;
        let opinions: Vec<Vec<u8>> = signals.opinions.iter().map(opinion_json).collect();
        let (mut last_row, mut n) = (u32::MAX, 0);
        for (i, &row) in signals.row.iter().enumerate() {
            n = if row == last_row { n + 1 } else { 0 };
            last_row = row;
            let row = first + row as usize;
            let symbol = symbols.name(rows.symbol[row]);
            let at = signals.opinion[i] as usize;
            let opinion = (signals.opinions[at].side, opinions[at].as_slice());
            let values = &signals.values[i * series..(i + 1) * series];
            let strength = signals.strength[i];
            let value = self.signal(stamp, rows, row, symbol, n, opinion, strength, values);
            let (topic, count) = match stamp.is_shadow {
                true => (Topic::Shadow, &mut self.out.counts.shadow_signals),
                false => (Topic::Signals, &mut self.out.counts.signals),
            };
            *count += 1;
            self.append(topic, symbol.as_bytes().to_vec(), value);
        }
        if series == 0 || self.mode != Mode::Live || stamp.is_shadow {
            return;
        }
        for (&row, values) in wanted.iter().zip(output.values.chunks_exact(series)) {
            if values.iter().all(|v| v.is_nan()) {
                continue;
            }
            let row = first + row as usize;
            let symbol = symbols.name(rows.symbol[row]);
            let Place { offset, line } = rows.place[row];
            let mut value = Vec::with_capacity(192);
            value.extend_from_slice(b"{\"strategy\":");
            json(&mut value, &stamp.id);
            value.extend_from_slice(b",\"symbol\":");
            json(&mut value, symbol);
            value.extend_from_slice(b",\"timestamp\":");
            json(&mut value, &rows.time[row]);
            value.extend_from_slice(b",\"series\":");
            stamp.values(&mut value, values);
            place(&mut value, self.partition, offset, line);
            value.push(b'}');
            self.append(
                Topic::Values,
                format!("{}/{symbol}", stamp.id).into_bytes(),
                value,
            );
        }
    }

    /// The JSON of `signal::Signal`, field by field in its order.
    #[expect(clippy::too_many_arguments, reason = "a signal has that many sources")]
    fn signal(
        &self,
        stamp: &Stamp,
        rows: &Rows,
        row: usize,
        symbol: &str,
        n: u32,
        (side, reason): (EventSide, &[u8]),
        strength: f64,
        values: &[f64],
    ) -> Vec<u8> {
        let Place { offset, line } = rows.place[row];
        let partition = self.partition;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&stamp.start);
        json(&mut out, &partition);
        out.push(b':');
        json(&mut out, &offset);
        out.push(b':');
        json(&mut out, &line);
        out.push(b':');
        json(&mut out, &n);
        out.extend_from_slice(&stamp.head);
        // A valid symbol has nothing to escape.
        out.extend_from_slice(symbol.as_bytes());
        out.extend_from_slice(match side {
            EventSide::Buy => b"\",\"side\":\"buy\",\"strength\":".as_slice(),
            EventSide::Sell => b"\",\"side\":\"sell\",\"strength\":",
        });
        json(&mut out, &strength);
        out.extend_from_slice(b",\"price\":");
        json(&mut out, &rows.close[row]);
        out.extend_from_slice(b",\"timestamp\":");
        json(&mut out, &rows.known_at(row));
        if !stamp.bar.is_empty() {
            out.extend_from_slice(&stamp.bar);
            json(&mut out, &rows.time[row]);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"reason\":");
        out.extend_from_slice(reason);
        out.extend_from_slice(b",\"values\":");
        stamp.values(&mut out, values);
        place(&mut out, partition, offset, line);
        out.extend_from_slice(b",\"n\":");
        json(&mut out, &n);
        out.push(b'}');
        out
    }

    /// A bar that a tick of the message at `offset` closed.
    pub(super) fn bar(&mut self, symbol: &str, interval: Interval, bar: &Bar, offset: Offset) {
        if self.mode != Mode::Live {
            return;
        }
        let mut value = Vec::with_capacity(224);
        value.extend_from_slice(b"{\"symbol\":");
        json(&mut value, symbol);
        put(
            &mut value,
            format_args!(",\"interval\":\"{}\",\"open_time\":", interval.name()),
        );
        json(&mut value, &bar.open_time);
        for (name, number) in [
            (",\"open\":", bar.open),
            (",\"high\":", bar.high),
            (",\"low\":", bar.low),
            (",\"close\":", bar.close),
            (",\"volume\":", bar.volume),
        ] {
            value.extend_from_slice(name.as_bytes());
            json(&mut value, &number);
        }
        value.extend_from_slice(b",\"vwap\":");
        json(&mut value, &bar.vwap());
        let (ticks, partition) = (bar.ticks, self.partition);
        put(
            &mut value,
            format_args!(",\"ticks\":{ticks},\"partition\":{partition},\"offset\":{offset}}}"),
        );
        self.append(
            Topic::Bars,
            format!("{symbol}/{}", interval.name()).into_bytes(),
            value,
        );
    }

    /// A change, which takes the partition's next number.
    pub(super) fn change(&mut self, strategy: &str, offset: Offset, what: What) {
        if self.mode == Mode::WarmUp {
            return;
        }
        let (seq, partition) = (*self.next_change, self.partition);
        *self.next_change += 1;
        let change = Change {
            seq,
            strategy: strategy.to_owned(),
            partition,
            offset,
            what,
        };
        let value = serde_json::to_vec(&change).expect("a change is JSON");
        self.append(Topic::Changes, strategy.as_bytes().to_vec(), value);
    }

    /// A line that a plugin logged while it ran over the unit at this place.
    pub(super) fn log_line(&mut self, stamp: &Stamp, at: Place, line: &LogLine, left_out: u64) {
        let line = WrittenLine {
            strategy: Cow::Borrowed(&stamp.id),
            shadow: stamp.is_shadow,
            level: line.level,
            message: Cow::Borrowed(&line.message),
            left_out,
            partition: self.partition,
            offset: at.offset,
            row: at.line,
        };
        let value = serde_json::to_vec(&line).expect("a line is JSON");
        self.append(Topic::Logs, stamp.id.as_bytes().to_vec(), value);
    }

    fn append(&mut self, topic: Topic, key: Vec<u8>, value: Vec<u8>) {
        let partition = self.partition;
        self.out.appends.push(Append {
            topic,
            partition,
            key,
            value,
            headers: Vec::new(),
        });
    }
}

/// A line of a plugin's log as it stands in `logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenLine<'a> {
    /// The strategy's id.
    pub strategy: Cow<'a, str>,
    /// Whether its shadow wrote it.
    pub shadow: bool,
    /// Severity.
    pub level: LogLevel,
    /// Text, bounded.
    pub message: Cow<'a, str>,
    /// Lines before it that were left out, since they were too many.
    pub left_out: u64,
    /// Partition of `ticks`.
    pub partition: u32,
    /// The message of `ticks` with the last row that it ran over.
    pub offset: Offset,
    /// That row's line in it.
    pub row: u32,
}

/// The reason of an opinion, which stands in many signals of a batch.
fn opinion_json(opinion: &Opinion) -> Vec<u8> {
    let mut reason = Vec::new();
    json(&mut reason, &opinion.reason);
    reason
}

fn place(out: &mut Vec<u8>, partition: u32, offset: Offset, line: u32) {
    out.extend_from_slice(b",\"partition\":");
    json(out, &partition);
    out.extend_from_slice(b",\"offset\":");
    json(out, &offset);
    out.extend_from_slice(b",\"row\":");
    json(out, &line);
}

/// A number's way through this is a fifth of that through `core::fmt`.
fn json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("writing to memory");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory");
}
