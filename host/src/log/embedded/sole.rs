//! The sole writer: one process has the log, so a number that rises says who of it is the newest.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::Shared;
use crate::log::{Append, LogError, SoleWriter, Topic};

pub(super) struct Sole {
    shared: Arc<Shared>,
    number: u64,
}

impl Sole {
    /// The newest from here on.
    pub(super) fn take(shared: &Arc<Shared>) -> Self {
        let mut newest = shared.sole.lock().unwrap_or_else(PoisonError::into_inner);
        *newest += 1;
        Self {
            shared: Arc::clone(shared),
            number: *newest,
        }
    }
}

impl SoleWriter for Sole {
    fn append(&mut self, appends: Vec<Append>) -> Result<(), LogError> {
        // Held until it is written: a successor that waits here finds it there.
        let newest = (self.shared.sole.lock()).unwrap_or_else(PoisonError::into_inner);
        if *newest != self.number {
            return Err(LogError::Lost {
                topic: Topic::Control,
                partition: 0,
                detail: "another writes to it now".to_owned(),
            });
        }
        let (answer, answered) = oneshot::channel();
        self.shared.queue(appends, answer)?;
        (answered.blocking_recv()).unwrap_or_else(|_| Err(self.shared.closed()))
    }
}
