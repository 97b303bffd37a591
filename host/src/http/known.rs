//! The tokens that are known now: they may be replaced while requests are answered, so that an operator changes them
//! without a restart. Knows nothing of where they come from.

use std::sync::{Arc, PoisonError, RwLock};

use super::Tokens;

const KNOWN: &str = "wigwag_http_token";

/// Tokens that may change; clones are one.
#[derive(Clone, Debug, Default)]
pub struct KnownTokens(Arc<RwLock<Arc<Tokens>>>);

impl From<Tokens> for KnownTokens {
    fn from(tokens: Tokens) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(tokens))))
    }
}

impl KnownTokens {
    /// Knows these from now on, and no others.
    pub fn replace(&self, tokens: Tokens) {
        let before = {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, Arc::new(tokens))
        };
        for name in before.names() {
            metrics::gauge!(KNOWN, "name" => name.to_owned()).set(0.0);
        }
        self.publish();
    }

    /// Shows their names among the metrics, so that whoever rotates them sees which replica knows them already.
    pub fn publish(&self) {
        for name in self.now().names() {
            metrics::gauge!(KNOWN, "name" => name.to_owned()).set(1.0);
        }
    }

    /// Those of this moment.
    pub(super) fn now(&self) -> Arc<Tokens> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&known)
    }
}

/// Says what the number is.
pub(super) fn describe_metrics() {
    metrics::describe_gauge!(KNOWN, "1 for each token that is known, by name");
}
