//! Questions that read the log itself: few at a time, since each may read much of it, and anyone may ask.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{
    AuditPage, Control, Provenance, ShadowReport, audit, blocking, info::ControlError, provenance,
    shadow,
};
use crate::log::Offset;

/// Questions that are answered at once, and how long another waits for its turn.
const AT_ONCE: usize = 4;
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// Room for them.
pub(super) struct Looks(Arc<Semaphore>);

impl Default for Looks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Control {
    /// A part of the audit log, newest first.
    ///
    /// # Errors
    /// [`ControlError::Busy`], [`ControlError::Unavailable`].
    pub async fn audit_log(
        self: &Arc<Self>,
        below: Option<Offset>,
        limit: usize,
    ) -> Result<AuditPage, ControlError> {
        self.look(move |control| audit::read(&*control.log, below, limit))
            .await
    }

    /// What led to a signal at this place.
    ///
    /// # Errors
    /// [`ControlError::Busy`]; [`ControlError::Unavailable`] where the log does not give the ticks.
    pub async fn provenance(
        self: &Arc<Self>,
        params_digest: &str,
        symbol: String,
        partition: u32,
        place: (Offset, u32),
    ) -> Result<Provenance, ControlError> {
        let params = self.shared.catalogue().params_of(params_digest);
        let ticks = self
            .look(move |control| provenance::ticks(&*control.log, &symbol, partition, place))
            .await?;
        Ok(Provenance { params, ticks })
    }

    /// Compares a strategy's shadow with it. Takes seconds on a large log.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] where there is no shadow; [`ControlError::Busy`]; [`ControlError::Unavailable`].
    pub async fn shadow_report(self: &Arc<Self>, id: String) -> Result<ShadowReport, ControlError> {
        self.look(move |control| shadow::report(control, &id)).await
    }

    /// Asks on a thread that may block, when it is its turn.
    async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.looks.0.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let message = format!(
                "{AT_ONCE} questions that read the log are being answered; ask again later"
            );
            return Err(ControlError::Busy { message });
        };
        let control = self.clone();
        let answer = move || {
            // It is over when the question is answered, whether or not somebody still waits for that.
            let _turn = turn;
            question(&control)
        };
        blocking(answer).await?
    }
}
