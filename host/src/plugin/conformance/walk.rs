//! An instance on its way through the ticks: called in batches of some size, kept, and brought back.

use super::{
    ConformanceError,
    comparison::{Seen, place},
    failed,
};
use crate::plugin::{
    instance::{Failure, Instance},
    runtime::Plugin,
    sample::Sample,
};

/// An instance on its way through the ticks.
pub(super) struct Walk<'a> {
    pub(super) instance: Instance,
    pub(super) plugin: &'a Plugin,
    pub(super) sample: &'a Sample,
    pub(super) at: usize,
    pub(super) named: u32,
    pub(super) counted: u64,
    pub(super) seen: Seen,
}

/// What an instance can be brought back from.
pub(super) struct Kept {
    pub(super) at: usize,
    states: Vec<Vec<u8>>,
    shared: Vec<u8>,
}

impl Walk<'_> {
    pub(super) fn name_all(&mut self) -> Result<(), Failure> {
        self.name(self.sample.ticks.names.len() as u32)
    }

    fn name(&mut self, upto: u32) -> Result<(), Failure> {
        if upto <= self.named {
            return Ok(());
        }
        let names = self.sample.ticks.names();
        let new = &names[self.named as usize..upto as usize];
        self.instance.define_symbols(self.named, new)?;
        self.named = upto;
        Ok(())
    }

    /// One call with the next units, whose values are wanted at some rows.
    pub(super) fn step(
        &mut self,
        units: usize,
        wants: impl Fn(usize) -> bool,
    ) -> Result<(), Failure> {
        let sample = self.sample;
        let end = (self.at + units).min(sample.units());
        self.name(sample.symbols_before(end))?;
        let rows = sample.rows_before(self.at)..sample.rows_before(end);
        let description = self.plugin.description();
        let series = description.series.len();
        let wanted: Vec<u32> = match series {
            0 => Vec::new(),
            _ => (rows.clone().filter(|row| wants(*row)))
                .map(|row| (row - rows.start) as u32)
                .collect(),
        };
        let events = sample.events(self.at..end, description.events);
        let read = description.columns;
        let batch = sample.ticks.batch(rows.clone(), read, &events, &wanted);
        let fuel = (self.plugin.limits().row_fuel).saturating_mul((end - self.at).max(1) as u64);
        let (output, _) = self.instance.on_batch(batch, series, fuel)?;
        self.seen.add(&output, rows.start, &wanted, series);
        self.at = end;
        Ok(())
    }

    pub(super) fn keep(&mut self) -> Result<Kept, Failure> {
        let symbols: Vec<u32> = (0..self.named).collect();
        Ok(Kept {
            at: self.at,
            states: self.instance.snapshot(&symbols)?,
            shared: self.instance.snapshot_shared()?,
        })
    }

    pub(super) fn restore(&mut self, kept: &Kept) -> Result<(), Failure> {
        self.at = kept.at;
        self.name_all()?;
        let states = (0..).zip(kept.states.iter().map(Vec::as_slice));
        let states: Vec<_> = states.filter(|(_, state)| !state.is_empty()).collect();
        self.instance.restore(&states)?;
        if !kept.shared.is_empty() {
            self.instance.restore_shared(&kept.shared)?;
        }
        Ok(())
    }

    pub(super) fn failed(&self, during: &str, failure: Failure) -> ConformanceError {
        let place = place(self.sample, self.sample.rows_before(self.at));
        failed(&format!("{during}, {place}"), failure)
    }
}

/// `kept`, but with the states of `before` where a symbol had no tick or event between the two.
pub(super) fn mix(sample: &Sample, before: &Kept, kept: &Kept) -> Kept {
    let touched = sample.touched(before.at..kept.at);
    let state = |(n, state): (usize, &Vec<u8>)| match before.states.get(n) {
        Some(older) if !touched[n] => older.clone(),
        _ => state.clone(),
    };
    Kept {
        at: kept.at,
        states: kept.states.iter().enumerate().map(state).collect(),
        shared: kept.shared.clone(),
    }
}
