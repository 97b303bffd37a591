//! The sole writer: a transactional producer whose id all processes share, so that whoever makes the next one shuts it
//! out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    appender,
    cluster::Cluster,
    hanging::Writes,
    reader::KafkaReader,
    transaction::{COMMIT_LIMIT, Transactions},
};
use crate::log::{Append, LogError, Messages, Reader as _, SoleWriter, Topic};

/// How long to look for what became of a transaction. Whoever shuts its producer out ends it at once.
const READ_LIMIT: Duration = Duration::from_secs(5);
const READ_INTERVAL: Duration = Duration::from_millis(50);

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
        // Who shuts this one out may come between a commit and its answer.
        let committed = match fault.at_commit && !aborted {
            true => self.was_committed(),
            false => Some(false),
        };
        let is_lost =
            !aborted && (fault.at_commit || fault.lost || self.transactions.is_shut_out());
        let outcome = match committed {
            Some(true) => return Ok(()),
            Some(false) if is_lost => return Err(self.transactions.lost(&fault.detail)),
            Some(false) => "nothing was written",
            None => "it is not known whether it was written",
        };
        let detail = format!("{}; {outcome}", fault.detail);
        Err(self.transactions.unavailable(&detail))
    }
}

impl Sole {
    /// Whether the newest transaction was committed, by looking for its first message. None where it is not decided in time.
    fn was_committed(&self) -> Option<bool> {
        let first = self.transactions.place_of_first()?;
        let mut reader = KafkaReader::new(Arc::clone(&self.cluster), &[first]).ok()?;
        let deadline = Instant::now() + READ_LIMIT;
        let mut messages = Messages::new();
        while Instant::now() < deadline {
            reader.poll(&mut messages, 1, READ_INTERVAL).ok()?;
            if let Some(message) = messages.iter().next() {
                return Some(message.offset == first.offset);
            }
            if reader.position(first.topic, first.partition) > first.offset {
                return Some(false);
            }
        }
        None
    }
}
