//! The sole writer: a transactional producer whose id all processes share, so that whoever makes the next one shuts it
//! out.

use std::{sync::Arc, time::Instant};

use super::{
    appender,
    cluster::Cluster,
    transaction::{COMMIT_LIMIT, Transactions},
};
use crate::log::{Append, LogError, SoleWriter, Topic};

pub(super) struct Sole {
    cluster: Arc<Cluster>,
    transactions: Transactions,
}

impl Sole {
    pub(super) fn take(cluster: Arc<Cluster>) -> Result<Self, LogError> {
        let id = format!("{}sole-writer", cluster.options().prefix);
        let place = (Topic::Control, 0);
        let transactions = Transactions::fence(Arc::clone(&cluster), &id, place, || true)?;
        Ok(Self {
            cluster,
            transactions,
        })
    }
}

impl SoleWriter for Sole {
    fn append(&mut self, appends: Vec<Append>) -> Result<(), LogError> {
        for append in &appends {
            appender::check(&self.cluster, append)?;
        }
        let deadline = Instant::now() + COMMIT_LIMIT;
        let attempted = self.transactions.attempt(&appends, deadline, |_| Ok(()));
        let Err(fault) = attempted else {
            return Ok(());
        };
        let aborted = !fault.fatal && self.transactions.abort();
        if !fault.at_commit && (fault.lost || self.transactions.is_shut_out()) {
            return Err(self.transactions.lost(&fault.detail));
        }
        let outcome = match aborted {
            true => "nothing was written",
            false => "it is not known whether it was written",
        };
        let detail = format!("{}; {outcome}", fault.detail);
        Err(self.transactions.unavailable(&detail))
    }
}
