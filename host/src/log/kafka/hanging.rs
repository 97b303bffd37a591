//! Transactions that are open in partitions though their coordinator has closed them, and the markers that end them.
//!
//! Kafka 4.3.1 takes a partition without leader for one that was deleted (`KRaftMetadataCache.getPartitionLeaderEndpoint`,
//! of which `TransactionMarkerChannelManager` thinks so). A transaction that is decided while the last broker with its partitions
//! goes or comes back is then written down as complete without a marker anywhere: its readers, and the position of its
//! group, wait for ever. What was decided is known to the coordinator until the next producer is initialised, so it is
//! asked before that; what is open afterwards hangs, and gets the marker of that decision.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, TopicName, TransactionalId,
    WriteTxnMarkersRequest,
    describe_producers_request::TopicRequest,
    describe_producers_response::ProducerState,
    write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
};
use tracing::{debug, warn};

use super::{
    Options,
    wire::{self, Address, Failure},
};

/// Kafka's topic of positions, of which a transaction is a part that commits one.
const POSITIONS: &str = "__consumer_offsets";
/// The coordinator knows no such id: it was never initialised, or has expired.
const UNKNOWN_ID: i16 = 105;
/// "None", where an offset is given of an open transaction.
const NONE: i64 = -1;

/// What a coordinator says of the newest transaction of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    producer: i64,
    outcome: Outcome,
    /// When it began, in milliseconds since the epoch, by the brokers' clock.
    start_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    /// Aborted, or to be aborted by the next producer's initialisation.
    Aborted,
    /// There was none since the producer was initialised.
    Unknown,
}

/// What the transactions of an id write to.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    /// Topics with their partitions.
    pub(super) topics: Vec<(String, Vec<i32>)>,
    /// Whose position they commit, where they do.
    pub(super) group: Option<String>,
}

/// Looks for hanging transactions of one transactional id.
pub(super) struct Hanging {
    brokers: String,
    id: String,
    writes: Writes,
    told: Option<Told>,
    decisions: Arc<Decisions>,
}

/// What coordinators said of ids whose partitions were not looked through since. An initialisation that succeeded makes them
/// forget it.
#[derive(Default)]
pub(super) struct Decisions(Mutex<HashMap<String, Told>>);

impl Hanging {
    /// Asks what became of the newest transaction of `id`; to be done before a producer is initialised. None where brokers are
    /// spoken to in a way that `wire` does not know, or give no answer.
    pub(super) fn ask(
        options: &Options,
        decisions: &Arc<Decisions>,
        id: &str,
        writes: &Writes,
    ) -> Option<Self> {
        if !plain(options) {
            return None;
        }
        let told = match ask(&options.brokers, id) {
            Ok(told) => decisions.newest(id, told),
            Err(error) => {
                debug!(id, error, "the transaction coordinator was not asked");
                return None;
            }
        };
        Some(Self {
            brokers: options.brokers.clone(),
            id: id.to_owned(),
            writes: writes.clone(),
            told,
            decisions: Arc::clone(decisions),
        })
    }

    /// Ends what is open; to be done after a producer was initialised, or between two transactions of one.
    ///
    /// # Errors
    /// Where a partition's leader does not answer, and where something hangs of which it is not known whether it
    /// was committed.
    pub(super) fn end(self) -> Result<(), Failure> {
        let Some(told) = &self.told else {
            return Ok(());
        };
        for (leader, topics) in self.leaders()? {
            let open = open(&leader, topics, told.producer)?;
            for (committed, places) in self.decide(told, open)? {
                mark(&leader, committed, told.producer, &places)?;
                for place in &places {
                    warn!(
                        id = self.id,
                        topic = place.topic,
                        partition = place.partition,
                        offset = place.state.current_txn_start_offset,
                        committed,
                        "a transaction that its broker left open is ended"
                    );
                }
            }
        }
        self.decisions.forget(&self.id);
        Ok(())
    }

