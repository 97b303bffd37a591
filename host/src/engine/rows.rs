//! Ticks of one partition, or bars, as columns: what a batch of messages becomes before plugins see it, and what of it
//! is kept to bring a failed one back.

use std::borrow::Cow;

use serde_json::Value;

use super::order::Symbols;
use crate::{
    bars::Bar,
    log::Offset,
    market::{Record, Side, Tick},
    plugin::Columns,
};

/// Ticks in the order of the log, or bars in that of the ticks that closed them, and the events between them. A column
/// that nobody is to be shown again is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) symbol: Vec<u32>,
    /// Of a bar, its start.
    pub(super) time: Vec<f64>,
    pub(super) open: Vec<f64>,
    pub(super) high: Vec<f64>,
    pub(super) low: Vec<f64>,
    pub(super) close: Vec<f64>,
    pub(super) volume: Vec<f64>,
    /// Newest time of the row's symbol before it; not-a-number for its first tick. None of bars.
    pub(super) previous_time: Vec<f64>,
    /// The time of the tick that closed a bar. None of ticks.
    closed_at: Vec<f64>,
    /// Where each stands in the log; a bar where the tick that closed it does.
    pub(super) place: Vec<Place>,
    pub(super) events: Vec<Event>,
}

/// Where a record stands: offset of its message, and its line in it, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) offset: Offset,
    pub(super) line: u32,
}

/// What is not a tick.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// It happened before this row; the number of rows where it came after the last.
    pub(super) row: usize,
    pub(super) place: Place,
    pub(super) symbol: Option<u32>,
    pub(super) time: f64,
    pub(super) body: EventBody,
}

#[derive(Clone, Debug)]
pub(super) enum EventBody {
    OrderBook {
        side: Side,
        price: f64,
        quantity: f64,
    },
    NewsSentiment {
        score: f64,
        magnitude: f64,
    },
    MarketData {
        market_cap: f64,
        pe_ratio: f64,
    },
    EconomicIndicator {
        name: Box<str>,
        value: f64,
    },
}

impl Rows {
    pub(super) fn push(&mut self, place: Place, symbol: u32, previous_time: f64, tick: &Tick<'_>) {
        self.symbol.push(symbol);
        self.time.push(tick.time);
        self.open.push(tick.open);
        self.high.push(tick.high);
        self.low.push(tick.low);
        self.close.push(tick.close);
        self.volume.push(tick.volume);
        self.previous_time.push(previous_time);
        self.place.push(place);
    }

    pub(super) fn push_bar(&mut self, place: Place, symbol: u32, bar: &Bar, closed_at: f64) {
        self.symbol.push(symbol);
        self.time.push(bar.open_time);
        self.open.push(bar.open);
        self.high.push(bar.high);
        self.low.push(bar.low);
        self.close.push(bar.close);
        self.volume.push(bar.volume);
        self.closed_at.push(closed_at);
        self.place.push(place);
    }

    /// Adds an event that others have too.
    pub(super) fn repeat_event(&mut self, event: &Event) {
        let row = self.len();
        self.events.push(Event {
            row,
            ..event.clone()
        });
    }

    pub(super) fn push_event(&mut self, place: Place, symbol: Option<u32>, record: Record<'_>) {
        let (time, body) = match record {
            Record::Tick(_) => return,
            Record::OrderBook {
                time,
                side,
                price,
                quantity,
                ..
            } => (
                time,
                EventBody::OrderBook {
                    side,
                    price,
                    quantity,
                },
            ),
            Record::NewsSentiment {
                time,
                score,
                magnitude,
                ..
            } => (time, EventBody::NewsSentiment { score, magnitude }),
            Record::MarketData {
                time,
                market_cap,
                pe_ratio,
                ..
            } => (
                time,
                EventBody::MarketData {
                    market_cap,
                    pe_ratio,
                },
            ),
            Record::EconomicIndicator { time, name, value } => (
                time,
                EventBody::EconomicIndicator {
                    name: name.as_ref().into(),
                    value,
                },
            ),
        };
        self.events.push(Event {
            row: self.len(),
            place,
            symbol,
            time,
            body,
        });
    }

