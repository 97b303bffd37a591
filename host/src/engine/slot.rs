//! One strategy on one partition: its instance, its budget, and how it is brought back after a failure.
//!
//! Fuel is counted a row: a batch whose whole fuel stays under one row's budget holds no row above it and is
//! accepted; otherwise it is undone and run row by row, each with the budget, so that no split of batches changes
//! what is skipped. A failed instance is thrown away; another one gets the state of the newest checkpoint, silently
//! replays the rows since, and goes on. One that fails too often is quarantined.

mod call;
mod log;
mod recovery;
mod tally;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use self::{
    log::SlotLog,
    tally::{QUARANTINE_FAILURES, QUARANTINE_ROWS},
};
use super::{
    inputs::Inputs,
    order::Symbols,
    rows::{Place, Rows},
    sink::{Mode, Sink, Stamp},
};
use crate::{
    change::{ON_REPLAY, What},
    log::Offset,
    plugin::{Columns, Failure, Instance, Plugin},
    strategy::Strategy,
};

pub(super) use self::{
    recovery::Base,
    tally::{Plan, Tally},
};

/// Rows of one call at most.
const MAX_CHUNK: usize = 1024;

/// Rows of a warm-up at which a strategy may not fail as often: each costs as much as the rows before it.
const WARM_UP_FAILURES: u32 = 20;

/// Fuel that a call may take besides its rows.
const CALL_FUEL: u64 = 20_000;

pub(super) struct Slot {
    strategy: Arc<Strategy>,
    plugin: Arc<Plugin>,
    stamp: Stamp,
    only: Option<HashSet<String>>,
    /// By symbol number, as far as `only` was looked at.
    kept: Vec<bool>,
    /// None while quarantined.
    instance: Option<Instance>,
    named: usize,
    warm_up_ticks: u32,
    base: Base,
    /// Skipped rows since the base.
    skipped: BTreeSet<Place>,
    /// What a replay has to obey.
    plan: Plan,
    tally: Tally,
    quarantined: Option<String>,
    since: Offset,
    failed_warm_up: u32,
    chunk: usize,
    wanted: Vec<u32>,
    log: SlotLog,
}

/// What a slot is after a checkpoint.
pub(super) struct SlotState {
    pub(super) base: Base,
    pub(super) tally: Tally,
    pub(super) quarantined: Option<String>,
    pub(super) since: Offset,
}

impl Slot {
    /// A fresh instance, live from `since` on.
    pub(super) fn start(strategy: Arc<Strategy>, plugin: Arc<Plugin>, since: Offset) -> Self {
        let state = SlotState {
            base: Base::default(),
            tally: Tally::default(),
            quarantined: None,
            since,
        };
        Self::resume(strategy, plugin, state)
    }

    /// What `state` was taken of. To be followed by `revive`.
    pub(super) fn resume(strategy: Arc<Strategy>, plugin: Arc<Plugin>, state: SlotState) -> Self {
        let stamp = Stamp::new(&strategy, &plugin);
        let only = strategy
            .symbols
            .as_ref()
            .map(|s| s.iter().cloned().collect());
        Self {
            stamp,
            only,
            strategy,
            plugin,
            kept: Vec::new(),
            instance: None,
            named: 0,
            warm_up_ticks: 0,
            base: state.base,
            skipped: BTreeSet::new(),
            plan: Plan::default(),
            tally: state.tally,
            quarantined: state.quarantined,
            since: state.since,
            failed_warm_up: 0,
            chunk: MAX_CHUNK,
            wanted: Vec::new(),
            log: SlotLog::default(),
        }
    }

    pub(super) fn strategy(&self) -> &Arc<Strategy> {
        &self.strategy
    }

