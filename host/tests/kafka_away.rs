//! The whole service while its brokers are away: it lives, says what it waits for, refuses what it cannot keep, and goes
//! on by itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "the other tests use more of it")]
mod kafka_broker;
#[path = "support/service.rs"]
mod service;

use std::time::{Duration, Instant};

use kafka_broker::Broker;
use reqwest::Method;
use service::{Service, answer, eventually, wigwag};

/// The longest that a record may wait for its answer: what a message waits for its acknowledgement, and some more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

const PARTITIONS: &str = "2";

/// A tick of this second.
fn tick(n: u32) -> String {
    let close = 100 + n;
    let timestamp = 1_700_000_000 + n;
    format!(
        r#"{{"stock_symbol":"AAPL","opening_price":{close},"closing_price":{close},"high":{close},"low":{close},"volume":1,"timestamp":{timestamp}}}"#
    )
}

fn options(log: &str) -> [&str; 4] {
    ["--log", log, "--partitions", PARTITIONS]
}

/// Lives, is not ready, and refuses a record so that it is sent again.
async fn waits(service: &Service, address: &str) {
    let live = service
        .anonymous(Method::GET, "/livez")
        .send()
        .await
        .unwrap();
    assert_eq!(live.status(), 200);
    eventually("readiness to be gone, with the reason", async || {
        let (status, body) = answer(service.anonymous(Method::GET, "/readyz")).await;
        (status == 503 && body["detail"].as_str()?.contains(address)).then_some(())
    })
    .await;
    let asked = Instant::now();
    let refused = service
        .anonymous(Method::POST, "/ingest")
        .body(tick(0))
        .header("Content-Type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(asked.elapsed() < ANSWERED_WITHIN, "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_brokers_are_away_waits_and_goes_on() {
    let mut broker = Broker::start();
    let address = broker.address().to_owned();
    broker.stop();
    let folder = tempfile::tempdir().unwrap();
    let log = format!("kafka://{address}");
    let service = Service::launch(folder.path(), &options(&log), &[]).await;
    waits(&service, &address).await;

    broker.resume();
    service.ready().await;
    let (status, body) = service.post(tick(1)).await;
    assert_eq!((status, &body["accepted"]), (200, &1.into()), "{body}");

    // And again while it runs. One that only answers questions goes on with that.
    let desk_folder = tempfile::tempdir().unwrap();
    let desk = Service::launch(
        desk_folder.path(),
        &[&options(&log)[..], &["--roles", "api"]].concat(),
        &[],
    )
    .await;
    desk.ready().await;
    eventually("the first tick in the other's summary", async || {
        (desk.ticks("AAPL").await == 1).then_some(())
    })
    .await;
    broker.stop();
    waits(&service, &address).await;
    let (status, body) = answer(desk.anonymous(Method::GET, "/readyz")).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(desk.ticks("AAPL").await, 1);
    broker.resume();
    service.ready().await;
    let (status, body) = service.post(tick(2)).await;
    assert_eq!((status, &body["accepted"]), (200, &1.into()), "{body}");
    // Only what was answered with 200 counts.
    eventually("both ticks in the summary", async || {
        (service.ticks("AAPL").await == 2).then_some(())
    })
    .await;

    // And where nothing is written meanwhile that would tell of its return.
    broker.stop();
    waits(&service, &address).await;
    broker.resume();
    service.ready().await;

    // Another number of partitions is no matter of waiting.
    let other = tempfile::tempdir().unwrap();
    let ended = wigwag(other.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"])
        .args(["--log", &log, "--partitions", "3"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    assert!(
        said.contains("topic \"ticks\" has 2 partitions and not 3"),
        "{said}"
    );
}
