//! Wilder's smoothing: an exponential average that a value leaves by `1/n` a tick.

use alloc::vec::Vec;

use crate::snapshot::within;
use crate::{PeriodError, RestoreError, Snapshot, period};

/// `(mean * (n - 1) + value) / n`, seeded with the mean of the first `n` values.
#[derive(Debug, Clone)]
pub(crate) struct WilderMean {
    /// `(n - 1) / n`.
    decay: f64,
    period: u32,
    /// Values taken, no further than the period.
    taken: u32,
    /// Until there were as many values as the period, the mean of those so far.
    mean: f64,
}

impl WilderMean {
    pub(crate) fn try_new(period: u32) -> Result<Self, PeriodError> {
        let period = period::check(period)?;
        Ok(Self {
            decay: f64::from(period - 1) / f64::from(period),
            period,
            taken: 0,
            mean: 0.0,
        })
    }

    pub(crate) fn period(&self) -> u32 {
        self.period
    }

    /// Takes the next value; the mean, once there were `n`.
    #[inline]
    pub(crate) fn update(&mut self, value: f64) -> Option<f64> {
        if self.taken == self.period {
            // From the side of the value: it cannot be passed by rounding, and period 1 is the value itself.
            self.mean = value + self.decay * (self.mean - value);
            return Some(self.mean);
        }
        // A running mean, unlike a sum, cannot overflow.
        self.taken += 1;
        self.mean += (value - self.mean) / f64::from(self.taken);
        (self.taken == self.period).then_some(self.mean)
    }

    /// Leaves the mean as it is; none before it is seeded.
    #[inline]
    pub(crate) fn get(&self) -> Option<f64> {
        (self.taken == self.period).then_some(self.mean)
    }
}

impl Snapshot for WilderMean {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.taken.snapshot(bytes);
        self.mean.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.taken.restore(bytes)?;
        within("a count of values of", self.taken, 0, self.period)?;
        self.mean.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_the_mean_and_each_value_after_it_counts_one_nth() {
        let mut mean = WilderMean::try_new(4).unwrap();
        let got = [4.0, 0.0, 8.0, 0.0, 11.0].map(|value| mean.update(value));
        assert_eq!(got, [None, None, None, Some(3.0), Some(5.0)]);
        assert_eq!(mean.get(), Some(5.0));
    }
}
