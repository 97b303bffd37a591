//! The form of the messages in `deliveries`: under each webhook's id where it stands, what is due, the newest attempts, the
//! newest dead letters, and what is to be sent again. The topic keeps the newest of each key; attempts and dead letters
//! take turns in slots, so that there are never more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::log::{Append, Offset, Topic};

/// Attempts and dead letters that are kept of each webhook on each partition.
pub(super) const ATTEMPT_SLOTS: u64 = 50;
pub(super) const DEAD_SLOTS: u64 = 250;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    At,
    Due(&'a str),
    Attempt(u64),
    Dead(u64),
    Resend(&'a str),
}

impl<'a> Key<'a> {
    /// A webhook's id, and what of it.
    pub(super) fn parse(key: &'a [u8]) -> Option<(&'a str, Self)> {
        let (webhook, rest) = std::str::from_utf8(key).ok()?.split_once('/')?;
        let key = match rest.split_once('/') {
            None if rest == "at" => Self::At,
            Some(("due", signal)) => Self::Due(signal),
            Some(("attempt", slot)) => Self::Attempt(slot.parse().ok()?),
            Some(("dead", slot)) => Self::Dead(slot.parse().ok()?),
            Some(("resend", signal)) => Self::Resend(signal),
            _ => return None,
        };
        Some((webhook, key))
    }

    fn text(self, webhook: &str) -> String {
        match self {
            Self::At => format!("{webhook}/at"),
            Self::Due(signal) => format!("{webhook}/due/{signal}"),
            Self::Attempt(slot) => format!("{webhook}/attempt/{slot}"),
            Self::Dead(slot) => format!("{webhook}/dead/{slot}"),
            Self::Resend(signal) => format!("{webhook}/resend/{signal}"),
        }
    }
}

/// How far a webhook is on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    /// Of which beginning of the webhook this tells.
    pub(super) epoch: u64,
    /// The first message of `signals` of which nothing is recorded; none where that is the group's own position.
    pub(super) next: Option<Offset>,
    /// Signals that were delivered, ever.
    pub(super) delivered: u64,
}

/// A signal on its way to a webhook. In the topic: one that failed and is to be tried again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) signal: String,
    /// Its offset in `signals`.
    pub(super) position: Offset,
    pub(super) failures: u32,
    /// When it was committed, or sent again by a person.
    pub(super) first_ms: i64,
    /// When it becomes a dead letter.
    pub(super) until_ms: i64,
    /// Not before this.
    pub(super) next_ms: i64,
    /// The signal itself.
    pub(super) json: Arc<RawValue>,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttemptResult {
    /// The receiver took it.
    Delivered,
    /// It failed, and is tried again.
    Retry,
    /// It failed, and is now a dead letter.
    Dead,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Counts the webhook's attempts on the partition.
    pub(super) n: u64,
    pub(super) signal: String,
    /// Which attempt of this signal, from 1 on.
    pub(super) attempt: u32,
    /// When it began.
    pub(super) time_ms: i64,
    pub(super) duration_ms: u64,
    /// What the receiver answered, where it did.
    pub(super) status: Option<u16>,
    /// What went wrong.
    pub(super) error: Option<String>,
    pub(super) result: AttemptResult,
    /// When it is tried again.
    pub(super) next_ms: Option<i64>,
}

/// A signal that could not be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Dead {
    /// Counts the webhook's dead letters on the partition.
    pub(super) n: u64,
    pub(super) signal: String,
    /// Its offset in `signals`, where it is read again when it is sent again.
    pub(super) position: Offset,
    /// Attempts that were made.
    pub(super) attempts: u32,
    pub(super) time_ms: i64,
    pub(super) cause: String,
}

/// What somebody asked for: a dead letter is to be sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Resend {
    pub(super) signal: String,
    pub(super) position: Offset,
    pub(super) time_ms: i64,
    pub(super) json: Arc<RawValue>,
}

/// A message for `deliveries`.
pub(super) fn message(
    partition: u32,
    webhook: &str,
    key: Key<'_>,
    value: &impl Serialize,
) -> Append {
    let value = serde_json::to_vec(value).expect("a record is JSON");
    raw(partition, webhook, key, value)
}

/// Removes what stands under a key.
pub(super) fn tombstone(partition: u32, webhook: &str, key: Key<'_>) -> Append {
    raw(partition, webhook, key, Vec::new())
}

fn raw(partition: u32, webhook: &str, key: Key<'_>, value: Vec<u8>) -> Append {
    Append {
        topic: Topic::Deliveries,
        partition,
        key: key.text(webhook).into_bytes(),
        value,
        headers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        for key in [
            Key::At,
            Key::Due("a.b:0:1:2:3"),
            Key::Attempt(7),
            Key::Dead(0),
            Key::Resend("x:1:2:3:4"),
        ] {
            let text = key.text("wh_1");
            assert_eq!(Key::parse(text.as_bytes()), Some(("wh_1", key)));
        }
        for nonsense in [
            "",
            "wh_1",
            "wh_1/",
            "wh_1/due",
            "wh_1/attempt/x",
            "wh_1/other/1",
        ] {
            assert_eq!(Key::parse(nonsense.as_bytes()), None, "{nonsense}");
        }
    }
}
