//! What the SDK promises of any strategy, on one that uses all of it.

use wigwag_plugin::testing::conformance;
use wigwag_plugin::{
    Batch, Column, Description, EconomicIndicator, Event, EventBody, EventKind, Instance,
    NewsSentiment, Out, ParamError, ParamValue, RestoreError, Series, Side, Snapshot, Strategy,
    Symbol, Tick,
};

wigwag_plugin::params! {
    struct Params {
        /// What a close must be above.
        level: f64 = 10.0, 0.0..=100.0;
    }
}

#[derive(Default)]
struct State {
    ticks: u32,
    mood: f64,
}
wigwag_plugin::snapshot!(State { ticks, mood });

/// Buys each tick above the level; its series are the ticks of the symbol, its mood, and the interest rate, which belongs
/// to no symbol.
struct Probe {
    level: f64,
    names: Vec<String>,
    rate: f64,
}

impl Strategy for Probe {
    const NAME: &'static str = "probe";
    const VERSION: &'static str = "1.2.3";
    const HELP: &'static str = "Buys above a level.";
    const COLUMNS: &'static [Column] = &[Column::Close, Column::Time];
    const EVENTS: &'static [EventKind] = &[EventKind::NewsSentiment, EventKind::EconomicIndicator];
    const SERIES: &'static [Series] = &[
        Series::own_pane("ticks", "Ticks so far."),
        Series::own_pane("mood", "The last score."),
        Series::own_pane("rate", "The interest rate."),
    ];
    type Params = Params;
    type State = State;

    fn new(params: Params) -> Result<Self, ParamError> {
        Ok(Self {
            level: params.level,
            names: Vec::new(),
            rate: 0.0,
        })
    }

    fn warm_up_ticks(&self) -> u32 {
        1
    }

    fn state(&self) -> State {
        State::default()
    }

    fn on_tick(&mut self, state: &mut State, tick: &Tick<Self>, out: &mut Out<'_, Self>) {
        state.ticks += 1;
        if tick.close() > self.level {
            // Before the values, which it still carries.
            out.buy(0.5, "above the level");
        }
        if tick.time() < 0.0 {
            let Symbol(symbol) = tick.symbol();
            out.sell(
                1.0,
                format!("{} ticked before the epoch", self.names[symbol as usize]),
            );
        }
        let mood = (state.mood != 0.0).then_some(state.mood);
        out.values([Some(f64::from(state.ticks)), mood, Some(self.rate)]);
    }

    fn on_event(&mut self, state: Option<&mut State>, event: &Event) {
        match (state, &event.body) {
            (Some(state), EventBody::NewsSentiment(news)) => state.mood = news.score,
            (None, EventBody::EconomicIndicator(indicator)) => self.rate = indicator.value,
            other => panic!("{:?} of no such symbol", other.1),
        }
    }

    fn define_symbol(&mut self, _: Symbol, name: &str) {
        self.names.push(name.into());
    }

    fn snapshot_shared(&self, bytes: &mut Vec<u8>) {
        self.rate.snapshot(bytes);
    }

    fn restore_shared(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        self.rate.restore(bytes)
    }
}

wigwag_plugin::export!(Probe);

fn probe() -> Instance<Probe> {
    let mut instance = Instance::with(&[]).expect("the defaults are sound");
    instance.define_symbols(0, &["A".into(), "B".into()]);
    instance.define_symbols(2, &["C".into()]);
    instance
}

fn closes(symbols: &[u32], close: &[f64]) -> Batch {
    Batch {
        symbol: symbols.into(),
        time: vec![1.0; symbols.len()],
        close: close.into(),
        wanted: (0..symbols.len() as u32).collect(),
        ..Batch::default()
    }
}

#[test]
fn the_probe_keeps_the_contract() {
    conformance::<Probe>(&[]);
    conformance::<Probe>(&[("level", 0.0.into())]);
}

#[test]
fn the_description_is_what_was_declared() {
    let description = Description::of::<Probe>();
    assert_eq!((description.name, description.version), ("probe", "1.2.3"));
    assert_eq!(description.columns, [Column::Close, Column::Time]);
    assert_eq!(description.params[0].name, "level");
    assert_eq!(description.series[1].name, "mood");
}

#[test]
fn each_symbol_has_its_own_state() {
    let output = probe().on_batch(&closes(&[0, 2, 0, 0], &[1.0; 4]));
    let ticks: Vec<_> = output.values.chunks(3).map(|row| row[0]).collect();
    assert_eq!(ticks, [1.0, 1.0, 2.0, 3.0]);
}

#[test]
fn only_wanted_rows_give_values_and_every_signal_carries_its_own() {
    let mut batch = closes(&[0, 0, 0, 1], &[1.0, 11.0, 12.0, 13.0]);
    batch.wanted = vec![0, 3];
    let output = probe().on_batch(&batch);
    let ticks: Vec<_> = output.values.chunks(3).map(|row| row[0]).collect();
    assert_eq!(ticks, [1.0, 1.0]);
    let signals: Vec<_> = output
        .signals
        .iter()
        .map(|signal| (signal.row, signal.values[0]))
        .collect();
    assert_eq!(signals, [(1, 2.0), (2, 3.0), (3, 1.0)]);
    assert!(
        output
            .signals
            .iter()
            .all(|signal| signal.values[1].is_nan())
    );
}

