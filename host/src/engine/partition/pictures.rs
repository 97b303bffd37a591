//! Pictures of a partition: begun between two messages, completed while it goes on, and then the base from which failed
//! instances are brought back.

use super::{Partition, find_plugin};
use crate::{
    change::ON_REPLAY,
    engine::{
        FindPlugin, Outputs, Picture, PictureError,
        album::Album,
        exposure::{Exposure, Scene, SlotFailure},
        picture::{Head, SlotHead},
        rows::Place,
        sink::{Mode, Sink},
        slot::{Base, Slot, SlotState},
    },
    log::Topic,
};

/// Symbols with a row or an event since the newest picture was begun.
#[derive(Default)]
pub(super) struct Touched(Vec<bool>);

impl Touched {
    pub(super) fn add(&mut self, symbol: u32) {
        let index = symbol as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, false);
        }
        self.0[index] = true;
    }

    fn add_all(&mut self, others: &[bool]) {
        for (symbol, _) in (0..).zip(others).filter(|(_, touched)| **touched) {
            self.add(symbol);
        }
    }
}

/// How far a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureProgress {
    /// There is none in the making: none was begun, or it was given up because a strategy failed.
    None,
    /// It is in the making.
    Unfinished,
    /// It is complete, and valid once what was put out is committed.
    Complete,
}

