//! What every log must do, held against each implementation. The claims are in `log_conformance/suite.rs`; this
//! file only says which logs there are. What only one of them promises stands beside its fixture.

#[path = "log_conformance/embedded_damage.rs"]
mod damage;
#[path = "log_conformance/embedded.rs"]
mod directory;
#[path = "log_conformance/embedded_limits.rs"]
mod limits;
#[path = "log_conformance/suite.rs"]
mod suite;

suite::conformance!(embedded, crate::directory::Directory);