#[test]
fn a_constant_reason_is_told_once_and_a_made_up_one_as_it_is() {
    let mut batch = closes(&[0, 1, 1], &[11.0, 12.0, 13.0]);
    batch.time[2] = -1.0;
    let signals = probe().on_batch(&batch).signals;
    assert_eq!(
        (signals.row.as_slice(), signals.opinions.len()),
        ([0, 1, 2, 2].as_slice(), 2)
    );
    let last = signals.iter().last().expect("there are signals");
    assert_eq!(
        (last.side, last.strength, last.reason),
        (Side::Sell, 1.0, "B ticked before the epoch")
    );
}

#[test]
fn events_come_before_their_row_and_the_last_after_all_rows() {
    let event = |row, symbol: Option<u32>, body| Event {
        row,
        symbol: symbol.map(Symbol),
        time: 1.0,
        body,
    };
    let news = |score| {
        EventBody::NewsSentiment(NewsSentiment {
            score,
            magnitude: 1.0,
        })
    };
    let rate = |value| {
        EventBody::EconomicIndicator(EconomicIndicator {
            name: "rate".into(),
            value,
        })
    };
    let mut batch = closes(&[0, 0], &[1.0; 2]);
    batch.events = vec![
        event(0, Some(0), news(0.25)),
        event(1, None, rate(4.5)),
        event(2, Some(0), news(-1.0)),
    ];
    let mut instance = probe();
    assert_eq!(
        instance.on_batch(&batch).values,
        [1.0, 0.25, 0.0, 2.0, 0.25, 4.5]
    );
    assert_eq!(
        instance.on_batch(&closes(&[0], &[1.0])).values,
        [3.0, -1.0, 4.5]
    );
}

#[test]
fn a_symbol_that_was_never_seen_has_an_empty_snapshot_and_stays_so() {
    let mut instance = probe();
    instance.on_batch(&closes(&[1], &[1.0]));
    let snapshots = instance.snapshot(&[0, 1, 2, 77]);
    assert_eq!(
        snapshots.iter().map(Vec::is_empty).collect::<Vec<_>>(),
        [true, false, true, true]
    );
    let mut restored = probe();
    assert_eq!(
        restored.restore(&[(0, vec![]), (1, snapshots[1].clone())]),
        Ok(())
    );
    assert_eq!(restored.snapshot(&[0, 1, 2, 77]), snapshots);
}

#[test]
fn the_shared_state_survives() {
    let mut instance = probe();
    instance
        .restore_shared(&4.5f64.to_le_bytes())
        .expect("eight bytes are a rate");
    assert_eq!(instance.snapshot_shared(), 4.5f64.to_le_bytes());
}

#[test]
fn bytes_that_are_no_state_are_refused_with_the_reason() {
    let good = {
        let mut instance = probe();
        instance.on_batch(&closes(&[0], &[1.0]));
        instance.snapshot(&[0]).remove(0)
    };
    let refusal = |symbol, bytes: &[u8]| probe().restore(&[(symbol, bytes.to_vec())]).unwrap_err();
    assert_eq!(
        refusal(0, &good[..good.len() - 1]),
        "the state of symbol 0: the snapshot ends early: 8 more bytes needed, 7 left"
    );
    assert_eq!(
        refusal(0, &[good.as_slice(), &[0, 0]].concat()),
        "the state of symbol 0: the snapshot goes on for 2 bytes after its end"
    );
    assert_eq!(
        refusal(0, &[9, 0]),
        "the state of symbol 0 is of format 9; this plugin reads format 1"
    );
    assert_eq!(refusal(7, &good), "symbol 7 has a state, but was not named");
    assert_eq!(
        probe().restore_shared(&[1]).unwrap_err(),
        "the shared state: the snapshot ends early: 8 more bytes needed, 1 left"
    );
}

#[test]
fn a_parameter_outside_its_rule_is_refused() {
    let errors = Instance::<Probe>::with(&[("level", ParamValue::Number(-1.0))])
        .err()
        .expect("it is refused");
    assert_eq!(
        errors[0].to_string(),
        r#"parameter "level" is -1.0; use a number from 0 to 100"#
    );
}

#[test]
#[should_panic(expected = "symbol 3 was used before it was named")]
fn a_row_of_a_symbol_without_a_name_panics_and_says_so() {
    probe().on_batch(&closes(&[3], &[1.0]));
}

#[test]
#[should_panic(expected = "column close has 1 entries for 2 rows")]
fn a_column_that_is_too_short_panics_and_says_so() {
    let mut batch = closes(&[0, 1], &[1.0]);
    batch.wanted.clear();
    probe().on_batch(&batch);
}

/// Counts in a field that it does not snapshot.
struct Forgetful {
    ticks: u32,
}

impl Strategy for Forgetful {
    const NAME: &'static str = "forgetful";
    const VERSION: &'static str = "1.0.0";
    const HELP: &'static str = "Forgets.";
    const COLUMNS: &'static [Column] = &[];
    const SERIES: &'static [Series] = &[Series::own_pane("ticks", "Ticks of all symbols.")];
    type Params = Params;
    type State = ();

    fn new(_: Params) -> Result<Self, ParamError> {
        Ok(Self { ticks: 0 })
    }

    fn warm_up_ticks(&self) -> u32 {
        1
    }

    fn state(&self) {}

    fn on_tick(&mut self, (): &mut (), _: &Tick<Self>, out: &mut Out<'_, Self>) {
        self.ticks += 1;
        out.values([Some(f64::from(self.ticks))]);
    }
}

#[test]
#[should_panic(expected = "the output changes when cut at [1], restored: true")]
fn a_state_that_is_not_in_the_snapshot_is_found_out() {
    conformance::<Forgetful>(&[]);
}
