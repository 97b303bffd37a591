//! What became of a transaction, out of its coordinator's own log: where a producer was initialised since, the coordinator
//! itself does not know it any more.

use std::time::{Duration, Instant};

use rdkafka::{
    Message as _, Offset as KafkaOffset,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
};

use super::{
    cluster::{Cluster, Plain, list, retire},
    wire::Failure,
};

/// Kafka's topic of transactions, compacted by their ids.
pub(super) const TRANSACTIONS: &str = "__transaction_state";
/// How long reading it may take: a segment of 100 MB, as brokers have them, and what compaction left.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Whether the newest transaction of `id` that was decided was committed, if it was one of this producer id. `partition` is
/// where brokers keep the id.
pub(super) fn was_committed(
    cluster: &Cluster,
    id: &str,
    producer: i64,
    partition: u32,
) -> Result<Option<bool>, Failure> {
    let told = |error: &dyn std::fmt::Display| format!("{TRANSACTIONS}/{partition}: {error}");
    let mut config = cluster.consumer_settings();
    config
        .set("isolation.level", "read_uncommitted")
        // The client wants a group even where it joins none.
        .set("group.id", format!("{}reader", cluster.options().prefix))
        .set("enable.partition.eof", "true");
    let plain = Plain(cluster.health().clone());
    let consumer: BaseConsumer<Plain> =
        (cluster.create(config, plain)).map_err(|error| told(&error))?;
    list(TRANSACTIONS, partition, KafkaOffset::Beginning)
        .and_then(|from| consumer.assign(&from))
        .map_err(|error| told(&error))?;
    let deadline = Instant::now() + LIMIT;
    let mut committed = None;
    let read = loop {
        if Instant::now() >= deadline {
            break Err(told(&format!("not read within {} s", LIMIT.as_secs())));
        }
        match consumer.poll(POLL) {
            Some(Ok(message)) if message.key().is_some_and(|key| is_of(key, id)) => {
                decide(&mut committed, message.payload(), producer);
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::PartitionEOF) => break Ok(committed),
                // What the client tries again by itself.
                Some(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut,
                ) => {}
                _ => break Err(told(&error)),
            },
            Some(Ok(_)) | None => {}
        }
    };
    retire(consumer);
    read
}

/// A key is its version (0), and the id behind its length.
fn is_of(key: &[u8], id: &str) -> bool {
    let length = u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes();
    let rest = key
        .strip_prefix(&[0, 0])
        .and_then(|key| key.strip_prefix(&length));
    rest == Some(id.as_bytes())
}

/// A value begins with version, producer id, epoch, timeout and status, in both versions that there are
/// (`TransactionLogValue.json`). An empty transaction says nothing of the one before.
fn decide(committed: &mut Option<bool>, value: Option<&[u8]>, producer: i64) {
    let Some(value) = value.filter(|value| value.len() >= 17) else {
        *committed = None;
        return;
    };
    let is_of_it = value[2..10] == producer.to_be_bytes();
    match value[16] {
        // PrepareCommit, CompleteCommit.
        2 | 4 => *committed = is_of_it.then_some(true),
        // PrepareAbort, CompleteAbort, PrepareEpochFence.
        3 | 5 | 7 => *committed = is_of_it.then_some(false),
        // Empty, Ongoing, Dead.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(producer: i64, status: u8) -> Vec<u8> {
        let mut value = vec![0, 1];
        value.extend(producer.to_be_bytes());
        value.extend([0, 3, 0, 0, 0x3a, 0x98, status, 0]);
        value
    }

    fn after(values: &[Option<Vec<u8>>]) -> Option<bool> {
        let mut committed = None;
        for value in values {
            decide(&mut committed, value.as_deref(), 18);
        }
        committed
    }

    #[test]
    fn the_newest_decision_counts_and_an_initialisation_is_none() {
        let at = |status| Some(value(18, status));
        assert_eq!(after(&[at(0), at(1), at(2), at(4), at(0)]), Some(true));
        assert_eq!(after(&[at(4), at(1), at(3), at(5), at(0)]), Some(false));
        assert_eq!(after(&[at(0), at(1)]), None);
        assert_eq!(
            after(&[at(4), Some(value(19, 4))]),
            None,
            "another producer's"
        );
        assert_eq!(after(&[at(4), None]), None, "the id has expired");
    }

    #[test]
    fn a_key_is_of_one_id() {
        let key = [&[0, 0, 0, 8][..], b"engine-2"].concat();
        assert!(is_of(&key, "engine-2"));
        assert!(!is_of(&key, "engine-20"));
        assert!(!is_of(&key, "engine"));
        assert!(!is_of(&[0, 1], ""));
    }
}
