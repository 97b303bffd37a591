//! A picture in the making: begun at one offset, and completed while the partition goes on. What belongs to a symbol is
//! captured before the first row that touches it, or a slice at a time, whichever comes first; what was not touched
//! since the base is taken from there. So nothing stops for it, and nothing is copied that does not change.

use hashbrown::HashMap;

use super::{
    Outputs,
    album::Frame,
    order::{Last, Order, Symbols},
    picture::{Head, Range, SlotHead, Writing},
    slot::{Base, Slot},
    states::{BLOCK, Block, States, StoredBlock},
};
use crate::{bars::OpenBars, plugin::Failure};

/// Bytes of one range of symbols, about: enough for a message to be worth its cost.
const RANGE_BYTES: usize = 256 << 10;

/// Bytes of a symbol beside its states, about.
const SYMBOL_BYTES: usize = 400;

/// One picture in the making.
pub(super) struct Exposure {
    frame: Frame,
    /// Symbols that there are in it, and the first that was not captured by its turn.
    symbols: usize,
    next: usize,
    /// Touched between the base and the picture's offset: the state of any other is that of the base.
    touched: Vec<bool>,
    /// Captured before their turn.
    early: HashMap<u32, Early>,
    /// Of these the states are to be captured before the next rows run.
    pending: Vec<u32>,
    /// The next base of each strategy; none of one that is quarantined.
    bases: Vec<Option<Base>>,
    range: OpenRange,
    writing: Writing,
    /// What lies before the picture's offset: batches of the history, and rows in them.
    pub(super) batches: usize,
    pub(super) rows: usize,
}

/// A symbol as it was at the picture's offset.
struct Early {
    last: Option<Last>,
    bars: OpenBars,
    /// Of each strategy; none at all for a symbol that was not touched before.
    states: Vec<Vec<u8>>,
}

/// The range of symbols that is written next.
#[derive(Default)]
struct OpenRange {
    first: usize,
    lasts: Vec<Option<Last>>,
    bars: Vec<OpenBars>,
    bytes: usize,
}

/// What a picture is taken of.
pub(super) struct Scene<'a> {
    pub(super) symbols: &'a Symbols,
    pub(super) order: &'a Order,
    pub(super) bars: &'a [OpenBars],
    pub(super) slots: &'a mut [Slot],
}

/// A strategy, by its place, failed when its state was asked for.
pub(super) type SlotFailure = (usize, Failure);

impl Exposure {
    /// Begins a picture of what `head` says.
    pub(super) fn begin(
        partition: u32,
        head: Head,
        touched: Vec<bool>,
        history: (usize, usize),
        out: &mut Outputs,
    ) -> Self {
        let base = |slot: &SlotHead| {
            slot.quarantined.is_none().then(|| Base {
                states: States::default(),
                shared: slot.shared.clone(),
                offset: head.position,
            })
        };
        let bases = head.slots.iter().map(base).collect();
        let writing = Writing::start(partition, &head, out);
        Self {
            frame: head.frame,
            symbols: head.symbols as usize,
            next: 0,
            touched,
            early: HashMap::new(),
            pending: Vec::new(),
            bases,
            range: OpenRange::default(),
            writing,
            batches: history.0,
            rows: history.1,
        }
    }

    /// Keeps what the next row of a symbol is about to change.
    pub(super) fn keep(&mut self, symbol: u32, order: &Order, bars: &[OpenBars]) {
        let index = symbol as usize;
        if index < self.next || index >= self.symbols || self.early.contains_key(&symbol) {
            return;
        }
        let early = Early {
            last: order.last(symbol),
            bars: bars.get(index).cloned().unwrap_or_default(),
            states: Vec::new(),
        };
        self.early.insert(symbol, early);
        if self.is_touched(index) {
            self.pending.push(symbol);
        }
    }

