//! The plugin `rsi`: signals where the relative strength index comes back from an extreme, or goes into one.

use wigwag_indicators::{Cross, Crossing, Rsi as Index, Smoothing};
use wigwag_plugin::{Column, Out, ParamError, Series, Strategy, Tick};

wigwag_plugin::params! {
    /// The parameters of `rsi`.
    #[derive(Debug, Clone, Copy)]
    pub struct Params {
        /// Changes in the averages.
        pub period: u32 = 14, 1..=10_000;
        /// How gains and losses are averaged: Wilder's way, as plain means, or as plain means with a change of 0 first.
        pub smoothing: Smoothing = Smoothing::Wilder, [
            ("wilder", Smoothing::Wilder), ("cutler", Smoothing::Cutler), ("cutler-zero", Smoothing::CutlerZero),
        ];
        /// Buys where the index rises through this level.
        pub oversold: f64 = 30.0, 0.0..=100.0;
        /// Sells where the index falls through this level; above `oversold`.
        pub overbought: f64 = 70.0, 0.0..=100.0;
    }
}

/// What is kept for one symbol.
#[derive(Debug, Clone)]
pub struct State {
    index: Index,
    oversold: Cross,
    overbought: Cross,
}
wigwag_plugin::snapshot!(State {
    index,
    oversold,
    overbought
});

/// Buys where the index rises through `oversold`, sells where it falls through `overbought`.
#[derive(Debug)]
pub struct Rsi {
    params: Params,
    fresh: State,
}

impl Strategy for Rsi {
    const NAME: &'static str = "rsi";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str =
        "Signals where the relative strength index leaves its oversold or overbought range.";
    const COLUMNS: &'static [Column] = &[Column::Close];
    const SERIES: &'static [Series] = &[Series::own_pane(
        "rsi",
        "The relative strength index, 0 to 100.",
    )];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        let Params {
            period,
            smoothing,
            oversold,
            overbought,
        } = params;
        if oversold >= overbought {
            let message =
                format!("is {oversold}; use less than \"overbought\", which is {overbought}");
            return Err(ParamError::new("oversold", message));
        }
        let index =
            Index::try_new(period, smoothing).map_err(|error| ParamError::new("period", error))?;
        Ok(Self {
            params,
            fresh: State {
                index,
                oversold: Cross::new(),
                overbought: Cross::new(),
            },
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        self.fresh.index.warm_up_ticks()
    }

    fn state(&self) -> State {
        self.fresh.clone()
    }

    #[inline(always)] // in a component a call costs more than what it calls
    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        let index = state.index.update(tick.close());
        out.values([index]);
        // Both sides are kept where there is no index.
        let Some(index) = index else { return };
        let Params {
            oversold,
            overbought,
            ..
        } = self.params;
        // The strength is how much of the way from the level to the far end of the scale the crossing went.
        if state.oversold.update(Some(index - oversold)) == Some(Crossing::Up) {
            out.buy(
                (index - oversold) / (100.0 - oversold),
                "rsi rose through the oversold level",
            );
        }
        if state.overbought.update(Some(index - overbought)) == Some(Crossing::Down) {
            out.sell(
                (overbought - index) / overbought,
                "rsi fell through the overbought level",
            );
        }
    }
}

