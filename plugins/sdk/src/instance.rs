//! A strategy with its state for every symbol: the code that a component runs, and that runs natively as well.

use crate::tick::Columns;
use crate::{
    Batch, Event, Out, Output, ParamError, ParamKind, ParamValue, Params, Snapshot, Strategy,
    Symbol,
};

/// The first byte of a state, so that no state is empty, and another layout can be told from this one.
const FORMAT: u8 = 1;

/// What follows from the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Ticks of a symbol before its first value, that one included.
    pub warm_up_ticks: u32,
}

/// A configured strategy. Its functions are those of `wit/plugin.wit`.
pub struct Instance<S: Strategy> {
    strategy: S,
    /// By symbol number; none for a symbol that was named but not yet seen.
    states: Vec<Option<S::State>>,
}

impl<S: Strategy> Instance<S> {
    /// Configures a strategy with all of its parameters.
    ///
    /// # Errors
    ///
    /// One for each parameter that cannot be accepted.
    pub fn configure(params: &[(String, ParamValue)]) -> Result<Self, Vec<ParamError>> {
        let params = S::Params::read(params)?;
        let strategy = S::new(params).map_err(|error| vec![error])?;
        Ok(Self {
            strategy,
            states: Vec::new(),
        })
    }

    /// Configures a strategy with these parameters, and the defaults of the others.
    ///
    /// # Errors
    ///
    /// One for each parameter that cannot be accepted.
    pub fn with(params: &[(&str, ParamValue)]) -> Result<Self, Vec<ParamError>> {
        let mut all: Vec<_> = params
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect();
        for param in S::Params::describe() {
            if !params.iter().any(|(name, _)| *name == param.name) {
                let value = match param.kind {
                    ParamKind::Integer { default, .. } => ParamValue::Integer(default),
                    ParamKind::Number { default, .. } => ParamValue::Number(default),
                    ParamKind::Boolean { default } => ParamValue::Boolean(default),
                    ParamKind::Choice { default, .. } => ParamValue::Text(default),
                };
                all.push((param.name.into(), value));
            }
        }
        Self::configure(&all)
    }

    /// What follows from the parameters.
    pub fn configuration(&self) -> Configuration {
        Configuration {
            warm_up_ticks: self.strategy.warm_up_ticks(),
        }
    }

    /// Names the symbols numbered from `first` on.
    pub fn define_symbols(&mut self, first: u32, names: &[String]) {
        let end = first as usize + names.len();
        self.states.resize_with(end.max(self.states.len()), || None);
        for (symbol, name) in (first..).zip(names) {
            self.strategy.define_symbol(Symbol(symbol), name);
        }
    }

    /// Takes the next ticks and events.
    ///
    /// # Panics
    ///
    /// Where a row's symbol has no name, or a column that the strategy reads has not one entry a row.
    pub fn on_batch(&mut self, batch: &Batch) -> Output {
        let columns = Columns::of::<S>(batch);
        let mut output = Output::default();
        output
            .values
            .reserve_exact(batch.wanted.len() * S::SERIES.len());
        let mut row_values = vec![f64::NAN; S::SERIES.len()];
        let mut wanted = batch.wanted.iter().copied().peekable();
        let mut events = batch.events.iter().peekable();

        for row in 0..batch.symbol.len() {
            if const { !S::EVENTS.is_empty() } {
                while let Some(event) = events.next_if(|event| event.row as usize <= row) {
                    self.on_event(event);
                }
            }
            let tick = columns.tick::<S>(row);
            let state = state(&self.strategy, &mut self.states, tick.symbol());
            let signals_before = output.signals.len();
            row_values.fill(f64::NAN);
            self.strategy.on_tick(
                state,
                &tick,
                &mut Out::new(row as u32, &mut output.signals, &mut row_values),
            );
            // Now, so that it does not matter whether a strategy gives its signal or its values first.
            for _ in signals_before..output.signals.len() {
                output.signals.values.extend_from_slice(&row_values);
            }
            if wanted.next_if_eq(&(row as u32)).is_some() {
                output.values.extend_from_slice(&row_values);
            }
        }
        events.for_each(|event| self.on_event(event));
        output
    }

    fn on_event(&mut self, event: &Event) {
        let state = event
            .symbol
            .map(|symbol| state(&self.strategy, &mut self.states, symbol));
        self.strategy.on_event(state, event);
    }

    /// The state of each of these symbols; empty for one that was never seen.
    pub fn snapshot(&self, symbols: &[u32]) -> Vec<Vec<u8>> {
        let bytes_of = |symbol: &u32| {
            let mut bytes = Vec::new();
            if let Some(Some(state)) = self.states.get(*symbol as usize) {
                bytes.push(FORMAT);
                state.snapshot(&mut bytes);
            }
            bytes
        };
        symbols.iter().map(bytes_of).collect()
    }

    /// Puts back what `snapshot` gave an instance of the same parameters.
    ///
    /// # Errors
    ///
    /// Where bytes are not such a state, or a symbol has no name. The instance is then of no use.
    pub fn restore(&mut self, states: &[(u32, Vec<u8>)]) -> Result<(), String> {
        for (symbol, bytes) in states {
            let slot = self
                .states
                .get_mut(*symbol as usize)
                .ok_or_else(|| format!("symbol {symbol} has a state, but was not named"))?;
            *slot = match bytes.split_first() {
                None => None,
                Some((&FORMAT, bytes)) => {
                    let mut state = self.strategy.state();
                    read(bytes, |bytes| state.restore(bytes))
                        .map_err(|error| format!("the state of symbol {symbol}: {error}"))?;
                    Some(state)
                }
                Some((format, _)) => {
                    return Err(format!(
                        "the state of symbol {symbol} is of format {format}; this plugin reads format {FORMAT}"
                    ));
                }
            };
        }
        Ok(())
    }

    /// The state that belongs to no symbol; empty where there is none.
    pub fn snapshot_shared(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.strategy.snapshot_shared(&mut bytes);
        bytes
    }

    /// Puts back what `snapshot_shared` gave.
    ///
    /// # Errors
    ///
    /// Where bytes are not such a state. The instance is then of no use.
    pub fn restore_shared(&mut self, bytes: &[u8]) -> Result<(), String> {
        read(bytes, |bytes| self.strategy.restore_shared(bytes))
            .map_err(|error| format!("the shared state: {error}"))
    }
}

/// Reads all of the bytes.
fn read(
    mut bytes: &[u8],
    restore: impl FnOnce(&mut &[u8]) -> Result<(), crate::RestoreError>,
) -> Result<(), String> {
    restore(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() {
        0 => Ok(()),
        left => Err(format!(
            "the snapshot goes on for {left} bytes after its end"
        )),
    }
}

/// The state of a symbol, made where it was never seen.
#[inline]
fn state<'a, S: Strategy>(
    strategy: &S,
    states: &'a mut [Option<S::State>],
    symbol: Symbol,
) -> &'a mut S::State {
    let Some(slot) = states.get_mut(symbol.0 as usize) else {
        unnamed(symbol)
    };
    if slot.is_none() {
        first_seen(strategy, slot);
    }
    slot.as_mut().expect("it was just made")
}

#[cold]
fn first_seen<S: Strategy>(strategy: &S, slot: &mut Option<S::State>) {
    *slot = Some(strategy.state());
}

#[cold]
fn unnamed(symbol: Symbol) -> ! {
    panic!("symbol {} was used before it was named", symbol.0)
}
