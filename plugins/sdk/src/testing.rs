//! For the tests of a plugin, natively: feed ticks, look at signals and values, and check the laws of the contract.

use crate::{
    Batch, Description, EconomicIndicator, Event, EventBody, EventKind, Instance, MarketData,
    NewsSentiment, Opinion, OrderBook, Output, ParamKind, ParamValue, Side, Signal, Strategy,
    Symbol,
};

/// One symbol, fed tick by tick.
pub struct Trial<S: Strategy> {
    instance: Instance<S>,
}

impl<S: Strategy> Trial<S> {
    /// A trial with these parameters, and the defaults of the others.
    ///
    /// # Panics
    ///
    /// Where a parameter is refused; [`Instance::with`] gives the errors.
    pub fn new(params: &[(&str, ParamValue)]) -> Self {
        let mut instance = Instance::with(params).unwrap_or_else(|errors| panic!("{errors:?}"));
        instance.define_symbols(0, &["TEST".into()]);
        Self { instance }
    }

    /// Feeds ticks of one price and volume 1, a second apart.
    pub fn closes(&mut self, closes: &[f64]) -> Output {
        self.batch(Batch {
            symbol: vec![0; closes.len()],
            time: (0..closes.len()).map(|second| second as f64).collect(),
            open: closes.into(),
            high: closes.into(),
            low: closes.into(),
            close: closes.into(),
            volume: vec![1.0; closes.len()],
            events: Vec::new(),
            wanted: (0..closes.len() as u32).collect(),
        })
    }

    /// Tells of something that is not a tick, before the next one.
    pub fn event(&mut self, body: EventBody) {
        let symbol = match body {
            EventBody::EconomicIndicator(_) => None,
            _ => Some(Symbol(0)),
        };
        self.batch(Batch {
            events: vec![Event {
                row: 0,
                symbol,
                time: 0.0,
                body,
            }],
            ..Batch::default()
        });
    }

    /// Feeds a batch of symbol 0.
    pub fn batch(&mut self, batch: Batch) -> Output {
        self.instance.on_batch(&batch)
    }
}

/// Checks that a strategy is what the contract asks for: a description that the host accepts; finite values once warm and
/// none before; and over a market of several symbols the same output bit for bit in any split of batches, with a
/// snapshot and restore at any cut.
///
/// # Panics
///
/// With what is wrong.
pub fn conformance<S: Strategy>(params: &[(&str, ParamValue)]) {
    check_description(&Description::of::<S>());
    let market = Market::new(S::EVENTS);
    let whole = market.run::<S>(params, &[], false);
    market.check(
        &whole,
        fresh::<S>(params, market.symbols)
            .configuration()
            .warm_up_ticks,
        S::SERIES.len(),
    );
    for cuts in [
        vec![1],
        vec![market.rows() - 1],
        (1..market.rows()).collect(),
        market.some_cuts(),
    ] {
        for restored in [false, true] {
            let split = market.run::<S>(params, &cuts, restored);
            // As text, which tells all numbers apart, and in which not-a-number equals itself.
            let text = |output: &Output| format!("{output:?}");
            assert_eq!(
                text(&split),
                text(&whole),
                "the output changes when cut at {cuts:?}, restored: {restored}"
            );
        }
    }
}

fn fresh<S: Strategy>(params: &[(&str, ParamValue)], symbols: u32) -> Instance<S> {
    let mut instance = Instance::with(params).unwrap_or_else(|errors| panic!("{errors:?}"));
    let names: Vec<_> = (0..symbols).map(|symbol| format!("TEST{symbol}")).collect();
    instance.define_symbols(0, &names);
    instance
}

