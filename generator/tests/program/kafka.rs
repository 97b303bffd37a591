use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::Value;

use crate::{PATIENCE, START, run, start, terminate};

const PARTITIONS: i32 = 4;

/// Key and value of each record of a topic, in order within each key.
fn read(brokers: &str, topic: &str, count: usize) -> Vec<(Option<String>, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (mut records, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let mut quiet = false;
    // Beyond the expected count until nothing more comes, to see repeats.
    while records.len() < count || !quiet {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records",
            records.len()
        );
        let message = consumer.poll(Duration::from_millis(500));
        quiet = message.is_none();
        if let Some(message) = message {
            let message = message.unwrap();
            records.push((message.key().map(text), text(message.payload().unwrap())));
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_refuse_at_times_get_each_record_once_and_in_order() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic("raw", PARTITIONS, 1).unwrap();
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NO_ERROR as TAKEN, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as TOO_FEW,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NOT_LEADER,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMED_OUT,
    };
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[TAKEN, TOO_FEW, TAKEN, NOT_LEADER, TIMED_OUT, TAKEN, TOO_FEW],
    );
    let brokers = cluster.bootstrap_servers();
    let market = format!("--start-time {START} --rate 0 --count 5000 --symbols 9");
    let ended = run(&format!("--to kafka://{brokers} {market}")).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(
        (
            ended.total("sent"),
            ended.total("accepted"),
            ended.total("rejected")
        ),
        (5000, 5000, 0)
    );
    let whole = run(&format!("--to - {market}")).await;
    let symbol = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["stock_symbol"]
            .as_str()
            .map(str::to_owned)
    };
    let mut expected: HashMap<Option<String>, Vec<&str>> = HashMap::new();
    for line in whole.lines() {
        expected.entry(symbol(line)).or_default().push(line);
    }
    let records = tokio::task::spawn_blocking(move || read(&brokers, "raw", 5000))
        .await
        .unwrap();
    let mut found: HashMap<Option<String>, Vec<&str>> = HashMap::new();
    for (key, value) in &records {
        found.entry(key.clone()).or_default().push(value);
    }
    // What has no key belongs to no symbol and may be in any partition.
    for records in [&mut expected, &mut found] {
        records.entry(None).or_default().sort_unstable();
    }
    assert_eq!(expected.len(), 9 + 1);
    assert!(found == expected, "the topic does not hold the market");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_for_good_ends_it_with_the_reason() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic("raw", PARTITIONS, 1).unwrap();
    cluster
        .topic_error(
            "raw",
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        )
        .unwrap();
    let ended = run(&format!(
        "--to kafka://{} --rate 0",
        cluster.bootstrap_servers()
    ))
    .await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("/raw: "), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("authorization failed"),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_within_two_seconds_when_no_broker_is_there() {
    let child = start("--to kafka://127.0.0.1:1 --rate 0");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (ended, took) = terminate(child).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(ended.total("accepted"), 0);
}
