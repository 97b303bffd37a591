//! The engine's core: one partition of `ticks` as a function of (state, messages) to (state, outputs). It has no
//! clock, no log and no randomness, so that the live run, a replay and a check of the past are the same code.

use std::sync::Arc;

use super::{
    order::{Admit, Order, Symbols},
    picture::{Picture, PictureError, SlotPicture},
    rows::{Event, EventBody, Place, Rows},
    sink::{Mode, Outputs, Sink},
    slot::{Slot, SlotState},
};
use crate::{
    bars::OpenBars,
    change::{Change, StopReason, What},
    log::{MessageRef, Messages, Offset},
    market::{Limits, Record, read_record},
    plugin::{Digest, LogLine, Plugin},
    strategy::Strategy,
};

/// Rows that are decoded at once: they stay in the processor's cache while the strategies run over them.
const ROWS_AT_ONCE: usize = 4096;

/// One partition: its strategies and everything that decides what they see.
pub struct Partition {
    number: u32,
    position: Offset,
    next_change: u64,
    symbols: Symbols,
    order: Order,
    bars: Vec<OpenBars>,
    slots: Vec<Slot>,
    /// Rows since the newest checkpoint, from which a failed instance is brought back.
    history: Vec<Arc<Rows>>,
    rows_in_history: usize,
    touched: Touched,
    spare: Rows,
}

/// Symbols with a row or an event since the newest checkpoint.
#[derive(Default)]
struct Touched {
    flags: Vec<bool>,
    numbers: Vec<u32>,
}

impl Touched {
    fn add(&mut self, symbol: u32) {
        let index = symbol as usize;
        if index >= self.flags.len() {
            self.flags.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.flags[index], true) {
            self.numbers.push(symbol);
        }
    }

    fn take(&mut self) -> Vec<u32> {
        for &number in &self.numbers {
            self.flags[number as usize] = false;
        }
        std::mem::take(&mut self.numbers)
    }
}

/// What a strategy is doing on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// The strategy's id.
    pub strategy: String,
    /// Why it does not run, where it does not.
    pub quarantined: Option<String>,
    /// The offset from which on it runs.
    pub since: Offset,
}

/// Finds a plugin by its digest.
pub type FindPlugin<'a> = &'a dyn Fn(Digest) -> Option<Arc<Plugin>>;

impl Partition {
    /// A partition of which nothing was seen before `position`.
    #[must_use]
    pub fn new(number: u32, position: Offset) -> Self {
        Self {
            number,
            position,
            next_change: 0,
            symbols: Symbols::default(),
            order: Order::default(),
            bars: Vec::new(),
            slots: Vec::new(),
            history: Vec::new(),
            rows_in_history: 0,
            touched: Touched::default(),
            spare: Rows::default(),
        }
    }

    /// What a picture was taken of.
    ///
    /// # Errors
    /// Where a plugin is missing. One that fails on its own state is quarantined.
    pub fn resume(
        number: u32,
        picture: Picture,
        find: FindPlugin<'_>,
        out: &mut Outputs,
    ) -> Result<Self, PictureError> {
        let mut partition = Self::new(number, picture.position);
        partition.next_change = picture.next_change;
        partition.symbols = picture.symbols.into();
        partition.order = picture.order;
        partition.bars = picture.bars;
        for slot in picture.slots {
            let strategy = Arc::new(slot.definition()?);
            let plugin = find_plugin(&strategy, find)?;
            let mut slot = Slot::resume(strategy, plugin, slot.state(picture.position));
            if let Err(failure) = slot.revive(&partition.symbols, &[]) {
                let mut sink = Sink {
                    partition: number,
                    mode: Mode::Replay,
                    next_change: &mut partition.next_change,
                    out,
                };
                let reason = format!("its state cannot be restored: {failure}");
                slot.quarantine(
                    Place {
                        offset: picture.position,
                        line: 0,
                    },
                    &reason,
                    &mut sink,
                );
            }
            partition.slots.push(slot);
        }
        Ok(partition)
    }

    /// The offset of the next message.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    /// The number of the next change.
    #[must_use]
    pub const fn next_change(&self) -> u64 {
        self.next_change
    }

    /// Rows since the newest checkpoint: what a failure has to replay, and what is held for it.
    #[must_use]
    pub const fn rows_since_checkpoint(&self) -> usize {
        self.rows_in_history
    }

    /// How many symbols it has seen.
    #[must_use]
    pub fn symbols(&self) -> usize {
        self.symbols.names().len()
    }

