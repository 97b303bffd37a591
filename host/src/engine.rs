//! The engine: (state, batch) → (state, outputs), and the loop that makes atomic steps of it.

pub mod order;
mod partition;
mod picture;
mod rows;
mod runner;
mod sink;
mod slot;
mod takeover;

pub use partition::{FindPlugin, Partition, SlotStatus};
pub use picture::{Gallery, Picture, PictureError};
pub use runner::{CheckpointEvery, EngineStatus, Progress, lag, run};
pub use sink::{Counts, Outputs};
pub use takeover::TakeoverError;
