//! An example: two indicators that must agree, news and orders that may object. Shows events, a state that mixes them with
//! ticks, and the whole trait.

use wigwag_plugin::indicators::{Cross, Crossing, Ema, Rsi, Seed, Smoothing};
use wigwag_plugin::{
    Column, Event, EventBody, EventKind, Out, ParamError, Series, Side, Strategy, Tick,
};

wigwag_plugin::params! {
    /// The parameters of `confluence`.
    #[derive(Debug, Clone, Copy)]
    pub struct Params {
        /// Ticks in the average whose crossing starts it.
        period: u32 = 20, 1..=10_000;
        /// Changes in the relative strength index.
        rsi_period: u32 = 14, 1..=9_999;
        /// Where the index is too high to buy; as far from 0 it is too low to sell.
        overbought: f64 = 70.0, 50.0..=100.0;
        /// How bad the mood of the news, or the pressure of the orders, must be to object: 0 to 1.
        objection: f64 = 0.3, 0.0..=1.0;
        /// News, and orders, of a symbol after which a third of what came before is left.
        memory: f64 = 5.0, 0.1..=1_000.0;
    }
}

/// What is kept for one symbol.
#[derive(Debug, Clone)]
pub struct State {
    ema: Ema,
    rsi: Rsi,
    cross: Cross,
    /// -1 to 1; none before the first news.
    mood: Option<f64>,
    bid: f64,
    asked: f64,
}
wigwag_plugin::snapshot!(State {
    ema,
    rsi,
    cross,
    mood,
    bid,
    asked
});

/// Buys where the close crosses above its average while the index is not overbought, unless news or orders are against
/// it; sells the other way round.
#[derive(Debug)]
pub struct Confluence {
    params: Params,
    /// What is left of the past after one more of its kind.
    decay: f64,
    fresh: State,
}

impl Strategy for Confluence {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str =
        "Crossings of an average that RSI, news and orders do not object to.";
    const COLUMNS: &'static [Column] = &[Column::Close];
    const EVENTS: &'static [EventKind] = &[EventKind::NewsSentiment, EventKind::OrderBook];
    const SERIES: &'static [Series] = &[
        Series::over_price("ema", "The average."),
        Series::own_pane("rsi", "The relative strength index, 0 to 100."),
        Series::own_pane("mood", "The tone of the news, -1 to 1."),
        Series::own_pane("pressure", "Orders to buy against orders to sell, -1 to 1."),
    ];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        let fresh = State {
            ema: Ema::try_new(params.period, Seed::Sma).map_err(ParamError::of("period"))?,
            rsi: Rsi::try_new(params.rsi_period, Smoothing::Wilder)
                .map_err(ParamError::of("rsi_period"))?,
            cross: Cross::new(),
            mood: None,
            bid: 0.0,
            asked: 0.0,
        };
        let decay = params.memory / (params.memory + 1.0);
        Ok(Self {
            params,
            decay,
            fresh,
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        let State { ema, rsi, .. } = &self.fresh;
        ema.warm_up_ticks().min(rsi.warm_up_ticks())
    }

    fn state(&self) -> State {
        self.fresh.clone()
    }

    fn on_event(&mut self, state: Option<&mut State>, event: &Event) {
        let Some(state) = state else { return };
        match &event.body {
            EventBody::NewsSentiment(news) => {
                let score = news.score * news.magnitude;
                state.mood = Some(score + self.decay * (state.mood.unwrap_or(score) - score));
            }
            EventBody::OrderBook(order) => {
                let (bid, asked) = match order.side {
                    Side::Buy => (order.quantity, 0.0),
                    Side::Sell => (0.0, order.quantity),
                };
                state.bid = bid + self.decay * state.bid;
                state.asked = asked + self.decay * state.asked;
            }
            _ => {}
        }
    }

    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        let close = tick.close();
        let (ema, rsi) = (state.ema.update(close), state.rsi.update(close));
        let pressure = state.pressure();
        if ema.is_some() || rsi.is_some() {
            // A strategy is warm as a whole: before that no series has a value.
            out.values([ema, rsi, state.mood, pressure]);
        }
        let crossing = state.cross.update(ema.map(|ema| close - ema));
        let (Some(crossing), Some(rsi)) = (crossing, rsi) else {
            return;
        };
        let (mood, pressure) = (state.mood.unwrap_or(0.0), pressure.unwrap_or(0.0));
        let support = match crossing {
            Crossing::Up => mood.min(pressure),
            Crossing::Down => -mood.max(pressure),
        };
        if support < -self.params.objection {
            return;
        }
        let strength = (0.5 + 0.5 * support).clamp(0.0, 1.0);
        match crossing {
            Crossing::Up if rsi < self.params.overbought => {
                out.buy(
                    strength,
                    "close crossed above its average, and nothing objects",
                );
            }
            Crossing::Down if rsi > 100.0 - self.params.overbought => {
                out.sell(
                    strength,
                    "close crossed below its average, and nothing objects",
                );
            }
            _ => {}
        }
    }
}

