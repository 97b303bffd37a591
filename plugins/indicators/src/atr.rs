//! The average true range.

use alloc::vec::Vec;

use crate::wilder::WilderMean;
use crate::{PeriodError, RestoreError, Snapshot};

/// What an [`Atr`] makes of the first tick, which has no close before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstRange {
    /// It has no range: TA-Lib.
    #[default]
    LeftOut,
    /// Its high less its low: Wilder's own, Tulip.
    Range,
}

/// How far the price goes in a tick, the gap to the tick before included.
///
/// Formula: the true range is the distance from the lower of low and previous close to the higher of high and previous
/// close; the average is Wilder's, `(atr * (n - 1) + range) / n`. Seeding: the mean of the first `n` ranges. Warm-up:
/// `n + 1` ticks, `n` with [`FirstRange::Range`]. Range: 0 or more.
/// Source: J. Welles Wilder, "New Concepts in Technical Trading Systems", 1978; TA-Lib `ATR`.
#[derive(Debug, Clone)]
pub struct Atr {
    first: FirstRange,
    previous: Option<f64>,
    mean: WilderMean,
}

impl Atr {
    /// An average over `period` ranges.
    ///
    /// # Errors
    ///
    /// Where the period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32, first: FirstRange) -> Result<Self, PeriodError> {
        Ok(Self {
            first,
            previous: None,
            mean: WilderMean::try_new(period)?,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        self.mean.period() + u32::from(self.first == FirstRange::LeftOut)
    }

    /// Takes the next tick; the average, once warm.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> Option<f64> {
        let range = match (self.previous.replace(close), self.first) {
            (Some(previous), _) => true_range(high, low, previous),
            (None, FirstRange::Range) => high - low,
            (None, FirstRange::LeftOut) => return None,
        };
        self.mean.update(range)
    }
}

/// The distance that the price went, from the close before on.
#[inline]
pub(crate) fn true_range(high: f64, low: f64, previous_close: f64) -> f64 {
    high.max(previous_close) - low.min(previous_close)
}

impl Snapshot for Atr {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.previous.snapshot(bytes);
        self.mean.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.previous.restore(bytes)?;
        self.mean.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{TULIP, Tick};

    /// Tulip Indicators, `tests/untest.txt`: `atr 5`.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        let mut atr = Atr::try_new(5, FirstRange::Range).unwrap();
        let got = TULIP.map(|tick| atr.update(tick.high, tick.low, tick.close));
        assert_eq!(got[..4], [None; 4]);
        let printed: Vec<_> = got[4..]
            .iter()
            .map(|value| std::format!("{:.3}", value.unwrap()))
            .collect();
        let published = [
            "1.116", "1.051", "1.009", "1.207", "1.136", "1.086", "1.243", "1.233", "1.230",
            "1.206", "1.137",
        ];
        assert_eq!(printed, published);
    }

    fn naive(period: usize, first: FirstRange, ticks: &[Tick]) -> Vec<[Option<f64>; 1]> {
        let mut ranges: Vec<f64> = ticks
            .windows(2)
            .map(|pair| {
                let (tick, close) = (pair[1], pair[0].close);
                let gaps = [(tick.high - close).abs(), (tick.low - close).abs()];
                gaps.into_iter().fold(tick.high - tick.low, f64::max)
            })
            .collect();
        if let (FirstRange::Range, Some(tick)) = (first, ticks.first()) {
            ranges.insert(0, tick.high - tick.low);
        }
        let average = |ranges: &[f64]| {
            let seed = ranges.get(..period)?.iter().sum::<f64>() / period as f64;
            Some(ranges[period..].iter().fold(seed, |average, range| {
                (average * (period as f64 - 1.0) + range) / period as f64
            }))
        };
        let lead = usize::from(first == FirstRange::LeftOut);
        (1..=ticks.len())
            .map(|end| [average(&ranges[..end - lead])])
            .collect()
    }

    macro_rules! each {
        ($($name:ident: $period:literal $first:ident),*) => {$(
            conformance!(
                $name,
                Atr::try_new($period, FirstRange::$first).unwrap(),
                |atr, tick| [atr.update(tick.high, tick.low, tick.close)],
                |ticks| naive($period, FirstRange::$first, ticks)
            );
        )*};
    }
    each! { left_out_1: 1 LeftOut, left_out_14: 14 LeftOut, range_1: 1 Range, range_14: 14 Range }

    #[test]
    fn the_column_of_the_reference_file_comes_out() {
        let new = Atr::try_new(14, FirstRange::LeftOut).unwrap();
        reference!(new, "atr14_talib", |atr, tick| atr
            .update(tick.high, tick.low, tick.close));
    }

    #[test]
    fn a_gap_counts_though_the_tick_itself_is_narrow() {
        let mut atr = Atr::try_new(1, FirstRange::LeftOut).unwrap();
        atr.update(10.0, 10.0, 10.0);
        assert_eq!(atr.update(15.0, 14.0, 14.5), Some(5.0));
        assert_eq!(atr.update(14.5, 14.5, 14.5), Some(0.0));
    }

    #[test]
    fn period_0_is_refused() {
        assert!(Atr::try_new(0, FirstRange::LeftOut).is_err());
    }
}