impl Partition {
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
        let offset = picture.position();
        let mut partition = Self::new(number, offset);
        partition.next_change = picture.head.next_change;
        partition.symbols = picture.names.into();
        partition.order = picture.head.order;
        partition.order.set_lasts(picture.lasts);
        partition.bars = picture.bars;
        for (head, states) in picture.head.slots.into_iter().zip(picture.states) {
            let strategy = std::sync::Arc::new(head.definition()?);
            let plugin = find_plugin(&strategy, find)?;
            let state = SlotState {
                base: Base {
                    states,
                    shared: head.shared,
                    offset,
                },
                tally: head.tally,
                quarantined: head.quarantined,
                since: head.since,
            };
            let mut slot = Slot::resume(strategy, plugin, state);
            let revived = slot.revive(&partition.symbols, &[]);
            slot.drop_log();
            partition.slots.push(slot);
            if let Err(failure) = revived {
                let reason = format!("{ON_REPLAY}: its state cannot be restored: {failure}");
                partition.quarantine(partition.slots.len() - 1, &reason, Mode::Replay, out);
            }
        }
        Ok(partition)
    }

    /// Takes a whole picture at once.
    pub fn take_picture(&mut self, album: &mut Album, out: &mut Outputs) {
        self.begin_picture(album, out);
        while self.advance_picture(usize::MAX, album, out) == PictureProgress::Unfinished {}
    }

    /// Makes the state here the one from which failed instances are brought back, and keeps no picture of it.
    pub(in crate::engine) fn rebase_here(&mut self, out: &mut Outputs) {
        self.take_picture(&mut Album::default(), out);
        out.appends
            .retain(|append| append.topic != Topic::Checkpoints);
    }

    /// Begins a picture of the state as it is now. One that is in the making is given up.
    pub fn begin_picture(&mut self, album: &mut Album, out: &mut Outputs) {
        self.give_up_picture();
        let mut shared = Vec::with_capacity(self.slots.len());
        for slot in 0..self.slots.len() {
            let captured = self.slots[slot].capture_shared();
            shared.push(captured.unwrap_or_else(|failure| {
                self.quarantine(slot, &failure, Mode::Live, out);
                Vec::new()
            }));
        }
        let slots = self.slots.iter().zip(shared);
        let head = Head {
            frame: album.next(self.append_ms),
            position: self.position,
            next_change: self.next_change,
            symbols: self.symbols.names().len() as u32,
            order: self.order.without_symbols(),
            slots: slots
                .map(|(slot, shared)| slot_head(slot, shared))
                .collect(),
        };
        let touched = std::mem::take(&mut self.touched).0;
        let history = (self.history.len(), self.rows_in_history);
        self.exposure = Some(Exposure::begin(self.number, head, touched, history, out));
    }

    /// Goes on with the picture in the making by about so many symbols.
    pub fn advance_picture(
        &mut self,
        symbols: usize,
        album: &mut Album,
        out: &mut Outputs,
    ) -> PictureProgress {
        let Some(exposure) = &mut self.exposure else {
            return PictureProgress::None;
        };
        let mut scene = Scene {
            symbols: &self.symbols,
            order: &self.order,
            bars: &self.bars,
            slots: &mut self.slots,
        };
        match exposure.advance(symbols, &mut scene, out) {
            Ok(false) => PictureProgress::Unfinished,
            Ok(true) => {
                album.keep(exposure.frame());
                self.rebase(out);
                PictureProgress::Complete
            }
            Err(failed) => {
                self.fail_picture(failed, Mode::Live, out);
                PictureProgress::None
            }
        }
    }

    /// Whether a picture is in the making.
    #[must_use]
    pub const fn is_taking_picture(&self) -> bool {
        self.exposure.is_some()
    }

    /// Before a row of a symbol counts.
    pub(super) fn keep_for_picture(&mut self, symbol: u32) {
        if let Some(exposure) = &mut self.exposure {
            exposure.keep(symbol, &self.order, &self.bars);
        }
    }

    /// Before the rows that were decoded run.
    pub(super) fn capture_for_picture(&mut self, mode: Mode, out: &mut Outputs) {
        let Some(exposure) = &mut self.exposure else {
            return;
        };
        if let Err(failed) = exposure.capture_pending(&mut self.slots, &self.symbols) {
            self.fail_picture(failed, mode, out);
        }
    }

    /// A strategy that was quarantined has no states any more that could be captured.
    pub(super) fn give_up_lost_picture(&mut self) {
        if self
            .exposure
            .as_ref()
            .is_some_and(|e| e.has_lost(&self.slots))
        {
            self.give_up_picture();
        }
    }

    /// Leaves a picture unfinished: without its manifest it is none. The base stays what it is.
    pub(super) fn give_up_picture(&mut self) {
        if let Some(exposure) = self.exposure.take() {
            self.touched.add_all(&exposure.into_touched());
        }
    }

    fn fail_picture(&mut self, (slot, failure): SlotFailure, mode: Mode, out: &mut Outputs) {
        self.give_up_picture();
        self.quarantine(slot, &failure, mode, out);
    }

    /// The complete picture is the base from now on.
    fn rebase(&mut self, out: &mut Outputs) {
        let Some(exposure) = self.exposure.take() else {
            return;
        };
        self.history.drain(..exposure.batches);
        self.rows_in_history -= exposure.rows;
        for (slot, base) in self.slots.iter_mut().zip(exposure.finish(out)) {
            if let Some(base) = base {
                slot.rebase(base);
            }
        }
    }

    /// Quarantines a strategy from the first row on that did not run yet.
    fn quarantine(
        &mut self,
        slot: usize,
        reason: &dyn std::fmt::Display,
        mode: Mode,
        out: &mut Outputs,
    ) {
        let next = Place {
            offset: self.position,
            line: 0,
        };
        let from = self.spare.ticks.first_place().unwrap_or(next);
        let mut sink = Sink {
            partition: self.number,
            append_ms: self.append_ms,
            mode,
            next_change: &mut self.next_change,
            out,
        };
        self.slots[slot].quarantine(from, reason, &mut sink);
    }
}

fn slot_head(slot: &Slot, shared: Vec<u8>) -> SlotHead {
    SlotHead {
        definition: serde_json::to_string(&**slot.strategy()).expect("a definition is JSON"),
        shared,
        tally: slot.tally().clone(),
        quarantined: slot.quarantined().map(str::to_owned),
        since: slot.since(),
    }
}
