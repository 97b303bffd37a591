//! What ingest counts, added up for each body so that a record costs no look-up.

use crate::market::Kind;

/// Records of one body or step by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    accepted: [u64; Kind::ALL.len()],
    rejected: Vec<(&'static str, u64)>,
    bytes: u64,
}

impl Counts {
    pub(super) fn accept(&mut self, kind: Kind) {
        self.accepted[kind as usize] += 1;
    }

    pub(super) fn reject(&mut self, rule: &'static str) {
        match self.rejected.iter_mut().find(|(name, _)| *name == rule) {
            Some((_, count)) => *count += 1,
            None => self.rejected.push((rule, 1)),
        }
    }

    pub(super) fn read(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.iter().sum()
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.iter().map(|(_, count)| count).sum()
    }

    /// Adds them to the metrics, once they are true: after the append.
    pub(super) fn publish(&self) {
        for (kind, &count) in Kind::ALL.into_iter().zip(&self.accepted) {
            if count > 0 {
                metrics::counter!(RECORDS, "result" => "accepted", "kind" => kind.name())
                    .increment(count);
            }
        }
        for &(rule, count) in &self.rejected {
            metrics::counter!(REJECTED, "rule" => rule).increment(count);
        }
        let rejected = self.rejected();
        if rejected > 0 {
            metrics::counter!(RECORDS, "result" => "rejected", "kind" => UNKNOWN)
                .increment(rejected);
        }
        metrics::counter!(BYTES).increment(self.bytes);
    }
}

/// Counts a fetched record that was fetched before.
pub(super) fn count_repeat() {
    metrics::counter!(RECORDS, "result" => "repeat", "kind" => UNKNOWN).increment(1);
}

const RECORDS: &str = "wigwag_ingest_records_total";
const REJECTED: &str = "wigwag_ingest_rejected_total";
const BYTES: &str = "wigwag_ingest_bytes_total";

/// The kind of a record that was not read.
const UNKNOWN: &str = "unknown";

/// Tells the recorder what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};

    describe_counter!(
        RECORDS,
        Unit::Count,
        "Records by result (accepted, rejected, repeat) and kind"
    );
    describe_counter!(
        REJECTED,
        Unit::Count,
        "Records refused, by the rule that they break"
    );
    describe_counter!(
        BYTES,
        Unit::Bytes,
        "Bytes of bodies and raw messages that were read"
    );
    describe_histogram!(
        "wigwag_ingest_append_seconds",
        Unit::Seconds,
        "From append to durable"
    );
    describe_counter!(
        "wigwag_ingest_pull_failures_total",
        Unit::Count,
        "Fetches of --pull that gave no record"
    );
    describe_counter!(
        "wigwag_ingest_raw_gone_total",
        Unit::Count,
        "Offsets of raw that retention removed unread"
    );
}
