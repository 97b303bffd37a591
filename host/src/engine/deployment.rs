//! What the engine asks of whoever knows the plugins and strategies; the service's answer is `control`.

use std::sync::Arc;

use crate::{
    control::Control,
    plugin::{Digest, Plugin},
    strategy::Strategy,
};

/// The plugins and strategies that there are now.
pub trait Deployment: Send + Sync {
    /// Rises with each change.
    fn version(&self) -> u64;

    /// The strategies that are to run.
    fn enabled(&self) -> Vec<Arc<Strategy>>;

    /// The definition of a strategy, enabled or not.
    fn definition(&self, id: &str) -> Option<Arc<Strategy>>;

    /// The plugin with this digest, ready to run, hidden or not.
    fn find(&self, digest: Digest) -> Option<Arc<Plugin>>;
}

impl Deployment for Control {
    fn version(&self) -> u64 {
        Self::version(self)
    }

    fn enabled(&self) -> Vec<Arc<Strategy>> {
        Self::enabled(self)
    }

    fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        Self::definition(self, id)
    }

    fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        Self::find(self, digest)
    }
}
