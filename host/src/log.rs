//! The log: everything durable is a partitioned, ordered log with atomic steps. This file owns the words
//! (topic, message, step, lease) and the traits; `embedded` and `kafka` implement them. It knows nothing of
//! ticks, plugins or HTTP.

pub mod embedded;
pub mod kafka;
mod messages;

use std::{fmt, future::Future, pin::Pin, time::Duration};

pub use messages::{Headers, MessageRef, Messages};

/// Position of a message in one partition of one topic, as in Kafka: the first is 0, gaps are allowed.
pub type Offset = u64;

/// What a log holds. Each has one fixed purpose, retention and key; see ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Records of producers that write to the log themselves: untrusted.
    Raw,
    /// Validated records, NDJSON. Only ingest writes it.
    Ticks,
    /// What ingest refused, with the reason in headers.
    Rejects,
    /// Signals, one JSON object a message.
    Signals,
    /// Indicator values, one JSON object a message.
    Values,
    /// Closed bars, one JSON object a message.
    Bars,
    /// What ran from which offset on, and each skipped row.
    Changes,
    /// Signals of shadow versions.
    Shadow,
    /// What plugins write to their logs, one JSON object a message.
    Logs,
    /// Pictures of a partition's state, in chunks.
    Checkpoints,
    /// Plugins in chunks and strategies. One partition.
    Control,
    /// Who changed what. One partition.
    Audit,
    /// Definitions of webhooks. One partition.
    Webhooks,
    /// What was, is to be and could not be delivered, by webhook.
    Deliveries,
}

impl Topic {
    /// All topics, in the order in which they are created.
    pub const ALL: [Self; 14] = [
        Self::Raw,
        Self::Ticks,
        Self::Rejects,
        Self::Signals,
        Self::Values,
        Self::Bars,
        Self::Changes,
        Self::Shadow,
        Self::Logs,
        Self::Checkpoints,
        Self::Control,
        Self::Audit,
        Self::Webhooks,
        Self::Deliveries,
    ];

    /// The name without prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ticks => "ticks",
            Self::Rejects => "rejects",
            Self::Signals => "signals",
            Self::Values => "values",
            Self::Bars => "bars",
            Self::Changes => "changes",
            Self::Shadow => "shadow",
            Self::Logs => "logs",
            Self::Checkpoints => "checkpoints",
            Self::Control => "control",
            Self::Audit => "audit",
            Self::Webhooks => "webhooks",
            Self::Deliveries => "deliveries",
        }
    }

    /// How many partitions it has where `ticks` has `ticks_partitions`.
    #[must_use]
    pub const fn partitions(self, ticks_partitions: u32) -> u32 {
        match self {
            Self::Control | Self::Audit | Self::Webhooks => 1,
            _ => ticks_partitions,
        }
    }

    /// Whether only the newest message of each key is kept, or all for some time.
    #[must_use]
    pub const fn cleanup(self) -> Cleanup {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        match self {
            Self::Checkpoints | Self::Control | Self::Webhooks | Self::Deliveries => {
                Cleanup::Compact
            }
            Self::Raw | Self::Values | Self::Logs => Cleanup::DeleteAfter(DAY),
            Self::Ticks | Self::Rejects | Self::Shadow => {
                Cleanup::DeleteAfter(DAY.saturating_mul(7))
            }
            Self::Signals | Self::Changes => Cleanup::DeleteAfter(DAY.saturating_mul(30)),
            Self::Bars | Self::Audit => Cleanup::DeleteAfter(DAY.saturating_mul(365)),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a topic forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// The newest message of each key stays; an empty value removes the key.
    Compact,
    /// A message stays this long after it was appended.
    DeleteAfter(Duration),
}

/// A message to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub topic: Topic,
    /// Below the topic's partition count.
    pub partition: u32,
    /// Empty means none, which a compacted topic does not take.
    pub key: Vec<u8>,
    /// At most [`MAX_VALUE_BYTES`].
    pub value: Vec<u8>,
    /// Names are short ASCII words.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// The largest value a message may have, so that a broker's default limit of 1 MiB holds with headers.
pub const MAX_VALUE_BYTES: usize = 900_000;

/// What is committed in one atomic step: outputs, and the position in the input from which to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Offset of the next input message.
    pub position: Offset,
    /// What the messages before `position` led to.
    pub appends: Vec<Append>,
}

