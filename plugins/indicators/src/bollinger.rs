//! Bollinger's bands.

use alloc::vec::Vec;

use crate::fold::{Fold, Folded};
use crate::{PeriodError, RestoreError, Snapshot};

/// The lines of a [`Bollinger`] at one tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bands {
    /// The average less the deviations.
    pub lower: f64,
    /// The average.
    pub middle: f64,
    /// The average and the deviations.
    pub upper: f64,
}

/// A band around the average that is as wide as the price is restless.
///
/// Formula: `sma(n) ± k * sqrt(sum((close - sma)^2) / n)`, the deviation of the population. Seeding: none. Warm-up: `n`
/// ticks. Range: any number; a flat price has bands of no width, exactly. No value while a square is beyond the range of
/// a number.
/// Source: John Bollinger, "Bollinger on Bollinger Bands", 2001; TA-Lib `BBANDS`. Squares are summed by the method of
/// Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983, which subtracts nothing.
#[derive(Debug, Clone)]
pub struct Bollinger {
    window: Folded<Moments>,
    deviations: f64,
}

impl Bollinger {
    /// Bands over `period` ticks, so many deviations to each side.
    ///
    /// # Errors
    ///
    /// Where the period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32, deviations: f64) -> Result<Self, PeriodError> {
        Ok(Self {
            window: Folded::try_new(period)?,
            deviations,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        self.window.len()
    }

    /// Takes the next close; the bands, once warm.
    #[inline]
    pub fn update(&mut self, close: f64) -> Option<Bands> {
        let Moments {
            ticks,
            mean,
            squares,
        } = self.window.push(close)?;
        let width = self.deviations * libm::sqrt(squares / ticks);
        let bands = Bands {
            lower: mean - width,
            middle: mean,
            upper: mean + width,
        };
        (bands.upper - bands.lower < f64::INFINITY).then_some(bands)
    }
}

impl Snapshot for Bollinger {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.window.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.window.restore(bytes)
    }
}

/// How many values, their mean, and the sum of their squared distances from it: never below 0.
#[derive(Debug, Clone, Copy)]
struct Moments {
    ticks: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Moments {
    #[inline]
    fn of(value: f64) -> Self {
        Self {
            ticks: 1.0,
            mean: value,
            squares: 0.0,
        }
    }

    #[inline]
    fn then(self, later: Self) -> Self {
        let ticks = self.ticks + later.ticks;
        let apart = later.mean - self.mean;
        let share = later.ticks / ticks;
        Self {
            ticks,
            mean: self.mean + apart * share,
            squares: self.squares + later.squares + apart * apart * (self.ticks * share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// Tulip Indicators, `tests/untest.txt`: `bbands 5 2`.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        let closes = [
            81.59, 81.06, 82.87, 83.00, 83.61, 83.15, 82.84, 83.99, 84.55, 84.36, 85.53, 86.54,
            86.89, 87.77, 87.29,
        ];
        let published = [
            (80.530, 82.426, 84.322),
            (80.987, 82.738, 84.489),
            (82.533, 83.094, 83.655),
            (82.472, 83.318, 84.164),
            (82.418, 83.628, 84.838),
            (82.435, 83.778, 85.121),
            (82.511, 84.254, 85.997),
            (83.143, 84.994, 86.845),
            (83.536, 85.574, 87.612),
            (83.870, 86.218, 88.566),
            (85.289, 86.804, 88.319),
        ];
        let mut bollinger = Bollinger::try_new(5, 2.0).unwrap();
        let got = closes.map(|close| bollinger.update(close));
        assert_eq!(got[..4], [None; 4]);
        let printed = |value: f64| std::format!("{value:.3}");
        for (bands, (lower, middle, upper)) in got[4..].iter().flatten().zip(published) {
            assert_eq!(
                [bands.lower, bands.middle, bands.upper].map(printed),
                [lower, middle, upper].map(printed)
            );
        }
        assert_eq!(got.iter().flatten().count(), published.len());
    }

    fn naive(period: usize, ticks: &[crate::conformance::Tick]) -> Vec<[Option<f64>; 3]> {
        let closes: Vec<f64> = ticks.iter().map(|tick| tick.close).collect();
        let bands = |end: usize| {
            let window = &closes[end.checked_sub(period)?..end];
            let mean = window.iter().sum::<f64>() / period as f64;
            let variance = window
                .iter()
                .map(|close| (close - mean).powi(2))
                .sum::<f64>()
                / period as f64;
            let width = 2.0 * variance.sqrt();
            Some([mean - width, mean, mean + width])
        };
        (1..=closes.len())
            .map(|end| bands(end).map_or([None; 3], |bands| bands.map(Some)))
            .collect()
    }

    fn lines(bands: Option<Bands>) -> [Option<f64>; 3] {
        bands.map_or([None; 3], |bands| {
            [bands.lower, bands.middle, bands.upper].map(Some)
        })
    }

    macro_rules! each_period {
        ($($name:ident: $period:literal),*) => {$(
            conformance!(
                $name,
                Bollinger::try_new($period, 2.0).unwrap(),
                |bollinger, tick| lines(bollinger.update(tick.close)),
                |ticks| naive($period, ticks)
            );
        )*};
    }
    each_period! { ticks_1: 1, ticks_5: 5, ticks_20: 20 }

    #[test]
    fn the_columns_of_the_reference_file_come_out() {
        let new = || Bollinger::try_new(20, 2.0).unwrap();
        reference!(new(), "bb_upper", |b, t| b.update(t.close).map(|b| b.upper));
        reference!(new(), "bb_lower", |b, t| b.update(t.close).map(|b| b.lower));
    }

    #[test]
    fn an_outlier_is_gone_at_the_very_tick_that_it_leaves() {
        let calm = |tick: usize| 100.0 + (tick % 3) as f64 * 0.01;
        for at in 0..20 {
            let closes = (0..60).map(|tick| if tick == at { 1e12 } else { calm(tick) });
            let run = |closes: vec::IntoIter<f64>| {
                let mut bollinger = Bollinger::try_new(7, 2.0).unwrap();
                closes
                    .map(|close| bollinger.update(close))
                    .collect::<Vec<_>>()
            };
            let marred = run(closes.collect::<Vec<_>>().into_iter());
            let clean = run((0..60).map(calm).collect::<Vec<_>>().into_iter());
            assert_eq!(marred[at + 7..], clean[at + 7..], "outlier at {at}");
        }
    }

    #[test]
    fn a_price_that_stays_has_bands_of_no_width() {
        let mut bollinger = Bollinger::try_new(3, 2.0).unwrap();
        let last = [97.1, 1e9, 96.91, 96.91, 96.91].map(|close| bollinger.update(close))[4];
        let flat = Bands {
            lower: 96.91,
            middle: 96.91,
            upper: 96.91,
        };
        assert_eq!(last, Some(flat));
    }

    #[test]
    fn period_0_is_refused() {
        assert!(Bollinger::try_new(0, 2.0).is_err());
    }
}
