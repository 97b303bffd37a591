//! Messages of `ticks` as rows: which lines count, and under which number their symbol goes. And messages of `bars`, for
//! a warm-up.

use super::{Partition, ROWS_AT_ONCE};
use crate::{
    bars::{Bar, Interval, OpenBars, StoredBar},
    engine::{
        inputs::Inputs,
        order::{Admit, Order, Symbols},
        rows::{Place, Rows},
        sink::{Mode, Outputs, Sink},
    },
    log::{MessageRef, Messages},
    market::{Limits, Record, read_record},
    strategy::Input,
};

impl Partition {
    pub(super) fn decode(&mut self, message: MessageRef<'_>, mode: Mode, out: &mut Outputs) {
        if !self.order.admit_message(message.headers) {
            out.counts.repeated_messages += 1;
            return;
        }
        for (line, text) in lines(message.value) {
            let place = Place {
                offset: message.offset,
                line,
            };
            let record = match read_record(text, &Limits::none()) {
                Ok(record) => record,
                Err(_) => {
                    out.counts.unreadable += 1;
                    continue;
                }
            };
            let Record::Tick(tick) = record else {
                out.counts.events += 1;
                let symbol = record.symbol().map(|s| self.symbols.number(s));
                if let Some(symbol) = symbol {
                    self.keep_for_picture(symbol);
                    self.touched.add(symbol);
                }
                self.spare.push_event(place, symbol, record);
                continue;
            };
            let symbol = self.symbols.number(&tick.symbol);
            self.keep_for_picture(symbol);
            let previous_time = match self.order.admit(symbol, &tick) {
                Admit::New { previous_time } => previous_time,
                Admit::Late => {
                    out.counts.late += 1;
                    continue;
                }
                Admit::Repeat => {
                    out.counts.repeats += 1;
                    continue;
                }
            };
            out.counts.ticks += 1;
            self.touched.add(symbol);
            if symbol as usize >= self.bars.len() {
                self.bars
                    .resize_with(symbol as usize + 1, OpenBars::default);
            }
            let next_change = &mut self.next_change;
            let mut sink = Sink {
                partition: self.number,
                append_ms: self.append_ms,
                mode,
                next_change,
                out,
            };
            let spare = &mut self.spare;
            self.bars[symbol as usize].add(&tick, |interval, bar| {
                sink.bar(&tick.symbol, interval, bar, place.offset);
                spare.push_bar(place, symbol, (interval, bar), tick.time);
            });
            self.spare.ticks.push(place, symbol, previous_time, &tick);
        }
    }
}

/// What an input takes of these messages in batches, without the rows of symbols that have no number: a warm-up must not
/// give any.
pub(super) fn known_rows(symbols: &Symbols, messages: &Messages, input: Input) -> Vec<Inputs> {
    let (mut batches, mut rows) = (Vec::new(), Rows::default());
    let (mut order, mut bars) = (Order::default(), KnownBars::default());
    let inputs = |rows| match input {
        Input::Ticks => Inputs::of_ticks(rows),
        Input::Bars(interval) => Inputs::of_bars(interval, rows),
    };
    for message in messages.iter() {
        match input {
            Input::Ticks => decode_known(symbols, &mut order, message, &mut rows),
            Input::Bars(interval) => bars.decode(symbols, interval, message, &mut rows),
        }
        if rows.len() >= ROWS_AT_ONCE {
            batches.push(inputs(std::mem::take(&mut rows)));
        }
    }
    batches.push(inputs(rows));
    batches
}

/// What is remembered of the bars before the next one.
#[derive(Default)]
struct KnownBars {
    /// By symbol, where its newest starts.
    newest: Vec<f64>,
    last: Option<Place>,
}

impl KnownBars {
    /// Takes a message of `bars`. A bar that does not follow its symbol's newest is passed over: where an operator had
    /// the engine start anew, they stand there again.
    fn decode(
        &mut self,
        symbols: &Symbols,
        interval: Interval,
        message: MessageRef<'_>,
        rows: &mut Rows,
    ) {
        let Ok(stored) = serde_json::from_slice::<StoredBar<'_>>(message.value) else {
            return;
        };
        let Some(symbol) = symbols.find(&stored.symbol) else {
            return;
        };
        self.newest.resize(symbols.names().len(), f64::NEG_INFINITY);
        let newest = &mut self.newest[symbol as usize];
        if stored.interval != interval || stored.open_time <= *newest {
            return;
        }
        *newest = stored.open_time;
        // Which line closed it is not known: each bar of a message gets a place of its own, in their order.
        let offset = stored.offset;
        let before = self.last.filter(|last| last.offset == offset);
        let line = before.map_or(0, |last| last.line + 1);
        let place = Place { offset, line };
        self.last = Some(place);
        let bar = Bar {
            open_time: stored.open_time,
            open: stored.open,
            high: stored.high,
            low: stored.low,
            close: stored.close,
            volume: stored.volume,
            turnover: 0.0,
            ticks: 0,
        };
        rows.push_bar(place, symbol, &bar, stored.open_time + interval.seconds());
    }
}

fn decode_known(symbols: &Symbols, order: &mut Order, message: MessageRef<'_>, rows: &mut Rows) {
    if !order.admit_message(message.headers) {
        return;
    }
    for (line, text) in lines(message.value) {
        let place = Place {
            offset: message.offset,
            line,
        };
        let Ok(record) = read_record(text, &Limits::none()) else {
            continue;
        };
        let symbol = match record.symbol().map(|s| symbols.find(s)) {
            Some(None) => continue,
            Some(found) => found,
            None => None,
        };
        match (record, symbol) {
            (Record::Tick(tick), Some(symbol)) => {
                if let Admit::New { previous_time } = order.admit(symbol, &tick) {
                    rows.push(place, symbol, previous_time, &tick);
                }
            }
            (record, symbol) => rows.push_event(place, symbol, record),
        }
    }
}

fn lines(value: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = Some(value);
    let next = move || {
        let value = rest?;
        let Some(end) = memchr::memchr(b'\n', value) else {
            return rest.take();
        };
        rest = Some(&value[end + 1..]);
        Some(&value[..end])
    };
    (0..).zip(std::iter::from_fn(next))
}
