//! Messages of `ticks` as rows: which lines count, and under which number their symbol goes.

use super::{Partition, ROWS_AT_ONCE};
use crate::{
    bars::OpenBars,
    engine::{
        order::{Admit, Order, Symbols},
        rows::{Place, Rows},
        sink::{Mode, Outputs, Sink},
    },
    log::{MessageRef, Messages},
    market::{Limits, Record, read_record},
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
            self.bars[symbol as usize].add(&tick, |interval, bar| {
                sink.bar(&tick.symbol, interval, bar, place.offset)
            });
            self.spare.push(place, symbol, previous_time, &tick);
        }
    }
}

/// The rows of these messages in batches, without those of symbols that have no number: a warm-up must not give any.
pub(super) fn known_rows(symbols: &Symbols, messages: &Messages) -> Vec<Rows> {
    let (mut order, mut batches, mut rows) = (Order::default(), Vec::new(), Rows::default());
    for message in messages.iter() {
        decode_known(symbols, &mut order, message, &mut rows);
        if rows.len() >= ROWS_AT_ONCE {
            batches.push(std::mem::take(&mut rows));
        }
    }
    batches.push(rows);
    batches
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