    /// Captures the states of the symbols that the next rows are about to change.
    pub(super) fn capture_pending(
        &mut self,
        slots: &mut [Slot],
        symbols: &Symbols,
    ) -> Result<(), SlotFailure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        for (index, slot) in slots.iter_mut().enumerate() {
            let states = slot.capture(&pending, symbols).map_err(|f| (index, f))?;
            for (symbol, state) in pending.iter().zip(states) {
                let early = self.early.get_mut(symbol);
                early
                    .expect("kept before it was pending")
                    .states
                    .push(state);
            }
        }
        Ok(())
    }

    /// Captures about so many more symbols; true where these were the last.
    pub(super) fn advance(
        &mut self,
        symbols: usize,
        scene: &mut Scene<'_>,
        out: &mut Outputs,
    ) -> Result<bool, SlotFailure> {
        // A tick that was dropped, as late or as a repeat, is followed by no run that captures them.
        self.capture_pending(scene.slots, scene.symbols)?;
        let until = self.next.saturating_add(symbols);
        while self.next < self.symbols && self.next < until {
            self.capture_block(scene)?;
            if self.range.bytes >= RANGE_BYTES || self.next == self.symbols {
                self.write_range(scene.symbols, out);
            }
        }
        Ok(self.next == self.symbols)
    }

    /// Whether a strategy has failed for good whose states are not all captured.
    pub(super) fn has_lost(&self, slots: &[Slot]) -> bool {
        let lost =
            |(base, slot): (&Option<Base>, &Slot)| base.is_some() && slot.quarantined().is_some();
        self.bases.iter().zip(slots).any(lost)
    }

    /// Puts out the manifest; what is left is each strategy's next base.
    pub(super) fn finish(self, out: &mut Outputs) -> Vec<Option<Base>> {
        self.writing.finish(out);
        self.bases
    }

    /// What was touched since the base that is still the base.
    pub(super) fn into_touched(self) -> Vec<bool> {
        self.touched
    }

    fn is_touched(&self, index: usize) -> bool {
        self.touched.get(index).is_some_and(|&touched| touched)
    }

    fn capture_block(&mut self, scene: &mut Scene<'_>) -> Result<(), SlotFailure> {
        let range = self.next..(self.next + BLOCK).min(self.symbols);
        let early: Vec<Option<Early>> = range
            .clone()
            .map(|n| self.early.remove(&(n as u32)))
            .collect();
        let now: Vec<u32> = range
            .clone()
            .filter(|&n| self.is_touched(n) && early[n - range.start].is_none())
            .map(|n| n as u32)
            .collect();
        for (index, slot) in scene.slots.iter_mut().enumerate() {
            if self.bases[index].is_none() {
                continue;
            }
            let states = slot.capture(&now, scene.symbols).map_err(|f| (index, f))?;
            let before = slot.base().states.block(range.start / BLOCK);
            let is_changed = !now.is_empty()
                || before.len() != range.len()
                || early.iter().flatten().any(|early| !early.states.is_empty());
            let block = if is_changed {
                let mut states = states.iter().map(Vec::as_slice);
                Block::of(range.clone().map(|n| match &early[n - range.start] {
                    Some(early) if !early.states.is_empty() => early.states[index].as_slice(),
                    None if self.is_touched(n) => states.next().unwrap_or_default(),
                    _ => before.get(n - range.start),
                }))
                .into()
            } else {
                before
            };
            self.range.bytes += block.bytes();
            let base = self.bases[index].as_mut();
            base.expect("seen above").states.push(block);
        }
        for (n, early) in range.clone().zip(early) {
            let (last, bars) = match early {
                Some(early) => (early.last, early.bars),
                None => {
                    let bars = scene.bars.get(n).cloned().unwrap_or_default();
                    (scene.order.last(n as u32), bars)
                }
            };
            self.range.lasts.push(last);
            self.range.bars.push(bars);
            self.range.bytes += SYMBOL_BYTES;
        }
        self.next = range.end;
        Ok(())
    }

    fn write_range(&mut self, symbols: &Symbols, out: &mut Outputs) {
        let range = std::mem::take(&mut self.range);
        let first_block = range.first / BLOCK;
        let names = &symbols.names()[range.first..self.next];
        let stored = Range {
            first: range.first as u32,
            names: names.iter().map(|name| &**name).collect(),
            lasts: range.lasts,
            bars: range.bars,
            states: self
                .bases
                .iter()
                .map(|base| stored(base, first_block))
                .collect(),
        };
        self.writing.section(&stored, out);
        self.range.first = self.next;
    }

    pub(super) const fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// The blocks of one strategy from one on; none where it is quarantined.
fn stored(base: &Option<Base>, first_block: usize) -> Vec<StoredBlock<'_>> {
    let blocks = base.as_ref().map(|base| base.states.blocks(first_block));
    let blocks = blocks.unwrap_or_default().iter();
    blocks.map(|block| block.stored()).collect()
}
