//! The exponential moving average.

use alloc::vec::Vec;

use crate::snapshot::within;
use crate::{PeriodError, RestoreError, Snapshot, period};

/// What an [`Ema`] starts from. With 20 ticks the two differ by 0.8 at the twentieth of a price of 100, and by 1e-8 at
/// the two hundredth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seed {
    /// The first close: pandas `ewm(span=n, adjust=False)`, Tulip.
    #[default]
    First,
    /// The mean of the first `n` closes: TA-Lib, LEAN.
    Sma,
}

/// An average in which a close weighs less the older it is.
///
/// Formula: `ema += k * (close - ema)` with `k = 2 / (n + 1)`, computed from the side of the close. Seeding: see [`Seed`].
/// Warm-up: 1 tick from the first close, though the seed is felt for about `3 n`; `n` ticks from the mean. Range: that of
/// the closes. Source: pandas `ewm`, TA-Lib `EMA`.
#[derive(Debug, Clone)]
pub struct Ema {
    /// `1 - k`: what is left of the distance to the close after a tick.
    decay: f64,
    warm_up_ticks: u32,
    /// Ticks taken, no further than the warm-up.
    ticks: u32,
    /// Until warm, the mean of the closes so far.
    ema: f64,
}

impl Ema {
    /// An average over about `period` ticks.
    ///
    /// # Errors
    ///
    /// Where the period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32, seed: Seed) -> Result<Self, PeriodError> {
        let period = period::check(period)?;
        let warm_up_ticks = match seed {
            Seed::First => 1,
            Seed::Sma => period,
        };
        let decay = f64::from(period - 1) / f64::from(period + 1);
        Ok(Self {
            decay,
            warm_up_ticks,
            ticks: 0,
            ema: 0.0,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        self.warm_up_ticks
    }

    /// Takes the next close; the average, once warm.
    #[inline]
    pub fn update(&mut self, close: f64) -> Option<f64> {
        if self.ticks == self.warm_up_ticks {
            // Rounding cannot carry this past the close, and period 1 is the close itself whatever came before.
            self.ema = close + self.decay * (self.ema - close);
            return Some(self.ema);
        }
        // A running mean, unlike a sum, cannot overflow, and is exact for a flat price.
        self.ticks += 1;
        self.ema += (close - self.ema) / f64::from(self.ticks);
        (self.ticks == self.warm_up_ticks).then_some(self.ema)
    }
}

impl Snapshot for Ema {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.ticks.snapshot(bytes);
        self.ema.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.ticks.restore(bytes)?;
        within("a count of ticks of", self.ticks, 0, self.warm_up_ticks)?;
        self.ema.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tulip Indicators, `tests/untest.txt`: `ema 5`.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        published!(
            Ema::try_new(5, Seed::First).unwrap(),
            closes: [
                81.59, 81.06, 82.87, 83.00, 83.61, 83.15, 82.84, 83.99, 84.55, 84.36, 85.53, 86.54, 86.89, 87.77, 87.29,
            ],
            from: 0,
            values: [
                81.59, 81.413, 81.899, 82.266, 82.714, 82.859, 82.853, 83.232, 83.671, 83.901, 84.444, 85.143, 85.725,
                86.407, 86.701,
            ],
            digits: 3
        );
    }

    /// StockCharts ChartSchool, "Moving Averages - Simple and Exponential": the 10-day EMA of Intel.
    #[test]
    fn the_published_series_of_stockcharts_comes_out() {
        published!(
            Ema::try_new(10, Seed::Sma).unwrap(),
            closes: [
                22.27, 22.19, 22.08, 22.17, 22.18, 22.13, 22.23, 22.43, 22.24, 22.29, 22.15, 22.39, 22.38, 22.61, 23.36,
                24.05, 23.75, 23.83, 23.95, 23.63, 23.82, 23.87, 23.65, 23.19, 23.10, 23.33, 22.68, 23.10, 22.40, 22.17,
            ],
            from: 9,
            values: [
                22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34, 23.43, 23.51, 23.53, 23.47,
                23.40, 23.39, 23.26, 23.23, 23.08, 22.92,
            ],
            digits: 2
        );
    }

    /// The weights written out: `k (1-k)^i` for each close, and what is left for the seed.
    fn naive(period: usize, seed: Seed, closes: &[f64]) -> Vec<Option<f64>> {
        let k = 2.0 / (period as f64 + 1.0);
        let seed_ticks = if seed == Seed::First { 1 } else { period };
        let value = |end: usize| {
            let later = end.checked_sub(seed_ticks)?;
            let start = closes[..seed_ticks].iter().sum::<f64>() / seed_ticks as f64;
            let weighed: f64 = (0..later)
                .map(|i| k * (1.0 - k).powi(i as i32) * closes[end - 1 - i])
                .sum();
            Some(weighed + (1.0 - k).powi(later as i32) * start)
        };
        (1..=closes.len()).map(value).collect()
    }

    conformance!(
        first_1,
        Ema::try_new(1, Seed::First).unwrap(),
        |closes: &[f64]| naive(1, Seed::First, closes)
    );
    conformance!(
        first_20,
        Ema::try_new(20, Seed::First).unwrap(),
        |closes: &[f64]| naive(20, Seed::First, closes)
    );
    conformance!(
        sma_1,
        Ema::try_new(1, Seed::Sma).unwrap(),
        |closes: &[f64]| naive(1, Seed::Sma, closes)
    );
    conformance!(
        sma_20,
        Ema::try_new(20, Seed::Sma).unwrap(),
        |closes: &[f64]| naive(20, Seed::Sma, closes)
    );

    #[test]
    fn the_columns_of_the_reference_file_come_out() {
        reference!(
            Ema::try_new(20, Seed::First).unwrap(),
            "ema20_first_value_seed"
        );
        reference!(Ema::try_new(20, Seed::Sma).unwrap(), "ema20_sma_seed");
    }

    proptest! {
        #[test]
        fn a_price_that_stays_is_never_overshot(
            before in 0.01..1e6f64, price in 0.01..1e6f64, period in 1..200u32, ticks in 1..500usize,
        ) {
            let mut ema = Ema::try_new(period, Seed::First).unwrap();
            ema.update(before);
            for _ in 0..ticks {
                let ema = ema.update(price).unwrap();
                prop_assert!(if before < price { ema <= price } else { ema >= price }, "{} {}", ema, price);
            }
        }
    }

    #[test]
    fn period_0_is_refused() {
        assert_eq!(
            Ema::try_new(0, Seed::First).unwrap_err(),
            PeriodError::above(0, crate::MAX_PERIOD)
        );
    }
}
