//! The sole writer: a transactional producer whose id all processes share, so that whoever makes the next one shuts it
//! out.

use std::{sync::Arc, time::Instant};

use super::{
    appender,
    cluster::Cluster,
    hanging::Writes,
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
        // What concerns all partitions has topics of one.
        let ones = Topic::ALL.iter().filter(|topic| topic.partitions(2) == 1);
        let writes = Writes {
            topics: ones
                .map(|topic| (cluster.name(*topic).to_owned(), vec![0]))
                .collect(),
            group: None,
        };
        let transactions = Transactions::fence(Arc::clone(&cluster), id, writes, place, || true)?;
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
            return self.transactions.settle();
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
