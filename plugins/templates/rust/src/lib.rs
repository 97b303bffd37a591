use wigwag_plugin::indicators::{Cross, Crossing, Ema, Seed};

wigwag_plugin::strategy! {
    /// Signals where the close crosses its exponential average.
    pub struct Average reads [Close];
    params(params) {
        /// Ticks in the average.
        period: u32 = 20, 1..=10_000;
    }
    series {
        /// The average.
        ema: over_price;
    }
    state {
        ema: Ema = Ema::try_new(params.period, Seed::Sma).map_err(wigwag_plugin::ParamError::of("period"))?;
        cross: Cross = Cross::new();
    }
    warm_up_ticks(state) { state.ema.warm_up_ticks() }
    on_tick(state, tick, out) {
        let ema = state.ema.update(tick.close());
        out.values([ema]);
        match state.cross.update(ema.map(|ema| tick.close() - ema)) {
            Some(Crossing::Up) => out.buy(0.5, "close crossed above its average"),
            Some(Crossing::Down) => out.sell(0.5, "close crossed below its average"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::Side;
    use wigwag_plugin::testing::{Trial, conformance};

    #[test]
    fn it_keeps_the_contract() {
        conformance::<Average>(&[]);
    }

    #[test]
    fn a_crossing_is_a_signal() {
        let output = Trial::<Average>::new(&[("period", 3.into())]).closes(&[3.0, 2.0, 1.0, 4.0, 1.0]);
        let signals: Vec<_> = output.signals.iter().map(|signal| (signal.row, signal.side)).collect();
        assert_eq!(signals, [(3, Side::Buy), (4, Side::Sell)]);
    }
}
