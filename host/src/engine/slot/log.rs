//! What an instance logs: told in the step that it belongs to, at a bounded rate, and once. What it logs when rows are
//! run again is dropped.

use std::collections::VecDeque;

use super::Slot;
use crate::{
    engine::{
        rows::Place,
        sink::{Mode, Sink},
    },
    plugin::LogLine,
};

/// Lines that may come at once, and how often another may, by the time at which ticks were appended. What the log keeps
/// of a strategy is bounded so, whatever it writes.
const BURST: u32 = 50;
const LINE_EVERY_MS: i64 = 100;

/// Lines kept for whoever runs a plugin without a log.
const KEPT: usize = 200;

/// The log of one strategy on one partition.
#[derive(Default)]
pub(super) struct SlotLog {
    kept: VecDeque<LogLine>,
    /// Lines that were told and count against the burst, and until when they were worked off.
    owed: u32,
    since_ms: i64,
    left_out: u64,
}

impl SlotLog {
    /// Whether another line may be told now.
    fn admits(&mut self, now_ms: i64) -> bool {
        let passed = now_ms.saturating_sub(self.since_ms) / LINE_EVERY_MS;
        if passed > 0 {
            let worked_off = u32::try_from(passed).unwrap_or(u32::MAX);
            self.owed = self.owed.saturating_sub(worked_off);
            self.since_ms = now_ms;
        }
        let admits = self.owed < BURST;
        self.owed += u32::from(admits);
        admits
    }
}

impl Slot {
    /// What was logged since the last look, for whoever runs a plugin without a log.
    pub(in crate::engine) fn take_log(&mut self) -> impl Iterator<Item = LogLine> + '_ {
        self.log.kept.drain(..)
    }

    /// Tells what the instance logged up to a place.
    pub(in crate::engine) fn tell_log(&mut self, at: Place, sink: &mut Sink<'_>) {
        let Some(instance) = &mut self.instance else {
            return;
        };
        let (lines, dropped) = instance.take_log();
        if sink.mode != Mode::Live {
            return;
        }
        self.log.left_out += dropped;
        for line in lines {
            match self.log.admits(sink.append_ms) {
                true => {
                    let left_out = std::mem::take(&mut self.log.left_out);
                    sink.log_line(&self.stamp, at, &line, left_out);
                }
                false => self.log.left_out += 1,
            }
            if self.log.kept.len() == KEPT {
                self.log.kept.pop_front();
            }
            self.log.kept.push_back(line);
        }
    }

    /// Forgets what the instance logged.
    pub(in crate::engine) fn drop_log(&mut self) {
        if let Some(instance) = &mut self.instance {
            drop(instance.take_log());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_by_the_time_of_the_log() {
        let mut log = SlotLog::default();
        let told = |log: &mut SlotLog, now_ms| (0..1000).filter(|_| log.admits(now_ms)).count();
        assert_eq!(told(&mut log, 1_700_000_000_000), BURST as usize);
        assert_eq!(told(&mut log, 1_700_000_000_050), 0);
        assert_eq!(told(&mut log, 1_700_000_001_000), 10);
        assert_eq!(told(&mut log, 1_700_000_000_500), 0, "an older time");
    }
}
