//! An example without an opinion: draws what the other examples do not use, and begins its VWAP anew each UTC day. Shows the
//! time of a tick, all columns, and values without signals.

use wigwag_plugin::ParamError;
use wigwag_plugin::indicators::{Adx, Atr, FirstRange, Obv, Stochastic, Vwap};

/// Seconds of a session.
const DAY: f64 = 86_400.0;

wigwag_plugin::strategy! {
    /// Draws ATR, VWAP, OBV, stochastic and ADX; gives no signals.
    pub struct Panel reads [Time, High, Low, Close, Volume];
    params(params) {
        /// Ticks in the true range and in the directional index.
        period: u32 = 14, 1..=5_000;
        /// Ticks between whose highest and lowest price the stochastic looks for the close.
        stochastic: u32 = 5, 1..=10_000;
    }
    series {
        /// The average true range.
        atr: own_pane;
        /// The volume-weighted average price of the UTC day.
        vwap: over_price;
        /// The on-balance volume.
        obv: own_pane;
        /// The stochastic, over 3 ticks.
        k: own_pane;
        /// Its average over 3 ticks.
        d: own_pane;
        /// The average directional index.
        adx: own_pane;
        /// The share of rises in the range.
        plus_di: own_pane;
        /// The share of falls in the range.
        minus_di: own_pane;
    }
    state {
        atr: Atr = Atr::try_new(params.period, FirstRange::LeftOut).map_err(ParamError::of("period"))?;
        adx: Adx = Adx::try_new(params.period).map_err(ParamError::of("period"))?;
        stochastic: Stochastic =
            Stochastic::try_new(params.stochastic, 3, 3).map_err(ParamError::of("stochastic"))?;
        obv: Obv = Obv::new();
        vwap: Vwap = Vwap::new();
        day: f64 = 0.0;
    }
    warm_up_ticks(_state) { 1 }
    on_tick(state, tick, out) {
        let (high, low, close, volume) = (tick.high(), tick.low(), tick.close(), tick.volume());
        let day = (tick.time() / DAY).floor();
        if day > state.day {
            state.day = day;
            state.vwap.start_session();
        }
        let stochastic = state.stochastic.update(high, low, close);
        let adx = state.adx.update(high, low, close);
        out.values([
            state.atr.update(high, low, close),
            state.vwap.update(high, low, close, volume),
            state.obv.update(close, volume),
            stochastic.map(|lines| lines.k),
            stochastic.map(|lines| lines.d),
            adx.map(|lines| lines.adx),
            adx.map(|lines| lines.plus_di),
            adx.map(|lines| lines.minus_di),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::Batch;
    use wigwag_plugin::testing::{Trial, conformance};

    #[test]
    fn it_keeps_the_contract() {
        conformance::<Panel>(&[]);
        conformance::<Panel>(&[("period", 1.into()), ("stochastic", 1.into())]);
    }

    #[test]
    fn a_new_day_begins_a_new_vwap() {
        let prices = [10.0, 20.0, 40.0];
        let output = Trial::<Panel>::new(&[]).batch(Batch {
            symbol: vec![0; 3],
            time: vec![5.0 * DAY, 6.0 * DAY - 1.0, 6.0 * DAY],
            high: prices.into(),
            low: prices.into(),
            close: prices.into(),
            volume: vec![1.0; 3],
            wanted: vec![0, 1, 2],
            ..Batch::default()
        });
        let vwap: Vec<_> = output.values.chunks(8).map(|values| values[1]).collect();
        for (got, expected) in vwap.into_iter().zip([10.0, 15.0, 40.0]) {
            assert!(
                (got - expected).abs() < 1e-12,
                "{got} instead of {expected}"
            );
        }
    }
}
