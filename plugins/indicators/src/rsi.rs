//! The relative strength index.

use alloc::vec::Vec;

use crate::snapshot::within;
use crate::window::Window;
use crate::{PeriodError, RestoreError, Snapshot, period};

/// How an [`Rsi`] averages gains and losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Smoothing {
    /// `(average * (n - 1) + change) / n`, seeded with the mean of the first `n` changes: Wilder's own, TA-Lib.
    #[default]
    Wilder,
    /// The mean of the last `n` changes: Cutler.
    Cutler,
    /// As `Cutler`, with a change of 0 before the first: what pandas code makes that fills the first difference with 0.
    CutlerZero,
}

/// How much of the recent change was gain.
///
/// Formula: `100 * up / (up + down)` of the average gain and the average loss. Seeding: see [`Smoothing`]. Warm-up:
/// `n + 1` ticks, `n` for [`Smoothing::CutlerZero`]. Range: 0 (falls only) to 100 (rises only). No value where neither
/// gain nor loss is left: others print 0, 50, 100 or not-a-number there.
/// Source: J. Welles Wilder, "New Concepts in Technical Trading Systems", 1978; TA-Lib `RSI`.
#[derive(Debug, Clone)]
pub struct Rsi {
    period: u32,
    smoothing: Smoothing,
    /// The close before, once there was one.
    previous: Option<f64>,
    averages: Averages,
}

#[derive(Debug, Clone)]
enum Averages {
    Wilder(Wilder),
    Cutler { up: Window, down: Window },
}

impl Rsi {
    /// An index over `period` changes.
    ///
    /// # Errors
    ///
    /// Where the period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32, smoothing: Smoothing) -> Result<Self, PeriodError> {
        let averages = match smoothing {
            Smoothing::Wilder => Averages::Wilder(Wilder::try_new(period)?),
            Smoothing::Cutler | Smoothing::CutlerZero => Averages::Cutler {
                up: Window::try_new(period)?,
                down: Window::try_new(period)?,
            },
        };
        Ok(Self {
            period,
            smoothing,
            previous: None,
            averages,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        match self.smoothing {
            Smoothing::Wilder | Smoothing::Cutler => self.period + 1,
            Smoothing::CutlerZero => self.period,
        }
    }

    /// Takes the next close; the index, once warm and where there is one.
    #[inline]
    pub fn update(&mut self, close: f64) -> Option<f64> {
        let change = match self.previous.replace(close) {
            Some(previous) => close - previous,
            None if self.smoothing == Smoothing::CutlerZero => 0.0,
            None => return None,
        };
        // Without a choice between the two: Cranelift makes a jump of a choice. Halved first, so that no sum overflows.
        let half = change * 0.5;
        let (gain, loss) = (half.abs() + half, half.abs() - half);
        match &mut self.averages {
            Averages::Wilder(averages) => averages.update(gain, loss),
            Averages::Cutler { up, down } => {
                up.push(gain);
                down.push(loss);
                // What rounding leaves of unlike outliers, until the turn of the window ends, may lie below 0.
                index(up.sum()?.max(0.0), down.sum()?.max(0.0))
            }
        }
    }
}

/// The share of `up` in both, in percent. Divided before it is multiplied, so that rises alone give 100 exactly.
#[inline]
fn index(up: f64, down: f64) -> Option<f64> {
    let both = up + down;
    (both > 0.0).then(|| 100.0 * (up / both))
}

/// Wilder's averages of gains and losses.
#[derive(Debug, Clone)]
struct Wilder {
    /// `(n - 1) / n`.
    decay: f64,
    period: u32,
    /// Changes taken, no further than the period.
    changes: u32,
    /// Until there were as many changes as the period, the mean of the gains so far.
    up: f64,
    /// The same of the losses.
    down: f64,
    /// The index as of the last change.
    index: Option<f64>,
}

impl Wilder {
    fn try_new(period: u32) -> Result<Self, PeriodError> {
        let period = period::check(period)?;
        let decay = f64::from(period - 1) / f64::from(period);
        Ok(Self {
            decay,
            period,
            changes: 0,
            up: 0.0,
            down: 0.0,
            index: None,
        })
    }

