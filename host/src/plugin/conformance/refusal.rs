//! Why a plugin is not taken after it was tried: what was done, what came of it, and what to do about it.

use std::fmt;

use crate::plugin::instance::{ConfigureError, Failure};

/// What real ticks are called.
pub(super) const NEWEST: &str = "the newest ticks of the log";

/// Why a plugin's results cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// It does not take its parameters.
    #[error(transparent)]
    Configure(ConfigureError),
    /// It failed.
    #[error("{during}: {failure}")]
    Failed {
        /// In which part of the trial.
        during: String,
        /// How.
        failure: Failure,
    },
    /// Its results differ where nothing may make a difference.
    #[error("{trial} changes its results: {place}, {difference}; {}", trial.cure())]
    Differs {
        /// What was done otherwise.
        trial: Trial,
        /// At which tick.
        place: String,
        /// What differs.
        difference: String,
    },
    /// The trial itself takes too long.
    #[error(
        "it took more than {limit} fuel to try it on {ticks} ticks; do less work at its start, in snapshots and for each tick"
    )]
    TooCostly {
        /// What it may take.
        limit: u64,
        /// On how many ticks.
        ticks: usize,
    },
}

/// What was done otherwise than in the first run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Nothing.
    SecondRun,
    /// Each tick and each event came alone.
    BatchesOfOne,
    /// Batches ended elsewhere, symbols were named later, and values of fewer rows were wanted.
    OtherBatches,
    /// Snapshots were taken on the way.
    Snapshot,
    /// Another instance went on from a snapshot, after so many ticks and events.
    Restore(usize),
    /// As before, with older snapshots of the symbols that had no tick since.
    RestoreOfSilent(usize),
    /// Each few ticks and events another instance went on from the one before.
    Chain,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondRun => f.write_str("a second run"),
            Self::BatchesOfOne => f.write_str("a batch for each tick"),
            Self::OtherBatches => f.write_str("another split of batches"),
            Self::Snapshot => f.write_str("taking snapshots"),
            Self::Restore(at) => write!(f, "a restore after {at} ticks and events"),
            Self::RestoreOfSilent(at) => {
                write!(
                    f,
                    "an older snapshot of the symbols without a tick since, restored after {at} ticks and events,"
                )
            }
            Self::Chain => f.write_str("a snapshot and restore every few ticks and events"),
        }
    }
}

impl Trial {
    const fn cure(self) -> &'static str {
        match self {
            Self::SecondRun => "let nothing decide but ticks and parameters",
            Self::BatchesOfOne | Self::OtherBatches => {
                "keep nothing that depends on where a batch ends, which symbols were named or which values are wanted"
            }
            Self::Snapshot => "change nothing in snapshot and snapshot-shared",
            Self::Restore(_) | Self::Chain => {
                "put all state into snapshot and snapshot-shared, and take all of it back in restore"
            }
            Self::RestoreOfSilent(_) => {
                "put what a tick of one symbol changes for others into snapshot-shared"
            }
        }
    }
}

impl ConformanceError {
    /// Says that its tick is a real one.
    pub(super) fn among_the_newest(mut self) -> Self {
        if let Self::Differs { place, .. } = &mut self {
            place.push_str(", among ");
            place.push_str(NEWEST);
        }
        self
    }

    /// The wall clock struck, which it also does where the machine stands still.
    pub(super) const fn is_of_the_clock(&self) -> bool {
        let failure = match self {
            Self::Failed { failure, .. } | Self::Configure(ConfigureError::Failed(failure)) => {
                failure
            }
            _ => return false,
        };
        matches!(failure, Failure::Deadline { .. })
    }
}
