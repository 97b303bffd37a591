//! Creates the topics that a log needs and refuses those that do not fit it.

use std::{
    fmt::Write as _,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
    },
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};

use super::cluster::{ASK_LIMIT, Cluster, MAX_MESSAGE_BYTES, Plain, number};
use crate::log::{Cleanup, LogError, Topic};

/// Until every partition of a new topic has a leader.
const CREATE_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at that.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Makes the cluster hold all topics.
pub(super) fn prepare(cluster: &Arc<Cluster>) -> Result<(), LogError> {
    let admin: AdminClient<Plain> =
        cluster.create(cluster.settings(), Plain(Arc::clone(cluster.health())))?;
    let missing = lacking(cluster, &metadata(cluster)?)?;
    if !missing.is_empty() {
        create(cluster, &admin, &missing)?;
    }
    // Another replica of the service may be creating them at this moment.
    await_leaders(cluster)?;
    check_settings(cluster, &admin)
}

/// Refuses a cluster that does not hold all topics.
pub(super) fn require(cluster: &Cluster) -> Result<(), LogError> {
    let missing = lacking(cluster, &metadata(cluster)?)?;
    let Some(&topic) = missing.first() else {
        return Ok(());
    };
    Err(LogError::Mismatch(format!(
        "topic \"{}\" does not exist on {}; a service makes it: are brokers and prefix its own?",
        cluster.name(topic),
        cluster.options().brokers
    )))
}

fn metadata(cluster: &Cluster) -> Result<Metadata, LogError> {
    cluster
        .client()
        .fetch_metadata(None, ASK_LIMIT)
        .map_err(|error| cluster.no_answer("list of topics", &error))
}

/// The topics that are not there; refuses those with another number of partitions.
fn lacking(cluster: &Cluster, metadata: &Metadata) -> Result<Vec<Topic>, LogError> {
    let mut lacking = Vec::new();
    let mut wrong = String::new();
    for topic in Topic::ALL {
        let name = cluster.name(topic);
        let want = topic.partitions(cluster.options().partitions);
        let Some(found) = metadata.topics().iter().find(|found| found.name() == name) else {
            lacking.push(topic);
            continue;
        };
        let count = found.partitions().len();
        if count != want as usize && count != 0 {
            let separator = if wrong.is_empty() { "" } else { ", " };
            let _ = write!(
                wrong,
                "{separator}topic \"{name}\" has {count} partitions and not {want}"
            );
        }
    }
    if wrong.is_empty() {
        return Ok(lacking);
    }
    Err(LogError::Mismatch(format!(
        "{wrong}; a log keeps the number it began with: configure that one, or another prefix"
    )))
}

fn create(cluster: &Cluster, admin: &AdminClient<Plain>, topics: &[Topic]) -> Result<(), LogError> {
    let settings: Vec<_> = topics
        .iter()
        .map(|&topic| (topic, topic_settings(cluster, topic)))
        .collect();
    let wanted = settings.iter().map(|(topic, settings)| {
        let partitions = number(topic.partitions(cluster.options().partitions));
        settings.iter().fold(
            NewTopic::new(
                cluster.name(*topic),
                partitions,
                TopicReplication::Fixed(cluster.options().replication.into()),
            ),
            |wanted, (name, value)| wanted.set(name, value),
        )
    });
    let wanted: Vec<_> = wanted.collect();
    let limits = AdminOptions::new()
        .request_timeout(Some(CREATE_LIMIT))
        .operation_timeout(Some(CREATE_LIMIT));
    let results = wait(admin.create_topics(&wanted, &limits))
        .map_err(|error| cluster.no_answer("creating topics", &error))?;
    for result in results {
        match result {
            // Another replica of the service was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let error = KafkaError::AdminOp(code);
                let detail = format!(
                    "creating topic \"{name}\": {}",
                    cluster.health().told(&error)
                );
                return Err(match code {
                    RDKafkaErrorCode::RequestTimedOut
                    | RDKafkaErrorCode::OperationTimedOut
                    // Not all brokers are there yet.
                    | RDKafkaErrorCode::InvalidReplicationFactor
                    | RDKafkaErrorCode::NotController => cluster.unavailable(detail),
                    _ => LogError::Mismatch(detail),
                });
            }
        }
    }
    Ok(())
}

