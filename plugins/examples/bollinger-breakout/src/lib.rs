//! An example: trades the way out of Bollinger's bands.

use wigwag_plugin::ParamError;
use wigwag_plugin::indicators::{Bollinger, Cross, Crossing};

wigwag_plugin::strategy! {
    /// Buys where the close breaks out above the upper band, sells where it breaks out below the lower one.
    pub struct Breakout reads [Close];
    params(params) {
        /// Ticks in the average.
        period: u32 = 20, 2..=10_000;
        /// Half the width of the band, in standard deviations.
        deviations: f64 = 2.0, 0.1..=10.0;
    }
    series {
        /// Where the band begins.
        lower: over_price;
        /// The average.
        middle: over_price;
        /// Where the band ends.
        upper: over_price;
    }
    state {
        bands: Bollinger = Bollinger::try_new(params.period, params.deviations).map_err(ParamError::of("period"))?;
        above: Cross = Cross::new();
        below: Cross = Cross::new();
    }
    warm_up_ticks(state) { state.bands.warm_up_ticks() }
    on_tick(state, tick, out) {
        let close = tick.close();
        let bands = state.bands.update(close);
        out.values([bands.map(|b| b.lower), bands.map(|b| b.middle), bands.map(|b| b.upper)]);
        if state.above.update(bands.map(|b| close - b.upper)) == Some(Crossing::Up) {
            out.buy(0.5, "close broke out above the upper band");
        }
        if state.below.update(bands.map(|b| close - b.lower)) == Some(Crossing::Down) {
            out.sell(0.5, "close broke out below the lower band");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::Side;
    use wigwag_plugin::testing::{Trial, conformance};

    fn signals(closes: &[f64]) -> Vec<(u32, Side)> {
        let mut trial = Trial::<Breakout>::new(&[("period", 4.into()), ("deviations", 1.0.into())]);
        let output = trial.closes(closes);
        output.signals.iter().map(|s| (s.row, s.side)).collect()
    }

    #[test]
    fn it_keeps_the_contract() {
        conformance::<Breakout>(&[]);
        conformance::<Breakout>(&[("period", 2.into()), ("deviations", 0.5.into())]);
    }

    #[test]
    fn the_way_out_on_each_side_is_one_signal() {
        // Of 10, 11, 10, 11 the bands are 10 and 11; 13 is beyond, stays beyond, and 5 is beyond on the other side.
        let closes = [10.0, 11.0, 10.0, 10.5, 13.0, 15.0, 13.0, 5.0];
        assert_eq!(signals(&closes), [(4, Side::Buy), (7, Side::Sell)]);
    }

    #[test]
    fn a_price_that_never_moved_breaks_out_of_nothing_and_the_first_move_has_no_side_to_come_from()
    {
        assert_eq!(signals(&[10.0; 30]), []);
        assert_eq!(signals(&[10.0, 10.0, 10.0, 10.0, 10.0, 12.0]), []);
    }
}
