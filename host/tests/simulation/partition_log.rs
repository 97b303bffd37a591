//! One partition of one topic as Kafka keeps it: markers take offsets, what a transaction wrote stays unread until its
//! marker is there, compaction and retention leave gaps. It knows nothing of producers, groups or faults.

use wigwag::log::Offset;

/// A transaction; each has its own number.
pub(crate) type TransactionId = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) timestamp_ms: i64,
}

#[derive(Clone, Debug)]
struct Record {
    offset: Offset,
    transaction: Option<TransactionId>,
    /// None for a marker.
    message: Option<Message>,
}

/// Which records a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those of ended transactions that were committed, up to the last stable offset.
    Committed,
    /// All, up to the high watermark.
    Uncommitted,
}

#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    records: Vec<Record>,
    start: Offset,
    end: Offset,
    /// Transactions that wrote here and have no marker yet, with their first offset.
    open: Vec<(TransactionId, Offset)>,
    aborted: Vec<TransactionId>,
    /// What retention removed: nobody reads it but the oracle.
    removed: Vec<(Offset, Message)>,
}

impl PartitionLog {
    pub(crate) fn append(&mut self, transaction: Option<TransactionId>, message: Message) {
        let offset = self.end;
        if let Some(id) = transaction
            && !self.open.iter().any(|(open, _)| *open == id)
        {
            self.open.push((id, offset));
        }
        self.push(transaction, Some(message));
    }

    /// Ends a transaction here. One that wrote nothing here leaves no marker.
    pub(crate) fn mark(&mut self, id: TransactionId, commit: bool) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == id) else {
            return;
        };
        self.open.remove(at);
        if !commit {
            self.aborted.push(id);
        }
        self.push(Some(id), None);
    }

    fn push(&mut self, transaction: Option<TransactionId>, message: Option<Message>) {
        let offset = self.end;
        self.records.push(Record {
            offset,
            transaction,
            message,
        });
        self.end += 1;
    }

    pub(crate) const fn start(&self) -> Offset {
        self.start
    }

    /// The high watermark.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// The last stable offset.
    pub(crate) fn stable(&self) -> Offset {
        let first = self.open.iter().map(|(_, first)| *first).min();
        first.unwrap_or(self.end)
    }

    /// Hands over at most `most` messages from `from` on; returns from where to go on, past all that holds none.
    pub(crate) fn read(
        &self,
        from: Offset,
        most: usize,
        isolation: Isolation,
        mut take: impl FnMut(Offset, &Message),
    ) -> Offset {
        let end = match isolation {
            Isolation::Committed => self.stable(),
            Isolation::Uncommitted => self.end,
        };
        let first = self.records.partition_point(|r| r.offset < from);
        let mut taken = 0;
        for record in &self.records[first..] {
            if record.offset >= end {
                break;
            }
            let Some(message) = &record.message else {
                continue;
            };
            let aborted = |id| isolation == Isolation::Committed && self.aborted.contains(&id);
            if record.transaction.is_some_and(aborted) {
                continue;
            }
            if taken == most {
                return record.offset.max(from);
            }
            take(record.offset, message);
            taken += 1;
        }
        end.max(from)
    }

    /// Offset of the last committed message, removed or not.
    pub(crate) fn last_committed(&self) -> Option<Offset> {
        let open = |id: TransactionId| self.open.iter().any(|(open, _)| *open == id);
        let seen = |r: &&Record| {
            r.message.is_some()
                && r.transaction
                    .is_none_or(|id| !open(id) && !self.aborted.contains(&id))
        };
        let last = self.records.iter().rev().find(seen).map(|r| r.offset);
        last.or(self.removed.last().map(|(offset, _)| *offset))
    }

    /// All messages that were ever committed, the removed ones too.
    pub(crate) fn history(&self, mut take: impl FnMut(Offset, &Message)) {
        for (offset, message) in &self.removed {
            take(*offset, message);
        }
        self.read(self.start, usize::MAX, Isolation::Committed, take);
    }

    /// Keeps the newest committed message of each key below `below`, and all from there on.
    pub(crate) fn compact(&mut self, below: Offset) {
        let below = below.min(self.stable());
        let mut seen = std::collections::BTreeSet::new();
        let mut kept: Vec<Record> = Vec::with_capacity(self.records.len());
        while let Some(record) = self.records.pop() {
            let keep = record.offset >= below
                || match (&record.message, record.transaction) {
                    (_, Some(id)) if self.aborted.contains(&id) => false,
                    (Some(message), _) => seen.insert(message.key.clone()),
                    (None, _) => false,
                };
            if keep {
                kept.push(record);
            }
        }
        kept.reverse();
        self.records = kept;
    }

    /// Removes what is below `start`, as retention does.
    pub(crate) fn remove_below(&mut self, start: Offset) {
        let start = start.clamp(self.start, self.stable());
        let (aborted, removed) = (&self.aborted, &mut self.removed);
        self.records.retain(|record| {
            if record.offset >= start {
                return true;
            }
            let committed = record.transaction.is_none_or(|id| !aborted.contains(&id));
            if let (Some(message), true) = (&record.message, committed) {
                removed.push((record.offset, message.clone()));
            }
            false
        });
        self.start = start;
    }

    /// Changes the stored bytes of the message at an offset.
    pub(crate) fn damage(&mut self, offset: Offset, change: impl FnOnce(&mut Vec<u8>)) {
        let record = self.records.iter_mut().find(|r| r.offset == offset);
        if let Some(message) = record.and_then(|r| r.message.as_mut()) {
            change(&mut message.value);
        }
    }
}
