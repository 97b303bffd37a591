//! How an instance is brought back after a failure: another one gets the states of the base, and silently runs the rows
//! since again. Also takes the states that become the next base.

use std::sync::Arc;

use super::Slot;
use crate::{
    engine::{inputs::Inputs, order::Symbols, rows::Rows, states::States},
    log::Offset,
    plugin::{ConfigureError, Failure},
};

/// States passed in one call of `restore` and `snapshot`.
const STATES_A_CALL: usize = 4096;

/// The states from which an instance can be brought back, and the offset at which they were taken.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Base {
    pub(in crate::engine) states: States,
    pub(in crate::engine) shared: Vec<u8>,
    pub(in crate::engine) offset: Offset,
}

impl Slot {
    /// Makes an instance at the base and replays `history`.
    pub(in crate::engine) fn revive(
        &mut self,
        symbols: &Symbols,
        history: &[Arc<Inputs>],
    ) -> Result<(), Failure> {
        if self.quarantined.is_some() {
            return Ok(());
        }
        self.instance = None;
        let mut instance = self.plugin.instantiate()?;
        let arguments = self.plugin.description().arguments(&self.strategy.params);
        self.warm_up_ticks = match instance.configure(&arguments) {
            Ok(ticks) => ticks,
            Err(ConfigureError::Failed(failure)) => return Err(failure),
            Err(refused @ ConfigureError::Refused(_)) => {
                return Err(Failure::Nonsense(format!(
                    "configure, which it accepted before: {refused}"
                )));
            }
        };
        self.instance = Some(instance);
        self.named = 0;
        self.name(symbols)?;
        let instance = self.instance.as_mut().expect("made above");
        let states: Vec<_> = self.base.states.iter().collect();
        for states in states.chunks(STATES_A_CALL) {
            instance.restore(states)?;
        }
        if !self.base.shared.is_empty() {
            instance.restore_shared(&self.base.shared)?;
        }
        for inputs in history {
            let Some(rows) = inputs.of(self.strategy.input) else {
                continue;
            };
            if rows
                .first_place()
                .is_none_or(|place| place.offset < self.base.offset)
            {
                continue;
            }
            let filtered = self.filter(rows, symbols);
            let rows = filtered.as_ref().unwrap_or(rows);
            self.rerun(rows, rows.units())?;
        }
        Ok(())
    }

    /// The states of these symbols now, in their order; empty where there is none. Nothing where no instance runs.
    pub(in crate::engine) fn capture(
        &mut self,
        of: &[u32],
        symbols: &Symbols,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        if self.instance.is_none() || of.is_empty() {
            return Ok(vec![Vec::new(); of.len()]);
        }
        self.name(symbols)?;
        if self.only.is_none() {
            return self.snapshot(of);
        }
        let kept: Vec<bool> = of.iter().map(|&n| self.keeps(n, symbols)).collect();
        let with_state = of.iter().zip(&kept).filter(|(_, kept)| **kept);
        let with_state: Vec<u32> = with_state.map(|(symbol, _)| *symbol).collect();
        let mut states = self.snapshot(&with_state)?.into_iter();
        let state = |kept| if kept { states.next() } else { None };
        Ok(kept
            .into_iter()
            .map(state)
            .map(Option::unwrap_or_default)
            .collect())
    }

    /// The state that belongs to no symbol, as it is now.
    pub(in crate::engine) fn capture_shared(&mut self) -> Result<Vec<u8>, Failure> {
        let Some(instance) = &mut self.instance else {
            return Ok(Vec::new());
        };
        instance.snapshot_shared()
    }

    /// Takes all states as they are now as the new base.
    pub(in crate::engine) fn rebase_here(
        &mut self,
        symbols: &Symbols,
        offset: Offset,
    ) -> Result<(), Failure> {
        let all: Vec<u32> = (0..symbols.names().len() as u32).collect();
        let states = States::of(&self.capture(&all, symbols)?);
        let shared = self.capture_shared()?;
        self.rebase(Base {
            states,
            shared,
            offset,
        });
        Ok(())
    }

    /// Takes what was captured at an offset as the new base.
    pub(in crate::engine) fn rebase(&mut self, base: Base) {
        self.skipped.retain(|place| place.offset >= base.offset);
        self.base = base;
    }

    pub(super) fn revive_within(
        &mut self,
        rows: &Rows,
        upto: usize,
        symbols: &Symbols,
        history: &[Arc<Inputs>],
    ) -> Result<(), Failure> {
        let back = self
            .revive(symbols, history)
            .and_then(|()| self.rerun(rows, upto));
        // It was told when these rows ran first.
        self.drop_log();
        back
    }

    /// Runs the first units again, which went well once, without looking at what comes of them.
    fn rerun(&mut self, rows: &Rows, upto: usize) -> Result<(), Failure> {
        let mut at = 0;
        while at < upto {
            if self.skipped.contains(&rows.place_of(at)) {
                at += 1;
                continue;
            }
            let mut end = (at + self.chunk).min(upto);
            if !self.skipped.is_empty() {
                end = (at + 1..end)
                    .find(|&u| self.skipped.contains(&rows.place_of(u)))
                    .unwrap_or(end);
            }
            let fuel = self
                .plugin
                .limits()
                .row_fuel
                .saturating_mul((end - at) as u64);
            self.attempt(rows, at..end, fuel, true)?;
            at = end;
        }
        Ok(())
    }

    fn snapshot(&mut self, of: &[u32]) -> Result<Vec<Vec<u8>>, Failure> {
        let instance = self
            .instance
            .as_mut()
            .expect("only a running slot is captured");
        let mut states = Vec::with_capacity(of.len());
        for symbols in of.chunks(STATES_A_CALL) {
            states.extend(instance.snapshot(symbols)?);
        }
        Ok(states)
    }

    pub(super) fn name(&mut self, symbols: &Symbols) -> Result<(), Failure> {
        let Some(instance) = &mut self.instance else {
            return Ok(());
        };
        let names = symbols.names();
        for names in names[self.named..].chunks(STATES_A_CALL) {
            let names: Vec<&str> = names.iter().map(|n| &**n).collect();
            instance.define_symbols(self.named as u32, &names)?;
            self.named += names.len();
        }
        Ok(())
    }
}
