//! The engine: (state, batch) → (state, outputs), and the loop that makes atomic steps of it.

mod album;
mod checkpoints;
mod deployment;
mod exposure;
mod gallery;
mod inputs;
pub mod order;
mod owner;
mod partition;
mod picture;
mod replay;
mod rows;
mod runner;
mod sink;
mod slot;
mod states;
mod takeover;
mod warm_up;
mod watch;

pub use album::Album;
pub use checkpoints::{CheckpointEvery, Kept};
pub use deployment::Deployment;
pub use gallery::{Found, Gallery};
pub use owner::Owner;
pub use partition::{FindPlugin, Partition, PictureProgress, SlotStatus};
pub use picture::{Picture, PictureError};
pub use replay::{Replay, ReplayError, Stall, check_gaps, read_all, read_changes};
pub use runner::{EngineStatus, Progress, run};
pub use sink::{Counts, Outputs, WrittenLine};
pub use takeover::TakeoverError;
pub(crate) use watch::describe_metrics;
pub use watch::watch;
