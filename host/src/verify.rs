//! Recomputes the signals of the past from `checkpoints`, `ticks`, `changes` and `control`, and compares them with
//! `signals` byte for byte. It only reads, and decides nothing anew: where it would have to, it cannot tell. Knows
//! nothing of options and terminals.

mod beginning;
mod comparison;
mod partition;
mod point;
mod record;
mod report;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

pub use self::{
    point::{Point, PointError},
    report::{Difference, Kind, Outcome, Stored, Verdict, outcome, write_json, write_text},
};
use crate::{
    control::Components,
    engine::{ReplayError, read_all},
    log::{Log, Topic},
    plugin::Runtime,
};

/// What is to be compared.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// From this message of each partition on; as far back as can be told where there is none.
    pub from: Option<Point>,
    /// Up to, and without, this message; the committed position where there is none.
    pub to: Option<Point>,
    /// Only these partitions; all where it is empty.
    pub partitions: Vec<u32>,
}

/// Why nothing was compared at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log does not have it.
    #[error("--partition is {partition}; the log has 0 to {}", partitions - 1)]
    NoPartition {
        /// Asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// `control` cannot be read.
    #[error(transparent)]
    Control(#[from] ReplayError),
}

/// Compares, with one thread a core, and tells each partition's verdict, in their order. `advanced` hears how many
/// offsets were added to the work, and how many of it were done.
///
/// # Errors
/// Where nothing can be compared. What a partition lacks stands in its verdict.
pub fn run(
    log: &dyn Log,
    runtime: Runtime,
    request: &Request,
    advanced: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<Verdict>, VerifyError> {
    let partitions = log.partitions();
    if let Some(&partition) = request.partitions.iter().find(|&&p| p >= partitions) {
        return Err(VerifyError::NoPartition {
            partition,
            partitions,
        });
    }
    let mut numbers: Vec<u32> = match request.partitions.is_empty() {
        true => (0..partitions).collect(),
        false => request.partitions.clone(),
    };
    numbers.sort_unstable();
    numbers.dedup();
    let mut components = Components::new(runtime);
    read_all(log, Topic::Control, 0, |messages| components.take(messages))?;

    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = partition::verify(log, &components, request, number, advanced);
            let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            verdicts.push(verdict);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(numbers.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut verdicts = verdicts
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by_key(|verdict| verdict.partition);
    Ok(verdicts)
}
