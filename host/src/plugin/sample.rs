//! Ticks and events on which a plugin is tried: made up from a seed, or given. Knows nothing of plugins' answers.

use std::ops::Range;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    bindings::{
        EconomicIndicator, Event, EventBody, EventKinds, EventSide, MarketData, NewsSentiment,
        OrderBook,
    },
    columns::TickColumns,
};
use crate::market::Tick;

/// Symbols of made-up ticks.
pub(super) const SYMBOLS: u32 = 6;

/// Made-up ticks walk, stand still, rise and fall, leave half of the symbols out, and walk again.
const PHASES: usize = 6;
const FLAT: usize = 1;
const REVERSING: usize = 2;
const HALF_SILENT: usize = 4;

/// After so many made-up ticks comes an event.
const EVENT_EVERY: usize = 17;

/// Ticks of some symbols in one order, and events between them.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub(super) ticks: TickColumns,
    events: Vec<SampleEvent>,
    /// Of each unit, a tick or an event: how many ticks and events are before it.
    units: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct SampleEvent {
    row: usize,
    symbol: Option<u32>,
    time: f64,
    kind: Kind,
    price: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OrderBook,
    NewsSentiment,
    MarketData,
    EconomicIndicator,
}

impl Kind {
    /// In turn.
    const ALL: [Self; 4] = [
        Self::OrderBook,
        Self::NewsSentiment,
        Self::MarketData,
        Self::EconomicIndicator,
    ];

    const fn flag(self) -> EventKinds {
        match self {
            Self::OrderBook => EventKinds::ORDER_BOOK,
            Self::NewsSentiment => EventKinds::NEWS_SENTIMENT,
            Self::MarketData => EventKinds::MARKET_DATA,
            Self::EconomicIndicator => EventKinds::ECONOMIC_INDICATOR,
        }
    }
}

impl Sample {
    /// So many ticks of six symbols, always the same for the same seed. No price is below 20 or above 500.
    #[must_use]
    pub fn generated(seed: u64, ticks: usize) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut sample = Self::default();
        let mut prices = [100.0; SYMBOLS as usize];
        for n in 0..ticks {
            let phase = n * PHASES / ticks;
            let symbols = match phase {
                HALF_SILENT => SYMBOLS / 2,
                _ => SYMBOLS,
            };
            let symbol = dice.random_range(0..symbols) as usize;
            let rises = (n * PHASES * 2 / ticks).is_multiple_of(2);
            let step = match phase {
                FLAT => 0.0,
                REVERSING if rises => 0.37,
                REVERSING => -0.53,
                _ => dice.random_range(-2.0..2.0),
            };
            let open = prices[symbol];
            let close = f64::clamp(((open + step) * 100.0_f64).round() / 100.0, 20.0, 500.0);
            prices[symbol] = close;
            let reach = match phase {
                FLAT => 0.0,
                _ => dice.random_range(0.0..1.0),
            };
            let tick = Tick {
                symbol: format!("MADE{symbol}").into(),
                time: 1_700_000_000.0 + n as f64 * 0.25,
                open,
                high: open.max(close) + reach,
                low: open.min(close) - reach,
                close,
                volume: f64::from(dice.random_range(0..5_u32)) * 100.0,
            };
            if n % EVENT_EVERY == EVENT_EVERY - 1 {
                sample.push_event(n / EVENT_EVERY, &tick);
            }
            sample.push(&tick);
        }
        sample
    }

    /// Adds a tick.
    pub fn push(&mut self, tick: &Tick<'_>) {
        self.units.push((self.len(), self.events.len()));
        self.ticks.push(tick);
    }

    /// The `n`-th event, at the tick before which it happens: each kind in turn. A symbol that is not there yet has none.
    fn push_event(&mut self, n: usize, tick: &Tick<'_>) {
        let kind = Kind::ALL[n % Kind::ALL.len()];
        let symbol = match kind {
            Kind::EconomicIndicator => None,
            _ => self.ticks.number_of(&tick.symbol),
        };
        if symbol.is_none() && kind != Kind::EconomicIndicator {
            return;
        }
        self.units.push((self.len(), self.events.len()));
        self.events.push(SampleEvent {
            row: self.len(),
            symbol,
            time: tick.time,
            kind,
            price: tick.close,
        });
    }

    /// Its last ticks, at most so many, without events.
    #[must_use]
    pub fn ending(&self, ticks: usize) -> Self {
        let mut ending = Self::default();
        for row in self.len().saturating_sub(ticks)..self.len() {
            ending.push(&self.ticks.tick(row));
        }
        ending
    }

    /// How many ticks there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ticks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ticks.is_empty()
    }

    /// How many ticks and events there are.
    pub(super) const fn units(&self) -> usize {
        self.units.len()
    }

    /// How many ticks are among the first units.
    pub(super) fn rows_before(&self, unit: usize) -> usize {
        self.units.get(unit).map_or(self.len(), |(rows, _)| *rows)
    }

    /// The events among these units that a plugin reads.
    pub(super) fn events(&self, units: Range<usize>, read: EventKinds) -> Vec<Event<'_>> {
        let before = |unit: usize| self.units.get(unit).map_or(self.events.len(), |(_, e)| *e);
        let first = self.rows_before(units.start);
        let events = self.events[before(units.start)..before(units.end)].iter();
        events
            .filter(|event| read.contains(event.kind.flag()))
            .map(|event| event.in_batch(first))
            .collect()
    }

    /// One above the greatest number of a symbol among the first units.
    pub(super) fn symbols_before(&self, unit: usize) -> u32 {
        let rows = &self.ticks.symbol[..self.rows_before(unit)];
        rows.iter().max().map_or(0, |symbol| symbol + 1)
    }

    /// Which symbols have a tick or an event among these units.
    pub(super) fn touched(&self, units: Range<usize>) -> Vec<bool> {
        let mut touched = vec![false; self.ticks.names.len()];
        for unit in units {
            let (row, event) = self.units[unit];
            let is_event = self
                .units
                .get(unit + 1)
                .map_or(row == self.len(), |(next, _)| *next == row);
            let symbol = match is_event {
                true => self.events[event].symbol,
                false => Some(self.ticks.symbol[row]),
            };
            if let Some(symbol) = symbol {
                touched[symbol as usize] = true;
            }
        }
        touched
    }
}