    /// The definitions of the strategies that are on it, quarantined ones too.
    pub fn strategies(&self) -> impl Iterator<Item = &Arc<Strategy>> {
        self.slots.iter().map(Slot::strategy)
    }

    /// What each strategy is doing.
    pub fn status(&self) -> impl Iterator<Item = SlotStatus> + '_ {
        self.slots.iter().map(|slot| SlotStatus {
            strategy: slot.strategy().id.clone(),
            quarantined: slot.quarantined().map(str::to_owned),
            since: slot.since(),
        })
    }

    /// What the plugins logged since the last look.
    pub fn take_logs(&mut self) -> Vec<(String, LogLine)> {
        let logs = |slot: &mut Slot| {
            let id = slot.strategy().id.clone();
            slot.take_log()
                .map(move |line| (id.clone(), line))
                .collect::<Vec<_>>()
        };
        self.slots.iter_mut().flat_map(logs).collect()
    }

    /// Takes the next messages and puts out what they lead to.
    pub fn feed<'m>(&mut self, messages: impl Iterator<Item = MessageRef<'m>>, out: &mut Outputs) {
        self.take(messages, Mode::Live, out);
    }

    /// Takes messages that were taken before, and puts out nothing but changes that the replay itself brings
    /// about, obeying `changes`.
    pub fn replay<'m>(
        &mut self,
        messages: impl Iterator<Item = MessageRef<'m>>,
        out: &mut Outputs,
    ) {
        self.take(messages, Mode::Replay, out);
    }

    /// Counts a change that was recorded before.
    pub fn note(&mut self, change: &Change) {
        self.next_change = self.next_change.max(change.seq + 1);
    }

    /// Has a replay skip what the live run skipped. To be called before the replay reaches these places.
    pub fn obey(&mut self, change: &Change) {
        let Some(slot) = self
            .slots
            .iter_mut()
            .find(|s| s.strategy().id == change.strategy)
        else {
            return;
        };
        match &change.what {
            What::Skip { row, .. } => {
                slot.plan().skips.insert(Place {
                    offset: change.offset,
                    line: *row,
                });
            }
            What::Quarantine { row, reason } => {
                let place = Place {
                    offset: change.offset,
                    line: *row,
                };
                slot.plan().quarantine = Some((place, reason.clone()));
            }
            What::Start { .. } | What::Stop { .. } => {}
        }
    }

    /// Starts a strategy from the next message on, warmed up with messages that end right before it.
    ///
    /// On replay (`silent`) nothing is recorded: it was.
    pub fn start(
        &mut self,
        strategy: Arc<Strategy>,
        plugin: Arc<Plugin>,
        warm_up: &Messages,
        warmed_from: Offset,
        silent: bool,
        out: &mut Outputs,
    ) {
        let id = strategy.id.clone();
        let mode = if silent { Mode::WarmUp } else { Mode::Live };
        let mut sink = Sink {
            partition: self.number,
            mode,
            next_change: &mut self.next_change,
            out,
        };
        let definition = Box::new(Strategy::clone(&strategy));
        sink.change(
            &id,
            self.position,
            What::Start {
                definition,
                warmed_from,
            },
        );
        let mut slot = Slot::start(strategy, plugin, self.position);
        let place = Place {
            offset: self.position,
            line: 0,
        };
        let all: Vec<u32> = (0..self.symbols.names().len() as u32).collect();
        let ready = slot
            .revive(&self.symbols, &[])
            .map_err(|f| f.to_string())
            .and_then(|()| {
                warm(&mut slot, self.number, &self.symbols, warm_up);
                match slot.quarantined() {
                    Some(reason) => Err(format!("while it was warmed up: {reason}")),
                    None => slot
                        .rebase(&all, &self.symbols, self.position)
                        .map_err(|f| f.to_string()),
                }
            });
        if let Err(reason) = ready {
            slot.quarantine(place, &reason, &mut sink);
        }
        let at = self.slots.partition_point(|s| s.strategy().id < id);
        self.slots.insert(at, slot);
    }

    /// Stops a strategy before the next message.
    pub fn stop(&mut self, id: &str, why: StopReason, silent: bool, out: &mut Outputs) {
        let Some(at) = self.slots.iter().position(|s| s.strategy().id == id) else {
            return;
        };
        self.slots.remove(at);
        if !silent {
            let mut sink = Sink {
                partition: self.number,
                mode: Mode::Live,
                next_change: &mut self.next_change,
                out,
            };
            sink.change(id, self.position, What::Stop { why });
        }
    }

    /// How many ticks of a symbol this strategy needs before its first value, as it said itself.
    #[must_use]
    pub fn warm_up_ticks(strategy: &Arc<Strategy>, plugin: &Arc<Plugin>) -> u32 {
        let mut slot = Slot::start(strategy.clone(), plugin.clone(), 0);
        match slot.revive(&Symbols::default(), &[]) {
            Ok(()) => slot.warm_up_ticks(),
            Err(_) => 0,
        }
    }

    /// The whole state at this offset. What is held for the recovery of failed instances starts anew here.
    pub fn picture(&mut self, out: &mut Outputs) -> Picture {
        let touched = self.touched.take();
        for slot in &mut self.slots {
            if let Err(failure) = slot.rebase(&touched, &self.symbols, self.position) {
                let place = Place {
                    offset: self.position,
                    line: 0,
                };
                let next_change = &mut self.next_change;
                let mut sink = Sink {
                    partition: self.number,
                    mode: Mode::Live,
                    next_change,
                    out,
                };
                slot.quarantine(place, &failure, &mut sink);
            }
        }
        self.history.clear();
        self.rows_in_history = 0;
        Picture {
            position: self.position,
            next_change: self.next_change,
            symbols: self.symbols.names().to_vec(),
            order: self.order.clone(),
            bars: self.bars.clone(),
            slots: self.slots.iter().map(SlotPicture::of).collect(),
        }
    }

    fn take<'m>(
        &mut self,
        messages: impl Iterator<Item = MessageRef<'m>>,
        mode: Mode,
        out: &mut Outputs,
    ) {
        for message in messages {
            self.decode(message, mode, out);
            self.position = message.offset + 1;
            if self.spare.len() >= ROWS_AT_ONCE {
                self.run(mode, out);
            }
        }
        self.run(mode, out);
        if mode == Mode::Replay {
            for slot in &mut self.slots {
                slot.replayed_to(self.position);
            }
        }
    }

    /// Runs what was decoded over all strategies.
    fn run(&mut self, mode: Mode, out: &mut Outputs) {
        let rows = std::mem::take(&mut self.spare);
        if rows.first_place().is_none() {
            return;
        }
        for slot in &mut self.slots {
            let mut sink = Sink {
                partition: self.number,
                mode,
                next_change: &mut self.next_change,
                out,
            };
            slot.run(&rows, &self.symbols, &self.history, &mut sink);
        }
        self.rows_in_history += rows.len() + rows.events.len();
        self.history.push(Arc::new(rows));
    }

    fn decode(&mut self, message: MessageRef<'_>, mode: Mode, out: &mut Outputs) {
        if !self.order.admit_message(message.headers) {
            out.counts.repeated_messages += 1;
            return;
        }
        for (line, text) in lines(message.value) {
            let place = Place {
                offset: message.offset,
                line,
            };
            let record = match read_record(text, &Limits::none()) {
                Ok(record) => record,
                Err(_) => {
                    out.counts.unreadable += 1;
                    continue;
                }
            };
            let Record::Tick(tick) = record else {
                out.counts.events += 1;
                let symbol = record.symbol().map(|s| self.symbols.number(s));
                if let Some(symbol) = symbol {
                    self.touched.add(symbol);
                }
                self.spare.push_event(place, symbol, record);
                continue;
            };
            let symbol = self.symbols.number(&tick.symbol);
            let previous_time = match self.order.admit(symbol, &tick) {
                Admit::New { previous_time } => previous_time,
                Admit::Late => {
                    out.counts.late += 1;
                    continue;
                }
                Admit::Repeat => {
                    out.counts.repeats += 1;
                    continue;
                }
            };
            out.counts.ticks += 1;
            self.touched.add(symbol);
            if symbol as usize >= self.bars.len() {
                self.bars
                    .resize_with(symbol as usize + 1, OpenBars::default);
            }
            let next_change = &mut self.next_change;
            let mut sink = Sink {
                partition: self.number,
                mode,
                next_change,
                out,
            };
            self.bars[symbol as usize].add(&tick, |interval, bar| {
                sink.bar(&tick.symbol, interval, bar, place.offset)
            });
            self.spare.push(place, symbol, previous_time, &tick);
        }
    }
}

