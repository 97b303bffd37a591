//! Plugins that are there: listed, found, and removed. How one is taken in is another file's matter.

use std::sync::Arc;

use super::{
    Actor, AuditAction, AuditEntry, Control, PluginInfo,
    catalogue::Catalogue,
    info::ControlError,
    record::{PluginRecord, manifest_message},
};
use crate::plugin::{Digest, Plugin};

impl Control {
    /// The plugin with this digest, ready to run, hidden or not.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        self.shared.catalogue().ready(digest)
    }

    /// The plugins that are not hidden: the newest of each name, by name.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.shared.catalogue().newest_of_each()
    }

    /// A plugin by digest, by name, which means its newest upload, or by `NAME@VERSION`, which means the newest upload of
    /// that version.
    #[must_use]
    pub fn plugin(&self, reference: &str) -> Option<PluginInfo> {
        let catalogue = self.shared.catalogue();
        let digest = catalogue.resolve(reference)?;
        catalogue.info(digest)
    }

    /// Hides all uploads of a name. The bytes stay, since signals name them.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] while a strategy runs it.
    pub async fn remove_plugin(&self, name: &str, actor: &Actor) -> Result<(), ControlError> {
        let removed = self.try_remove_plugin(name, actor).await;
        self.audit_refusal(actor, AuditAction::RemovePlugin, name, &removed)
            .await;
        removed
    }

    async fn try_remove_plugin(&self, name: &str, actor: &Actor) -> Result<(), ControlError> {
        let decision = |catalogue: &Catalogue| {
            let records = catalogue.uploads_of(name);
            if records.is_empty() {
                return Err(ControlError::NotFound {
                    what: format!("plugin {name:?}"),
                });
            }
            let users = catalogue.strategies_with(name);
            if !users.is_empty() {
                let users = users.join(", ");
                let message = format!(
                    "plugin {name:?} is run by {users}; remove or change these strategies first"
                );
                return Err(ControlError::Conflict { message });
            }
            let hidden = records.into_iter().map(|(digest, record)| {
                let record = PluginRecord {
                    hidden: true,
                    by: actor.name.clone(),
                    ..record
                };
                manifest_message(digest, &record)
            });
            let entry = AuditEntry::new(
                actor,
                AuditAction::RemovePlugin,
                name,
                None,
                Ok("it was removed".to_owned()),
            );
            Ok((std::iter::once(entry.message()).chain(hidden).collect(), ()))
        };
        self.decide(decision).await?;
        tracing::info!(plugin = name, by = actor.name, "plugin removed");
        Ok(())
    }
}
