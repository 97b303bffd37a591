//! The last `n` values and their sum. Owns the arithmetic that lets an outlier leave nothing behind, keeps a flat
//! window's mean equal to its price, and costs the same at every tick.

use alloc::{boxed::Box, vec};

use crate::PeriodError;
use crate::period;
use crate::snapshot::{RestoreError, Snapshot, within};
use crate::sum::Sum;
use alloc::vec::Vec;

/// A sliding window over the last `n` values.
///
/// Taking the oldest value off a running sum keeps the rounding of everything that ever passed. So a second sum
/// collects the values of one turn of the ring, and takes over when the turn ends and it holds the whole window.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    ring: Box<[f64]>,
    /// Where the next value goes: over the oldest one.
    next: u32,
    full: bool,
    running: Sum,
    turn: Sum,
    len: f64,
    one_by_len: f64,
}

impl Window {
    pub(crate) fn try_new(len: u32) -> Result<Self, PeriodError> {
        let len = period::check(len)?;
        Ok(Self {
            ring: vec![0.0; len as usize].into_boxed_slice(),
            next: 0,
            full: false,
            running: Sum::default(),
            turn: Sum::default(),
            len: f64::from(len),
            one_by_len: 1.0 / f64::from(len),
        })
    }

    pub(crate) fn len(&self) -> u32 {
        self.ring.len() as u32
    }

    /// Puts a value in the place of the oldest.
    #[inline]
    pub(crate) fn push(&mut self, value: f64) {
        let oldest = core::mem::replace(&mut self.ring[self.next as usize], value);
        self.running.add(-oldest);
        self.running.add(value);
        self.turn.add(value);
        self.next += 1;
        if self.next as usize == self.ring.len() {
            self.next = 0;
            self.full = true;
            self.running = core::mem::take(&mut self.turn);
        }
    }

    /// The sum of the values, once there are `n`. None where it is beyond the range of a number.
    #[inline]
    pub(crate) fn sum(&self) -> Option<f64> {
        self.running.get().filter(|_| self.full)
    }

    /// The mean of the values, once there are `n`. None where their sum is beyond the range of a number.
    ///
    /// It is the nearest number to the true mean, so that a window of one price has that price as its mean: with a
    /// plain division it may be the number beside it, and a flat price would cross its own average. The quotient
    /// is first taken with the reciprocal, and then corrected by what is left, which two exact products give.
    #[inline]
    pub(crate) fn mean(&self) -> Option<f64> {
        /// Clears so many low bits that a product with a period is exact.
        const HIGH_BITS: u64 = !0x3fff;
        const { assert!(period::MAX_PERIOD <= 0x4000) };
        let quotient = self.running.sum * self.one_by_len;
        let high = f64::from_bits(quotient.to_bits() & HIGH_BITS);
        let left = (self.running.sum - high * self.len) - (quotient - high) * self.len;
        let mean = quotient + (left + self.running.lost) * self.one_by_len;
        (self.full && mean.abs() < f64::INFINITY).then_some(mean)
    }
}

impl Snapshot for Window {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.ring.snapshot(bytes);
        self.next.snapshot(bytes);
        self.full.snapshot(bytes);
        self.running.snapshot(bytes);
        self.turn.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.ring.restore(bytes)?;
        self.next.restore(bytes)?;
        within("a place in the window of", self.next, 0, self.len() - 1)?;
        self.full.restore(bytes)?;
        self.running.restore(bytes)?;
        self.turn.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(len: u32, values: impl IntoIterator<Item = f64>) -> Window {
        let mut window = Window::try_new(len).unwrap();
        values.into_iter().for_each(|value| window.push(value));
        window
    }

    proptest! {
        #[test]
        fn the_mean_of_one_price_is_that_price(
            price in 1e-6..1e9f64, len in 1..300u32, before in prop::collection::vec(1e-6..1e9f64, 0..400),
        ) {
            let window = filled(len, before.into_iter().chain((0..len).map(|_| price)));
            prop_assert_eq!(window.mean(), Some(price));
        }

        #[test]
        fn outliers_leave_nothing_behind_once_they_have_left(
            len in 1..40u32, outliers in prop::collection::vec(prop_oneof![Just(1e12), Just(1e16), Just(1e300), 1e9..1e15f64], 1..6),
            closes in prop::collection::vec((1..100_000u32).prop_map(|cents| f64::from(cents) / 100.0), 120..130),
        ) {
            let clean = filled(len, closes.iter().copied());
            let marred = filled(len, outliers.into_iter().chain(closes.iter().copied()));
            let (clean, marred) = (clean.mean().unwrap(), marred.mean().unwrap());
            prop_assert!((clean - marred).abs() <= 1e-15 * clean, "{} {}", clean, marred);
        }
    }

    #[test]
    fn an_outlier_is_gone_at_the_very_tick_that_it_leaves() {
        for at in 0..10 {
            let mut closes = [3.0; 30];
            closes[at] = 1e12;
            assert_eq!(
                filled(5, closes[..at + 6].iter().copied()).mean(),
                Some(3.0),
                "outlier at {at}"
            );
        }
    }

    #[test]
    fn a_sum_beyond_the_range_of_numbers_has_no_value_and_heals() {
        let mut window = filled(3, [1.7e308; 3]);
        assert_eq!((window.sum(), window.mean()), (None, None));
        (0..6).for_each(|_| window.push(2.0));
        assert_eq!((window.sum(), window.mean()), (Some(6.0), Some(2.0)));
    }
}