    /// What was written to, by the broker that leads it.
    fn leaders(&self) -> Result<BTreeMap<Address, Written>, Failure> {
        let Writes { topics, group } = &self.writes;
        let names: Vec<_> = topics
            .iter()
            .map(|(topic, _)| topic.clone())
            .chain(group.as_ref().map(|_| POSITIONS.to_owned()))
            .collect();
        let metadata = wire::metadata(&self.brokers, &names)?;
        let brokers: HashMap<_, _> = metadata
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port)))
            .collect();
        let mut leaders: BTreeMap<Address, Written> = BTreeMap::new();
        for topic in &metadata.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else {
                continue;
            };
            let wanted = match topics.iter().find(|(topic, _)| *topic == name) {
                Some((_, partitions)) => partitions.clone(),
                None => (group.iter())
                    .filter_map(|group| position(group, topic.partitions.len()))
                    .collect(),
            };
            for partition in &topic.partitions {
                let number = partition.partition_index;
                if !wanted.contains(&number) {
                    continue;
                }
                let leader = brokers
                    .get(&partition.leader_id)
                    .ok_or_else(|| format!("{name}/{number} has no leader"))?;
                leaders
                    .entry(leader.clone())
                    .or_default()
                    .entry(name.clone())
                    .or_default()
                    .push(number);
            }
        }
        Ok(leaders)
    }

    fn decide(&self, told: &Told, open: Vec<Open>) -> Result<BTreeMap<bool, Vec<Open>>, Failure> {
        let mut decided: BTreeMap<bool, Vec<Open>> = BTreeMap::new();
        for open in open {
            let committed = committed(told, open.state.last_timestamp).ok_or_else(|| {
                format!(
                    "{}/{}: a transaction of \"{}\" (producer {}) is open at offset {}, and its coordinator does not know any more \
                     whether it was committed; end it by kafka-transactions.sh",
                    open.topic,
                    open.partition,
                    self.id,
                    told.producer,
                    open.state.current_txn_start_offset
                )
            })?;
            decided.entry(committed).or_default().push(open);
        }
        Ok(decided)
    }
}

impl Decisions {
    /// What is known of `id`: what was told now, unless that is less than what was told before.
    fn newest(&self, id: &str, told: Option<Told>) -> Option<Told> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told?;
        if told.outcome == Outcome::Unknown
            && let Some(before) = known.get(id)
            && before.producer == told.producer
        {
            return Some(before.clone());
        }
        known.insert(id.to_owned(), told.clone());
        Some(told)
    }

    fn forget(&self, id: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

/// Whether a transaction was committed of which a partition has records up to `last_ms`. All before the newest of a
/// producer count as committed: after an abort it goes on only where a rebalance came across, with the same step.
const fn committed(told: &Told, last_ms: i64) -> Option<bool> {
    match told.outcome {
        Outcome::Committed => Some(true),
        Outcome::Aborted => Some(last_ms < told.start_ms),
        Outcome::Unknown => None,
    }
}

/// The partition of [`POSITIONS`] that holds a group's, as brokers choose it: `String.hashCode` without its sign. None where
/// there is no partition yet.
fn position(group: &str, partitions: usize) -> Option<i32> {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    (hash & i32::MAX).checked_rem(i32::try_from(partitions).ok()?)
}

/// Partitions by topic.
type Written = BTreeMap<String, Vec<i32>>;

/// A partition with an open transaction.
struct Open {
    topic: String,
    partition: i32,
    state: ProducerState,
}

fn plain(options: &Options) -> bool {
    options
        .extra
        .iter()
        .find(|(name, _)| name == "security.protocol")
        .is_none_or(|(_, value)| value.eq_ignore_ascii_case("plaintext"))
}

fn ask(brokers: &str, id: &str) -> Result<Option<Told>, Failure> {
    let coordinator = wire::coordinator(brokers, id)?;
    let request = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![TransactionalId(wire::text(id))]);
    let answer = wire::ask(&coordinator, &request, 0)?;
    let state = answer
        .transaction_states
        .first()
        .ok_or("an answer without a transaction")?;
    let outcome = match (state.error_code, state.transaction_state.as_str()) {
        (UNKNOWN_ID, _) => return Ok(None),
        (0, "PrepareCommit" | "CompleteCommit") => Outcome::Committed,
        (0, "Ongoing" | "PrepareAbort" | "PrepareEpochFence" | "CompleteAbort") => Outcome::Aborted,
        (0, _) => Outcome::Unknown,
        (code, _) => return Err(format!("transaction of \"{id}\": code {code}")),
    };
    Ok(Some(Told {
        producer: state.producer_id.0,
        outcome,
        start_ms: state.transaction_start_time_ms,
    }))
}

