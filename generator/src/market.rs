//! The simulated market: which records lie in which slot of the grid. Pure; does not know what time it is.
//!
//! Each slot holds a tick of the symbol whose turn it is. Of each 20 slots one, drawn at random, holds another record
//! as well, at the same instant and about the same symbol; its kind is drawn among those asked for. Without ticks
//! among the kinds, each slot holds one such record instead.

use rand::{RngExt, seq::IndexedRandom};
use rand_distr::{Distribution, Poisson, StandardNormal};

use crate::{
    grid::{Grid, GridError, Slot},
    record::{Body, Kind, Record, Side, Tick},
    symbol::Symbols,
    walk::{Stream, Walk, draws},
};

/// Slots to each record that is no tick.
const SLOTS_PER_EVENT: u64 = 20;

/// Economic indicators: name, usual value, spread.
const ECONOMY: [(&str, f64, f64); 5] = [
    ("gdp_growth_rate", 2.4, 0.5),
    ("inflation_rate", 2.8, 0.4),
    ("unemployment_rate", 4.1, 0.2),
    ("interest_rate", 4.5, 0.25),
    ("consumer_confidence", 102.0, 4.0),
];

/// A market: the same seed, symbols, grid and kinds give the same records, on any machine and from any slot on.
pub struct Market {
    seed: u64,
    grid: Grid,
    walks: Vec<Walk>,
    ticks: bool,
    events: Vec<Kind>,
    order_size: Poisson<f64>,
    /// The group of slots whose event was last looked up, and the slot of the event.
    event_slot: Option<((i64, u64), u64)>,
}

/// What tells one market from another.
#[derive(Clone, Debug)]
pub struct MarketShape {
    /// Decides every draw.
    pub seed: u64,
    /// What is traded.
    pub symbols: Symbols,
    /// When the grid's days begin, in microseconds since the epoch.
    pub origin_us: i64,
    /// Slots a second, over all symbols.
    pub slots_per_s: f64,
    /// The kinds of record that it makes.
    pub kinds: Vec<Kind>,
}

impl Market {
    /// The market of that shape.
    ///
    /// # Errors
    /// When the rate gives no grid.
    pub fn try_new(shape: &MarketShape) -> Result<Self, GridError> {
        let symbols = shape.symbols.as_slice();
        let grid = Grid::try_new(shape.origin_us, shape.slots_per_s, symbols.len())?;
        let ticks_per_day = grid.slots_per_day().div_ceil(symbols.len() as u64);
        let mut events: Vec<Kind> = Vec::new();
        for kind in &shape.kinds {
            if *kind != Kind::StockPrice && !events.contains(kind) {
                events.push(*kind);
            }
        }
        Ok(Self {
            seed: shape.seed,
            walks: symbols
                .iter()
                .map(|symbol| Walk::new(shape.seed, *symbol, ticks_per_day))
                .collect(),
            grid,
            ticks: shape.kinds.contains(&Kind::StockPrice),
            events,
            order_size: Poisson::new(100.0).expect("the mean order size is positive"),
            event_slot: None,
        })
    }

    /// The grid on which the records lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The number, in the list of symbols, of the one whose slot this is.
    pub fn symbol_number(&self, slot: Slot) -> usize {
        (slot.index % self.walks.len() as u64) as usize
    }

    /// How many records lie in a slot.
    pub fn count(&mut self, slot: Slot) -> u64 {
        u64::from(self.ticks) + u64::from(self.has_event(slot))
    }

    /// The tick in a slot, when the market makes ticks.
    pub fn tick(&mut self, slot: Slot) -> Option<Record> {
        self.ticks.then(|| Record {
            time_us: self.grid.time_us(slot),
            body: Body::Tick(self.walk(slot)),
        })
    }

    /// The record beside or instead of the tick in a slot, if there is one.
    pub fn event(&mut self, slot: Slot) -> Option<Record> {
        self.has_event(slot).then(|| Record {
            time_us: self.grid.time_us(slot),
            body: self.draw_event(slot),
        })
    }

    /// The newest record at an instant; none before the market's first.
    pub fn newest(&mut self, now_us: i64) -> Option<Record> {
        let slot = self.grid.newest(now_us)?;
        self.event(slot).or_else(|| self.tick(slot))
    }

    fn walk(&mut self, slot: Slot) -> Tick {
        let k = slot.index / self.walks.len() as u64;
        let number = self.symbol_number(slot);
        self.walks[number].tick(slot.day, k)
    }

    fn has_event(&mut self, slot: Slot) -> bool {
        if self.events.is_empty() || !self.ticks {
            return !self.ticks;
        }
        let group = (slot.day, slot.index / SLOTS_PER_EVENT);
        let at = match self.event_slot {
            Some((known, at)) if known == group => at,
            _ => {
                let mut rng = draws(self.seed, group.0, None, Stream::Events, group.1);
                group.1 * SLOTS_PER_EVENT + rng.random_range(0..SLOTS_PER_EVENT)
            }
        };
        self.event_slot = Some((group, at));
        slot.index == at
    }

