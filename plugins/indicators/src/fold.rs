//! The last `n` values folded into one summary without ever taking one back: what cannot be subtracted (a highest price)
//! or should not be (a square), costs the same as a sum, and what has left leaves nothing behind.

use alloc::{boxed::Box, vec, vec::Vec};

use crate::snapshot::within;
use crate::{PeriodError, RestoreError, Snapshot, period};

/// A summary of values that stand next to each other.
pub(crate) trait Fold: Copy {
    /// That of one value.
    fn of(value: f64) -> Self;

    /// That of these values and those that came after them.
    fn then(self, later: Self) -> Self;
}

/// A sliding window over the last `n` values, as a summary of them.
///
/// The ring holds the older values from `next` on, and the newer before it. When it comes round, each place gets the
/// summary from there to the end; until it comes round again, the summary of the window is that of the older rest and of
/// the newer ones. A turn of `n` ticks so costs `3 n` folds, of which the last tick bears `n`.
#[derive(Debug, Clone)]
pub(crate) struct Folded<T> {
    ring: Box<[f64]>,
    /// Where the next value goes: over the oldest one.
    next: u32,
    full: bool,
    /// For each place of the older values, the summary from there on.
    older: Box<[Option<T>]>,
    newer: Option<T>,
}

impl<T: Fold> Folded<T> {
    pub(crate) fn try_new(len: u32) -> Result<Self, PeriodError> {
        let len = period::check(len)? as usize;
        Ok(Self {
            ring: vec![0.0; len].into_boxed_slice(),
            next: 0,
            full: false,
            older: vec![None; len].into_boxed_slice(),
            newer: None,
        })
    }

    pub(crate) fn len(&self) -> u32 {
        self.ring.len() as u32
    }

    /// Puts a value in the place of the oldest; the summary of all, once there are `n`.
    #[inline]
    pub(crate) fn push(&mut self, value: f64) -> Option<T> {
        self.ring[self.next as usize] = value;
        self.next += 1;
        self.newer = then(self.newer, Some(T::of(value)));
        if self.next as usize == self.ring.len() {
            self.turn();
        }
        if !self.full {
            return None;
        }
        then(self.older[self.next as usize], self.newer)
    }

    #[cold]
    fn turn(&mut self) {
        self.next = 0;
        self.full = true;
        self.newer = None;
        self.fold_older();
    }

    /// The summaries of the older values, from the ring alone: so a snapshot needs nothing but the ring.
    fn fold_older(&mut self) {
        let mut rest = None;
        for at in (self.next as usize..self.ring.len()).rev() {
            rest = then(Some(T::of(self.ring[at])), rest);
            self.older[at] = rest;
        }
    }
}

#[inline]
fn then<T: Fold>(earlier: Option<T>, later: Option<T>) -> Option<T> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => Some(earlier.then(later)),
        (earlier, later) => earlier.or(later),
    }
}

impl<T: Fold> Snapshot for Folded<T> {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.ring.snapshot(bytes);
        self.next.snapshot(bytes);
        self.full.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.ring.restore(bytes)?;
        self.next.restore(bytes)?;
        within("a place in the window of", self.next, 0, self.len() - 1)?;
        self.full.restore(bytes)?;
        if self.full {
            self.fold_older();
        }
        let newer = self.ring[..self.next as usize].iter();
        self.newer = newer.fold(None, |newer, value| then(newer, Some(T::of(*value))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tells which values were folded, in which order: first, last, and how many.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Span(f64, f64, u32);

    impl Fold for Span {
        fn of(value: f64) -> Self {
            Self(value, value, 1)
        }

        fn then(self, later: Self) -> Self {
            assert_eq!(self.1 + 1.0, later.0, "what is folded stands next to it");
            Self(self.0, later.1, self.2 + later.2)
        }
    }

    proptest! {
        #[test]
        fn it_is_the_summary_of_the_last_n_whatever_the_length(len in 1..40u32, ticks in 1..200u32) {
            let mut folded = Folded::<Span>::try_new(len).unwrap();
            for tick in 1..=ticks {
                let got = folded.push(f64::from(tick));
                let expected = (tick >= len).then(|| Span(f64::from(tick - len + 1), f64::from(tick), len));
                prop_assert_eq!(got, expected);
            }
        }
    }
}
