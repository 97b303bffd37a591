//! Where deliveries stand survives a restart, in order or not.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::json;

use crate::{
    STRATEGY, all_arrive, define, feed, get,
    receiver::{Answer, Receiver},
    service::{Service, eventually},
    signals, start, through,
};

async fn recorded(service: &Service, id: &str, count: usize) {
    eventually("all to be recorded", async || {
        let webhook = get(service, &format!("/v1/webhooks/{id}")).await;
        (webhook["delivered"] == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_stopped_sends_nothing_twice_and_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = start(folder.path(), &[]).await;
    let receiver = Receiver::start().await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    for round in 0..3 {
        feed(&service, 2, round * 400..(round + 1) * 400).await;
        let wanted = all_arrive(&service, &receiver).await;
        recorded(&service, &id, wanted.len()).await;
        rustix::process::kill_process(service.pid(), Signal::TERM).unwrap();
        let status = service.ended().await;
        assert!(status.success(), "{status}");
        service = start(folder.path(), &[]).await;
    }
    let wanted = signals(&service, STRATEGY);
    recorded(&service, &id, wanted.len()).await;
    assert_eq!(receiver.got().len(), wanted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_delivers_each_signal_at_least_once() {
    let folder = tempfile::tempdir().unwrap();
    // So slow that much is on its way when it dies, and some of it fails.
    let receiver = Receiver::ruled(|_, before| {
        std::thread::sleep(std::time::Duration::from_millis(3));
        Answer::Status(if before % 7 == 3 { 500 } else { 200 })
    })
    .await;
    let mut service = start(folder.path(), &[]).await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    for round in 0..3 {
        let seen = receiver.got().len();
        let lines = crate::support::walk(2, (round + 1) * 1000)[round * 1000..].join("\n");
        assert_eq!(service.post(lines).await.0, 200);
        receiver.gets(seen + 10).await;
        service.kill();
        service = start(folder.path(), &[]).await;
    }
    through(&service).await;
    let wanted = all_arrive(&service, &receiver).await;
    // What was at the receiver when it died came twice, and hardly more than that.
    let taken = receiver
        .got()
        .iter()
        .filter(|got| got.status == 200)
        .count();
    let repeated = taken - wanted.len();
    assert!(
        repeated <= wanted.len() / 4,
        "{repeated} of {} came twice",
        wanted.len()
    );
    eventually("nothing to be due", async || {
        (get(&service, &format!("/v1/webhooks/{id}")).await["due"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_and_what_is_dead_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // In a minute it is not tried again by itself.
    let options = [
        "--webhook-allow",
        "127.0.0.1",
        "--webhook-retry-first",
        "60000",
    ];
    let service = Service::start(folder.path(), &options).await;
    let receiver = Receiver::ruled(|_, _| Answer::Status(500)).await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 0..300).await;
    let path = format!("/v1/webhooks/{id}");
    let due = eventually("some to be due", async || {
        let due = get(&service, &path).await["due"].as_u64()?;
        (due >= 3).then_some(due)
    })
    .await;
    service.kill();
    let service = Service::start(folder.path(), &options).await;
    // What came while it was asked may have failed since.
    let still = get(&service, &path).await["due"].as_u64().unwrap();
    assert!(still >= due, "{still} are due of {due}");
    let off = json!({"url": receiver.url(), "strategies": [STRATEGY], "enabled": false});
    assert_eq!(service.put(&path, &off).await.0, 200);
    let dead = eventually("them to be dead", async || {
        let webhook = get(&service, &path).await;
        (webhook["due"] == 0 && webhook["dead"].as_u64()? >= due).then(|| webhook["dead"].clone())
    })
    .await;
    service.kill();
    let service = Service::start(folder.path(), &options).await;
    let webhook = get(&service, &path).await;
    assert_eq!(
        (&webhook["dead"], &webhook["state"]),
        (&dead, &json!("disabled"))
    );
    let letters = get(&service, &format!("{path}/dead?limit=1000")).await;
    let ids: BTreeSet<_> = letters["dead"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["signal"].to_string())
        .collect();
    assert_eq!(json!(ids.len()), dead);
}