/// The broker answers before the leaders of a new topic are known.
fn await_leaders(cluster: &Cluster) -> Result<(), LogError> {
    let deadline = Instant::now() + CREATE_LIMIT;
    loop {
        let metadata = metadata(cluster)?;
        let mut missing = lacking(cluster, &metadata)?;
        for topic in metadata.topics() {
            let ours = Topic::ALL
                .into_iter()
                .find(|&ours| cluster.name(ours) == topic.name());
            let led = !topic.partitions().is_empty()
                && topic
                    .partitions()
                    .iter()
                    .all(|partition| partition.leader() >= 0);
            missing.extend(ours.filter(|_| !led));
        }
        let Some(topic) = missing.first() else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let limit = CREATE_LIMIT.as_secs();
            return Err(cluster.unavailable(format!(
                "waited {limit} s for leaders of topic \"{}\"",
                cluster.name(*topic)
            )));
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// What a topic is created with.
fn topic_settings(cluster: &Cluster, topic: Topic) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("cleanup.policy", policy(topic).to_owned()),
        // Replayed old ticks must not expire at once.
        (TIMESTAMPS, BY_THE_BROKER.to_owned()),
        (MESSAGE_LIMIT, (MAX_MESSAGE_BYTES * 2).to_string()),
    ];
    match topic.cleanup() {
        Cleanup::DeleteAfter(age) => {
            settings.push((RETENTION, age.as_millis().to_string()));
            // Only whole segments are deleted: a week of them, the default, would outlive a day of `values`.
            settings.push((
                "segment.ms",
                (age / 8)
                    .min(Duration::from_secs(24 * 60 * 60))
                    .as_millis()
                    .to_string(),
            ));
        }
        Cleanup::Compact => {
            // Only closed segments are compacted, and a reader goes through all that is not.
            settings.push(("segment.bytes", (32 * MAX_MESSAGE_BYTES).to_string()));
            settings.push((
                "segment.ms",
                Duration::from_secs(60 * 60).as_millis().to_string(),
            ));
            settings.push(("min.cleanable.dirty.ratio", "0.2".to_owned()));
        }
    }
    if cluster.options().replication >= 3 {
        settings.push(("min.insync.replicas", "2".to_owned()));
    }
    settings
}

const RETENTION: &str = "retention.ms";
const TIMESTAMPS: &str = "message.timestamp.type";
const BY_THE_BROKER: &str = "LogAppendTime";
const MESSAGE_LIMIT: &str = "max.message.bytes";

const fn policy(topic: Topic) -> &'static str {
    match topic.cleanup() {
        Cleanup::Compact => "compact",
        Cleanup::DeleteAfter(_) => "delete",
    }
}

/// Refuses topics that forget what must be kept, keep the wrong time, or take no large message. How long they keep
/// is the operator's matter.
fn check_settings(cluster: &Cluster, admin: &AdminClient<Plain>) -> Result<(), LogError> {
    let asked: Vec<_> = Topic::ALL
        .iter()
        .map(|&topic| ResourceSpecifier::Topic(cluster.name(topic)))
        .collect();
    let limits = AdminOptions::new().request_timeout(Some(ASK_LIMIT));
    let answers = wait(admin.describe_configs(&asked, &limits))
        .map_err(|error| cluster.no_answer("settings of topics", &error))?;
    for (topic, answer) in Topic::ALL.into_iter().zip(answers) {
        let name = cluster.name(topic);
        let found: ConfigResource = answer.map_err(|error| {
            cluster.unavailable(format!("settings of topic \"{name}\": {error}"))
        })?;
        let value = |setting| {
            found
                .get(setting)
                .and_then(|entry| entry.value.as_deref())
                .unwrap_or_default()
        };
        let refuse = |setting, want: &str| {
            let is = value(setting);
            if is.is_empty() {
                // A broker that has not heard of a new topic yet answers so.
                return Err(cluster.unavailable(format!(
                    "topic \"{name}\": the broker does not tell {setting} yet"
                )));
            }
            Err(LogError::Mismatch(format!(
                "topic \"{name}\": {setting} is \"{is}\" and must be {want}; alter the topic"
            )))
        };
        if value("cleanup.policy") != policy(topic) {
            return refuse("cleanup.policy", policy(topic));
        }
        if value(TIMESTAMPS) != BY_THE_BROKER {
            return refuse(TIMESTAMPS, BY_THE_BROKER);
        }
        if value(MESSAGE_LIMIT).parse().unwrap_or(0) < MAX_MESSAGE_BYTES {
            return refuse(MESSAGE_LIMIT, &format!("{MAX_MESSAGE_BYTES} or more"));
        }
    }
    Ok(())
}

/// For how long a topic keeps its messages by their age; none where it keeps them for ever.
pub(super) fn retention(
    cluster: &Arc<Cluster>,
    topic: Topic,
) -> Result<Option<Duration>, LogError> {
    let name = cluster.name(topic);
    let admin: AdminClient<Plain> =
        cluster.create(cluster.settings(), Plain(Arc::clone(cluster.health())))?;
    let asked = [ResourceSpecifier::Topic(name)];
    let limits = AdminOptions::new().request_timeout(Some(ASK_LIMIT));
    let answers = wait(admin.describe_configs(&asked, &limits))
        .map_err(|error| cluster.no_answer("settings of topics", &error))?;
    let told = answers.into_iter().next().and_then(Result::ok);
    let value = (told.as_ref())
        .and_then(|told| told.get(RETENTION)?.value.as_deref()?.parse::<i64>().ok())
        .ok_or_else(|| cluster.unavailable(format!("topic \"{name}\": {RETENTION} is not told")))?;
    // -1 is for ever.
    Ok(u64::try_from(value).ok().map(Duration::from_millis))
}

/// Waits for an answer of librdkafka, which comes within the limit that it was asked with. No runtime is needed,
/// and one around it does not mind.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