/// Who consumes a topic in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The engines: consume `ticks`.
    Engine,
    /// Ingest's consumers of `raw`.
    RawIntake,
    /// Those who deliver `signals` to webhooks.
    Notify,
}

impl Group {
    /// All groups.
    pub const ALL: [Self; 3] = [Self::Engine, Self::RawIntake, Self::Notify];

    /// What it consumes.
    #[must_use]
    pub const fn input(self) -> Topic {
        match self {
            Self::Engine => Topic::Ticks,
            Self::RawIntake => Topic::Raw,
            Self::Notify => Topic::Signals,
        }
    }

    /// What its steps append to.
    #[must_use]
    pub const fn output(self) -> &'static [Topic] {
        match self {
            Self::Engine => &[
                Topic::Signals,
                Topic::Values,
                Topic::Bars,
                Topic::Changes,
                Topic::Shadow,
                Topic::Logs,
                Topic::Checkpoints,
            ],
            Self::RawIntake => &[Topic::Ticks, Topic::Rejects],
            Self::Notify => &[Topic::Deliveries, Topic::Webhooks, Topic::Audit],
        }
    }

    /// Its name without prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::RawIntake => "raw-intake",
            Self::Notify => "notify",
        }
    }
}

/// The offsets that a partition holds: `start` is the oldest message kept, `end` is one above the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Oldest offset that can be read.
    pub start: Offset,
    /// The next message's offset (the high watermark).
    pub end: Offset,
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// The first offset wanted; reading goes on from the next one that exists.
    pub offset: Offset,
}

/// The answer to [`Log::append`].
pub type Appended = Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>;

/// A log. Methods that return at once are marked so; all others may block and belong on a thread.
pub trait Log: Send + Sync + 'static {
    /// Partitions of `ticks` and of all topics that follow it.
    fn partitions(&self) -> u32;

    /// Queues messages outside any step, at once; the future ends when they are durable. They are written
    /// in order; after one that failed, none of the rest is. With the embedded log all or none are written.
    fn append(&self, appends: Vec<Append>) -> Appended;

    /// The offsets that a partition holds now.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the log does not answer in time.
    fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError>;

    /// The first offset whose message was appended at or after `timestamp_ms` (milliseconds since the
    /// epoch), or the end.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the log does not answer in time.
    fn offset_at(
        &self,
        topic: Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Offset, LogError>;

    /// Reads committed messages of some partitions, each in order, for ever.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the log does not answer in time.
    fn read(&self, starts: &[Start]) -> Result<Box<dyn Reader>, LogError>;

    /// Joins those who share the partitions of a group's input.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the log does not answer in time.
    fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError>;

    /// Says that messages from `offset` on are needed whatever their age, until the next call, at once. A log whose
    /// retention is another's to decide does nothing.
    fn keep_from(&self, topic: Topic, partition: u32, offset: Offset) {
        let _ = (topic, partition, offset);
    }

    /// For how long a topic keeps its messages, where that is another's to decide; none where nothing is removed that
    /// [`Log::keep_from`] names.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the log does not answer in time.
    fn retention(&self, topic: Topic) -> Result<Option<Duration>, LogError> {
        let _ = topic;
        Ok(None)
    }

    /// The right to write what several processes decide about. Whoever took it last has it: what was written by the one
    /// before is there, and nothing more comes of it. So whoever takes it, reads to the end and writes, writes knowing
    /// everything.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; [`LogError::Mismatch`] where the log is not written to by several.
    fn sole_writer(&self) -> Result<Box<dyn SoleWriter>, LogError> {
        Err(LogError::Mismatch(
            "this log is not one that several write to".to_owned(),
        ))
    }

    /// The position that a group has committed for a partition of its input, asked for without joining it; none where no
    /// step was ever committed.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the log does not answer in time.
    fn committed(&self, group: Group, partition: u32) -> Result<Option<Offset>, LogError>;

    /// Whether the log answers, at once, from what was seen last; the error says what is wrong.
    ///
    /// # Errors
    /// What a person should know who asks why the service is not ready.
    fn check(&self) -> Result<(), LogError>;
}

