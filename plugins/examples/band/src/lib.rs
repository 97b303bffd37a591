//! An example to upload: trades the way back into a band around a moving average.

use wigwag_plugin::indicators::{Cross, Crossing, Ema, Seed};
use wigwag_plugin::{Column, Out, ParamError, Series, Strategy, Tick};

wigwag_plugin::params! {
    /// The parameters of `band`.
    #[derive(Debug, Clone, Copy)]
    pub struct Params {
        /// Ticks in the average.
        pub period: u32 = 50, 1..=10_000;
        /// Half the width of the band, in percent of the average.
        pub percent: f64 = 0.2, 0.0..=50.0;
    }
}

/// What is kept for one symbol.
#[derive(Debug, Clone)]
pub struct State {
    ema: Ema,
    lower: Cross,
    upper: Cross,
}
wigwag_plugin::snapshot!(State { ema, lower, upper });

/// Buys where the close comes back into the band from below, sells where it does from above.
#[derive(Debug)]
pub struct Band {
    width: f64,
    fresh: State,
}

impl Strategy for Band {
    const NAME: &'static str = "band";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Signals where the close comes back into a band around its average.";
    const COLUMNS: &'static [Column] = &[Column::Close];
    const SERIES: &'static [Series] = &[
        Series::over_price("lower", "Where the band begins."),
        Series::over_price("upper", "Where the band ends."),
    ];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        let ema = Ema::try_new(params.period, Seed::Sma)
            .map_err(|error| ParamError::new("period", error))?;
        let fresh = State {
            ema,
            lower: Cross::new(),
            upper: Cross::new(),
        };
        Ok(Self {
            width: params.percent / 100.0,
            fresh,
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        self.fresh.ema.warm_up_ticks()
    }

    fn state(&self) -> State {
        self.fresh.clone()
    }

    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        let close = tick.close();
        let ema = state.ema.update(close);
        let (lower, upper) = (
            ema.map(|ema| ema * (1.0 - self.width)),
            ema.map(|ema| ema * (1.0 + self.width)),
        );
        out.values([lower, upper]);
        if state.lower.update(lower.map(|lower| close - lower)) == Some(Crossing::Up) {
            out.buy(0.5, "close came back into the band from below");
        }
        if state.upper.update(upper.map(|upper| close - upper)) == Some(Crossing::Down) {
            out.sell(0.5, "close came back into the band from above");
        }
    }
}

wigwag_plugin::export!(Band);

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::Side;
    use wigwag_plugin::testing::{Trial, conformance};

    #[test]
    fn it_keeps_the_contract() {
        conformance::<Band>(&[]);
    }

    #[test]
    fn the_way_back_into_the_band_is_a_signal() {
        let mut trial = Trial::<Band>::new(&[("period", 3.into()), ("percent", 1.0.into())]);
        let output = trial.closes(&[100.0, 100.0, 100.0, 90.0, 95.0, 110.0, 103.0]);
        let signals: Vec<_> = output.signals.iter().map(|s| (s.row, s.side)).collect();
        assert_eq!(signals, [(4, Side::Buy), (6, Side::Sell)]);
    }
}
