//! The wall clock, read here only.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch, by the clock of this machine.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge at which the time is read"
)]
pub fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