wigwag_plugin::export!(Rsi);

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::testing::{Trial, conformance};
    use wigwag_plugin::{Instance, Output, ParamValue, Side};

    const CUTLER_2: [(&str, ParamValue); 1] = [("period", ParamValue::Integer(2))];

    fn run(smoothing: &str, closes: &[f64]) -> Output {
        let [period] = CUTLER_2;
        Trial::<Rsi>::new(&[period, ("smoothing", smoothing.into())]).closes(closes)
    }

    fn signals(closes: &[f64]) -> Vec<(u32, Side)> {
        run("cutler", closes)
            .signals
            .iter()
            .map(|signal| (signal.row, signal.side))
            .collect()
    }

    #[test]
    fn it_keeps_the_contract() {
        for smoothing in ["wilder", "cutler", "cutler-zero"] {
            conformance::<Rsi>(&[("smoothing", smoothing.into())]);
        }
        conformance::<Rsi>(&[("period", 1.into())]);
    }

    #[test]
    fn leaving_an_extreme_is_one_signal_with_its_values() {
        // Changes -1 -1 +1 +1 +1 -1 -1: the index is 0, 50, 100, 100, 50, 0.
        let output = run("cutler", &[10.0, 9.0, 8.0, 9.0, 10.0, 11.0, 10.0, 9.0]);
        assert_eq!(&output.values[2..], [0.0, 50.0, 100.0, 100.0, 50.0, 0.0]);
        assert_eq!(output.signals.values, [50.0, 50.0]);
        let [buy, sell] = output.signals.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", output.signals)
        };
        assert_eq!(
            (buy.row, buy.side, buy.strength),
            (3, Side::Buy, 20.0 / 70.0)
        );
        assert_eq!(buy.reason, "rsi rose through the oversold level");
        assert_eq!(
            (sell.row, sell.side, sell.strength),
            (6, Side::Sell, 20.0 / 70.0)
        );
        assert_eq!(sell.reason, "rsi fell through the overbought level");
    }

    #[test]
    fn going_into_an_extreme_is_no_signal() {
        assert_eq!(signals(&[10.0, 11.0, 10.0, 9.0, 8.0]), []);
        assert_eq!(signals(&[10.0, 9.0, 10.0, 11.0, 12.0]), []);
    }

    #[test]
    fn equality_is_no_crossing() {
        // Changes -7 +3 give 30 exactly; then -7 again stays on the level, and +4 leaves it upwards.
        assert_eq!(signals(&[100.0, 95.0, 88.0, 91.0, 84.0]), []);
        assert_eq!(signals(&[100.0, 95.0, 88.0, 91.0, 95.0]), [(4, Side::Buy)]);
    }

    #[test]
    fn a_flat_price_has_no_value_and_keeps_the_side() {
        let output = run("cutler", &[10.0, 9.0, 8.0, 8.0, 8.0, 8.0, 9.0]);
        assert_eq!(output.values[3], 0.0);
        assert!(output.values[4..6].iter().all(|value| value.is_nan()));
        let rows: Vec<_> = output
            .signals
            .iter()
            .map(|signal| (signal.row, signal.side))
            .collect();
        assert_eq!(rows, [(6, Side::Buy)]);
    }

    #[test]
    fn the_smoothing_decides_the_value_and_when_it_comes() {
        let closes = [10.0, 12.0, 11.0, 12.0];
        let [wilder, cutler, zero] =
            ["wilder", "cutler", "cutler-zero"].map(|smoothing| run(smoothing, &closes).values);
        assert_eq!(
            [wilder[1].is_nan(), cutler[1].is_nan(), zero[1].is_nan()],
            [true, true, false]
        );
        assert_eq!([wilder[3], cutler[3], zero[3]], [80.0, 50.0, 50.0]);
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused_by_name() {
        for (oversold, overbought) in [(70.0, 30.0), (50.0, 50.0)] {
            let params = [
                ("oversold", oversold.into()),
                ("overbought", overbought.into()),
            ];
            let errors = Instance::<Rsi>::with(&params).err().unwrap();
            assert_eq!(
                errors[0].to_string(),
                format!(
                    "parameter \"oversold\" is {oversold}; use less than \"overbought\", which is {overbought}"
                )
            );
        }
    }

    #[test]
    fn parameters_outside_their_rules_are_refused() {
        let params = [
            ("period", 0.into()),
            ("smoothing", "ema".into()),
            ("overbought", 100.5.into()),
        ];
        let errors: Vec<_> = Instance::<Rsi>::with(&params)
            .err()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            errors,
            [
                r#"parameter "period" is 0; use a whole number from 1 to 10000"#,
                r#"parameter "smoothing" is "ema"; use "wilder" or "cutler" or "cutler-zero""#,
                r#"parameter "overbought" is 100.5; use a number from 0 to 100"#,
            ]
        );
    }
}