    pub(super) fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
    }

    /// What its plugin reads of a tick.
    pub(super) fn columns(&self) -> Columns {
        self.plugin.description().columns
    }

    pub(super) const fn warm_up_ticks(&self) -> u32 {
        self.warm_up_ticks
    }

    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) const fn base(&self) -> &Base {
        &self.base
    }

    pub(super) const fn since(&self) -> Offset {
        self.since
    }

    pub(super) const fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// All rows before a position were replayed: a quarantine among them holds, whether or not another row comes.
    pub(super) fn replayed_to(&mut self, position: Offset) {
        let due = |(from, _): &mut (Place, String)| from.offset < position;
        if let Some((_, reason)) = self.plan.quarantine.take_if(due) {
            self.instance = None;
            self.quarantined = Some(reason);
        }
    }

    /// What was a shadow runs under its strategy's own id from here on, with the state that it has.
    pub(super) fn promote(&mut self, strategy: Arc<Strategy>, since: Offset) {
        self.stamp = Stamp::new(&strategy, &self.plugin);
        self.strategy = strategy;
        self.since = since;
        self.plan = Plan::default();
    }

    /// Runs the rows of its input. `history` holds those since the base, without these.
    pub(super) fn run(
        &mut self,
        inputs: &Inputs,
        symbols: &Symbols,
        history: &[Arc<Inputs>],
        sink: &mut Sink<'_>,
    ) {
        if self.instance.is_none() {
            return;
        }
        let Some(rows) = inputs.of(self.strategy.input) else {
            return;
        };
        let filtered = self.filter(rows, symbols);
        let rows = filtered.as_ref().unwrap_or(rows);
        let Some(first) = rows.first_place() else {
            return;
        };
        if let Err(failure) = self.name(symbols) {
            self.quarantine(first, &failure, sink);
            return;
        }
        let units = rows.units();
        let (mut at, mut single_until, mut tried_again) = (0, 0, None);
        while at < units {
            let place = rows.place_of(at);
            if let Some((_, reason)) = self.plan.quarantine.take_if(|(from, _)| *from <= place) {
                self.instance = None;
                self.quarantined = Some(reason);
                return;
            }
            if self.plan.skips.remove(&place) {
                self.tally.fail();
                self.tally.rows += 1;
                self.skipped.insert(place);
                at += 1;
                continue;
            }
            let end = if at < single_until {
                at + 1
            } else {
                self.chunk_end(rows, at, units)
            };
            let single = end - at == 1;
            let budget = self.plugin.limits().row_fuel;
            let fuel = if single { budget } else { budget - CALL_FUEL };
            let failure = match self.attempt(rows, at..end, fuel, !self.puts_values_out(sink)) {
                Ok((output, used)) => {
                    let (row, _) = rows.among(at);
                    sink.output(&self.stamp, rows, row, symbols, &self.wanted, &output);
                    self.tally.rows += (end - at) as u64;
                    self.adapt(used, end - at);
                    self.tell_log(rows.place_of(end - 1), sink);
                    at = end;
                    continue;
                }
                Err(failure) => failure,
            };
            sink.out.counts.failures += 1;
            match single && !sink.mode.obeys() {
                true => self.tell_log(place, sink),
                // It is run again, and logs again.
                false => self.drop_log(),
            }
            if let Err(again) = self.revive_within(rows, at, symbols, history) {
                self.quarantine(place, &again, sink);
                return;
            }
            if !single {
                single_until = end;
                continue;
            }
            // The wall clock may have struck because the machine stood still.
            if matches!(failure, Failure::Deadline { .. }) && tried_again != Some(at) {
                tried_again = Some(at);
                continue;
            }
            if sink.mode.obeys() {
                // The live run passed this row: something else decides here, so nothing more can be said.
                let reason = format!("{ON_REPLAY}, where the live run had not failed: {failure}");
                self.quarantine(place, &reason, sink);
                return;
            }
            // What fails in the warm-up does not count later: it may be why the strategy is defined again.
            let too_often = match sink.mode {
                Mode::WarmUp => {
                    self.failed_warm_up += 1;
                    self.failed_warm_up >= WARM_UP_FAILURES
                }
                _ => self.tally.fail(),
            };
            self.tally.rows += 1;
            self.skipped.insert(place);
            sink.out.counts.skipped_rows += 1;
            let (cause, detail) = (failure.cause().to_owned(), failure.to_string());
            sink.change(
                &self.strategy.id,
                place.offset,
                What::Skip {
                    row: place.line,
                    cause,
                    detail,
                    record: Some(rows.record(at, symbols)),
                },
            );
            at += 1;
            if too_often {
                let often = match sink.mode {
                    Mode::WarmUp => WARM_UP_FAILURES.to_string(),
                    _ => format!("{QUARANTINE_FAILURES} of {QUARANTINE_ROWS}"),
                };
                let reason = format!("failed at {often} rows, the last: {failure}");
                // From the next record on: this one is skipped already.
                let next = Place {
                    line: place.line + 1,
                    ..place
                };
                self.quarantine(next, &reason, sink);
                return;
            }
        }
    }

    pub(super) fn quarantine(
        &mut self,
        from: Place,
        reason: &dyn std::fmt::Display,
        sink: &mut Sink<'_>,
    ) {
        self.instance = None;
        self.base = Base::default();
        let reason = reason.to_string();
        if sink.mode != Mode::WarmUp {
            tracing::error!(
                strategy = self.strategy.id,
                partition = sink.partition,
                offset = from.offset,
                row = from.line,
                reason,
                "strategy quarantined"
            );
        }
        let what = What::Quarantine {
            row: from.line,
            reason: reason.clone(),
        };
        sink.change(&self.strategy.id, from.offset, what);
        self.quarantined = Some(reason);
    }

    /// The end of the next chunk: never past a row that a replay must skip.
    fn chunk_end(&self, rows: &Rows, at: usize, units: usize) -> usize {
        let end = (at + self.chunk).min(units);
        if self.plan.skips.is_empty() && self.plan.quarantine.is_none() {
            return end;
        }
        let stops = |place: Place| {
            self.plan.skips.contains(&place)
                || self
                    .plan
                    .quarantine
                    .as_ref()
                    .is_some_and(|(q, _)| *q <= place)
        };
        (at + 1..end)
            .find(|&unit| stops(rows.place_of(unit)))
            .unwrap_or(end)
    }

    /// Keeps a chunk's fuel well under one row's budget, so that batches are seldom undone.
    fn adapt(&mut self, used: u64, units: usize) {
        let a_unit = (used / units as u64).max(1);
        let fits = self.plugin.limits().row_fuel / 2 / a_unit;
        self.chunk = usize::try_from(fits)
            .unwrap_or(MAX_CHUNK)
            .clamp(1, MAX_CHUNK);
    }

    fn keeps(&mut self, symbol: u32, symbols: &Symbols) -> bool {
        let Some(only) = &self.only else { return true };
        for name in &symbols.names()[self.kept.len()..] {
            self.kept.push(only.contains(&**name));
        }
        self.kept[symbol as usize]
    }

    fn filter(&mut self, rows: &Rows, symbols: &Symbols) -> Option<Rows> {
        self.only.as_ref()?;
        if symbols.names().is_empty() {
            return None;
        }
        self.keeps(0, symbols);
        Some(rows.of_symbols(|symbol| self.kept[symbol as usize]))
    }

    const fn puts_values_out(&self, sink: &Sink<'_>) -> bool {
        sink.mode.puts_out() && !self.stamp.is_shadow
    }
}
