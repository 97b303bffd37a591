//! Strategies come and go between two messages.

use std::sync::Arc;

use super::{Partition, decode::known_rows};
use crate::{
    change::{StopReason, Warmed, What},
    engine::{
        order::Symbols,
        rows::Place,
        sink::{Mode, Outputs, Sink},
        slot::Slot,
    },
    log::Messages,
    plugin::Plugin,
    strategy::Strategy,
};

impl Partition {
    /// Starts a strategy from the next message on, warmed up with messages of `ticks` that end right before it, or of
    /// `bars` where it reads these.
    ///
    /// On replay (`silent`) nothing is recorded: it was.
    pub fn start(
        &mut self,
        strategy: Arc<Strategy>,
        plugin: Arc<Plugin>,
        warm_up: &Messages,
        warmed: impl Into<Warmed>,
        silent: bool,
        out: &mut Outputs,
    ) {
        // A picture in the making knows its strategies by their place.
        self.give_up_picture();
        let id = strategy.id.clone();
        let mode = if silent { Mode::WarmUp } else { Mode::Live };
        let mut sink = Sink {
            partition: self.number,
            append_ms: self.append_ms,
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
                warmed: warmed.into(),
            },
        );
        let mut slot = Slot::start(strategy, plugin, self.position);
        let place = Place {
            offset: self.position,
            line: 0,
        };
        let ready = slot
            .revive(&self.symbols, &[])
            .map_err(|f| f.to_string())
            .and_then(|()| {
                slot.tell_log(place, &mut sink);
                warm(&mut slot, self.number, &self.symbols, warm_up);
                match slot.quarantined() {
                    Some(reason) => Err(format!("while it was warmed up: {reason}")),
                    None => slot
                        .rebase_here(&self.symbols, self.position)
                        .map_err(|f| f.to_string()),
                }
            });
        if let Err(reason) = ready {
            slot.quarantine(place, &reason, &mut sink);
        }
        let at = self.slots.partition_point(|s| s.strategy().id < id);
        self.slots.insert(at, slot);
    }

    /// Lets the shadow of a strategy take its place from the next message on, with the state that it has. Nothing
    /// happens where there is none.
    ///
    /// On replay (`silent`) nothing is recorded: it was.
    pub fn promote(&mut self, strategy: Arc<Strategy>, silent: bool, out: &mut Outputs) {
        let shadow = Strategy::shadow_id(&strategy.id);
        let Some(at) = self.slots.iter().position(|s| s.strategy().id == shadow) else {
            return;
        };
        self.give_up_picture();
        let mut slot = self.slots.remove(at);
        self.slots.retain(|s| s.strategy().id != strategy.id);
        if !silent {
            let mut sink = Sink {
                partition: self.number,
                append_ms: self.append_ms,
                mode: Mode::Live,
                next_change: &mut self.next_change,
                out,
            };
            let definition = Box::new(Strategy::clone(&strategy));
            sink.change(&strategy.id, self.position, What::Promote { definition });
        }
        let at = (self.slots).partition_point(|s| s.strategy().id < strategy.id);
        slot.promote(strategy, self.position);
        self.slots.insert(at, slot);
    }

    /// Stops a strategy before the next message.
    pub fn stop(&mut self, id: &str, why: StopReason, silent: bool, out: &mut Outputs) {
        let Some(at) = self.slots.iter().position(|s| s.strategy().id == id) else {
            return;
        };
        self.give_up_picture();
        self.slots.remove(at);
        if !silent {
            let mut sink = Sink {
                partition: self.number,
                append_ms: self.append_ms,
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
}

/// Runs messages through a fresh instance.
fn warm(slot: &mut Slot, partition: u32, symbols: &Symbols, messages: &Messages) {
    let (mut ignored, mut next_change) = (Outputs::default(), 0);
    let mut sink = Sink {
        partition,
        append_ms: 0,
        mode: Mode::WarmUp,
        next_change: &mut next_change,
        out: &mut ignored,
    };
    let mut history = Vec::new();
    let input = slot.strategy().input;
    for inputs in known_rows(symbols, messages, input) {
        slot.run(&inputs, symbols, &history, &mut sink);
        history.push(Arc::new(inputs));
    }
}
