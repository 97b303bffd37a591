//! Moving average convergence and divergence.

use alloc::vec::Vec;

use crate::{Ema, PeriodError, RestoreError, Seed, Snapshot, period};

/// Which of a [`Macd`]'s averages starts where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// Each average is seeded for itself, with the mean of its first closes.
    #[default]
    Each,
    /// Both begin to be used at one tick: the fast one is seeded with the mean of the closes that end at the slow one's
    /// seed. Of a price of 100 they differ by 0.04 at the first value, and by 2e-9 a hundred ticks later.
    TaLib,
}

/// The lines of a [`Macd`] at one tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MacdLines {
    /// The fast average less the slow one.
    pub macd: f64,
    /// The average of `macd`.
    pub signal: f64,
    /// `macd` less `signal`.
    pub histogram: f64,
}

/// How far a fast average is from a slow one, and whether that grows.
///
/// Formula: `macd = ema(close, fast) - ema(close, slow)`, `signal = ema(macd, signal)`, `histogram = macd - signal`.
/// Seeding: each [`Ema`] by the mean of its first values, see [`Align`]. Warm-up: `slow + signal - 1` ticks. Range: any
/// number, 0 for a flat price. Source: Gerald Appel; TA-Lib `MACD`.
#[derive(Debug, Clone)]
pub struct Macd {
    fast: Ema,
    slow: Ema,
    signal: Ema,
    /// Closes that the fast average is not given.
    skipped: u32,
    seen: u32,
}

