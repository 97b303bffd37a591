//! The simple moving average.

use alloc::vec::Vec;

use crate::window::Window;
use crate::{PeriodError, RestoreError, Snapshot};

/// The mean of the last `n` closes.
///
/// Formula: `(close[t] + close[t-1] + ... + close[t-n+1]) / n`, rounded once. Seeding: none. Warm-up: `n` ticks.
/// Range: that of the closes. No value while the sum is beyond the range of a number.
/// Source: the definition; TA-Lib `SMA`, Tulip `sma` and pandas `rolling(n).mean()` agree.
#[derive(Debug, Clone)]
pub struct Sma {
    window: Window,
}

impl Sma {
    /// An average over `period` ticks.
    ///
    /// # Errors
    ///
    /// Where the period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32) -> Result<Self, PeriodError> {
        Ok(Self {
            window: Window::try_new(period)?,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        self.window.len()
    }

    /// Takes the next close; the average, once warm.
    #[inline]
    pub fn update(&mut self, close: f64) -> Option<f64> {
        self.window.push(close);
        self.window.mean()
    }
}

impl Snapshot for Sma {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.window.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.window.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tulip Indicators, `tests/untest.txt`: `sma 5`.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        published!(
            Sma::try_new(5).unwrap(),
            closes: [
                81.59, 81.06, 82.87, 83.00, 83.61, 83.15, 82.84, 83.99, 84.55, 84.36, 85.53, 86.54, 86.89, 87.77, 87.29,
            ],
            from: 4,
            values: [82.426, 82.738, 83.094, 83.318, 83.628, 83.778, 84.254, 84.994, 85.574, 86.218, 86.804],
            digits: 3
        );
    }

    fn naive(period: usize, closes: &[f64]) -> Vec<Option<f64>> {
        (1..=closes.len())
            .map(|end| {
                Some(closes[end.checked_sub(period)?..end].iter().sum::<f64>() / period as f64)
            })
            .collect()
    }

    conformance!(sma_1, Sma::try_new(1).unwrap(), |closes: &[f64]| naive(
        1, closes
    ));
    conformance!(sma_5, Sma::try_new(5).unwrap(), |closes: &[f64]| naive(
        5, closes
    ));
    conformance!(sma_20, Sma::try_new(20).unwrap(), |closes: &[f64]| naive(
        20, closes
    ));

    #[test]
    fn the_column_of_the_reference_file_comes_out() {
        reference!(Sma::try_new(20).unwrap(), "sma20");
    }

    #[test]
    fn period_0_is_refused() {
        assert_eq!(
            Sma::try_new(0).unwrap_err(),
            PeriodError::above(0, crate::MAX_PERIOD)
        );
    }
}
