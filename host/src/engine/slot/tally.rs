//! What is counted of a strategy's failures, and what a replay knows of them beforehand.

use std::collections::{BTreeSet, VecDeque};

use crate::engine::rows::Place;

/// A strategy that fails at this many rows of so many is quarantined.
pub(super) const QUARANTINE_FAILURES: usize = 5;
pub(super) const QUARANTINE_ROWS: u64 = 10_000;

/// What `changes` says about the rows of a replay.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Plan {
    pub(in crate::engine) skips: BTreeSet<Place>,
    pub(in crate::engine) quarantine: Option<(Place, String)>,
}

/// Rows seen and failed at: decides on quarantine, and is part of a checkpoint so that a replay decides the same.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(in crate::engine) struct Tally {
    pub(super) rows: u64,
    failed_at: VecDeque<u64>,
}

impl Tally {
    pub(super) fn fail(&mut self) -> bool {
        let horizon = self.rows.saturating_sub(QUARANTINE_ROWS);
        self.failed_at.retain(|&row| row >= horizon);
        self.failed_at.push_back(self.rows);
        self.failed_at.len() >= QUARANTINE_FAILURES
    }
}