    /// Takes all out, and keeps of it what a plugin that reads these columns may be shown again, in no more memory than
    /// that needs. The room stays for the next rows.
    pub(super) fn take_for_recovery(&mut self, columns: Columns) -> Self {
        let column = |flag, column: &mut Vec<f64>| {
            let kept = match columns.contains(flag) {
                true => column.clone(),
                false => Vec::new(),
            };
            column.clear();
            kept
        };
        let kept = Self {
            symbol: self.symbol.clone(),
            time: column(Columns::TIME, &mut self.time),
            open: column(Columns::OPEN, &mut self.open),
            high: column(Columns::HIGH, &mut self.high),
            low: column(Columns::LOW, &mut self.low),
            close: column(Columns::CLOSE, &mut self.close),
            volume: column(Columns::VOLUME, &mut self.volume),
            // Only what is put out needs it, and a recovery puts out nothing.
            previous_time: Vec::new(),
            closed_at: Vec::new(),
            place: self.place.clone(),
            events: self.events.drain(..).collect(),
        };
        self.symbol.clear();
        self.previous_time.clear();
        self.closed_at.clear();
        self.place.clear();
        kept
    }

    pub(super) const fn len(&self) -> usize {
        self.symbol.len()
    }

    /// How many records there are. Each, row or event, is a unit of its own, which fails or is skipped alone: so it does
    /// not matter where a batch ends.
    pub(super) const fn units(&self) -> usize {
        self.len() + self.events.len()
    }

    /// How many rows, and how many events, are among the first units.
    pub(super) fn among(&self, units: usize) -> (usize, usize) {
        let (mut low, mut high) = (0, self.events.len());
        while low < high {
            let event = low.midpoint(high);
            // Its unit is the number of rows and of events before it.
            if self.events[event].row + event < units {
                low = event + 1;
            } else {
                high = event;
            }
        }
        (units - low, low)
    }

    /// Where a unit stands.
    pub(super) fn place_of(&self, unit: usize) -> Place {
        let (row, event) = self.among(unit);
        match self.events.get(event).filter(|e| e.row <= row) {
            Some(event) => event.place,
            None => self.place[row],
        }
    }

    /// A unit as a producer would send it.
    pub(super) fn record(&self, unit: usize, symbols: &Symbols) -> Value {
        let name = |symbol: u32| Cow::Borrowed(symbols.name(symbol));
        let (row, event) = self.among(unit);
        let record = match self.events.get(event).filter(|e| e.row <= row) {
            None => Record::Tick(Tick {
                symbol: name(self.symbol[row]),
                time: self.time[row],
                open: self.open[row],
                high: self.high[row],
                low: self.low[row],
                close: self.close[row],
                volume: self.volume[row],
            }),
            Some(event) => {
                let symbol = event.symbol.map_or(Cow::Borrowed(""), name);
                event.body.record(symbol, event.time)
            }
        };
        let mut json = Vec::new();
        record.write_json(&mut json);
        serde_json::from_slice(&json).unwrap_or(Value::Null)
    }

    /// Where the first record stands.
    pub(super) fn first_place(&self) -> Option<Place> {
        let event = self.events.first().map(|e| e.place);
        self.place.first().copied().into_iter().chain(event).min()
    }

    /// Only the rows and events of some symbols; economic indicators stay.
    pub(super) fn of_symbols(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Self::default();
        let mut events = self.events.iter().peekable();
        let mut take_events = |kept: &mut Self, before: usize| {
            while let Some(event) = events.next_if(|e| e.row <= before) {
                if event.symbol.is_none_or(&keep) {
                    kept.events.push(Event {
                        row: kept.symbol.len(),
                        ..event.clone()
                    });
                }
            }
        };
        for row in 0..self.len() {
            take_events(&mut kept, row);
            if keep(self.symbol[row]) {
                kept.symbol.push(self.symbol[row]);
                kept.place.push(self.place[row]);
                for (to, from) in kept.columns_mut().into_iter().zip(self.columns()) {
                    to.extend(from.get(row));
                }
            }
        }
        take_events(&mut kept, self.len());
        kept
    }

