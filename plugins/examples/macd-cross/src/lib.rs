//! An example: trades where the MACD crosses its signal line.

use wigwag_plugin::ParamError;
use wigwag_plugin::indicators::{Align, Cross, Crossing, Macd};

wigwag_plugin::strategy! {
    /// Buys where the MACD crosses above its signal line, sells where it crosses below.
    pub struct MacdCross reads [Close];
    params(params) {
        /// Ticks in the fast average.
        fast: u32 = 12, 1..=10_000;
        /// Ticks in the slow average.
        slow: u32 = 26, 2..=10_000;
        /// Ticks in the signal line.
        signal: u32 = 9, 1..=10_000;
    }
    series {
        /// The fast average less the slow one.
        macd: own_pane;
        /// The average of the MACD.
        signal_line: own_pane;
        /// What is between them.
        histogram: own_pane;
    }
    state {
        macd: Macd = macd(&params)?;
        cross: Cross = Cross::new();
    }
    warm_up_ticks(state) { state.macd.warm_up_ticks() }
    on_tick(state, tick, out) {
        let lines = state.macd.update(tick.close());
        out.values([lines.map(|l| l.macd), lines.map(|l| l.signal), lines.map(|l| l.histogram)]);
        // A crossing well away from zero goes against a trend that is worn: it counts for more.
        let strength = lines.map_or(0.0, |l| (100.0 * l.macd.abs() / tick.close()).min(1.0));
        match state.cross.update(lines.map(|l| l.histogram)) {
            Some(Crossing::Up) => out.buy(strength, "MACD crossed above its signal line"),
            Some(Crossing::Down) => out.sell(strength, "MACD crossed below its signal line"),
            None => {}
        }
    }
}

/// Each period within its range is accepted; what remains is how they stand to each other.
fn macd(params: &Params) -> Result<Macd, ParamError> {
    if params.fast >= params.slow {
        let rule = format!("is {}; use less than slow, {}", params.fast, params.slow);
        return Err(ParamError::new("fast", rule));
    }
    Macd::try_new(params.fast, params.slow, params.signal, Align::TaLib)
        .map_err(ParamError::of("fast"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::testing::{Trial, conformance};
    use wigwag_plugin::{Instance, Side};

    #[test]
    fn it_keeps_the_contract() {
        conformance::<MacdCross>(&[]);
        conformance::<MacdCross>(&[("fast", 1.into()), ("slow", 2.into()), ("signal", 1.into())]);
    }

    #[test]
    fn a_crossing_is_a_signal_with_all_three_lines() {
        let periods = [("fast", 1.into()), ("slow", 3.into()), ("signal", 2.into())];
        let output = Trial::<MacdCross>::new(&periods).closes(&[2.0, 4.0, 9.0, 7.0, 13.0]);
        // By hand: the MACD is 4, 1, 3.5; its signal line 2.5, then 2.5 + 2/3 of 1 = 3.1666...
        let [buy] = output.signals.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", output.signals)
        };
        assert_eq!((buy.row, buy.side, buy.strength), (4, Side::Buy, 1.0));
        assert_eq!(buy.values[0], 3.5);
        assert!((buy.values[1] - 19.0 / 6.0).abs() < 1e-12);
        assert!((buy.values[2] - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_fast_period_that_is_not_the_shorter_is_refused_by_name() {
        let periods = [("fast", 26.into()), ("slow", 26.into())];
        let errors = Instance::<MacdCross>::with(&periods).err().unwrap();
        assert_eq!(
            errors[0].to_string(),
            r#"parameter "fast" is 26; use less than slow, 26"#
        );
    }
}
