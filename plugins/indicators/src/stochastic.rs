//! The stochastic oscillator.

use alloc::vec::Vec;

use crate::fold::{Fold, Folded};
use crate::{PeriodError, RestoreError, Sma, Snapshot};

/// The lines of a [`Stochastic`] at one tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StochasticLines {
    /// The smoothed place of the close.
    pub k: f64,
    /// The average of `k`.
    pub d: f64,
}

/// Where the close lies between the lowest and the highest price of the last ticks.
///
/// Formula: `fast = 100 * (close - lowest low) / (highest high - lowest low)` over `n` ticks, `k = sma(fast)`,
/// `d = sma(k)`. Seeding: none. Warm-up: `n + smooth_k + smooth_d - 2` ticks. Range: 0 to 100. Where highest and lowest are
/// one price there is no place between them: no value at such a tick (TA-Lib says 0), and the averages go on with the next
/// that has one. Source: George Lane; TA-Lib `STOCH` with simple averages.
#[derive(Debug, Clone)]
pub struct Stochastic {
    highest: Folded<Highest>,
    lowest: Folded<Lowest>,
    k: Sma,
    d: Sma,
}

impl Stochastic {
    /// Lines over `period` ticks, smoothed over so many.
    ///
    /// # Errors
    ///
    /// Where a period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32, smooth_k: u32, smooth_d: u32) -> Result<Self, PeriodError> {
        Ok(Self {
            highest: Folded::try_new(period)?,
            lowest: Folded::try_new(period)?,
            k: Sma::try_new(smooth_k)?,
            d: Sma::try_new(smooth_d)?,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        self.highest.len() + self.k.warm_up_ticks() + self.d.warm_up_ticks() - 2
    }

    /// Takes the next tick; the lines, once warm and where there are any.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> Option<StochasticLines> {
        let (highest, lowest) = (self.highest.push(high), self.lowest.push(low));
        let (Highest(highest), Lowest(lowest)) = (highest?, lowest?);
        let range = highest - lowest;
        if range <= 0.0 {
            return None;
        }
        // Divided before it is multiplied: the highest price itself is 100 exactly.
        let k = self.k.update(100.0 * ((close - lowest) / range))?;
        let d = self.d.update(k)?;
        Some(StochasticLines { k, d })
    }
}

impl Snapshot for Stochastic {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.highest.snapshot(bytes);
        self.lowest.snapshot(bytes);
        self.k.snapshot(bytes);
        self.d.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.highest.restore(bytes)?;
        self.lowest.restore(bytes)?;
        self.k.restore(bytes)?;
        self.d.restore(bytes)
    }
}

#[derive(Debug, Clone, Copy)]
struct Highest(f64);

impl Fold for Highest {
    #[inline]
    fn of(value: f64) -> Self {
        Self(value)
    }

    #[inline]
    fn then(self, later: Self) -> Self {
        Self(self.0.max(later.0))
    }
}

#[derive(Debug, Clone, Copy)]
struct Lowest(f64);

impl Fold for Lowest {
    #[inline]
    fn of(value: f64) -> Self {
        Self(value)
    }

    #[inline]
    fn then(self, later: Self) -> Self {
        Self(self.0.min(later.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{TULIP, Tick};
    use std::vec;

    /// Tulip Indicators, `tests/untest.txt`: `stoch 5 3 3`.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        let mut stochastic = Stochastic::try_new(5, 3, 3).unwrap();
        let got = TULIP.map(|tick| stochastic.update(tick.high, tick.low, tick.close));
        assert_eq!(got[..8], [None; 8]);
        let printed = |value: f64| std::format!("{value:.3}");
        let lines: Vec<_> = got[8..]
            .iter()
            .flatten()
            .map(|lines| (printed(lines.k), printed(lines.d)))
            .collect();
        let published = [
            (77.385, 75.702),
            (83.126, 78.011),
            (84.867, 81.793),
            (88.361, 85.452),
            (95.246, 89.491),
            (96.740, 93.449),
            (91.091, 94.359),
        ];
        assert_eq!(lines, published.map(|(k, d)| (printed(k), printed(d))));
    }

    fn naive(periods: [usize; 3], ticks: &[Tick]) -> Vec<[Option<f64>; 2]> {
        let [period, smooth_k, smooth_d] = periods;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mut fast, mut slow, mut lines) = (vec![], vec![], vec![]);
        for end in 1..=ticks.len() {
            let mut line = [None; 2];
            if let Some(start) = end.checked_sub(period) {
                let window = &ticks[start..end];
                let highest = window.iter().map(|tick| tick.high).fold(f64::MIN, f64::max);
                let lowest = window.iter().map(|tick| tick.low).fold(f64::MAX, f64::min);
                if highest > lowest {
                    fast.push(100.0 * (ticks[end - 1].close - lowest) / (highest - lowest));
                    if let Some(start) = fast.len().checked_sub(smooth_k) {
                        slow.push(mean(&fast[start..]));
                        if let Some(start) = slow.len().checked_sub(smooth_d) {
                            line = [slow[slow.len() - 1], mean(&slow[start..])].map(Some);
                        }
                    }
                }
            }
            lines.push(line);
        }
        lines
    }

    fn lines(lines: Option<StochasticLines>) -> [Option<f64>; 2] {
        lines.map_or([None; 2], |lines| [lines.k, lines.d].map(Some))
    }

    macro_rules! each {
        ($($name:ident: $period:literal $k:literal $d:literal),*) => {$(
            conformance!(
                $name,
                Stochastic::try_new($period, $k, $d).unwrap(),
                |stochastic, tick| lines(stochastic.update(tick.high, tick.low, tick.close)),
                |ticks| naive([$period, $k, $d], ticks)
            );
        )*};
    }
    each! { ticks_1: 1 1 1, ticks_5: 5 3 3, ticks_14: 14 1 3 }

    #[test]
    fn the_highest_price_is_100_the_lowest_0_and_one_price_is_none() {
        let mut stochastic = Stochastic::try_new(2, 1, 1).unwrap();
        let got = [5.0, 6.0, 5.5, 5.5, 5.0]
            .map(|price| stochastic.update(price, price, price).map(|lines| lines.k));
        assert_eq!(got, [None, Some(100.0), Some(0.0), None, Some(0.0)]);
    }

    #[test]
    fn period_0_is_refused() {
        for periods in [(0, 3, 3), (5, 0, 3), (5, 3, 0)] {
            assert!(Stochastic::try_new(periods.0, periods.1, periods.2).is_err());
        }
    }
}
