//! The way in: splits a body into records, validates each, and appends the good ones to `ticks` by symbol and the
//! others to `rejects`. Keeps no state, so that any replica takes any body; order and repeats are the engine's matter.

mod batch;
mod counts;
mod pull;
mod raw;
mod retry;
mod split;

use std::{sync::Arc, time::Instant};

use batch::{Batch, Origin};
use bytes::Bytes;
use serde::Serialize;

pub use counts::describe_metrics;
pub use pull::pull;
pub use raw::run_raw_intake;

use crate::log::{Append, Log, LogError};

/// Header of a message in `ticks`: who sent it, where the producer may have to send it again.
pub const PRODUCER_ID: &str = "Producer-Id";
/// Header beside [`PRODUCER_ID`]: which POST of the producer it came with, in decimal digits.
pub const SEQUENCE: &str = "Sequence";
/// Header beside [`PRODUCER_ID`]: which part of that POST in this partition it is, from 0, in decimal digits.
pub const PART: &str = "Part";

/// Seconds since the epoch, read where it is called.
pub type Clock = fn() -> f64;

/// What an operator can set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The largest body, unpacked.
    pub max_body_bytes: usize,
    /// The largest record.
    pub max_record_bytes: usize,
    /// The most records in a body.
    pub max_records: usize,
    /// How far ahead of the clock a record may be, seconds.
    pub max_future_skew: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            max_record_bytes: 64 << 10,
            max_records: 100_000,
            max_future_skew: 10.0,
        }
    }
}

/// What a body holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// One object, an array of them, or one a line: whichever it looks like.
    #[default]
    Auto,
    /// NDJSON: one object a line, whatever it looks like.
    Lines,
}

/// A producer that may send a body again. It has one POST in flight, and its sequence rises from one to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    id: String,
    sequence: u64,
}

/// What became of a body. It is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Answer {
    /// Records now in `ticks`.
    pub accepted: u64,
    /// Records that break a rule.
    pub rejected: u64,
    /// The first of those.
    pub errors: Vec<RecordError>,
}

/// Why a record of a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RecordError {
    /// Which record, from 0; empty lines do not count.
    pub index: u64,
    /// The field as the producer named it; empty where it is the whole record.
    pub field: String,
    /// The rule's fixed name.
    pub rule: &'static str,
    /// Field, value and rule for a person.
    pub message: String,
}

