//! The volume-weighted average price.

use crate::sum::Sum;

/// What was paid on average since the session's start.
///
/// Formula: `sum(typical * volume) / sum(volume)`, `typical = (high + low + close) / 3`. Seeding: none. Warm-up: 1 tick.
/// Range: that of the typical prices. No value while there is no volume, nor while a sum is beyond the range of a number.
/// It knows no time: whoever does says when a session starts. Source: the definition.
#[derive(Debug, Clone, Default)]
pub struct Vwap {
    paid: Sum,
    volume: Sum,
}
snapshot!(Vwap { paid, volume });

impl Vwap {
    /// An average of a session that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ticks before the first value, that one included.
    pub fn warm_up_ticks(&self) -> u32 {
        1
    }

    /// Forgets the session: the next tick is the first of another.
    pub fn start_session(&mut self) {
        *self = Self::new();
    }

    /// Takes the next tick; the average, where there was volume.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64, volume: f64) -> Option<f64> {
        // Divided first, so that no sum of three overflows.
        let typical = high / 3.0 + low / 3.0 + close / 3.0;
        self.paid.add(typical * volume);
        self.volume.add(volume);
        let volume = self.volume.get()?;
        (volume > 0.0)
            .then_some(self.paid.get()? / volume)
            .filter(|average| average.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;
    use crate::conformance::{TULIP, Tick};
    use std::vec::Vec;

    /// The prices of Tulip's series `typprice`, weighed by hand over the first three ticks.
    #[test]
    fn published_typical_prices_are_weighed_by_volume() {
        let mut vwap = Vwap::new();
        let got = TULIP.map(|tick| vwap.update(tick.high, tick.low, tick.close, tick.volume));
        let paid = 81.677 * 5_653_100.0 + 81.197 * 6_447_400.0 + 82.403 * 7_690_900.0;
        let expected = paid / (5_653_100.0 + 6_447_400.0 + 7_690_900.0);
        assert_eq!(
            std::format!("{:.3}", got[2].unwrap()),
            std::format!("{expected:.3}")
        );
    }

    fn naive(ticks: &[Tick]) -> Vec<[Option<f64>; 1]> {
        let value = |end: usize| {
            let (mut paid, mut volume) = (0.0, 0.0);
            for tick in &ticks[..end] {
                paid += (tick.high + tick.low + tick.close) / 3.0 * tick.volume;
                volume += tick.volume;
            }
            (volume > 0.0).then(|| paid / volume)
        };
        (1..=ticks.len()).map(|end| [value(end)]).collect()
    }

    cumulative!(
        session,
        Vwap::new(),
        |vwap, tick| [vwap.update(tick.high, tick.low, tick.close, tick.volume)],
        |ticks| naive(ticks)
    );

    #[test]
    fn the_column_of_the_reference_file_comes_out() {
        reference!(Vwap::new(), "vwap_cum_hlc3", |vwap, tick| vwap.update(
            tick.high,
            tick.low,
            tick.close,
            tick.volume
        ));
    }

    #[test]
    fn a_session_begins_with_nothing_of_the_one_before() {
        let mut vwap = Vwap::new();
        vwap.update(1e300, 1e300, 1e300, 1e300);
        vwap.start_session();
        assert_eq!(vwap.update(3.0, 3.0, 3.0, 0.0), None);
        assert_eq!(vwap.update(3.0, 1.0, 2.0, 5.0), Some(2.0));
    }
}
