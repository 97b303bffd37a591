//! The newest lines that plugins logged, of each strategy: what the topic `logs` says, on every replica.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    log::{MessageRef, Offset},
    plugin::LogLevel,
};

/// Lines kept of a strategy.
const KEPT: usize = 500;

/// What all lines may take. Above it, the strategy that has most loses its oldest.
const MAX_BYTES: usize = 32 << 20;

/// What a line takes beside its text.
const LINE_BYTES: usize = 128;

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
pub(super) struct LogBook {
    of: HashMap<String, Lines>,
    bytes: usize,
}

/// Of one strategy, the oldest first.
#[derive(Default)]
struct Lines {
    lines: VecDeque<LoggedLine>,
    bytes: usize,
}

impl Lines {
    /// Drops so many of the oldest; says how many bytes that were.
    fn forget(&mut self, lines: usize) -> usize {
        let gone = self.lines.drain(..lines.min(self.lines.len()));
        let bytes = gone.map(|line| bytes_of(&line)).sum();
        self.bytes -= bytes;
        bytes
    }
}

fn bytes_of(line: &LoggedLine) -> usize {
    line.message.len() + LINE_BYTES
}

impl LogBook {
    pub(super) fn take(&mut self, message: MessageRef<'_>) {
        let written = match serde_json::from_slice::<Written>(message.value) {
            Ok(written) => written,
            Err(error) => {
                let (partition, offset) = (message.partition, message.offset);
                tracing::error!(partition, offset, %error, "message of logs passed over");
                return;
            }
        };
        let line = LoggedLine {
            time: message.timestamp_ms as f64 / 1000.0,
            level: written.level,
            message: written.message,
            left_out: written.left_out,
            shadow: written.shadow,
            partition: written.partition,
            offset: written.offset,
            row: written.row,
        };
        self.push(written.strategy, line);
    }

    fn push(&mut self, strategy: String, line: LoggedLine) {
        let of = self.of.entry(strategy).or_default();
        if of.lines.len() == KEPT {
            self.bytes -= of.forget(1);
        }
        let bytes = bytes_of(&line);
        of.bytes += bytes;
        self.bytes += bytes;
        of.lines.push_back(line);
        while self.bytes > MAX_BYTES {
            self.make_room();
        }
    }

    /// Some lines at once, so that the strategy is not looked for at each line.
    fn make_room(&mut self) {
        let most = self.of.iter_mut().max_by_key(|(_, of)| of.bytes);
        let Some((name, of)) = most else { return };
        self.bytes -= of.forget(1 + of.lines.len() / 8);
        if of.lines.is_empty() {
            let name = name.clone();
            self.of.remove(&name);
        }
    }

    /// The newest lines of a strategy, the newest first.
    pub(super) fn newest(&self, strategy: &str, limit: usize) -> Vec<LoggedLine> {
        let lines = self.of.get(strategy).into_iter().flat_map(|of| &of.lines);
        lines.rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LoggedLine {
        LoggedLine {
            time: 0.0,
            level: LogLevel::Info,
            message: text.to_owned(),
            left_out: 0,
            shadow: false,
            partition: 0,
            offset: 0,
            row: 0,
        }
    }

    #[test]
    fn of_a_strategy_the_newest_lines_are_kept() {
        let mut book = LogBook::default();
        for n in 0..=KEPT {
            book.push("a".to_owned(), line(&n.to_string()));
        }
        let lines = book.newest("a", 1_000);
        assert_eq!(lines.len(), KEPT);
        assert_eq!(
            (&*lines[0].message, &*lines[KEPT - 1].message),
            ("500", "1")
        );
        assert_eq!(book.newest("a", 2).len(), 2);
        assert!(book.newest("b", 2).is_empty());
    }

    #[test]
    fn however_many_log_their_lines_are_bounded_and_the_newest_is_among_them() {
        let (mut book, text) = (LogBook::default(), "x".repeat(1024));
        for n in 0..3_000 {
            book.push("loud".to_owned(), line(&text));
            let name = format!("s{n}");
            for _ in 0..30 {
                book.push(name.clone(), line(&text));
            }
            assert!(book.bytes <= MAX_BYTES);
            assert!(!book.newest(&name, 1).is_empty(), "{name}");
        }
        let bytes: usize = book.of.values().map(|of| of.bytes).sum();
        assert_eq!(bytes, book.bytes);
        assert!(bytes > MAX_BYTES / 2);
    }
}
