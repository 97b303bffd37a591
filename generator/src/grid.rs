//! The grid on which ticks lie: slots at an even pace from the anchor of each day. Knows times, not prices.
//!
//! The slots of a day are numbered from 0 and dealt to the symbols in turn, so tick k of symbol number s is slot
//! k * symbols + s: each symbol has its own phase and the market never ticks in bursts. A day of the grid begins at
//! the origin's time of day: midnight UTC unless a start time is given.

use thiserror::Error;

use crate::instant::{DAY_US, SECOND_US};

/// The finest grid, in slots a second: each still has a microsecond of its own.
pub const MAX_RATE: f64 = 1e6;

/// A place on the grid: a day (counted from the origin) and the number of the slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "said above")]
pub struct Slot {
    pub day: i64,
    pub index: u64,
}

/// The grid of a market.
#[derive(Clone, Debug)]
pub struct Grid {
    origin_us: i64,
    slots_per_s: f64,
    slots_per_day: u64,
}

/// Why there is no such grid.
#[derive(Debug, Error, PartialEq)]
pub enum GridError {
    /// A rate that no grid has.
    #[error("rate is {0} ticks a second; use 0 (as fast as possible) or more, up to 1000000")]
    Rate(f64),
    /// Some symbols would never tick.
    #[error(
        "rate is {rate} ticks a second, {slots} a day; {symbols} symbols need at least one a day each"
    )]
    Sparse {
        /// The rate asked for.
        rate: f64,
        /// Slots that it gives in a day.
        slots: u64,
        /// Symbols that share them.
        symbols: usize,
    },
}

impl Grid {
    /// A grid of `slots_per_s` slots a second for so many symbols, whose days begin at `origin_us`.
    ///
    /// # Errors
    /// When the rate is not positive and at most [`MAX_RATE`], or gives some symbols no slot in a day.
    pub fn try_new(origin_us: i64, slots_per_s: f64, symbols: usize) -> Result<Self, GridError> {
        if !(slots_per_s > 0.0 && slots_per_s <= MAX_RATE) {
            return Err(GridError::Rate(slots_per_s));
        }
        let mut grid = Self {
            origin_us,
            slots_per_s,
            slots_per_day: u64::MAX,
        };
        let day_s = (DAY_US / SECOND_US) as f64;
        grid.slots_per_day = (day_s * slots_per_s).ceil().max(1.0) as u64;
        if grid.slots_per_day > 1 && grid.offset_us(grid.slots_per_day - 1) >= DAY_US {
            grid.slots_per_day -= 1;
        }
        if grid.slots_per_day < symbols as u64 {
            return Err(GridError::Sparse {
                rate: slots_per_s,
                slots: grid.slots_per_day,
                symbols,
            });
        }
        Ok(grid)
    }

    /// Slots in a day.
    pub fn slots_per_day(&self) -> u64 {
        self.slots_per_day
    }

    /// The first slot of all.
    pub fn origin(&self) -> Slot {
        Slot { day: 0, index: 0 }
    }

    /// The instant of a slot, in microseconds since the epoch.
    pub fn time_us(&self, slot: Slot) -> i64 {
        self.origin_us + slot.day * DAY_US + self.offset_us(slot.index)
    }

    /// The slot after this one.
    pub fn after(&self, slot: Slot) -> Slot {
        if slot.index + 1 < self.slots_per_day {
            Slot {
                index: slot.index + 1,
                ..slot
            }
        } else {
            Slot {
                day: slot.day + 1,
                index: 0,
            }
        }
    }

    /// The newest slot that is not later than `now_us`; none before the origin.
    pub fn newest(&self, now_us: i64) -> Option<Slot> {
        let since_us = now_us.checked_sub(self.origin_us).filter(|us| *us >= 0)?;
        let (day, within_us) = (since_us / DAY_US, since_us % DAY_US);
        let guess = (within_us as f64 / SECOND_US as f64 * self.slots_per_s) as u64;
        // Rounding, of the guess and of times to microseconds, may hide up to two slots beyond the guess.
        let mut index = (guess + 2).min(self.slots_per_day - 1);
        while index > 0 && self.offset_us(index) > within_us {
            index -= 1;
        }
        Some(Slot { day, index })
    }

    /// A day's slot in microseconds from the beginning of the day.
    fn offset_us(&self, index: u64) -> i64 {
        (index as f64 / self.slots_per_s * SECOND_US as f64).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_are_even_and_days_follow_each_other() {
        let grid = Grid::try_new(1_000, 100.0, 5).unwrap();
        assert_eq!(grid.slots_per_day(), 8_640_000);
        assert_eq!(grid.time_us(Slot { day: 0, index: 3 }), 31_000);
        let last = Slot {
            day: 2,
            index: 8_639_999,
        };
        assert_eq!(grid.after(last), Slot { day: 3, index: 0 });
        assert_eq!(grid.time_us(grid.after(last)) - grid.time_us(last), 10_000);
        assert_eq!(grid.newest(999), None);
        assert_eq!(grid.newest(1_000), Some(grid.origin()));
    }

    #[test]
    fn a_grid_that_cannot_be_is_refused() {
        for rate in [0.0, -1.0, 1e6 + 1.0, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(Grid::try_new(0, rate, 5), Err(GridError::Rate(_))),
                "{rate}"
            );
        }
        let sparse = GridError::Sparse {
            rate: 0.001,
            slots: 87,
            symbols: 100,
        };
        assert_eq!(Grid::try_new(0, 0.001, 100).unwrap_err(), sparse);
    }

    proptest! {
        #[test]
        fn the_newest_slot_is_not_late_and_its_successor_is(
            rate in prop_oneof![0.001f64..10.0, 1.0f64..1e6, Just(1e6), Just(3.0), Just(100.0)],
            origin_us in 0i64..2_000_000_000_000_000,
            since_us in 0i64..10 * DAY_US,
        ) {
            let grid = Grid::try_new(origin_us, rate, 1).unwrap();
            let now_us = origin_us + since_us;
            let slot = grid.newest(now_us).unwrap();
            prop_assert!(slot.index < grid.slots_per_day());
            prop_assert!(grid.time_us(slot) <= now_us);
            prop_assert!(grid.time_us(grid.after(slot)) > now_us);
        }
    }
}