fn check_description(description: &Description) {
    let name = description.name;
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(
        (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(letters),
        "name {name:?}: use 1 to 64 characters from a-z 0-9 -, starting with a letter"
    );
    let helps = description
        .params
        .iter()
        .map(|param| (param.name, param.help.as_str()));
    let series = description
        .series
        .iter()
        .map(|series| (series.name, series.help));
    let mut names = Vec::new();
    for (name, help) in helps.chain(series) {
        assert!(
            !names.contains(&name),
            "{name:?} is the name of two parameters or series"
        );
        assert!(
            !help.is_empty() && !help.contains('\n'),
            "{name:?}: write one line of help"
        );
        names.push(name);
    }
    for param in &description.params {
        let sound = match &param.kind {
            ParamKind::Integer { default, min, max } => (min..=max).contains(&default),
            ParamKind::Number { default, min, max } => {
                min.is_finite() && max.is_finite() && (min..=max).contains(&default)
            }
            ParamKind::Boolean { .. } => true,
            ParamKind::Choice { default, options } => options.contains(default),
        };
        assert!(
            sound,
            "parameter {:?}: its default is outside of its own rule",
            param.name
        );
    }
}

/// Made-up ticks: each symbol walks, stands still, rises, falls and jumps; and events between them.
struct Market {
    symbols: u32,
    batch: Batch,
}

/// An event before a row, from a number between -100 and 100.
fn made_up(kind: EventKind, row: u32, symbol: u32, number: f64) -> Event {
    let size = number.abs() / 100.0;
    let body = match kind {
        EventKind::OrderBook => EventBody::OrderBook(OrderBook {
            side: if number < 0.0 { Side::Sell } else { Side::Buy },
            price: 100.0 + number / 10.0,
            quantity: size,
        }),
        EventKind::NewsSentiment => EventBody::NewsSentiment(NewsSentiment {
            score: number / 100.0,
            magnitude: size,
        }),
        EventKind::MarketData => EventBody::MarketData(MarketData {
            market_cap: 1e9 * (1.0 + size),
            pe_ratio: 20.0 + number / 10.0,
        }),
        EventKind::EconomicIndicator => EventBody::EconomicIndicator(EconomicIndicator {
            name: "rate".into(),
            value: number / 100.0,
        }),
    };
    Event {
        row,
        symbol: (kind != EventKind::EconomicIndicator).then_some(Symbol(symbol)),
        time: f64::from(row),
        body,
    }
}

impl Market {
    fn new(events: &[EventKind]) -> Self {
        let symbols = 3;
        let mut market = Self {
            symbols,
            batch: Batch::default(),
        };
        let mut noise = 1u32;
        let mut price = [100.0, 20.0, 3.0];
        for row in 0..600u32 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let symbol = (noise >> 24) % symbols;
            let step = f64::from((noise >> 16) % 201) - 100.0;
            let price = &mut price[symbol as usize];
            let before = *price;
            *price = match row {
                250..300 => before,
                300..350 => before + 0.25,
                350..400 => before - 0.125,
                _ => before * (1.0 + step / 10_000.0),
            };
            // Of the kinds that are read, each at some rows, now and then two before one.
            for (n, kind) in (0..).zip(events) {
                if (noise >> n).is_multiple_of(5) {
                    market.batch.events.push(made_up(*kind, row, symbol, step));
                }
            }
            market.batch.symbol.push(symbol);
            market.batch.time.push(f64::from(row));
            market.batch.open.push(before);
            market.batch.high.push(before.max(*price));
            market.batch.low.push(before.min(*price));
            market.batch.close.push(*price);
            market.batch.volume.push(f64::from(noise >> 20));
            // Gaps, as the host leaves them when it conflates.
            if row % 7 != 3 {
                market.batch.wanted.push(row);
            }
        }
        market
    }

    fn rows(&self) -> usize {
        self.batch.symbol.len()
    }

    fn some_cuts(&self) -> Vec<usize> {
        (1..self.rows()).filter(|row| row * row % 31 == 5).collect()
    }

    /// Runs the market in batches that end at these rows, in one instance or in a restored one for each batch.
    fn run<S: Strategy>(
        &self,
        params: &[(&str, ParamValue)],
        cuts: &[usize],
        restored: bool,
    ) -> Output {
        let mut instance = fresh::<S>(params, self.symbols);
        let mut all = Output::default();
        let mut start = 0;
        for &end in cuts.iter().chain([&self.rows()]) {
            let mut output = instance.on_batch(&self.rows_of(start, end));
            let signals = &mut all.signals;
            for signal in output.signals.iter() {
                let Signal {
                    row,
                    side,
                    strength,
                    reason,
                    values,
                } = signal;
                let known = signals
                    .opinions
                    .iter()
                    .position(|known| (known.side, &*known.reason) == (side, reason));
                signals
                    .opinion
                    .push(known.unwrap_or(signals.opinions.len()) as u32);
                if known.is_none() {
                    signals.opinions.push(Opinion {
                        side,
                        reason: reason.to_owned().into(),
                    });
                }
                signals.row.push(row + start as u32);
                signals.strength.push(strength);
                signals.values.extend_from_slice(values);
            }
            all.values.append(&mut output.values);
            if restored {
                let symbols: Vec<_> = (0..self.symbols).collect();
                let states: Vec<_> = symbols
                    .iter()
                    .copied()
                    .zip(instance.snapshot(&symbols))
                    .collect();
                let shared = instance.snapshot_shared();
                instance = fresh::<S>(params, self.symbols);
                instance.restore(&states).expect("a snapshot is read back");
                instance
                    .restore_shared(&shared)
                    .expect("a shared snapshot is read back");
                let again = instance.snapshot(&symbols);
                assert!(
                    again.iter().eq(states.iter().map(|(_, state)| state)),
                    "a restored state has another snapshot"
                );
            }
            start = end;
        }
        all
    }

    fn rows_of(&self, start: usize, end: usize) -> Batch {
        let all = &self.batch;
        let column = |column: &[f64]| column[start..end].to_vec();
        let wanted = all
            .wanted
            .iter()
            .filter(|row| (start..end).contains(&(**row as usize)));
        Batch {
            symbol: all.symbol[start..end].to_vec(),
            time: column(&all.time),
            open: column(&all.open),
            high: column(&all.high),
            low: column(&all.low),
            close: column(&all.close),
            volume: column(&all.volume),
            events: self.events_of(start, end),
            wanted: wanted.map(|row| row - start as u32).collect(),
        }
    }

    /// An event goes with the row that it comes before.
    fn events_of(&self, start: usize, end: usize) -> Vec<Event> {
        let events = self.batch.events.iter();
        let events = events.filter(|event| (start..end).contains(&(event.row as usize)));
        events
            .map(|event| Event {
                row: event.row - start as u32,
                ..event.clone()
            })
            .collect()
    }

    fn check(&self, output: &Output, warm_up_ticks: u32, series: usize) {
        assert_eq!(
            output.values.len(),
            self.batch.wanted.len() * series,
            "there is one value a wanted row and series"
        );
        let signal_values = output.signals.len() * series;
        assert_eq!(
            output.signals.values.len(),
            signal_values,
            "there is one value a signal and series"
        );
        assert!(
            !output.values.iter().any(|value| value.is_infinite()),
            "a value is infinite"
        );
        let mut rows = self
            .batch
            .wanted
            .iter()
            .zip(output.values.chunks(series.max(1)));
        let early = rows.find(|(row, values)| {
            let seen = &self.batch.symbol[..=**row as usize];
            let symbol = self.batch.symbol[**row as usize];
            let ticks = seen.iter().filter(|seen| **seen == symbol).count();
            ticks < warm_up_ticks as usize && values.iter().any(|value| !value.is_nan())
        });
        assert_eq!(
            early, None,
            "a value comes before the warm-up of {warm_up_ticks} ticks ends"
        );
        for signal in output.signals.iter() {
            assert!(
                (0.0..=1.0).contains(&signal.strength),
                "the strength of {signal:?} is not 0 to 1"
            );
            let sound = (1..=200).contains(&signal.reason.len()) && !signal.reason.contains('\n');
            assert!(
                sound,
                "the reason of {signal:?} is not one line of 1 to 200 bytes"
            );
        }
    }
}
