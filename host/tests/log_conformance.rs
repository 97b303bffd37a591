//! What every log must do, held against each implementation. The claims are in `log_conformance/suite.rs`; this
//! file only says which logs there are.

#[path = "log_conformance/embedded.rs"]
mod directory;
#[path = "log_conformance/suite.rs"]
mod suite;

suite::conformance!(embedded, crate::directory::Directory);
