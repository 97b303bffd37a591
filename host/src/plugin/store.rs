//! What the store of an instance holds for the host: the memory that it has, what it logs, and what it writes to standard
//! error, all bounded.

use wasmtime::ResourceLimiter;

use super::{
    bindings,
    instance::{LogLevel, LogLine},
    runtime::Limits,
};

/// Bytes of standard error and of log kept of one call.
const MAX_STDERR_BYTES: usize = 4096;
const MAX_LOG_LINES: usize = 100;
const MAX_LOG_LINE_BYTES: usize = 1024;

/// What the store of an instance holds for the host.
pub(super) struct State {
    memory_bytes: usize,
    memory_limit: usize,
    /// Whether growth was refused since the last look.
    pub(super) memory_refused: bool,
    pub(super) log: Vec<LogLine>,
    pub(super) log_dropped: u64,
    stderr: Vec<u8>,
}

impl State {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            memory_limit: limits.memory_bytes,
            memory_refused: false,
            log: Vec::new(),
            log_dropped: 0,
            stderr: Vec::new(),
        }
    }

    pub(super) fn write_stderr(&mut self, bytes: impl Iterator<Item = u8>) {
        let room = MAX_STDERR_BYTES.saturating_sub(self.stderr.len());
        self.stderr.extend(bytes.take(room));
    }

    /// What was written to standard error, and forgets it.
    pub(super) fn take_stderr(&mut self) -> String {
        clean(
            &String::from_utf8_lossy(&std::mem::take(&mut self.stderr)),
            MAX_LOG_LINE_BYTES,
        )
    }

    pub(super) const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    fn grow(&mut self, current: usize, desired: usize, unit: usize) -> bool {
        let after = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current).saturating_mul(unit));
        let fits = after <= self.memory_limit;
        if fits {
            self.memory_bytes = after;
        } else {
            self.memory_refused = true;
        }
        fits
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, size_of::<u64>()))
    }
}

impl bindings::wigwag::plugin::types::Host for State {}

impl bindings::wigwag::plugin::host::Host for State {
    fn log(&mut self, level: bindings::wigwag::plugin::host::Level, message: String) {
        use bindings::wigwag::plugin::host::Level;
        if self.log.len() >= MAX_LOG_LINES {
            self.log_dropped += 1;
            return;
        }
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.push(LogLine {
            level,
            message: clean(&message, MAX_LOG_LINE_BYTES),
        });
    }
}

/// Text from a plugin, without control characters and cut to a length.
pub(super) fn clean(text: &str, max_bytes: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max_bytes));
    for c in text.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if clean.len() + c.len_utf8() > max_bytes {
            clean.push('…');
            break;
        }
        clean.push(c);
    }
    clean
}
