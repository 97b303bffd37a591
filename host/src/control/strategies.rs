//! Strategies: defined, changed and removed, under the condition that the writer names.

use super::{
    Actor, AuditAction, AuditEntry, Control, Precondition, StrategyInfo, StrategyRequest,
    catalogue::Catalogue,
    info::ControlError,
    record::{StrategyRecord, strategy_message, strategy_tombstone},
};
use crate::plugin::FieldError;

/// The most strategies.
const MAX_STRATEGIES: usize = 1_000;

impl Control {
    /// All strategies, by id.
    #[must_use]
    pub fn strategies(&self) -> Vec<StrategyInfo> {
        let catalogue = self.shared.catalogue();
        catalogue
            .strategies
            .values()
            .map(|s| catalogue.strategy_info(s, self.log.partitions()))
            .collect()
    }

    /// One strategy.
    #[must_use]
    pub fn strategy(&self, id: &str) -> Option<StrategyInfo> {
        let catalogue = self.shared.catalogue();
        let record = catalogue.strategies.get(id)?;
        Some(catalogue.strategy_info(record, self.log.partitions()))
    }

    /// Defines or changes a strategy; the engines take it up at their next step. True where it is new.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with each wrong field; [`ControlError::Precondition`];
    /// [`ControlError::Unavailable`].
    pub async fn put_strategy(
        &self,
        id: &str,
        request: StrategyRequest,
        precondition: Precondition,
        actor: &Actor,
    ) -> Result<(StrategyInfo, bool), ControlError> {
        let put = self
            .try_put_strategy(id, request, &precondition, actor)
            .await;
        self.audit_refusal(actor, AuditAction::PutStrategy, id, &put)
            .await;
        put
    }

    async fn try_put_strategy(
        &self,
        id: &str,
        request: StrategyRequest,
        precondition: &Precondition,
        actor: &Actor,
    ) -> Result<(StrategyInfo, bool), ControlError> {
        let admits = |catalogue: &Catalogue| {
            let before = catalogue.strategies.get(id).cloned();
            check_precondition(id, before.as_deref(), precondition)?;
            if before.is_none() && catalogue.strategies.len() >= MAX_STRATEGIES {
                let message =
                    format!("there are {MAX_STRATEGIES} strategies already; remove one first");
                return Err(ControlError::Conflict { message });
            }
            Ok(before)
        };
        // What was written by way of another replica is known here too. What can be refused at once is; the plugin is
        // then tried without keeping other writers waiting.
        self.read_to_end().await?;
        admits(&self.shared.catalogue())?;
        let defined = self.define(id, request).await?;
        let decision = |catalogue: &Catalogue| {
            let before = admits(catalogue)?;
            let gone = defined.plugins().find(|(_, of)| !catalogue.has_shown(of));
            if let Some((field, of)) = gone {
                let message = format!(
                    "plugin {:?} is not here any more, since it was removed meanwhile; upload it again",
                    of.plugin
                );
                let error = FieldError {
                    field: field.to_owned(),
                    message,
                };
                return Err(ControlError::refused("definition", vec![error]));
            }
            let version = before.as_ref().map_or(1, |s| s.strategy.version + 1);
            let record = defined.clone().of_version(version);
            if record.strategy.enabled {
                self.admission
                    .admit(id, record.price(), catalogue.price_beside(id))?;
            }
            let entry = AuditEntry::new(
                actor,
                AuditAction::PutStrategy,
                id,
                Some(record.strategy.plugin_digest.clone()),
                Ok(record.in_words(before.as_deref())),
            );
            let appends = vec![entry.message(), strategy_message(&record)];
            Ok((appends, (record, before.is_none())))
        };
        let (record, created) = self.decide(decision).await?;
        tracing::info!(
            strategy = id,
            plugin = record.strategy.plugin,
            version = record.strategy.version,
            by = actor.name,
            "strategy defined"
        );
        let catalogue = self.shared.catalogue();
        let info = catalogue.strategy_info(&record, self.log.partitions());
        Ok((info, created))
    }

    /// Removes a strategy; the engines stop it at their next step.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Precondition`]; [`ControlError::Unavailable`].
    pub async fn remove_strategy(
        &self,
        id: &str,
        precondition: Precondition,
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let removed = self.try_remove_strategy(id, &precondition, actor).await;
        self.audit_refusal(actor, AuditAction::RemoveStrategy, id, &removed)
            .await;
        removed
    }

    async fn try_remove_strategy(
        &self,
        id: &str,
        precondition: &Precondition,
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let decision = |catalogue: &Catalogue| {
            let Some(before) = catalogue.strategies.get(id) else {
                return Err(ControlError::NotFound {
                    what: format!("strategy {id:?}"),
                });
            };
            check_precondition(id, Some(before), precondition)?;
            let entry = AuditEntry::new(
                actor,
                AuditAction::RemoveStrategy,
                id,
                None,
                Ok("it was removed".to_owned()),
            );
            Ok((vec![entry.message(), strategy_tombstone(id)], ()))
        };
        self.decide(decision).await?;
        tracing::info!(strategy = id, by = actor.name, "strategy removed");
        Ok(())
    }
}

fn check_precondition(
    id: &str,
    now: Option<&StrategyRecord>,
    wanted: &Precondition,
) -> Result<(), ControlError> {
    let etag = now.map(StrategyRecord::etag);
    let message = match (wanted, &etag) {
        (Precondition::Any, _) | (Precondition::Absent, None) => return Ok(()),
        (Precondition::Exists(tags), Some(etag))
            if tags.iter().any(|tag| tag == etag || tag == "*") =>
        {
            return Ok(());
        }
        (Precondition::Absent, Some(etag)) => {
            format!("strategy {id:?} is there already, with etag {etag}")
        }
        (Precondition::Exists(tags), Some(etag)) => {
            let tags = tags.join(" or ");
            format!("strategy {id:?} has etag {etag}, not {tags}; read it again and decide anew")
        }
        (Precondition::Exists(_), None) => format!("strategy {id:?} is not there"),
    };
    Err(ControlError::Precondition { etag, message })
}