/// What `producer` has open in partitions that a broker leads.
fn open(leader: &str, topics: Written, producer: i64) -> Result<Vec<Open>, Failure> {
    let topics = topics.into_iter().map(|(name, partitions)| {
        TopicRequest::default()
            .with_name(TopicName(wire::text(&name)))
            .with_partition_indexes(partitions)
    });
    let request = DescribeProducersRequest::default().with_topics(topics.collect());
    let answer = wire::ask(leader, &request, 0)?;
    let mut found = Vec::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let (topic, number) = (topic.name.0.to_string(), partition.partition_index);
            if partition.error_code != 0 {
                let code = partition.error_code;
                return Err(format!("producers of {topic}/{number}: code {code}"));
            }
            let open = partition.active_producers.into_iter().find(|state| {
                state.producer_id.0 == producer && state.current_txn_start_offset > NONE
            });
            found.extend(open.map(|state| Open {
                topic,
                partition: number,
                state,
            }));
        }
    }
    Ok(found)
}

/// Writes the markers that the coordinator owed.
fn mark(leader: &str, committed: bool, producer: i64, places: &[Open]) -> Result<(), Failure> {
    let markers = places.iter().map(|place| {
        WritableTxnMarker::default()
            .with_producer_id(producer.into())
            .with_producer_epoch(i16::try_from(place.state.producer_epoch).unwrap_or(i16::MAX))
            .with_transaction_result(committed)
            .with_coordinator_epoch(place.state.coordinator_epoch.max(0))
            .with_topics(vec![
                WritableTxnMarkerTopic::default()
                    .with_name(TopicName(wire::text(&place.topic)))
                    .with_partition_indexes(vec![place.partition]),
            ])
    });
    // One request a marker: the answer to several of one producer does not tell them apart.
    for marker in markers {
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let answer = wire::ask(leader, &request, 1)?;
        let results = answer.markers.iter().flat_map(|marker| &marker.topics);
        for (topic, result) in
            results.flat_map(|topic| topic.partitions.iter().map(move |result| (topic, result)))
        {
            if result.error_code != 0 {
                return Err(format!(
                    "marker in {}/{}: code {}",
                    topic.name.0, result.partition_index, result.error_code
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn told(outcome: Outcome) -> Told {
        Told {
            producer: 7,
            outcome,
            start_ms: 1_000,
        }
    }

    #[test]
    fn the_decision_on_the_newest_transaction_holds_for_its_records_only() {
        assert_eq!(committed(&told(Outcome::Committed), 1_000), Some(true));
        assert_eq!(committed(&told(Outcome::Aborted), 1_000), Some(false));
        assert_eq!(committed(&told(Outcome::Aborted), 999), Some(true));
        assert_eq!(committed(&told(Outcome::Unknown), 1_000), None);
    }

    #[test]
    fn what_was_told_before_an_initialisation_is_kept_until_the_partitions_were_looked_through() {
        let decisions = Decisions::default();
        let decided = Some(told(Outcome::Committed));
        assert_eq!(decisions.newest("a", decided.clone()), decided);
        assert_eq!(
            decisions.newest("a", Some(told(Outcome::Unknown))),
            decided,
            "the producer was initialised since"
        );
        decisions.forget("a");
        let unknown = Some(told(Outcome::Unknown));
        assert_eq!(decisions.newest("a", unknown.clone()), unknown);
        assert_eq!(decisions.newest("b", None), None);
    }

    #[test]
    fn a_groups_position_lies_where_brokers_put_it() {
        // `"a".hashCode()` is 97 in Java.
        assert_eq!(
            position("polygenelubricants", 50),
            Some(0),
            "the least of all hashes"
        );
        assert_eq!(position("a", 50), Some(47));
        assert_eq!(position("engine", 0), None);
    }

    #[test]
    fn brokers_behind_tls_are_not_asked() {
        let mut options = Options::default();
        assert!(plain(&options));
        options.extra = vec![("security.protocol".into(), "SASL_SSL".into())];
        assert!(!plain(&options));
    }
}
