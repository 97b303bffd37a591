//! The engine: (state, batch) → (state, outputs), and the loop that makes atomic steps of it.

mod deployment;
pub mod order;
mod owner;
mod partition;
mod picture;
mod replay;
mod rows;
mod runner;
mod sink;
mod slot;
mod takeover;

pub use deployment::Deployment;
pub use owner::{CheckpointEvery, Owner};
pub use partition::{FindPlugin, Partition, SlotStatus};
pub use picture::{Gallery, Picture, PictureError};
pub use replay::{Replay, ReplayError, Stall, read_all, read_changes};
pub use runner::{EngineStatus, Progress, lag, run};
pub use sink::{Counts, Outputs};
pub use takeover::TakeoverError;
