//! The newest lines that plugins logged, of each strategy: what the topic `logs` says, on every replica.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    log::{MessageRef, Offset},
    plugin::LogLevel,
};

/// Lines kept of a strategy, and strategies of which lines are kept.
const KEPT: usize = 500;
const STRATEGIES: usize = 2_000;

/// Messages of a partition that are read at the start.
pub(super) const READ_BACK: Offset = 5_000;

/// A line that a strategy's plugin logged.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LoggedLine {
    /// When it was written, seconds since the epoch.
    pub time: f64,
    /// Severity.
    pub level: LogLevel,
    /// Text without control characters, at most 1024 bytes.
    pub message: String,
    /// Lines before it on its partition that were left out, since they were too many.
    pub left_out: u64,
    /// Whether the strategy's shadow logged it.
    pub shadow: bool,
    /// The partition of `ticks`.
    pub partition: u32,
    /// The message of `ticks` with the last row that it ran over.
    pub offset: Offset,
    /// That row's line in it.
    pub row: u32,
}

/// A line as the engine writes it.
#[derive(serde::Deserialize)]
struct Written {
    strategy: String,
    shadow: bool,
    level: LogLevel,
    message: String,
    left_out: u64,
    partition: u32,
    offset: Offset,
    row: u32,
}

#[derive(Default)]
pub(super) struct LogBook(HashMap<String, VecDeque<LoggedLine>>);

impl LogBook {
    /// Before the topic is read again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    pub(super) fn take(&mut self, message: MessageRef<'_>) {
        let written = match serde_json::from_slice::<Written>(message.value) {
            Ok(written) => written,
            Err(error) => {
                let (partition, offset) = (message.partition, message.offset);
                tracing::error!(partition, offset, %error, "message of logs passed over");
                return;
            }
        };
        if !self.0.contains_key(&written.strategy) && self.0.len() >= STRATEGIES {
            return;
        }
        let lines = self.0.entry(written.strategy).or_default();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(LoggedLine {
            time: message.timestamp_ms as f64 / 1000.0,
            level: written.level,
            message: written.message,
            left_out: written.left_out,
            shadow: written.shadow,
            partition: written.partition,
            offset: written.offset,
            row: written.row,
        });
    }

    /// The newest lines of a strategy, the newest first.
    pub(super) fn newest(&self, strategy: &str, limit: usize) -> Vec<LoggedLine> {
        let lines = self.0.get(strategy).into_iter().flatten();
        lines.rev().take(limit).cloned().collect()
    }
}
