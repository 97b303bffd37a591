//! The average directional index.

use alloc::vec::Vec;

use crate::atr::true_range;
use crate::snapshot::within;
use crate::wilder::WilderMean;
use crate::{PeriodError, RestoreError, Snapshot, period};

/// The lines of an [`Adx`] at one tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdxLines {
    /// How much of a trend there is, whichever way.
    pub adx: f64,
    /// How much of the range was gained upwards.
    pub plus_di: f64,
    /// How much of the range was gained downwards.
    pub minus_di: f64,
}

/// Whether the price has a direction.
///
/// Formula: of a tick's new high and new low the greater distance counts, as movement up or down; both, and the true
/// range, are smoothed by `sum -= sum / n; sum += value`; `di = 100 * movement / range` and
/// `dx = 100 * |plus - minus| / (plus + minus)`; `adx = (adx * (n - 1) + dx) / n`. Seeding: sums of the first `n - 1`
/// values, and the mean of the first `n` values of `dx`. Warm-up: `2 n` ticks. Range: 0 to 100.
/// No value while the smoothed range is 0: the price never moved. Where neither direction moved, `adx` stays, and counts
/// as 0 in the seed, as in TA-Lib.
/// Source: J. Welles Wilder, "New Concepts in Technical Trading Systems", 1978; TA-Lib `ADX`, `PLUS_DI`, `MINUS_DI`.
#[derive(Debug, Clone)]
pub struct Adx {
    period: u32,
    one_by_period: f64,
    decay: f64,
    previous: Option<Previous>,
    /// Changes taken, no further than the period.
    changes: u32,
    /// The sums of the formula, divided by the period, so that they cannot overflow.
    plus: f64,
    minus: f64,
    range: f64,
    directions: Option<Directions>,
    adx: WilderMean,
}

#[derive(Debug, Clone, Copy, Default)]
struct Previous {
    high: f64,
    low: f64,
    close: f64,
}
snapshot!(Previous { high, low, close });

#[derive(Debug, Clone, Copy, Default)]
struct Directions {
    plus: f64,
    minus: f64,
}
snapshot!(Directions { plus, minus });

impl Adx {
    /// An index over `period` changes.
    ///
    /// # Errors
    ///
    /// Where the period is 0 or above [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn try_new(period: u32) -> Result<Self, PeriodError> {
        let period = period::check(period)?;
        Ok(Self {
            period,
            one_by_period: 1.0 / f64::from(period),
            decay: f64::from(period - 1) / f64::from(period),
            previous: None,
            changes: 0,
            plus: 0.0,
            minus: 0.0,
            range: 0.0,
            directions: None,
            adx: WilderMean::try_new(period)?,
        })
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        2 * self.period
    }

    /// Takes the next tick; the lines, once warm and where there are any.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> Option<AdxLines> {
        let now = Previous { high, low, close };
        let before = self.previous.replace(now)?;
        let (up, down) = (high - before.high, before.low - low);
        let plus = if up > 0.0 && up > down { up } else { 0.0 };
        let minus = if down > 0.0 && down > up { down } else { 0.0 };
        let range = true_range(high, low, before.close);
        if self.changes + 1 < self.period {
            self.changes += 1;
            self.plus += plus * self.one_by_period;
            self.minus += minus * self.one_by_period;
            self.range += range * self.one_by_period;
            return None;
        }
        self.changes = self.period;
        self.plus = plus * self.one_by_period + self.decay * self.plus;
        self.minus = minus * self.one_by_period + self.decay * self.minus;
        self.range = range * self.one_by_period + self.decay * self.range;
        self.directions = self.directions(range == 0.0);
        let adx = match self.directions.and_then(Directions::index) {
            Some(dx) => self.adx.update(dx),
            None if self.adx.get().is_none() => self.adx.update(0.0),
            None => self.adx.get(),
        };
        let Directions { plus, minus } = self.directions?;
        Some(AdxLines {
            adx: adx?,
            plus_di: plus,
            minus_di: minus,
        })
    }

    /// None where there was no range to divide by.
    #[inline]
    fn directions(&self, is_flat: bool) -> Option<Directions> {
        if self.range <= 0.0 {
            return None;
        }
        if is_flat && self.directions.is_some() {
            // All three shrank alike. Dividing them again would give the same but for the last bits, which could then
            // flicker about a level for as long as the price stays.
            return self.directions;
        }
        Some(Directions {
            plus: 100.0 * (self.plus / self.range),
            minus: 100.0 * (self.minus / self.range),
        })
    }
}

impl Directions {
    #[inline]
    fn index(self) -> Option<f64> {
        let both = self.plus + self.minus;
        (both > 0.0).then(|| 100.0 * ((self.plus - self.minus).abs() / both))
    }
}

impl Snapshot for Adx {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.previous.snapshot(bytes);
        self.changes.snapshot(bytes);
        self.plus.snapshot(bytes);
        self.minus.snapshot(bytes);
        self.range.snapshot(bytes);
        self.directions.snapshot(bytes);
        self.adx.snapshot(bytes);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.previous.restore(bytes)?;
        self.changes.restore(bytes)?;
        within("a count of changes of", self.changes, 0, self.period)?;
        self.plus.restore(bytes)?;
        self.minus.restore(bytes)?;
        self.range.restore(bytes)?;
        self.directions.restore(bytes)?;
        self.adx.restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{TULIP, Tick};
    use std::vec;