/// Runs messages through a fresh instance.
fn warm(slot: &mut Slot, partition: u32, symbols: &Symbols, messages: &Messages) {
    let (mut ignored, mut next_change) = (Outputs::default(), 0);
    let mut sink = Sink {
        partition,
        mode: Mode::WarmUp,
        next_change: &mut next_change,
        out: &mut ignored,
    };
    let (mut order, mut rows, mut history) = (Order::default(), Rows::default(), Vec::new());
    for message in messages.iter() {
        decode_known(symbols, &mut order, message, &mut rows);
        if rows.len() >= ROWS_AT_ONCE {
            slot.run(&rows, symbols, &history, &mut sink);
            history.push(Arc::new(std::mem::take(&mut rows)));
        }
    }
    slot.run(&rows, symbols, &history, &mut sink);
}

/// Ticks of symbols that have a number, for a warm-up: it must not give any.
fn decode_known(symbols: &Symbols, order: &mut Order, message: MessageRef<'_>, rows: &mut Rows) {
    if !order.admit_message(message.headers) {
        return;
    }
    for (line, text) in lines(message.value) {
        let place = Place {
            offset: message.offset,
            line,
        };
        let Ok(record) = read_record(text, &Limits::none()) else {
            continue;
        };
        let symbol = match record.symbol().map(|s| symbols.find(s)) {
            Some(None) => continue,
            Some(found) => found,
            None => None,
        };
        match (record, symbol) {
            (Record::Tick(tick), Some(symbol)) => {
                if let Admit::New { previous_time } = order.admit(symbol, &tick) {
                    rows.push(place, symbol, previous_time, &tick);
                }
            }
            (record, symbol) => rows.push_event(place, symbol, record),
        }
    }
}

