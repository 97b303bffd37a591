//! Several replicas over a real Kafka: whoever has a partition delivers for it, and goes on where another stopped.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use crate::{
    STRATEGY, define, get, kafka_broker,
    receiver::{Answer, Receiver},
    service::{Service, answer, eventually},
};

const PARTITIONS: &str = "3";

struct Replica {
    service: Service,
    _folder: tempfile::TempDir,
}

async fn replica(prefix: &str, roles: &str) -> Replica {
    let folder = tempfile::tempdir().unwrap();
    let log = format!("kafka://{}", kafka_broker::shared());
    let options = [
        "--log",
        &log,
        "--topic-prefix",
        prefix,
        "--partitions",
        PARTITIONS,
        "--roles",
        roles,
        "--session-timeout",
        "6000",
        "--webhook-allow",
        "127.0.0.1",
        "--webhook-retry-first",
        "50",
    ];
    let mut service = Service::launch(folder.path(), &options, &[]).await;
    service.ready().await;
    service.take_token(folder.path());
    Replica {
        service,
        _folder: folder,
    }
}

async fn post(desk: &Service, ticks: std::ops::Range<usize>) {
    let lines = &crate::support::walk(4, ticks.end)[ticks];
    let (status, body) = desk.post(lines.join("\n")).await;
    assert_eq!(status, 200, "{body}");
}

/// The sum of a number that a service shows, over its labels.
async fn metric(service: &Service, name: &str) -> u64 {
    let (_, text) = answer(service.anonymous(Method::GET, "/metrics")).await;
    let lines = text
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with(name));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

/// All signals of so many ticks, once the engine is through and they have arrived.
async fn arrive(desk: &Service, receiver: &Receiver, ticks: u64) -> BTreeSet<String> {
    eventually(
        "the engine to be through, and the view with it",
        async || {
            let done = metric(desk, "wigwag_engine_ticks_total").await == ticks;
            let made = metric(desk, "wigwag_engine_signals_total").await;
            let seen = metric(desk, "wigwag_view_messages_total{topic=\"signals\"}").await;
            (done && made == seen).then_some(())
        },
    )
    .await;
    let mut wanted = BTreeSet::new();
    for text in desk.signals(1000).await {
        let signal = crate::parsed(&text);
        if signal["strategy"] == STRATEGY {
            wanted.insert(signal["id"].as_str().unwrap().to_owned());
        }
    }
    crate::arrive(receiver, &wanted).await;
    wanted
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_goes_on_where_one_was_killed() {
    let prefix = kafka_broker::prefix();
    let desk = replica(&prefix, "ingest,engine,api").await;
    let first = replica(&prefix, "notify").await;
    let receiver = Receiver::start().await;
    let (id, _) = define(&desk.service, &receiver.url(), json!({})).await;
    post(&desk.service, 0..800).await;
    let before = arrive(&desk.service, &receiver, 800).await;
    let path = format!("/v1/webhooks/{id}");
    eventually("them to be recorded", async || {
        (get(&desk.service, &path).await["delivered"] == before.len()).then_some(())
    })
    .await;
    assert_eq!(
        receiver.got().len(),
        before.len(),
        "each once where nothing fails"
    );

    // It dies with deliveries that wait for a further attempt.
    receiver.rule(|_, _| Answer::Status(500));
    post(&desk.service, 800..1600).await;
    eventually("some to be due", async || {
        (get(&desk.service, &path).await["due"].as_u64()? > 0).then_some(())
    })
    .await;
    first.service.kill();
    let second = replica(&prefix, "notify").await;
    receiver.rule(|_, _| Answer::Status(200));
    let all = arrive(&desk.service, &receiver, 1600).await;
    assert!(all.len() > before.len());
    let again = receiver
        .got()
        .iter()
        .filter(|got| (200..300).contains(&got.status) && before.contains(&got.id()))
        .count();
    assert_eq!(again, before.len(), "what was recorded is not sent again");

    // Without anybody who delivers, definitions are still changed and listed.
    second.service.kill();
    let removed = desk.service.request(Method::DELETE, &path);
    assert_eq!(answer(removed).await.0, 204);
}
