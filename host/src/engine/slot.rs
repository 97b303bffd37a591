//! One strategy on one partition: its instance, its budget, and how it is brought back after a failure.
//!
//! Fuel is counted a row: a batch whose whole fuel stays under one row's budget holds no row above it and is
//! accepted; otherwise it is undone and run row by row, each with the budget, so that no split of batches changes
//! what is skipped. A failed instance is thrown away; another one gets the state of the newest checkpoint, silently
//! replays the rows since, and goes on. One that fails too often is quarantined.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use super::{
    order::Symbols,
    rows::{Event, EventBody, Place, Rows},
    sink::{Mode, Sink, Stamp},
};
use crate::{
    change::What,
    log::Offset,
    market::Side,
    plugin::{
        self, Batch, Columns, ConfigureError, EconomicIndicator, EventKinds, EventSide, Failure,
        Instance, LogLine, MarketData, NewsSentiment, OrderBook, Output, Plugin,
    },
    strategy::Strategy,
};

/// Rows of one call at most.
const MAX_CHUNK: usize = 1024;

/// Fuel that a call may take besides its rows.
const CALL_FUEL: u64 = 20_000;

/// A strategy that fails at this many rows of so many is quarantined.
const QUARANTINE_FAILURES: usize = 5;
const QUARANTINE_ROWS: u64 = 10_000;

/// The largest state of one symbol.
const MAX_STATE_BYTES: usize = 256 << 10;

/// States passed in one call of `restore` and `snapshot`.
const STATES_A_CALL: usize = 4096;

/// Log lines kept of a strategy.
const MAX_LOG_LINES: usize = 200;

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
    chunk: usize,
    wanted: Vec<u32>,
    log: VecDeque<LogLine>,
}

/// The states from which an instance can be brought back, and the offset at which they were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    pub(super) states: Vec<Vec<u8>>,
    pub(super) shared: Vec<u8>,
    pub(super) offset: Offset,
}

/// What `changes` says about the rows of a replay.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) skips: BTreeSet<Place>,
    pub(super) quarantine: Option<(Place, String)>,
}

/// Rows seen and failed at: decides on quarantine, and is part of a checkpoint so that a replay decides the same.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Tally {
    rows: u64,
    failed_at: VecDeque<u64>,
}