impl Macd {
    /// Lines of these periods, in ticks. The fast one is mostly the shorter.
    ///
    /// # Errors
    ///
    /// Where a period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD); with [`Align::TaLib`] also where the fast period is
    /// above the slow one, named as a period that is too long.
    pub fn try_new(fast: u32, slow: u32, signal: u32, align: Align) -> Result<Self, PeriodError> {
        let (fast, slow) = (period::check(fast)?, period::check(slow)?);
        let skipped = match align {
            Align::Each => 0,
            Align::TaLib => slow
                .checked_sub(fast)
                .ok_or(PeriodError::above(fast, slow))?,
        };
        Ok(Self {
            fast: Ema::try_new(fast, Seed::Sma)?,
            slow: Ema::try_new(slow, Seed::Sma)?,
            signal: Ema::try_new(signal, Seed::Sma)?,
            skipped,
            seen: 0,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        let averages = self.fast.warm_up_ticks().max(self.slow.warm_up_ticks());
        averages + self.signal.warm_up_ticks() - 1
    }

    /// Takes the next close; the lines, once warm.
    #[inline]
    pub fn update(&mut self, close: f64) -> Option<MacdLines> {
        let slow = self.slow.update(close);
        let fast = if self.seen < self.skipped {
            self.seen += 1;
            None
        } else {
            self.fast.update(close)
        };
        let macd = fast? - slow?;
        let signal = self.signal.update(macd)?;
        Some(MacdLines {
            macd,
            signal,
            histogram: macd - signal,
        })
    }
}

impl Snapshot for Macd {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.fast.snapshot(bytes);
        self.slow.snapshot(bytes);
        self.signal.snapshot(bytes);
        self.seen.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.fast.restore(bytes)?;
        self.slow.restore(bytes)?;
        self.signal.restore(bytes)?;
        self.seen.restore(bytes)?;
        crate::snapshot::within("a count of closes of", self.seen, 0, self.skipped).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn usual(align: Align) -> Macd {
        Macd::try_new(12, 26, 9, align).unwrap()
    }

    /// By hand, with periods 1, 3 and 2: the fast average is the close; the slow one starts with (2+4+9)/3 = 5 and takes
    /// half of the distance; the signal line starts with the mean of the first two differences and takes two thirds.
    #[test]
    fn a_series_by_hand_comes_out() {
        for align in [Align::Each, Align::TaLib] {
            let mut macd = Macd::try_new(1, 3, 2, align).unwrap();
            let lines = [2.0, 4.0, 9.0, 7.0, 11.0].map(|close| macd.update(close));
            // Differences: 9-5 = 4, 7-6 = 1, 11-8.5 = 2.5.
            assert_eq!(lines[..3], [None; 3]);
            let second = lines[3].unwrap();
            assert_eq!(
                (second.macd, second.signal, second.histogram),
                (1.0, 2.5, -1.5)
            );
            let third = lines[4].unwrap();
            assert_eq!((third.macd, third.signal, third.histogram), (2.5, 2.5, 0.0));
        }
    }

    /// The averages as sums of weights, written out, then their difference, then the average of that.
    fn naive(align: Align, ticks: &[crate::conformance::Tick]) -> Vec<[Option<f64>; 3]> {
        let closes: Vec<f64> = ticks.iter().map(|tick| tick.close).collect();
        fn ema(period: usize, values: &[f64]) -> Vec<f64> {
            let k = 2.0 / (period as f64 + 1.0);
            let mut all = vec![];
            for end in period..=values.len() {
                let later = end - period;
                let seed = values[..period].iter().sum::<f64>() / period as f64;
                let weighed: f64 = (0..later)
                    .map(|i| k * (1.0 - k).powi(i as i32) * values[end - 1 - i])
                    .sum();
                all.push(weighed + (1.0 - k).powi(later as i32) * seed);
            }
            all
        }
        let skipped = if align == Align::TaLib { 14 } else { 0 };
        let fast = ema(12, closes.get(skipped..).unwrap_or_default());
        let slow = ema(26, &closes);
        let macd: Vec<f64> = slow
            .iter()
            .zip(&fast[fast.len().saturating_sub(slow.len())..])
            .map(|(slow, fast)| fast - slow)
            .collect();
        let signal = ema(9, &macd);
        let lead = closes.len() - signal.len();
        let lines = macd[macd.len() - signal.len()..].iter().zip(&signal);
        vec![[None; 3]; lead]
            .into_iter()
            .chain(lines.map(|(macd, signal)| [*macd, *signal, macd - signal].map(Some)))
            .collect()
    }

    fn lines(lines: Option<MacdLines>) -> [Option<f64>; 3] {
        [
            lines.map(|lines| lines.macd),
            lines.map(|lines| lines.signal),
            lines.map(|lines| lines.histogram),
        ]
    }

    conformance!(
        each,
        usual(Align::Each),
        |macd, tick| lines(macd.update(tick.close)),
        |ticks| naive(Align::Each, ticks)
    );
    conformance!(
        talib,
        usual(Align::TaLib),
        |macd, tick| lines(macd.update(tick.close)),
        |ticks| naive(Align::TaLib, ticks)
    );

    /// The columns begin with the first line of theirs; all lines are there from `slow + signal - 1` on.
    #[test]
    fn the_columns_of_the_reference_file_come_out() {
        for (align, column) in [
            (Align::TaLib, "macd_talib"),
            (Align::Each, "macd_each_seeded"),
        ] {
            let (ticks, expected) = crate::conformance::reference_ticks(column);
            let mut macd = usual(align);
            for (tick, expected) in ticks.into_iter().zip(expected) {
                let Some(lines) = macd.update(tick.close) else {
                    continue;
                };
                let expected = expected.unwrap();
                assert!((lines.macd - expected).abs() <= 1e-9 * expected.abs());
            }
            assert_eq!(macd.warm_up_ticks(), 34);
        }
    }

    #[test]
    fn a_flat_price_is_0_exactly() {
        let mut macd = usual(Align::Each);
        for _ in 0..60 {
            let lines = macd.update(96.91);
            assert!(lines.is_none_or(|lines| lines.macd == 0.0 && lines.histogram == 0.0));
        }
    }

    #[test]
    fn periods_that_cannot_be_are_refused() {
        let refused = |fast, slow, signal, align| {
            std::format!("{}", Macd::try_new(fast, slow, signal, align).unwrap_err())
        };
        assert_eq!(refused(0, 26, 9, Align::Each), "is 0; use 1 or more");
        assert_eq!(refused(12, 26, 0, Align::Each), "is 0; use 1 or more");
        assert_eq!(refused(27, 26, 9, Align::TaLib), "is 27; use 26 or less");
    }
}