impl State {
    /// None while there were no orders.
    fn pressure(&self) -> Option<f64> {
        let all = self.bid + self.asked;
        (all > 0.0 && all.is_finite()).then(|| (self.bid - self.asked) / all)
    }
}

wigwag_plugin::export!(Confluence);

#[cfg(test)]
mod tests {
    use super::*;
    use wigwag_plugin::testing::{Trial, conformance};
    use wigwag_plugin::{NewsSentiment, OrderBook};

    /// Below its average, then above it.
    const FALL: [f64; 3] = [10.0, 9.0, 8.0];
    const RISE: [f64; 1] = [9.5];

    fn trial() -> Trial<Confluence> {
        let mut trial = Trial::new(&[("period", 2.into()), ("rsi_period", 2.into())]);
        trial.closes(&FALL);
        trial
    }

    fn news(score: f64) -> EventBody {
        EventBody::NewsSentiment(NewsSentiment {
            score,
            magnitude: 1.0,
        })
    }

    fn order(side: Side, quantity: f64) -> EventBody {
        EventBody::OrderBook(OrderBook {
            side,
            price: 9.0,
            quantity,
        })
    }

    fn after(events: &[EventBody]) -> Option<f64> {
        let mut trial = trial();
        events.iter().for_each(|event| trial.event(event.clone()));
        let output = trial.closes(&RISE);
        let signal = output.signals.iter().next()?;
        assert_eq!(signal.side, Side::Buy);
        Some(signal.strength)
    }

    #[test]
    fn it_keeps_the_contract() {
        conformance::<Confluence>(&[]);
        conformance::<Confluence>(&[("objection", 1.0.into()), ("period", 3.into())]);
    }

    #[test]
    fn without_news_and_orders_the_indicators_decide() {
        assert_eq!(after(&[]), Some(0.5));
    }

    #[test]
    fn bad_news_or_many_sellers_object_and_good_ones_strengthen() {
        assert_eq!(after(&[news(-0.5)]), None);
        assert_eq!(after(&[order(Side::Sell, 3.0)]), None);
        assert_eq!(after(&[news(1.0), order(Side::Buy, 3.0)]), Some(1.0));
        // Half of the weaker of the two on top of one half.
        assert_eq!(after(&[news(0.2), order(Side::Buy, 3.0)]), Some(0.6));
    }

    #[test]
    fn an_overbought_index_buys_nothing() {
        let mut trial = Trial::<Confluence>::new(&[
            ("period", 2.into()),
            ("rsi_period", 2.into()),
            ("overbought", 50.0.into()),
        ]);
        let output = trial.closes(&[&FALL[..], &[20.0]].concat());
        assert_eq!(output.signals.len(), 0);
    }

    #[test]
    fn old_news_is_forgotten() {
        let mut events = vec![news(-1.0)];
        events.extend((0..30).map(|_| news(0.0)));
        assert!(after(&events).is_some_and(|strength| (0.49..0.5).contains(&strength)));
    }
}
