//! From the client's queue into [`Messages`]: the path that each tick takes.

use std::time::{Duration, Instant};

use rdkafka::{
    Message,
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
};

use crate::log::{Messages, Topic};

/// What a message counts against a caller's limit beside its bytes, so that empty ones are bounded too.
const MESSAGE_COST: usize = 64;

/// Why [`fill`] stopped.
pub(super) enum Stopped {
    /// The time is over, or nothing more was there.
    Drained,
    /// Enough.
    Full,
    /// The client said something that is no message.
    Said(KafkaError),
}

/// Takes messages from `next` until `max_bytes`, waiting up to `timeout` for the first. `seen` is told each
/// message's topic, partition and offset, and says which topic that is.
pub(super) fn fill<'a>(
    into: &mut Messages,
    max_bytes: usize,
    timeout: Duration,
    mut next: impl FnMut(Duration) -> Option<Result<BorrowedMessage<'a>, KafkaError>>,
    mut seen: impl FnMut(&BorrowedMessage<'a>) -> Option<Topic>,
) -> Stopped {
    let deadline = Instant::now() + timeout;
    let mut wait = timeout;
    let before = into.bytes();
    let mut count = 0;
    loop {
        match next(whole_ms(wait)) {
            Some(Ok(message)) => {
                if let Some(topic) = seen(&message) {
                    push(into, topic, &message);
                    count += 1;
                    wait = Duration::ZERO;
                    if into.bytes() - before + count * MESSAGE_COST >= max_bytes {
                        return Stopped::Full;
                    }
                }
            }
            Some(Err(error)) => return Stopped::Said(error),
            // The client also returns early where it served a callback.
            None if count > 0 => return Stopped::Drained,
            None => {
                wait = deadline.saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    return Stopped::Drained;
                }
            }
        }
    }
}

/// Rounded up: the crate cuts a wait down to milliseconds, and spins through what is left.
fn whole_ms(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

fn push(into: &mut Messages, topic: Topic, message: &BorrowedMessage<'_>) {
    let partition = u32::try_from(message.partition()).unwrap_or_default();
    let offset = super::cluster::offset(message.offset());
    let timestamp_ms = message.timestamp().to_millis().unwrap_or_default();
    let key = message.key().unwrap_or_default();
    let value = message.payload().unwrap_or_default();
    // Anyone may write to `raw`, and rdkafka panics at a header whose name is not UTF-8: those are not looked at.
    match message.headers().filter(|_| topic != Topic::Raw) {
        None => into.push(topic, partition, offset, timestamp_ms, key, value, []),
        Some(headers) => {
            let headers = headers
                .iter()
                .map(|header| (header.key, header.value.unwrap_or_default()));
            into.push(topic, partition, offset, timestamp_ms, key, value, headers);
        }
    }
}
