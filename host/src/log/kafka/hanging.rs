//! Transactions that are open in partitions though their coordinator has closed them, and the markers that end them.
//!
//! Kafka 4.3.1 takes a partition without leader for one that was deleted (`KRaftMetadataCache.getPartitionLeaderEndpoint`,
//! of which `TransactionMarkerChannelManager` thinks so). A transaction that is decided while the last broker with its partitions
//! goes or comes back is then written down as complete without a marker anywhere: its readers, and the position of its
//! group, wait for ever. Worse, the producer's next transaction joins it in these partitions, and where that one is
//! aborted, its marker undoes both.
//!
//! So nothing is written before all that the transaction before wrote is seen to be closed. What was decided is known to the
//! coordinator until the next producer is initialised, so it is asked before that (where somebody was quicker, its log is read); what
//! is open afterwards hangs, and gets the marker of that decision.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    thread,
    time::{Duration, Instant},
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
    cluster::Cluster,
    decided,
    wire::{self, Address, Failure},
};

/// Kafka's topic of positions, of which a transaction is a part that commits one.
const POSITIONS: &str = "__consumer_offsets";
/// The coordinator knows no such id: it was never initialised, or has expired.
const UNKNOWN_ID: i16 = 105;
/// The asker may not read the topic; whether something is open there stays unknown.
const NOT_ALLOWED: i16 = 29;
/// "None", where an offset is given of an open transaction.
const NONE: i64 = -1;
/// How long markers may be on their way before the coordinator is asked whether it still sends them.
const MARKER_TIME: Duration = Duration::from_millis(300);
/// Before the first look at markers that are on their way; each pause is twice the one before, up to [`AGAIN_INTERVAL`].
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// After a failed question.
const AGAIN_INTERVAL: Duration = Duration::from_millis(20);

/// What a coordinator says of the newest transaction of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    producer: Producer,
    outcome: Outcome,
    /// No marker is on its way any more.
    is_complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    /// Aborted, or to be aborted by the next producer's initialisation.
    Aborted,
    /// There was none since the producer was initialised.
    Unknown,
}

/// One initialised producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Producer {
    id: i64,
    epoch: i32,
}

impl Producer {
    /// Whether what is open in a partition was left by a producer that this one follows.
    fn follows(self, told: &Told, state: &ProducerState) -> bool {
        let is_old = state.producer_epoch < self.epoch || told.producer.id != self.id;
        state.producer_id.0 == told.producer.id && is_old
    }

    fn has(self, state: &ProducerState) -> bool {
        state.producer_id.0 == self.id && state.producer_epoch == self.epoch
    }
}

/// What the transactions of an id write to.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    /// Topics with their partitions.
    pub(super) topics: Vec<(String, Vec<i32>)>,
    /// Whose position they commit, where they do.
    pub(super) group: Option<String>,
}

/// Sees to it that the transactions of one transactional id end.
pub(super) struct Endings {
    cluster: Arc<Cluster>,
    id: String,
    writes: Writes,
    /// Whose transactions they are, once that is known.
    producer: Option<Producer>,
    /// What is written to, by the broker that leads it, as long as no broker denies it.
    leaders: Option<BTreeMap<Address, Written>>,
}

impl Endings {
    /// None where brokers are spoken to in a way that `wire` does not know.
    pub(super) fn new(cluster: &Arc<Cluster>, id: &str, writes: Writes) -> Option<Self> {
        plain(cluster.options()).then(|| Self {
            cluster: Arc::clone(cluster),
            id: id.to_owned(),
            writes,
            producer: None,
            leaders: None,
        })
    }

    /// What became of the newest transaction; to be asked before a producer is initialised. None where the coordinator knows
    /// no such id.
    pub(super) fn before(&self) -> Result<Option<Told>, Failure> {
        self.ask()
    }

    /// Ends what earlier producers left open; to be done once a producer is initialised.
    ///
    /// # Errors
    /// Where a broker does not answer, and where something hangs of which it is not known whether it was committed.
    pub(super) fn take_over(&mut self, before: Option<Told>) -> Result<(), Failure> {
        let now = self.ask()?.ok_or("the coordinator knows no producer")?;
        self.producer = Some(now.producer);
        if let Some(before) = before {
            let open = self.open(|state| now.producer.follows(&before, state))?;
            let told = match before.outcome {
                Outcome::Unknown if !open.is_empty() => self.read_up(before)?,
                _ => before,
            };
            self.end(&told, open)?;
        }
        Ok(())
    }

