//! What is written to `changes`: which strategy ran from which offset on, and each row that it skipped. A replay
//! obeys these records.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{log::Offset, strategy::Strategy};

/// How the reason of a quarantine begins which a replay brought about: at that row the live run had not failed, and may
/// have gone on behind it.
pub const ON_REPLAY: &str = "on replay";

/// One record of `changes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Rises by one with each change of the partition.
    pub seq: u64,
    /// The strategy's id.
    pub strategy: String,
    /// Partition of `ticks`.
    pub partition: u32,
    /// It holds from this message on; for a skipped row, the row's message.
    pub offset: Offset,
    /// What changed.
    #[serde(flatten)]
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// It runs.
    Start {
        /// The whole definition.
        definition: Box<Strategy>,
        /// What it was warmed up with.
        #[serde(flatten)]
        warmed: Warmed,
    },
    /// Its shadow takes its place, with the shadow's state: what ran under its id until here runs no more.
    Promote {
        /// The whole definition.
        definition: Box<Strategy>,
    },
    /// It runs no more: removed, disabled or replaced.
    Stop {
        /// Which of the three.
        why: StopReason,
    },
    /// It failed at a row, which it never saw.
    Skip {
        /// The row's line in its message.
        row: u32,
        /// `trap`, `fuel`, `memory`, `deadline` or `nonsense`.
        cause: String,
        /// For a person.
        detail: String,
        /// The row as a producer would send it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<serde_json::Value>,
    },
    /// It failed too often and runs no more until it is changed.
    Quarantine {
        /// The line of the row from which on it does not run.
        row: u32,
        /// For a person.
        reason: String,
    },
}

/// What a strategy was warmed up with: the ticks right before its start, or bars that were closed before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmed {
    /// The offset of `ticks` from which on it saw them; its start where it saw none.
    pub warmed_from: Offset,
    /// The offsets of `bars` among which those of its interval are what it saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmed_bars: Option<Range<Offset>>,
}

impl From<Offset> for Warmed {
    /// With ticks from an offset on.
    fn from(warmed_from: Offset) -> Self {
        Self {
            warmed_from,
            warmed_bars: None,
        }
    }
}

/// Why a strategy was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// Its definition is gone.
    Removed,
    /// Its definition says so.
    Disabled,
    /// Another definition takes its place.
    Replaced,
}