fn lines(value: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = Some(value);
    let next = move || {
        let value = rest?;
        let Some(end) = memchr::memchr(b'\n', value) else {
            return rest.take();
        };
        rest = Some(&value[end + 1..]);
        Some(&value[..end])
    };
    (0..).zip(std::iter::from_fn(next))
}

pub(super) fn find_plugin(
    strategy: &Strategy,
    find: FindPlugin<'_>,
) -> Result<Arc<Plugin>, PictureError> {
    let missing = || PictureError::PluginMissing {
        strategy: strategy.id.clone(),
        digest: strategy.plugin_digest.clone(),
    };
    strategy
        .plugin_digest
        .parse()
        .ok()
        .and_then(find)
        .ok_or_else(missing)
}

impl Rows {
    fn push(
        &mut self,
        place: Place,
        symbol: u32,
        previous_time: f64,
        tick: &crate::market::Tick<'_>,
    ) {
        self.symbol.push(symbol);
        self.time.push(tick.time);
        self.open.push(tick.open);
        self.high.push(tick.high);
        self.low.push(tick.low);
        self.close.push(tick.close);
        self.volume.push(tick.volume);
        self.previous_time.push(previous_time);
        self.place.push(place);
    }

    fn push_event(&mut self, place: Place, symbol: Option<u32>, record: Record<'_>) {
        let (time, body) = match record {
            Record::Tick(_) => return,
            Record::OrderBook {
                time,
                side,
                price,
                quantity,
                ..
            } => (
                time,
                EventBody::OrderBook {
                    side,
                    price,
                    quantity,
                },
            ),
            Record::NewsSentiment {
                time,
                score,
                magnitude,
                ..
            } => (time, EventBody::NewsSentiment { score, magnitude }),
            Record::MarketData {
                time,
                market_cap,
                pe_ratio,
                ..
            } => (
                time,
                EventBody::MarketData {
                    market_cap,
                    pe_ratio,
                },
            ),
            Record::EconomicIndicator { time, name, value } => (
                time,
                EventBody::EconomicIndicator {
                    name: name.as_ref().into(),
                    value,
                },
            ),
        };
        self.events.push(Event {
            row: self.len(),
            place,
            symbol,
            time,
            body,
        });
    }
}

impl SlotPicture {
    fn of(slot: &Slot) -> Self {
        Self {
            definition: serde_json::to_string(&**slot.strategy()).expect("a definition is JSON"),
            states: slot.base().states.clone(),
            shared: slot.base().shared.clone(),
            tally: slot.tally().clone(),
            quarantined: slot.quarantined().map(str::to_owned),
            since: slot.since(),
        }
    }

    fn definition(&self) -> Result<Strategy, PictureError> {
        serde_json::from_str(&self.definition).map_err(|e| PictureError::Damaged(e.to_string()))
    }

    fn state(self, offset: Offset) -> SlotState {
        let base = super::slot::Base {
            states: self.states,
            shared: self.shared,
            offset,
        };
        SlotState {
            base,
            tally: self.tally,
            quarantined: self.quarantined,
            since: self.since,
        }
    }
}