    /// Waits until all that the newest transaction wrote is closed, and ends what its brokers leave open; to be done
    /// before the next one begins.
    ///
    /// # Errors
    /// Where it is not closed by the deadline.
    pub(super) fn settle(&mut self, deadline: Instant) -> Result<(), Failure> {
        let Some(producer) = self.producer else {
            return Ok(());
        };
        let began = Instant::now();
        let mut pause = FIRST_LOOK;
        loop {
            // The coordinator answers before it has sent a marker.
            thread::sleep(pause);
            pause = (2 * pause).min(AGAIN_INTERVAL);
            let failure = match self.open(|state| producer.has(state)) {
                Ok(open) if open.is_empty() => return Ok(()),
                Ok(_) if began.elapsed() < MARKER_TIME => continue,
                Ok(open) => (self.end_owed(producer, open).err())
                    .unwrap_or_else(|| "it still shows after its markers".to_owned()),
                Err(failure) => failure,
            };
            if Instant::now() >= deadline {
                return Err(failure);
            }
        }
    }

    /// Ends what is open of our own newest transaction, where its coordinator thinks it complete.
    fn end_owed(&self, producer: Producer, open: Vec<Open>) -> Result<(), Failure> {
        let told = (self.ask()?).filter(|told| told.producer == producer && told.is_complete);
        match told {
            Some(told) => self.end(&told, open),
            None => Err("its transaction is not complete".to_owned()),
        }
    }

    /// What the coordinator has written down of it, where that is more than it told.
    fn read_up(&self, told: Told) -> Result<Told, Failure> {
        let cluster = &self.cluster;
        let topic = [decided::TRANSACTIONS.to_owned()];
        let metadata = (cluster.lines()).metadata(&cluster.options().brokers, &topic)?;
        let partitions = metadata
            .topics
            .first()
            .map_or(0, |topic| topic.partitions.len());
        let partition = place_of(&self.id, partitions)
            .ok_or_else(|| format!("{} has no partition", decided::TRANSACTIONS))?;
        let partition = partition.unsigned_abs();
        let committed = decided::was_committed(cluster, &self.id, told.producer.id, partition)?;
        let outcome = match committed {
            Some(true) => Outcome::Committed,
            Some(false) => Outcome::Aborted,
            None => Outcome::Unknown,
        };
        Ok(Told { outcome, ..told })
    }

    /// Writes the markers that a coordinator owes.
    fn end(&self, told: &Told, open: Vec<Open>) -> Result<(), Failure> {
        for place in open {
            let offset = place.state.current_txn_start_offset;
            let committed = match told.outcome {
                Outcome::Committed => true,
                Outcome::Aborted => false,
                Outcome::Unknown => {
                    return Err(format!(
                        "{}/{}: a transaction of \"{}\" (producer {}) is open at offset {offset}, and neither its coordinator nor \
                         that one's log knows whether it was committed; end it by kafka-transactions.sh",
                        place.topic, place.partition, self.id, told.producer.id,
                    ));
                }
            };
            self.mark(&place, committed)?;
            warn!(
                id = self.id,
                topic = place.topic,
                partition = place.partition,
                offset,
                committed,
                "a transaction that its broker left open is ended"
            );
        }
        Ok(())
    }