    /// Tulip Indicators, `tests/untest.txt`: `di 5`, of which the first value is of a tick at which TA-Lib has none yet. The
    /// index by hand from its series `dx 5`: the mean of 51.356, 11.088, 41.517, 52.766 and 55.907 is 42.527, and each
    /// that follows counts a fifth.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        let mut adx = Adx::try_new(5).unwrap();
        let got = TULIP.map(|tick| adx.update(tick.high, tick.low, tick.close));
        assert_eq!(got[..9], [None; 9]);
        let printed = |value: f64| std::format!("{value:.3}");
        let lines: Vec<_> = got[9..]
            .iter()
            .flatten()
            .map(|lines| (printed(lines.plus_di), printed(lines.minus_di)))
            .collect();
        let published = [
            (36.416, 10.299),
            (40.072, 7.084),
            (43.468, 5.675),
            (41.298, 4.522),
            (50.793, 3.673),
            (42.981, 5.970),
        ];
        assert_eq!(lines, published.map(|(p, m)| (printed(p), printed(m))));
        let mut expected = (51.356 + 11.088 + 41.517 + 52.766 + 55.907) / 5.0;
        for (lines, dx) in got[9..]
            .iter()
            .flatten()
            .zip([69.955, 76.905, 80.262, 86.511, 75.609, 0.0])
        {
            assert!((lines.adx - expected).abs() < 1e-3, "{lines:?} {expected}");
            expected = (expected * 4.0 + dx) / 5.0;
        }
    }

    /// As in TA-Lib's own source, step by step, from all ticks up to each.
    fn naive(period: usize, ticks: &[Tick]) -> Vec<[Option<f64>; 3]> {
        let n = period as f64;
        let change = |end: usize| {
            let (before, now) = (ticks[end - 1], ticks[end]);
            let (up, down) = (now.high - before.high, before.low - now.low);
            let range = [
                now.high - now.low,
                (now.high - before.close).abs(),
                (now.low - before.close).abs(),
            ];
            (
                if up > 0.0 && up > down { up } else { 0.0 },
                if down > 0.0 && down > up { down } else { 0.0 },
                range.into_iter().fold(0.0, f64::max),
            )
        };
        let mut lines = vec![[None; 3]; ticks.len().min(2 * period - 1)];
        if ticks.len() < 2 * period {
            return lines;
        }
        let (mut plus, mut minus, mut range) = (0.0, 0.0, 0.0);
        for end in 1..period {
            let (p, m, r) = change(end);
            (plus, minus, range) = (plus + p, minus + m, range + r);
        }
        let (mut sum, mut adx) = (0.0, 0.0);
        for end in period..ticks.len() {
            let (p, m, r) = change(end);
            plus = plus - plus / n + p;
            minus = minus - minus / n + m;
            range = range - range / n + r;
            let di = (range > 0.0).then(|| (100.0 * plus / range, 100.0 * minus / range));
            let dx = di
                .filter(|(p, m)| p + m > 0.0)
                .map(|(p, m)| 100.0 * (p - m).abs() / (p + m));
            if end < 2 * period {
                sum += dx.unwrap_or(0.0);
                adx = sum / n;
            } else if let Some(dx) = dx {
                adx = (adx * (n - 1.0) + dx) / n;
            }
            if end + 1 >= 2 * period {
                lines.push(di.map_or([None; 3], |(p, m)| [adx, p, m].map(Some)));
            }
        }
        lines
    }

    fn lines(lines: Option<AdxLines>) -> [Option<f64>; 3] {
        lines.map_or([None; 3], |lines| {
            [lines.adx, lines.plus_di, lines.minus_di].map(Some)
        })
    }

    macro_rules! each {
        ($($name:ident: $period:literal),*) => {$(
            conformance!(
                $name,
                Adx::try_new($period).unwrap(),
                |adx, tick| lines(adx.update(tick.high, tick.low, tick.close)),
                |ticks| naive($period, ticks)
            );
        )*};
    }
    each! { changes_1: 1, changes_2: 2, changes_14: 14 }

    #[test]
    fn a_price_that_never_moved_has_no_value_and_one_that_stays_keeps_its_directions() {
        let mut adx = Adx::try_new(3).unwrap();
        assert!((0..20).all(|_| adx.update(5.0, 5.0, 5.0).is_none()));
        let moving = (0..20u32).map(|tick| f64::from(tick * tick % 7));
        let last = moving
            .filter_map(|p| adx.update(6.0 + p, 5.0 + p, 5.5 + p))
            .last();
        let still = (0..20_000).filter_map(|_| adx.update(10.5, 10.5, 10.5));
        let mut still = still.map(|lines| (lines.plus_di, lines.minus_di));
        let first = still.next();
        assert!(last.is_some() && first.is_some());
        assert!(still.all(|directions| Some(directions) == first));
    }

    #[test]
    fn period_0_is_refused() {
        assert!(Adx::try_new(0).is_err());
    }
}
