//! The plugin `ema`: signals where the close crosses its exponential moving average.

use wigwag_indicators::{Cross, Crossing, Ema, Seed};
use wigwag_plugin::{Column, Out, ParamError, Series, Strategy, Tick};

wigwag_plugin::params! {
    /// The parameters of `ema`.
    pub struct Params {
        /// Ticks in the average.
        pub period: u32 = 20, 1..=10_000;
        /// What the average starts from: the first close, or the mean of the first `period` closes.
        pub seed: Seed = Seed::First, [("first", Seed::First), ("sma", Seed::Sma)];
    }
}

/// What is kept for one symbol.
#[derive(Debug, Clone)]
pub struct State {
    ema: Ema,
    cross: Cross,
}
wigwag_plugin::snapshot!(State { ema, cross });

/// Buys where the close crosses above the average, sells where it crosses below.
#[derive(Debug)]
pub struct ExponentialMa {
    fresh: State,
}

impl Strategy for ExponentialMa {
    const NAME: &'static str = "ema";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Signals where the close crosses its exponential moving average.";
    const COLUMNS: &'static [Column] = &[Column::Close];
    const SERIES: &'static [Series] =
        &[Series::over_price("ema", "The exponential moving average.")];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        let ema = Ema::try_new(params.period, params.seed)
            .map_err(|error| ParamError::new("period", error))?;
        Ok(Self {
            fresh: State {
                ema,
                cross: Cross::new(),
            },
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        self.fresh.ema.warm_up_ticks()
    }

    fn state(&self) -> State {
        self.fresh.clone()
    }

    #[inline(always)] // in a component a call costs more than what it calls
    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        let close = tick.close();
        let ema = state.ema.update(close);
        out.values([ema]);
        let Some(ema) = ema else { return };
        match state.cross.update(Some(close - ema)) {
            Some(Crossing::Up) => out.buy(
                strength(close, ema),
                "close crossed above the exponential moving average",
            ),
            Some(Crossing::Down) => out.sell(
                strength(close, ema),
                "close crossed below the exponential moving average",
            ),
            None => {}
        }
    }
}

/// How far past the average the crossing carried, in percent of the average, no more than 1.
fn strength(close: f64, average: f64) -> f64 {
    (100.0 * (close - average).abs() / average).min(1.0)
}

wigwag_plugin::export!(ExponentialMa);

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::testing::{Trial, conformance};
    use wigwag_plugin::{Instance, Output, Side};

    fn run(period: i64, seed: &str, closes: &[f64]) -> Output {
        Trial::<ExponentialMa>::new(&[("period", period.into()), ("seed", seed.into())])
            .closes(closes)
    }

    fn signals(period: i64, seed: &str, closes: &[f64]) -> Vec<(u32, Side)> {
        run(period, seed, closes)
            .signals
            .iter()
            .map(|signal| (signal.row, signal.side))
            .collect()
    }

    #[test]
    fn it_keeps_the_contract() {
        conformance::<ExponentialMa>(&[]);
        conformance::<ExponentialMa>(&[("seed", "sma".into())]);
        conformance::<ExponentialMa>(&[("period", 1.into())]);
    }

    #[test]
    fn a_crossing_is_one_signal_with_its_values() {
        let output = run(3, "first", &[10.0, 8.0, 12.0, 13.0, 4.0]);
        assert_eq!(output.values, [10.0, 9.0, 10.5, 11.75, 7.875]);
        assert_eq!(output.signals.values, [10.5, 7.875]);
        let [buy, sell] = output.signals.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", output.signals)
        };
        assert_eq!((buy.row, buy.side, buy.strength), (2, Side::Buy, 1.0));
        assert_eq!(
            buy.reason,
            "close crossed above the exponential moving average"
        );
        assert_eq!((sell.row, sell.side, sell.strength), (4, Side::Sell, 1.0));
        assert_eq!(
            sell.reason,
            "close crossed below the exponential moving average"
        );
    }

    #[test]
    fn the_seed_decides_when_the_first_value_comes() {
        let closes = [10.0, 8.0, 12.0, 13.0];
        assert_eq!(run(3, "first", &closes).values, [10.0, 9.0, 10.5, 11.75]);
        let values = run(3, "sma", &closes).values;
        assert!(values[0].is_nan() && values[1].is_nan());
        assert_eq!(&values[2..], [10.0, 11.5]);
    }

    #[test]
    fn equality_is_no_crossing() {
        // The average of 3 ticks meets a close of 10 where it was 10.
        assert_eq!(signals(3, "first", &[10.0, 12.0, 11.0, 12.0]), []);
        assert_eq!(
            signals(3, "first", &[10.0, 12.0, 11.0, 10.0]),
            [(3, Side::Sell)]
        );
        assert_eq!(signals(3, "first", &[10.0; 9]), []);
    }

    #[test]
    fn a_price_that_settles_does_not_cross_its_average() {
        let closes: Vec<f64> = [97.3, 97.1, 96.93]
            .into_iter()
            .chain([96.91; 5000])
            .collect();
        assert_eq!(signals(20, "first", &closes), []);
    }

    #[test]
    fn parameters_outside_their_rules_are_refused() {
        let errors =
            Instance::<ExponentialMa>::with(&[("period", 0.into()), ("seed", "last".into())])
                .err()
                .unwrap();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                r#"parameter "period" is 0; use a whole number from 1 to 10000"#,
                r#"parameter "seed" is "last"; use "first" or "sma""#,
            ]
        );
    }
}