    const fn columns(&self) -> [&Vec<f64>; 8] {
        [
            &self.time,
            &self.open,
            &self.high,
            &self.low,
            &self.close,
            &self.volume,
            &self.previous_time,
            &self.closed_at,
        ]
    }

    const fn columns_mut(&mut self) -> [&mut Vec<f64>; 8] {
        [
            &mut self.time,
            &mut self.open,
            &mut self.high,
            &mut self.low,
            &mut self.close,
            &mut self.volume,
            &mut self.previous_time,
            &mut self.closed_at,
        ]
    }

    /// When the row could be known: its time, or of a bar that of the tick that closed it.
    pub(super) fn known_at(&self, row: usize) -> f64 {
        let closed_at = self.closed_at.get(row);
        closed_at.copied().unwrap_or(self.time[row])
    }

    /// Whether values are put out at this row: at the first tick of its symbol in each interval of its time, and at
    /// each bar, which is never shorter than that interval.
    pub(super) fn wants_values(&self, row: usize, interval_ms: u32) -> bool {
        if interval_ms == 0 || !self.closed_at.is_empty() {
            return true;
        }
        let interval = f64::from(interval_ms) / 1000.0;
        let (time, previous) = (self.time[row], self.previous_time[row]);
        previous.is_nan() || (time / interval).floor() > (previous / interval).floor()
    }
}

impl EventBody {
    fn record<'a>(&'a self, symbol: Cow<'a, str>, time: f64) -> Record<'a> {
        match self {
            Self::OrderBook {
                side,
                price,
                quantity,
            } => Record::OrderBook {
                symbol,
                time,
                side: *side,
                price: *price,
                quantity: *quantity,
            },
            Self::NewsSentiment { score, magnitude } => Record::NewsSentiment {
                symbol,
                time,
                score: *score,
                magnitude: *magnitude,
            },
            Self::MarketData {
                market_cap,
                pe_ratio,
            } => Record::MarketData {
                symbol,
                time,
                market_cap: *market_cap,
                pe_ratio: *pe_ratio,
            },
            Self::EconomicIndicator { name, value } => Record::EconomicIndicator {
                name: Cow::Borrowed(name),
                time,
                value: *value,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_and_each_event_is_a_unit_in_the_order_of_the_log() {
        let place = |line| Place { offset: 7, line };
        let mut rows = Rows::default();
        let tick = Tick {
            symbol: "A".into(),
            time: 1.0,
            open: 1.0,
            high: 1.0,
            low: 1.0,
            close: 1.0,
            volume: 1.0,
        };
        // Of the lines, 0, 3, 4 and 6 are events.
        for line in 0..7 {
            if [0, 3, 4, 6].contains(&line) {
                let event = Record::EconomicIndicator {
                    time: 1.0,
                    name: "cpi".into(),
                    value: 1.0,
                };
                rows.push_event(place(line), None, event);
            } else {
                rows.push(place(line), 0, f64::NAN, &tick);
            }
        }
        assert_eq!(rows.units(), 7);
        let among: Vec<_> = (0..=7).map(|unit| rows.among(unit)).collect();
        let expected = [
            (0, 0),
            (0, 1),
            (1, 1),
            (2, 1),
            (2, 2),
            (2, 3),
            (3, 3),
            (3, 4),
        ];
        assert_eq!(among, expected);
        let lines: Vec<_> = (0..7).map(|unit| rows.place_of(unit).line).collect();
        assert_eq!(lines, [0, 1, 2, 3, 4, 5, 6]);
    }
}
