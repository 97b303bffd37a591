//! On-balance volume.

use crate::sum::Sum;

/// The volume of rises less that of falls.
///
/// Formula: the volume of a tick is added where its close is above the one before, taken off where it is below.
/// Seeding: the first volume, as TA-Lib; Tulip begins with 0. Warm-up: 1 tick. Range: any number. No value where the sum is
/// beyond the range of a number. Source: Joseph Granville, 1963; TA-Lib `OBV`.
#[derive(Debug, Clone, Default)]
pub struct Obv {
    previous: Option<f64>,
    sum: Sum,
}
snapshot!(Obv { previous, sum });

impl Obv {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        1
    }

    /// Takes the next tick; the balance.
    #[inline]
    pub fn update(&mut self, close: f64, volume: f64) -> Option<f64> {
        let previous = self.previous.replace(close);
        let (rises, falls) = match previous {
            Some(previous) => (close > previous, close < previous),
            None => (true, false),
        };
        self.sum.add((f64::from(rises) - f64::from(falls)) * volume);
        self.sum.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;
    use crate::conformance::{TULIP, Tick};
    use std::vec::Vec;

    /// Tulip Indicators, `tests/untest.txt`: `obv`, which begins with 0 instead of the first volume.
    #[test]
    fn the_published_series_of_tulip_comes_out() {
        let published = [
            0.0,
            -6_447_400.0,
            1_243_500.0,
            5_074_900.0,
            9_530_000.0,
            5_732_000.0,
            1_795_800.0,
            6_527_800.0,
            11_369_100.0,
            7_453_800.0,
            14_284_600.0,
            20_978_700.0,
            26_272_300.0,
            34_258_100.0,
            29_450_200.0,
        ];
        let mut obv = Obv::new();
        let got = TULIP.map(|tick| obv.update(tick.close, tick.volume).unwrap());
        assert_eq!(got, published.map(|balance| balance + TULIP[0].volume));
    }

    fn naive(ticks: &[Tick]) -> Vec<[Option<f64>; 1]> {
        let value = |end: usize| {
            let mut balance = ticks[0].volume;
            for pair in ticks[..end].windows(2) {
                if pair[1].close > pair[0].close {
                    balance += pair[1].volume;
                } else if pair[1].close < pair[0].close {
                    balance -= pair[1].volume;
                }
            }
            Some(balance)
        };
        (1..=ticks.len()).map(|end| [value(end)]).collect()
    }

    cumulative!(
        balance,
        Obv::new(),
        |obv, tick| [obv.update(tick.close, tick.volume)],
        |ticks| naive(ticks)
    );

    #[test]
    fn the_column_of_the_reference_file_comes_out() {
        reference!(Obv::new(), "obv_start_vol0", |obv, tick| obv
            .update(tick.close, tick.volume));
    }

    #[test]
    fn a_price_that_stays_moves_no_volume() {
        let mut obv = Obv::new();
        let got = [(5.0, 10.0), (5.0, 7.0), (4.0, 3.0)].map(|(c, v)| obv.update(c, v));
        assert_eq!(got, [Some(10.0), Some(10.0), Some(7.0)]);
    }
}