    fn draw_event(&mut self, slot: Slot) -> Body {
        let Tick { symbol, close, .. } = self.walk(slot);
        let profile = *self.walks[self.symbol_number(slot)].profile();
        // The symbol's own stream, so that these draws have nothing in common with the choice of the slot.
        let mut rng = draws(
            self.seed,
            slot.day,
            Some(symbol),
            Stream::Events,
            slot.index,
        );
        let kind = *self
            .events
            .choose(&mut rng)
            .expect("there are kinds of event, or no slot would have one");
        match kind {
            Kind::OrderBook | Kind::StockPrice => {
                let (side, toward) = if rng.random() {
                    (Side::Buy, -1.0)
                } else {
                    (Side::Sell, 1.0)
                };
                let price = cents(close * (1.0 + toward * rng.random_range(0.0..1e-3)));
                Body::Order {
                    symbol,
                    side,
                    price,
                    quantity: 1.0 + self.order_size.sample(&mut rng),
                }
            }
            Kind::NewsSentiment => {
                let score = (0.35 * rng.sample::<f64, _>(StandardNormal)).clamp(-1.0, 1.0);
                Body::News {
                    symbol,
                    score: decimals(score),
                    magnitude: decimals(rng.random()),
                }
            }
            Kind::MarketData => Body::Fundamentals {
                symbol,
                market_cap: (close * profile.shares).round(),
                pe_ratio: decimals(close / profile.earnings),
            },
            Kind::EconomicIndicator => {
                let (name, usual, spread) = *ECONOMY
                    .choose(&mut rng)
                    .expect("the economy has indicators");
                Body::Economic {
                    name: name.into(),
                    value: decimals(usual + spread * rng.sample::<f64, _>(StandardNormal)),
                }
            }
        }
    }
}

fn decimals(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A limit is in whole cents, as exchanges have it.
fn cents(price: f64) -> f64 {
    (price * 100.0).round().max(1.0) / 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::instant::DAY_US;

    const ALL: [Kind; 5] = [
        Kind::StockPrice,
        Kind::OrderBook,
        Kind::NewsSentiment,
        Kind::MarketData,
        Kind::EconomicIndicator,
    ];

    fn market(seed: u64, symbols: &str, kinds: &[Kind]) -> Market {
        let symbols = Symbols::parse(symbols).unwrap();
        Market::try_new(&MarketShape {
            seed,
            symbols,
            origin_us: 0,
            slots_per_s: 1000.0,
            kinds: kinds.to_vec(),
        })
        .unwrap()
    }

    fn slots(from: Slot, n: usize, grid: &Grid) -> Vec<Slot> {
        std::iter::successors(Some(from), |slot| Some(grid.after(*slot)))
            .take(n)
            .collect()
    }

    #[test]
    fn one_slot_in_twenty_holds_another_kind_and_all_symbols_get_them() {
        let mut market = market(1, "7", &ALL);
        let from = Slot {
            day: 20_000,
            index: 0,
        };
        let events: Vec<Record> = slots(from, 40_000, &market.grid.clone())
            .into_iter()
            .filter_map(|slot| market.event(slot))
            .collect();
        assert_eq!(events.len(), 2_000);
        for kind in &ALL[1..] {
            let of_kind = events.iter().filter(|r| r.kind() == *kind).count();
            assert!((400..600).contains(&of_kind), "{of_kind} of {kind:?}");
        }
        for symbol in Symbols::parse("7").unwrap().as_slice() {
            let of_symbol = events
                .iter()
                .filter(|r| r.symbol() == Some(*symbol))
                .count();
            assert!((150..290).contains(&of_symbol), "{of_symbol} of {symbol}");
        }
    }

    #[test]
    fn kinds_that_were_not_asked_for_do_not_appear() {
        let from = Slot { day: 0, index: 77 };
        let mut ticks = market(1, "3", &[Kind::StockPrice]);
        let mut news = market(1, "3", &[Kind::NewsSentiment]);
        for slot in slots(from, 1_000, &ticks.grid.clone()) {
            assert_eq!((ticks.count(slot), news.count(slot)), (1, 1));
            assert!(ticks.event(slot).is_none() && news.tick(slot).is_none());
            assert_eq!(news.event(slot).unwrap().kind(), Kind::NewsSentiment);
        }
    }

    #[test]
    fn ticks_do_not_depend_on_the_other_kinds() {
        let (mut all, mut ticks) = (market(1, "5", &ALL), market(1, "5", &ALL[..1]));
        for slot in slots(Slot { day: 3, index: 9 }, 500, &all.grid.clone()) {
            all.event(slot);
            assert_eq!(all.tick(slot), ticks.tick(slot));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_record_is_valid(seed: u64, day in 0i64..30_000, index in 0u64..86_000_000, symbols in 1u64..50) {
            let mut market = market(seed, &symbols.to_string(), &ALL);
            for slot in slots(Slot { day, index }, 300, &market.grid.clone()) {
                for record in [market.tick(slot), market.event(slot)].into_iter().flatten() {
                    prop_assert_eq!(record.check(), Ok(()));
                    prop_assert_eq!(record.time_us / DAY_US, slot.day);
                    if let Body::Tick(tick) = &record.body {
                        prop_assert_eq!(tick.volume.fract(), 0.0);
                        for price in [tick.open, tick.high, tick.low, tick.close] {
                            prop_assert_eq!(decimals(price), price);
                        }
                    }
                    let mut json = Vec::new();
                    record.write_json(&mut json);
                    let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
                    prop_assert!(read["timestamp"].is_f64());
                }
            }
        }

        #[test]
        fn replicas_answer_the_same_whatever_they_answered_before(seed: u64, now_us in 0i64..1_800_000_000_000_000, earlier_us in 0i64..1_800_000_000_000_000) {
            let (mut one, mut other) = (market(seed, "5", &ALL), market(seed, "5", &ALL));
            other.newest(earlier_us);
            let record = one.newest(now_us);
            prop_assert!(now_us - record.as_ref().unwrap().time_us < 1_000);
            prop_assert_eq!(record, other.newest(now_us));
        }
    }
}