/// Why a body was refused as a whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IngestError {
    /// Nothing in it is JSON.
    #[error("{0}")]
    NotJson(String),
    /// It is above a limit.
    #[error("the body has more than {limit} {unit}; send it in smaller parts")]
    TooLarge {
        /// What it may have.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// There is nothing in it.
    #[error("the body is empty; send a JSON object, an array of them, or one a line")]
    Empty,
    /// The producer does not say properly who it is.
    #[error("{0}")]
    BadProducer(String),
    /// Not acknowledged as a whole. Some of it may have been written; with a producer it is safe to send again.
    #[error(transparent)]
    Unavailable(#[from] LogError),
}

/// Takes bodies of records.
#[derive(Clone)]
pub struct Ingest {
    log: Arc<dyn Log>,
    options: Options,
}

impl Ingest {
    /// Over a log, of which it writes `ticks` and `rejects`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, options: Options) -> Self {
        Self { log, options }
    }

    /// Takes one body, already unpacked, and answers when all of it is durable. `source` says for a person where it
    /// came from; `now` is the clock in seconds since the epoch.
    ///
    /// Dropped before it answers, the body may have been appended or not.
    ///
    /// A body that is sent again with the same producer is cut into the same messages. One thing can differ: a record
    /// that was too far in the future may not be any more. It is then accepted here, and dropped with its
    /// message by the engine where the first one arrived.
    ///
    /// # Errors
    /// Where nothing of it was accepted; see [`IngestError`].
    pub async fn post(
        &self,
        body: Bytes,
        content: Content,
        producer: Option<Producer>,
        source: &str,
        now: f64,
    ) -> Result<Answer, IngestError> {
        /// Reading more than this would hold up the other tasks of an async thread for over a millisecond.
        const READ_HERE_BYTES: usize = 512 << 10;

        let (mut batch, whole) = if body.len() <= READ_HERE_BYTES {
            self.read(&body, content, producer.as_ref(), source, now)
        } else {
            let reader = self.clone();
            let source = source.to_owned();
            tokio::task::spawn_blocking(move || {
                reader.read(&body, content, producer.as_ref(), &source, now)
            })
            .await
            .map_err(stopped)?
        };
        self.append(batch.take_appends()).await?;
        batch.counts().publish();
        whole.map(|()| batch.into_answer())
    }

    fn read(
        &self,
        body: &[u8],
        content: Content,
        producer: Option<&Producer>,
        source: &str,
        now: f64,
    ) -> (Batch, Result<(), IngestError>) {
        let mut batch = Batch::new(self.options, self.log.partitions(), producer);
        let origin = Origin {
            source: &source,
            key: &[],
        };
        let whole = batch.read(body, content, origin, now);
        if let Err(error @ IngestError::NotJson(_)) = &whole {
            batch.refuse_whole(body, error, origin, now);
        }
        (batch, whole)
    }

    async fn append(&self, appends: Vec<Append>) -> Result<(), LogError> {
        if appends.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.log.append(appends).await?;
        metrics::histogram!("wigwag_ingest_append_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }
}

impl Producer {
    /// The longest id.
    pub const MAX_ID_CHARS: usize = 64;

    /// From what a request's headers say, if they do.
    ///
    /// # Errors
    /// [`IngestError::BadProducer`] where one is there without the other, or is not what it must be.
    pub fn parse(id: Option<&str>, sequence: Option<&str>) -> Result<Option<Self>, IngestError> {
        let (id, sequence) = match (id, sequence) {
            (None, None) => return Ok(None),
            (Some(id), Some(sequence)) => (id, sequence),
            (Some(_), None) => {
                return Err(bad_producer(
                    "Producer-Id is given without Sequence; send both or neither",
                ));
            }
            (None, Some(_)) => {
                return Err(bad_producer(
                    "Sequence is given without Producer-Id; send both or neither",
                ));
            }
        };
        let number = match sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            true => sequence.parse().ok(),
            false => None,
        };
        let Some(sequence) = number else {
            let sequence = cut(sequence);
            return Err(bad_producer(format!(
                "Sequence is {sequence:?}; use a whole number from 0 to {}",
                u64::MAX
            )));
        };
        Self::try_new(id, sequence).map(Some)
    }

    /// A producer and the sequence of one body.
    ///
    /// # Errors
    /// [`IngestError::BadProducer`] where the id is not one.
    pub fn try_new(id: &str, sequence: u64) -> Result<Self, IngestError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=Self::MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(good) {
            return Ok(Self {
                id: id.to_owned(),
                sequence,
            });
        }
        let (id, limit) = (cut(id), Self::MAX_ID_CHARS);
        Err(bad_producer(format!(
            "Producer-Id is {id:?}; use 1 to {limit} characters from A-Z a-z 0-9 . _ -"
        )))
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which body it is.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Passes on the panic of a thread that read a body, which is a defect; otherwise the service stops.
fn stopped(error: tokio::task::JoinError) -> LogError {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => LogError::Unavailable {
            log: "ingest".into(),
            detail: error.to_string(),
        },
    }
}

fn bad_producer(message: impl Into<String>) -> IngestError {
    IngestError::BadProducer(message.into())
}

/// As much of a text as a message shows.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_gives_id_and_sequence_or_neither() {
        let refused = |id, sequence| Producer::parse(id, sequence).unwrap_err().to_string();
        assert_eq!(Producer::parse(None, None).unwrap(), None);
        let producer = Producer::parse(Some("gen-1.a_B"), Some("18446744073709551615"))
            .unwrap()
            .unwrap();
        assert_eq!(
            (producer.id(), producer.sequence()),
            ("gen-1.a_B", u64::MAX)
        );
        assert_eq!(
            refused(Some("a"), None),
            "Producer-Id is given without Sequence; send both or neither"
        );
        assert_eq!(
            refused(None, Some("1")),
            "Sequence is given without Producer-Id; send both or neither"
        );
        for sequence in ["", "-1", "+1", "1.0", " 1", "18446744073709551616"] {
            assert_eq!(
                refused(Some("a"), Some(sequence)),
                format!(
                    "Sequence is {sequence:?}; use a whole number from 0 to 18446744073709551615"
                )
            );
        }
        for id in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert_eq!(
                refused(Some(id), Some("1")),
                format!("Producer-Id is {id:?}; use 1 to 64 characters from A-Z a-z 0-9 . _ -")
            );
        }
    }
}
