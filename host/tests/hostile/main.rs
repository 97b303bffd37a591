//! Components that attack, each with the answer that is expected, against a running service; while each runs, its
//! neighbours say what they say alone, and the service's memory stays bounded.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod at_upload;
mod at_work;
mod made;
mod nonconforming;
#[path = "../support/service.rs"]
mod service;
mod shapes;
mod stage;
#[allow(unreachable_pub, reason = "shared with other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod wasi;

/// A test for each case: its name, the component, and what is expected.
macro_rules! cases {
    ($($name:ident: $component:expr => $expect:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name).replace('_', "-");
                crate::made::begin(&name);
                crate::stage::judge(&name, $component, &$expect);
            }
        )*
    };
}
pub(crate) use cases;