/// See [`Log::sole_writer`].
pub trait SoleWriter: Send {
    /// Writes all of these or none, and waits until they are durable. After any error it is of no more use.
    ///
    /// # Errors
    /// [`LogError::Lost`] where another has the right now, and nothing was written; otherwise it may or may not be.
    fn append(&mut self, appends: Vec<Append>) -> Result<(), LogError>;
}

/// Reads committed messages. Never sees one of an aborted or unfinished step.
pub trait Reader: Send {
    /// Adds messages to `into`, up to about `max_bytes`; waits up to `timeout` for the first.
    ///
    /// # Errors
    /// [`LogError::Gone`] where retention has removed the next message; [`LogError::Unavailable`].
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError>;

    /// The offset from which the next poll goes on; it also moves over offsets that hold no message, so
    /// that `position >= Bounds::end` tells a reader that it has seen all.
    fn position(&self, topic: Topic, partition: u32) -> Offset;
}

/// Membership in a group. Dropping it leaves the group; a lease that is left over is lost as soon as another member
/// fences its partition.
pub trait Member: Send {
    /// The next partition that became ours, or none within `timeout`. Must be called steadily: with Kafka it
    /// also keeps the membership.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], after which it may be called again.
    fn poll(&mut self, timeout: Duration) -> Result<Option<Box<dyn Lease>>, LogError>;
}

/// The right to consume one partition of a group's input and to commit steps for it. Dropping it gives the
/// partition up; a commit in hand is finished or aborted first. After any error of `submit` or `settle`
/// the lease is of no more use: what it last submitted may or may not be committed, and only the position that
/// the next lease's `fence` returns tells.
pub trait Lease: Send {
    /// The partition.
    fn partition(&self) -> u32;

    /// Shuts out every earlier owner, whose unfinished step is aborted, and returns the committed position:
    /// none where no step was ever committed. To be called once, first.
    ///
    /// # Errors
    /// [`LogError::Lost`], [`LogError::Unavailable`].
    fn fence(&mut self) -> Result<Option<Offset>, LogError>;

    /// Sets the offset from which `poll` goes on. To be called once, after `fence`.
    ///
    /// # Errors
    /// [`LogError::Gone`] where that offset is no longer there.
    fn seek(&mut self, offset: Offset) -> Result<(), LogError>;

    /// Adds the next messages to `into`, up to about `max_bytes`; waits up to `timeout` for the first.
    ///
    /// # Errors
    /// [`LogError::Lost`] where the partition was taken away; [`LogError::Gone`]; [`LogError::Unavailable`],
    /// after which it may be called again.
    fn poll(
        &mut self,
        into: &mut Messages,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<(), LogError>;

    /// Starts to commit a step, at once. The step before must have settled.
    ///
    /// # Errors
    /// [`LogError::Lost`], [`LogError::Unavailable`].
    fn submit(&mut self, step: Step) -> Result<(), LogError>;

    /// Waits up to `timeout` for the submitted step; true when nothing is in hand any more.
    ///
    /// # Errors
    /// The step was not, or perhaps not, committed: roll the state back.
    fn settle(&mut self, timeout: Duration) -> Result<bool, LogError>;
}

/// Why the log did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// It does not answer, or takes nothing now; nothing is known to be written. Try again later.
    #[error("{log} is not available: {detail}")]
    Unavailable {
        /// Which log, as the operator configured it.
        log: String,
        /// What was seen.
        detail: String,
    },
    /// Another owner has, or is about to have, the partition.
    #[error("{topic}/{partition} now belongs to another member: {detail}")]
    Lost {
        /// Input topic.
        topic: Topic,
        /// Its partition.
        partition: u32,
        /// What was seen.
        detail: String,
    },
    /// Retention has removed what was asked for.
    #[error("{topic}/{partition} offset {offset} is gone; the oldest kept is {start}")]
    Gone {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: u32,
        /// Asked for.
        offset: Offset,
        /// Oldest that there is.
        start: Offset,
    },
    /// A message that can never be written.
    #[error("{topic}/{partition}: a message of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: u32,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// What is there does not fit the configuration: refuse to start.
    #[error("{0}")]
    Mismatch(String),
    /// What is stored cannot be read: refuse to go on.
    #[error("{log} is damaged: {detail}")]
    Damaged {
        /// Which file or topic.
        log: String,
        /// What was seen.
        detail: String,
    },
}
