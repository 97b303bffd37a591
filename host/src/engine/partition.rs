//! The engine's core: one partition of `ticks` as a function of (state, messages) to (state, outputs). It has no
//! clock, no log and no randomness, so that the live run, a replay and a check of the past are the same code.

mod decode;
mod deploy;
mod pictures;

use std::sync::Arc;

use self::pictures::Touched;
use super::{
    exposure::Exposure,
    inputs::Inputs,
    order::{Order, Symbols},
    picture::PictureError,
    rows::Place,
    sink::{Mode, Outputs, Sink},
    slot::Slot,
};
use crate::{
    bars::OpenBars,
    change::{Change, ON_REPLAY, What},
    log::{MessageRef, Offset},
    plugin::{Columns, Digest, LogLine, Plugin},
    strategy::Strategy,
};

pub use self::pictures::PictureProgress;

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
    history: Vec<Arc<Inputs>>,
    rows_in_history: usize,
    touched: Touched,
    exposure: Option<Exposure>,
    /// When the newest message was appended, in milliseconds since the epoch.
    append_ms: i64,
    spare: Inputs,
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
            exposure: None,
            append_ms: 0,
            spare: Inputs::default(),
        }
    }

    /// Its number in `ticks`.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
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

    /// Takes messages as [`Partition::replay`] does, and puts out the signals too that were put out live.
    pub fn recompute<'m>(
        &mut self,
        messages: impl Iterator<Item = MessageRef<'m>>,
        out: &mut Outputs,
    ) {
        self.take(messages, Mode::Recompute, out);
    }

    /// Records that a strategy runs no more from here on, where a replay found that out.
    pub(super) fn record_quarantine(&mut self, strategy: &str, reason: &str, out: &mut Outputs) {
        let mut sink = Sink {
            partition: self.number,
            append_ms: self.append_ms,
            mode: Mode::Replay,
            next_change: &mut self.next_change,
            out,
        };
        let reason = format!("{ON_REPLAY}, where the live run had not failed: {reason}");
        sink.change(strategy, self.position, What::Quarantine { row: 0, reason });
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
            What::Start { .. } | What::Promote { .. } | What::Stop { .. } => {}
        }
    }

    fn take<'m>(
        &mut self,
        messages: impl Iterator<Item = MessageRef<'m>>,
        mode: Mode,
        out: &mut Outputs,
    ) {
        let inputs = self.slots.iter().map(|slot| slot.strategy().input);
        self.spare.keep_for(inputs);
        for message in messages {
            self.decode(message, mode, out);
            self.position = message.offset + 1;
            self.append_ms = self.append_ms.max(message.timestamp_ms);
            if self.spare.ticks.len() >= ROWS_AT_ONCE {
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
        if self.spare.ticks.first_place().is_none() {
            return;
        }
        self.capture_for_picture(mode, out);
        let mut inputs = std::mem::take(&mut self.spare);
        for slot in &mut self.slots {
            let mut sink = Sink {
                partition: self.number,
                append_ms: self.append_ms,
                mode,
                next_change: &mut self.next_change,
                out,
            };
            slot.run(&inputs, &self.symbols, &self.history, &mut sink);
        }
        self.rows_in_history += inputs.ticks.units();
        // One that starts later is not shown what was before it.
        let columns = |input| {
            let slots = self.slots.iter().filter(|s| s.strategy().input == input);
            slots.fold(Columns::empty(), |all, slot| all | slot.columns())
        };
        let kept = inputs.take_for_recovery(columns);
        self.history.push(Arc::new(kept));
        self.spare = inputs;
        self.give_up_lost_picture();
    }
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