impl Tally {
    fn fail(&mut self) -> bool {
        let horizon = self.rows.saturating_sub(QUARANTINE_ROWS);
        self.failed_at.retain(|&row| row >= horizon);
        self.failed_at.push_back(self.rows);
        self.failed_at.len() >= QUARANTINE_FAILURES
    }
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
            chunk: MAX_CHUNK,
            wanted: Vec::new(),
            log: VecDeque::new(),
        }
    }

    pub(super) fn strategy(&self) -> &Arc<Strategy> {
        &self.strategy
    }

    pub(super) fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
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
            self.keep_log();
            self.instance = None;
            self.quarantined = Some(reason);
        }
    }

    pub(super) fn take_log(&mut self) -> impl Iterator<Item = LogLine> + '_ {
        self.log.drain(..)
    }

    /// Runs the rows. `history` holds the rows since the base, without these.
    pub(super) fn run(
        &mut self,
        rows: &Rows,
        symbols: &Symbols,
        history: &[Arc<Rows>],
        sink: &mut Sink<'_>,
    ) {
        if self.instance.is_none() {
            return;
        }
        let filtered = self.filter(rows, symbols);
        let rows = filtered.as_ref().unwrap_or(rows);
        let Some(first) = rows.first_place() else {
            return;
        };
        if let Err(failure) = self.name(symbols) {
            self.quarantine(first, &failure, sink);
            return;
        }
        let units = units(rows);
        let (mut at, mut single_until, mut tried_again) = (0, 0, None);
        while at < units {
            let place = place_of(rows, at);
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
            let failure = match self.attempt(rows, at..end, fuel, sink.mode != Mode::Live) {
                Ok((output, used)) => {
                    sink.output(&self.stamp, rows, at, symbols, &self.wanted, &output);
                    self.tally.rows += (end - at) as u64;
                    self.adapt(used, end - at);
                    at = end;
                    continue;
                }
                Err(failure) => failure,
            };
            sink.out.counts.failures += 1;
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
            if sink.mode == Mode::Replay {
                // The live run passed this row: something else decides here, so nothing more can be said.
                let reason = format!("on replay, where the live run had not failed: {failure}");
                self.quarantine(place, &reason, sink);
                return;
            }
            let too_often = self.tally.fail();
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
                },
            );
            at += 1;
            if too_often {
                let reason = format!(
                    "failed at {QUARANTINE_FAILURES} of {QUARANTINE_ROWS} rows, the last: {failure}"
                );
                // From the next record on: this one is skipped already.
                let next = Place {
                    line: place.line + 1,
                    ..place
                };
                self.quarantine(next, &reason, sink);
                return;
            }
        }
        self.keep_log();
    }

    /// Makes an instance at the base and replays `history`.
    pub(super) fn revive(
        &mut self,
        symbols: &Symbols,
        history: &[Arc<Rows>],
    ) -> Result<(), Failure> {
        if self.quarantined.is_some() {
            return Ok(());
        }
        self.keep_log();
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
        let states: Vec<_> = (0..)
            .zip(&self.base.states)
            .filter(|(_, state)| !state.is_empty())
            .map(|(symbol, state)| (symbol, state.as_slice()))
            .collect();
        for states in states.chunks(STATES_A_CALL) {
            instance.restore(states)?;
        }
        if !self.base.shared.is_empty() {
            instance.restore_shared(&self.base.shared)?;
        }
        for rows in history {
            if rows
                .first_place()
                .is_none_or(|place| place.offset < self.base.offset)
            {
                continue;
            }
            let filtered = self.filter(rows, symbols);
            let rows = filtered.as_ref().unwrap_or(rows);
            self.rerun(rows, units(rows))?;
        }
        Ok(())
    }

    /// Takes the states of the symbols touched since the last time as the new base.
    pub(super) fn rebase(
        &mut self,
        touched: &[u32],
        symbols: &Symbols,
        offset: Offset,
    ) -> Result<(), Failure> {
        self.base.offset = offset;
        self.skipped.clear();
        if self.instance.is_none() {
            return Ok(());
        }
        self.name(symbols)?;
        let touched: Vec<u32> = touched
            .iter()
            .copied()
            .filter(|&n| self.keeps(n, symbols))
            .collect();
        let instance = self.instance.as_mut().expect("seen above");
        self.base.states.resize(symbols.names().len(), Vec::new());
        for symbols in touched.chunks(STATES_A_CALL) {
            for (&symbol, state) in symbols.iter().zip(instance.snapshot(symbols)?) {
                check_state(&state)?;
                self.base.states[symbol as usize] = state;
            }
        }
        self.base.shared = instance.snapshot_shared()?;
        check_state(&self.base.shared)
    }

    pub(super) fn quarantine(
        &mut self,
        from: Place,
        reason: &dyn std::fmt::Display,
        sink: &mut Sink<'_>,
    ) {
        self.keep_log();
        self.instance = None;
        let reason = reason.to_string();
        tracing::error!(
            strategy = self.strategy.id,
            partition = sink.partition,
            offset = from.offset,
            row = from.line,
            reason,
            "strategy quarantined"
        );
        let what = What::Quarantine {
            row: from.line,
            reason: reason.clone(),
        };
        sink.change(&self.strategy.id, from.offset, what);
        self.quarantined = Some(reason);
    }

    fn revive_within(
        &mut self,
        rows: &Rows,
        upto: usize,
        symbols: &Symbols,
        history: &[Arc<Rows>],
    ) -> Result<(), Failure> {
        self.revive(symbols, history)?;
        self.rerun(rows, upto)
    }

    /// Runs the first units again, which went well once, without looking at what comes of them.
    fn rerun(&mut self, rows: &Rows, upto: usize) -> Result<(), Failure> {
        let mut at = 0;
        while at < upto {
            if self.skipped.contains(&place_of(rows, at)) {
                at += 1;
                continue;
            }
            let mut end = (at + self.chunk).min(upto);
            if !self.skipped.is_empty() {
                end = (at + 1..end)
                    .find(|&u| self.skipped.contains(&place_of(rows, u)))
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

    /// One call with the rows and events of some units.
    fn attempt(
        &mut self,
        rows: &Rows,
        range: Range<usize>,
        fuel: u64,
        silent: bool,
    ) -> Result<(Output, u64), Failure> {
        let description = self.plugin.description();
        let r = range.start..range.end.min(rows.len());
        self.wanted.clear();
        if !silent && !description.series.is_empty() {
            let interval_ms = self.strategy.values_interval_ms;
            let wanted = r.clone().filter(|&row| rows.wants_values(row, interval_ms));
            self.wanted.extend(wanted.map(|row| (row - r.start) as u32));
        }
        let events: Vec<_> = rows
            .events
            .iter()
            .filter(|e| range.contains(&e.row) && description.events.contains(kind(&e.body)))
            .map(|e| event(e, r.start))
            .collect();
        let column = |flag, column: &'_ Vec<f64>| -> Range<usize> {
            if description.columns.contains(flag) && column.len() == rows.len() {
                r.clone()
            } else {
                0..0
            }
        };
        let batch = Batch {
            symbol: &rows.symbol[r.clone()],
            time: &rows.time[column(Columns::TIME, &rows.time)],
            open: &rows.open[column(Columns::OPEN, &rows.open)],
            high: &rows.high[column(Columns::HIGH, &rows.high)],
            low: &rows.low[column(Columns::LOW, &rows.low)],
            close: &rows.close[column(Columns::CLOSE, &rows.close)],
            volume: &rows.volume[column(Columns::VOLUME, &rows.volume)],
            events: &events,
            wanted: &self.wanted,
        };
        let instance = self
            .instance
            .as_mut()
            .expect("only a running slot is attempted");
        instance.on_batch(batch, description.series.len(), fuel)
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
            .find(|&unit| stops(place_of(rows, unit)))
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

    fn name(&mut self, symbols: &Symbols) -> Result<(), Failure> {
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

    fn keep_log(&mut self) {
        let Some(instance) = &mut self.instance else {
            return;
        };
        let (lines, _) = instance.take_log();
        for line in lines {
            if self.log.len() == MAX_LOG_LINES {
                self.log.pop_front();
            }
            self.log.push_back(line);
        }
    }
}

fn check_state(state: &[u8]) -> Result<(), Failure> {
    if state.len() > MAX_STATE_BYTES {
        let bytes = state.len();
        return Err(Failure::Nonsense(format!(
            "a state of {bytes} bytes; at most {MAX_STATE_BYTES} are kept"
        )));
    }
    Ok(())
}

/// Rows, and one more for events after the last.
fn units(rows: &Rows) -> usize {
    rows.len() + usize::from(rows.events.last().is_some_and(|e| e.row == rows.len()))
}

fn place_of(rows: &Rows, unit: usize) -> Place {
    match rows.place.get(unit) {
        Some(place) => *place,
        None => {
            rows.events
                .last()
                .expect("the last unit is of events")
                .place
        }
    }
}

const fn kind(body: &EventBody) -> EventKinds {
    match body {
        EventBody::OrderBook { .. } => EventKinds::ORDER_BOOK,
        EventBody::NewsSentiment { .. } => EventKinds::NEWS_SENTIMENT,
        EventBody::MarketData { .. } => EventKinds::MARKET_DATA,
        EventBody::EconomicIndicator { .. } => EventKinds::ECONOMIC_INDICATOR,
    }
}

fn event(event: &Event, first_row: usize) -> plugin::Event<'_> {
    let body = match &event.body {
        EventBody::OrderBook {
            side,
            price,
            quantity,
        } => plugin::EventBody::OrderBook(OrderBook {
            side: match side {
                Side::Buy => EventSide::Buy,
                Side::Sell => EventSide::Sell,
            },
            price: *price,
            quantity: *quantity,
        }),
        EventBody::NewsSentiment { score, magnitude } => {
            plugin::EventBody::NewsSentiment(NewsSentiment {
                score: *score,
                magnitude: *magnitude,
            })
        }
        EventBody::MarketData {
            market_cap,
            pe_ratio,
        } => plugin::EventBody::MarketData(MarketData {
            market_cap: *market_cap,
            pe_ratio: *pe_ratio,
        }),
        EventBody::EconomicIndicator { name, value } => {
            plugin::EventBody::EconomicIndicator(EconomicIndicator {
                name,
                value: *value,
            })
        }
    };
    plugin::Event {
        row: (event.row - first_row) as u32,
        symbol: event.symbol,
        time: event.time,
        body,
    }
}
