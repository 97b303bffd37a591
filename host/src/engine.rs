//! The engine: (state, batch) → (state, outputs), and the loop that makes atomic steps of it.

pub mod order;
