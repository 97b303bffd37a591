//! Notices when a difference changes sign. Knows no level and no indicator: the caller subtracts.

use alloc::vec::Vec;

use crate::snapshot::within;
use crate::{RestoreError, Snapshot};

/// Which way a line was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// From below to above.
    Up,
    /// From above to below.
    Down,
}

/// The side on which something was last seen, and so when it changes.
///
/// Equality is not a side: a line that is touched is crossed when the other side is reached, once, and not at all when
/// the same side is left again. Where there is no difference, the side is kept.
#[derive(Debug, Clone, Default)]
pub struct Cross {
    /// 1 above, -1 below, 0 while neither was seen.
    side: i8,
}

impl Cross {
    /// One that has seen neither side.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next difference, positive above the line; the crossing, where this is one.
    #[inline]
    pub fn update(&mut self, difference: Option<f64>) -> Option<Crossing> {
        let difference = difference?;
        let side = i8::from(difference > 0.0) - i8::from(difference < 0.0);
        if side == 0 || side == self.side {
            return None;
        }
        let before = core::mem::replace(&mut self.side, side);
        match (before, side) {
            (-1, 1) => Some(Crossing::Up),
            (1, -1) => Some(Crossing::Down),
            _ => None,
        }
    }
}

impl Snapshot for Cross {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.side.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.side.restore(bytes)?;
        within("a side of", self.side, -1, 1).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::Crossing::{Down, Up};
    use super::*;
    use std::vec;

    fn crossings(differences: impl IntoIterator<Item = Option<f64>>) -> Vec<Option<Crossing>> {
        let mut cross = Cross::new();
        differences
            .into_iter()
            .map(|difference| cross.update(difference))
            .collect()
    }

    #[test]
    fn the_first_side_is_no_crossing() {
        assert_eq!(crossings([Some(1.0), Some(2.0)]), [None, None]);
        assert_eq!(crossings([Some(0.0), Some(-1.0)]), [None, None]);
    }

    #[test]
    fn each_change_of_side_counts_once() {
        assert_eq!(
            crossings([1.0, -1.0, -2.0, 3.0, 0.1].map(Some)),
            [None, Some(Down), None, Some(Up), None]
        );
    }

    #[test]
    fn equality_is_no_crossing_and_keeps_the_side() {
        assert_eq!(crossings([-1.0, 0.0, -0.0, -1.0].map(Some)), [None; 4]);
        assert_eq!(
            crossings([-1.0, 0.0, 0.0, 1.0].map(Some)),
            [None, None, None, Some(Up)]
        );
    }

    #[test]
    fn a_gap_keeps_the_side() {
        assert_eq!(
            crossings([Some(1.0), None, None, Some(-1.0)]),
            [None, None, None, Some(Down)]
        );
        assert_eq!(crossings([Some(1.0), None, Some(1.0)]), [None; 3]);
    }

    #[test]
    fn a_snapshot_keeps_the_side_and_a_side_that_is_none_is_refused() {
        let mut cross = Cross::new();
        cross.update(Some(-1.0));
        let mut bytes = vec![];
        cross.snapshot(&mut bytes);
        let mut back = Cross::new();
        back.restore(&mut bytes.as_slice()).unwrap();
        assert_eq!(back.update(Some(1.0)), Some(Up));
        assert!(Cross::new().restore(&mut [2].as_slice()).is_err());
    }
}
