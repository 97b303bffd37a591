//! What an author of plugins does, as they do it: the real program on their command line, the tools of their language, a
//! running service.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod changes;
mod desk;
mod guide;
#[path = "../hostile/made.rs"]
#[allow(dead_code, reason = "shared with the hostile suite")]
mod made;
mod mistakes;
mod templates;

#[path = "../support/service.rs"]
mod process;
