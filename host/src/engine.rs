//! The engine: (state, batch) → (state, outputs), and the loop that makes atomic steps of it.

pub mod change;
pub mod order;
mod partition;
mod picture;
mod rows;
mod sink;
mod slot;

pub use partition::{FindPlugin, Partition, SlotStatus};
pub use picture::{Gallery, Picture, PictureError};
pub use sink::{Counts, Outputs};