    #[inline]
    fn update(&mut self, gain: f64, loss: f64) -> Option<f64> {
        if self.changes == self.period {
            self.up = gain + self.decay * (self.up - gain);
            self.down = loss + self.decay * (self.down - loss);
            let flat = gain + loss == 0.0;
            if flat && self.up + self.down > 0.0 {
                // Both shrank alike. Dividing them again would give the same index but for its last bits, which
                // could then flicker about a level for as long as the price stays.
                return self.index;
            }
        } else {
            // Running means, unlike sums, cannot overflow.
            self.changes += 1;
            self.up += (gain - self.up) / f64::from(self.changes);
            self.down += (loss - self.down) / f64::from(self.changes);
            if self.changes < self.period {
                return None;
            }
        }
        self.index = index(self.up, self.down);
        self.index
    }
}

impl Snapshot for Wilder {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.changes.snapshot(bytes);
        self.up.snapshot(bytes);
        self.down.snapshot(bytes);
        self.index.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.changes.restore(bytes)?;
        within("a count of changes of", self.changes, 0, self.period)?;
        self.up.restore(bytes)?;
        self.down.restore(bytes)?;
        self.index.restore(bytes)
    }
}

impl Snapshot for Rsi {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.previous.snapshot(bytes);
        match &self.averages {
            Averages::Wilder(averages) => averages.snapshot(bytes),
            Averages::Cutler { up, down } => {
                up.snapshot(bytes);
                down.snapshot(bytes);
            }
        }
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.previous.restore(bytes)?;
        match &mut self.averages {
            Averages::Wilder(averages) => averages.restore(bytes),
            Averages::Cutler { up, down } => {
                up.restore(bytes)?;
                down.restore(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const ALL: [Smoothing; 3] = [Smoothing::Wilder, Smoothing::Cutler, Smoothing::CutlerZero];

    /// StockCharts ChartSchool, "Relative Strength Index (RSI)", spreadsheet `cs-rsi`: QQQQ from 14 December 2009.
    #[test]
    fn the_published_series_of_stockcharts_comes_out() {
        published!(
            Rsi::try_new(14, Smoothing::Wilder).unwrap(),
            closes: [
                44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
                46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
                45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
            ],
            from: 14,
            values: [
                70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46, 41.87,
                45.46, 37.30, 33.08, 37.77,
            ],
            digits: 2
        );
    }

    /// Tulip Indicators, `tests/untest.txt`: `rsi 5`.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        published!(
            Rsi::try_new(5, Smoothing::Wilder).unwrap(),
            closes: [
                81.59, 81.06, 82.87, 83.00, 83.61, 83.15, 82.84, 83.99, 84.55, 84.36, 85.53, 86.54, 86.89, 87.77, 87.29,
            ],
            from: 5,
            values: [72.034, 64.927, 75.936, 79.796, 74.713, 83.033, 87.478, 88.755, 91.483, 78.498],
            digits: 3
        );
    }

    /// Each value from the whole series before it, by the words of the definition.
    fn naive(period: usize, smoothing: Smoothing, closes: &[f64]) -> Vec<Option<f64>> {
        let mut changes: Vec<f64> = closes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if smoothing == Smoothing::CutlerZero {
            changes.insert(0, 0.0);
        }
        let mean = |changes: &[f64], sign: f64| {
            changes
                .iter()
                .map(|change| (change * sign).max(0.0))
                .sum::<f64>()
                / changes.len() as f64
        };
        let average = |changes: &[f64], sign: f64| match smoothing {
            Smoothing::Wilder => {
                changes[period..]
                    .iter()
                    .fold(mean(&changes[..period], sign), |average, change| {
                        (average * (period as f64 - 1.0) + (change * sign).max(0.0)) / period as f64
                    })
            }
            _ => mean(&changes[changes.len() - period..], sign),
        };
        let lead = changes.len() + 1 - closes.len();
        (0..closes.len())
            .map(|tick| {
                let changes = &changes[..tick + lead];
                if changes.len() < period {
                    return None;
                }
                let (up, down) = (average(changes, 1.0), average(changes, -1.0));
                (up + down > 0.0).then(|| 100.0 * up / (up + down))
            })
            .collect()
    }

    macro_rules! each_smoothing {
        ($($name:ident: $period:literal $smoothing:ident),* $(,)?) => {$(
            conformance!($name, Rsi::try_new($period, Smoothing::$smoothing).unwrap(), |closes: &[f64]| {
                naive($period, Smoothing::$smoothing, closes)
            });
        )*};
    }

    each_smoothing! {
        wilder_1: 1 Wilder, wilder_2: 2 Wilder, wilder_14: 14 Wilder,
        cutler_1: 1 Cutler, cutler_14: 14 Cutler,
        cutler_zero_2: 2 CutlerZero, cutler_zero_14: 14 CutlerZero,
    }

    #[test]
    fn the_columns_of_the_reference_file_come_out() {
        reference!(
            Rsi::try_new(14, Smoothing::Wilder).unwrap(),
            "rsi14_wilder_talib"
        );
        reference!(Rsi::try_new(14, Smoothing::Cutler).unwrap(), "rsi14_cutler");
        reference!(
            Rsi::try_new(14, Smoothing::CutlerZero).unwrap(),
            "rsi14_student"
        );
    }

    fn values(smoothing: Smoothing, closes: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
        let mut rsi = Rsi::try_new(3, smoothing).unwrap();
        closes.into_iter().map(|close| rsi.update(close)).collect()
    }

    #[test]
    fn rises_alone_give_100_and_falls_alone_give_0_exactly() {
        for smoothing in ALL {
            let rising = values(smoothing, (1..50).map(|tick| 0.1 * f64::from(tick)));
            let falling = values(smoothing, (1..50).map(|tick| 100.0 - 0.1 * f64::from(tick)));
            for tick in 3..49 {
                assert_eq!(
                    (rising[tick], falling[tick]),
                    (Some(100.0), Some(0.0)),
                    "{smoothing:?} at {tick}"
                );
            }
        }
    }

    #[test]
    fn a_price_that_never_moved_has_no_value() {
        for smoothing in ALL {
            assert_eq!(
                values(smoothing, [96.91; 40]),
                vec![None; 40],
                "{smoothing:?}"
            );
        }
    }

    #[test]
    fn a_price_that_stays_keeps_wilders_index_to_the_bit() {
        let moving = [100.0, 101.0, 100.5, 100.7, 99.9];
        let values = values(Smoothing::Wilder, moving.into_iter().chain([99.9; 20_000]));
        assert!(values[4].is_some());
        assert!(values[4..].iter().all(|value| *value == values[4]));
    }

    #[test]
    fn a_rise_then_a_fall_is_seen_at_once() {
        let closes = [1.0, 2.0, 3.0, 4.0, 5.0, 4.0];
        // Two rises of 1 and a fall of 1 for Cutler. For Wilder up is 1, then 2/3; down is 0, then 1/3.
        for smoothing in ALL {
            let index = values(smoothing, closes)[5].unwrap();
            assert!(
                (index - 200.0 / 3.0).abs() < 1e-12,
                "{smoothing:?}: {index}"
            );
        }
    }

    #[test]
    fn period_0_is_refused() {
        for smoothing in ALL {
            assert_eq!(
                Rsi::try_new(0, smoothing).unwrap_err(),
                PeriodError::above(0, crate::MAX_PERIOD)
            );
        }
    }
}