impl SampleEvent {
    fn in_batch(&self, first_row: usize) -> Event<'static> {
        let body = match self.kind {
            Kind::OrderBook => EventBody::OrderBook(OrderBook {
                side: EventSide::Buy,
                price: self.price,
                quantity: 10.0,
            }),
            Kind::NewsSentiment => EventBody::NewsSentiment(NewsSentiment {
                score: -0.5,
                magnitude: 0.75,
            }),
            Kind::MarketData => EventBody::MarketData(MarketData {
                market_cap: 1e9,
                pe_ratio: 15.0,
            }),
            Kind::EconomicIndicator => EventBody::EconomicIndicator(EconomicIndicator {
                name: "CPI",
                value: self.price,
            }),
        };
        Event {
            row: (self.row - first_row) as u32,
            symbol: self.symbol,
            time: self.time,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_ticks_are_the_same_each_time_and_valid() {
        let (sample, again) = (Sample::generated(7, 600), Sample::generated(7, 600));
        assert_eq!(format!("{sample:?}"), format!("{again:?}"));
        assert_eq!((sample.len(), sample.ticks.names.len()), (600, 6));
        assert!(sample.events.len() > 30);
        for n in 0..sample.len() {
            let tick = sample.ticks.tick(n);
            assert!(
                tick.low > 0.0 && tick.low <= tick.open.min(tick.close),
                "{n}"
            );
            assert!(tick.high >= tick.open.max(tick.close), "{n}");
        }
        let silent = sample.touched(sample.units() * 17 / 24..sample.units() * 19 / 24);
        assert_eq!(silent.iter().filter(|touched| !**touched).count(), 3);
    }

    #[test]
    fn units_are_ticks_and_events_in_their_order() {
        let sample = Sample::generated(7, 100);
        let (units, all) = (sample.units(), EventKinds::all());
        let (mut rows, mut events) = (0, 0);
        for unit in 0..units {
            let ticks = sample.rows_before(unit + 1) - sample.rows_before(unit);
            let of_unit = sample.events(unit..unit + 1, all);
            assert_eq!(ticks + of_unit.len(), 1, "{unit}");
            assert!(of_unit.iter().all(|event| event.row == 0));
            rows += ticks;
            events += of_unit.len();
        }
        assert_eq!((rows, events), (100, sample.events.len()));
        assert_eq!(sample.events(0..units, all).len(), events);
    }
}