    fn ask(&self) -> Result<Option<Told>, Failure> {
        let lines = self.cluster.lines();
        let coordinator = lines.coordinator(&self.cluster.options().brokers, &self.id)?;
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(wire::text(&self.id))]);
        let answer = lines.ask(&coordinator, &request, 0)?;
        let state = answer
            .transaction_states
            .first()
            .ok_or("an answer without a transaction")?;
        let name = state.transaction_state.as_str();
        let outcome = match (state.error_code, name) {
            (UNKNOWN_ID, _) => return Ok(None),
            (0, "PrepareCommit" | "CompleteCommit") => Outcome::Committed,
            (0, "Ongoing" | "PrepareAbort" | "PrepareEpochFence" | "CompleteAbort") => {
                Outcome::Aborted
            }
            (0, _) => Outcome::Unknown,
            (code, _) => return Err(format!("transaction of \"{}\": code {code}", self.id)),
        };
        Ok(Some(Told {
            producer: Producer {
                id: state.producer_id.0,
                epoch: state.producer_epoch.into(),
            },
            outcome,
            is_complete: name.starts_with("Complete"),
        }))
    }

    /// What is open in the partitions that are written to, of producers that are `wanted`.
    fn open(&mut self, wanted: impl Fn(&ProducerState) -> bool) -> Result<Vec<Open>, Failure> {
        let leaders = match self.leaders.take() {
            Some(leaders) => leaders,
            None => self.find_leaders()?,
        };
        let mut found = Vec::new();
        for (leader, topics) in &leaders {
            self.open_at(leader, topics, &wanted, &mut found)?;
        }
        self.leaders = Some(leaders);
        Ok(found)
    }

    fn open_at(
        &self,
        leader: &str,
        topics: &Written,
        wanted: impl Fn(&ProducerState) -> bool,
        found: &mut Vec<Open>,
    ) -> Result<(), Failure> {
        let topics = topics.iter().map(|(name, partitions)| {
            TopicRequest::default()
                .with_name(TopicName(wire::text(name)))
                .with_partition_indexes(partitions.clone())
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        let answer = self.cluster.lines().ask(leader, &request, 0)?;
        for topic in answer.topics {
            let name = topic.name.0.to_string();
            for answered in topic.partitions {
                let partition = answered.partition_index;
                match answered.error_code {
                    0 => {}
                    NOT_ALLOWED => {
                        debug!(name, partition, "its producers may not be asked for");
                        continue;
                    }
                    code => return Err(format!("producers of {name}/{partition}: code {code}")),
                }
                let open = (answered.active_producers.into_iter())
                    .filter(|state| state.current_txn_start_offset > NONE && wanted(state));
                found.extend(open.map(|state| Open {
                    leader: leader.to_owned(),
                    topic: name.clone(),
                    partition,
                    state,
                }));
            }
        }
        Ok(())
    }

    fn find_leaders(&self) -> Result<BTreeMap<Address, Written>, Failure> {
        let Writes { topics, group } = &self.writes;
        let names: Vec<_> = topics
            .iter()
            .map(|(topic, _)| topic.clone())
            .chain(group.as_ref().map(|_| POSITIONS.to_owned()))
            .collect();
        let cluster = &self.cluster;
        let metadata = (cluster.lines()).metadata(&cluster.options().brokers, &names)?;
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
                    .filter_map(|group| place_of(group, topic.partitions.len()))
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

    fn mark(&self, place: &Open, committed: bool) -> Result<(), Failure> {
        let marker = WritableTxnMarker::default()
            .with_producer_id(place.state.producer_id)
            .with_producer_epoch(i16::try_from(place.state.producer_epoch).unwrap_or(i16::MAX))
            .with_transaction_result(committed)
            .with_coordinator_epoch(place.state.coordinator_epoch.max(0))
            .with_topics(vec![
                WritableTxnMarkerTopic::default()
                    .with_name(TopicName(wire::text(&place.topic)))
                    .with_partition_indexes(vec![place.partition]),
            ]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let answer = self.cluster.lines().ask(&place.leader, &request, 1)?;
        let results = (answer.markers.iter())
            .flat_map(|marker| &marker.topics)
            .flat_map(|topic| &topic.partitions);
        for result in results {
            if result.error_code != 0 {
                return Err(format!(
                    "marker in {}/{}: code {}",
                    place.topic, place.partition, result.error_code
                ));
            }
        }
        Ok(())
    }
}

/// The partition in which brokers keep what belongs to a group or a transactional id: by the amount of `String.hashCode`, or 0
/// where an `int` has none (`Utils.abs`). None where there is no partition yet.
fn place_of(id: &str, partitions: usize) -> Option<i32> {
    let hash = id.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    (hash.checked_abs().unwrap_or(0)).checked_rem(i32::try_from(partitions).ok()?)
}

/// Partitions by topic.
type Written = BTreeMap<String, Vec<i32>>;

/// A partition with an open transaction.
struct Open {
    leader: Address,
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn told(outcome: Outcome) -> Told {
        Told {
            producer: Producer { id: 7, epoch: 3 },
            outcome,
            is_complete: true,
        }
    }

    fn state(id: i64, epoch: i32) -> ProducerState {
        ProducerState::default()
            .with_producer_id(id.into())
            .with_producer_epoch(epoch)
    }

    #[test]
    fn a_producer_ends_what_those_before_it_left_and_nothing_of_those_after() {
        let ours = Producer { id: 7, epoch: 4 };
        let before = told(Outcome::Committed);
        assert!(ours.follows(&before, &state(7, 3)));
        assert!(!ours.follows(&before, &state(7, 4)), "it is its own");
        assert!(!ours.follows(&before, &state(7, 5)), "it was shut out");
        assert!(!ours.follows(&before, &state(8, 3)), "it is another's");
        // After 32,767 epochs an id is given up for another one.
        let ours = Producer { id: 9, epoch: 0 };
        assert!(ours.follows(&before, &state(7, 3)));

        assert!(ours.has(&state(9, 0)));
        assert!(!ours.has(&state(9, 1)), "it was shut out");
    }

    #[test]
    fn a_group_lies_where_brokers_put_it() {
        // `"a".hashCode()` is 97 in Java.
        assert_eq!(
            place_of("polygenelubricants", 50),
            Some(0),
            "the least of all hashes"
        );
        assert_eq!(place_of("a", 50), Some(47));
        // -1,298,662,846; seen in a broker's log.
        assert_eq!(place_of("engine", 10), Some(6));
        assert_eq!(place_of("engine", 0), None);
    }

    #[test]
    fn brokers_behind_tls_are_not_asked() {
        let mut options = Options::default();
        assert!(plain(&options));
        options.extra = vec![("security.protocol".into(), "SASL_SSL".into())];
        assert!(!plain(&options));
    }
}
