//! The plugin `ma`: signals where the close crosses its simple moving average.

use wigwag_indicators::{Cross, Crossing, Sma};
use wigwag_plugin::{Column, Out, ParamError, Series, Strategy, Tick};

wigwag_plugin::params! {
    /// The parameters of `ma`.
    pub struct Params {
        /// Ticks in the average.
        pub period: u32 = 20, 1..=10_000;
    }
}

/// What is kept for one symbol.
#[derive(Debug, Clone)]
pub struct State {
    sma: Sma,
    cross: Cross,
}
wigwag_plugin::snapshot!(State { sma, cross });

/// Buys where the close crosses above the average, sells where it crosses below.
#[derive(Debug)]
pub struct Ma {
    fresh: State,
}

impl Strategy for Ma {
    const NAME: &'static str = "ma";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Signals where the close crosses its simple moving average.";
    const COLUMNS: &'static [Column] = &[Column::Close];
    const SERIES: &'static [Series] = &[Series::over_price("sma", "The simple moving average.")];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        let sma = Sma::try_new(params.period).map_err(|error| ParamError::new("period", error))?;
        Ok(Self {
            fresh: State {
                sma,
                cross: Cross::new(),
            },
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        self.fresh.sma.warm_up_ticks()
    }

    fn state(&self) -> State {
        self.fresh.clone()
    }

    #[inline(always)] // in a component a call costs more than what it calls
    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        let close = tick.close();
        let sma = state.sma.update(close);
        out.values([sma]);
        let Some(sma) = sma else { return };
        match state.cross.update(Some(close - sma)) {
            Some(Crossing::Up) => out.buy(
                strength(close, sma),
                "close crossed above the moving average",
            ),
            Some(Crossing::Down) => out.sell(
                strength(close, sma),
                "close crossed below the moving average",
            ),
            None => {}
        }
    }
}

/// How far past the average the crossing carried, in percent of the average, no more than 1.
fn strength(close: f64, average: f64) -> f64 {
    (100.0 * (close - average).abs() / average).min(1.0)
}

wigwag_plugin::export!(Ma);

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::testing::{Trial, conformance};
    use wigwag_plugin::{Instance, ParamValue, Side};

    fn signals(period: i64, closes: &[f64]) -> Vec<(u32, Side)> {
        let output = Trial::<Ma>::new(&[("period", period.into())]).closes(closes);
        output
            .signals
            .iter()
            .map(|signal| (signal.row, signal.side))
            .collect()
    }

    #[test]
    fn it_keeps_the_contract() {
        conformance::<Ma>(&[]);
        conformance::<Ma>(&[("period", 1.into())]);
    }

    #[test]
    fn a_crossing_is_one_signal_with_its_values() {
        let output =
            Trial::<Ma>::new(&[("period", 2.into())]).closes(&[10.0, 9.0, 8.0, 12.0, 13.0, 12.0]);
        assert_eq!(&output.values[1..], [9.5, 8.5, 10.0, 12.5, 12.5]);
        assert_eq!(output.signals.values, [10.0, 12.5]);
        let [buy, sell] = output.signals.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", output.signals)
        };
        assert_eq!((buy.row, buy.side, buy.strength), (3, Side::Buy, 1.0));
        assert_eq!(buy.reason, "close crossed above the moving average");
        assert_eq!((sell.row, sell.side, sell.strength), (5, Side::Sell, 1.0));
        assert_eq!(sell.reason, "close crossed below the moving average");
    }

    #[test]
    fn the_strength_is_the_distance_in_percent() {
        let output = Trial::<Ma>::new(&[("period", 2.into())]).closes(&[100.0, 99.0, 99.5]);
        assert_eq!(output.signals.strength, [100.0 * 0.25 / 99.25]);
    }

    #[test]
    fn the_first_side_is_no_signal() {
        assert_eq!(signals(2, &[10.0, 11.0, 12.0, 13.0]), []);
    }

    #[test]
    fn equality_is_no_crossing() {
        // Above, equal, above again; then equal and below.
        assert_eq!(signals(2, &[10.0, 11.0, 11.0, 12.0]), []);
        assert_eq!(signals(2, &[10.0, 11.0, 11.0, 10.0]), [(3, Side::Sell)]);
    }

    #[test]
    fn a_price_that_settles_does_not_cross_its_average() {
        let fall = [97.1, 96.91, 97.3, 96.93];
        let closes: Vec<f64> = fall.into_iter().chain([96.91; 60]).collect();
        assert_eq!(signals(3, &closes), [(3, Side::Sell)]);
        assert_eq!(signals(1, &closes), []);
    }

    #[test]
    fn a_period_outside_its_range_is_refused() {
        for (period, refusal) in [
            (ParamValue::Integer(0), "is 0"),
            (10_001.into(), "is 10001"),
            (2.5.into(), "is 2.5"),
        ] {
            let errors = Instance::<Ma>::with(&[("period", period)]).err().unwrap();
            assert_eq!(
                errors[0].message,
                format!("{refusal}; use a whole number from 1 to 10000")
            );
        }
    }
}
