//! The components that `control` holds, made ready to run when they are first asked for: for whoever looks at the past,
//! and follows nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::catalogue::{Catalogue, Step};
use crate::{
    log::Messages,
    plugin::{Digest, Plugin, Runtime},
};

/// Components by digest, hidden ones too.
pub struct Components {
    runtime: Runtime,
    catalogue: Catalogue,
    bytes: HashMap<Digest, Vec<u8>>,
    loaded: Mutex<HashMap<Digest, Result<Arc<Plugin>, String>>>,
}

impl Components {
    /// None yet.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            catalogue: Catalogue::default(),
            bytes: HashMap::new(),
            loaded: Mutex::default(),
        }
    }

    /// Takes the next messages of `control`. One that cannot be read hides its component, which is then missed by name.
    pub fn take(&mut self, messages: &Messages) {
        for message in messages.iter() {
            let step = (self.catalogue).take(message.key, message.value, message.offset);
            if let Step::Load { digest, bytes, .. } = step {
                self.bytes.insert(digest, bytes);
            }
        }
    }

    /// The plugin with this digest, ready to run: the first time takes as long as its compilation.
    ///
    /// # Errors
    /// Why there is none: it is not in `control`, or cannot be run here.
    pub fn find(&self, digest: Digest) -> Result<Arc<Plugin>, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let load = || match self.bytes.get(&digest) {
            None => Err(format!("plugin {digest:?} is not in the topic control")),
            Some(bytes) => (self.runtime.load(bytes))
                .map_err(|error| format!("plugin {digest:?} cannot be run here: {error}")),
        };
        loaded.entry(digest).or_insert_with(load).clone()
    }
}
