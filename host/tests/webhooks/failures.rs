//! Receivers that fail: each signal still gets through, and nobody else waits for it.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::json;

use crate::{
    STRATEGY, all_arrive, arrive, define, feed, get,
    receiver::{Answer, Receiver},
    service::{answer, eventually},
    signals, start,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_tried_again_with_the_same_id_and_body() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    // Every signal fails twice.
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    let receiver = Receiver::ruled(move |got, _| {
        let times = seen.entry(got.id()).or_default();
        *times += 1;
        Answer::Status(if *times <= 2 { 500 } else { 200 })
    })
    .await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 0..300).await;
    let wanted = all_arrive(&service, &receiver).await;
    let got = receiver.got();
    for signal in &wanted {
        let own: Vec<_> = got.iter().filter(|got| got.id() == *signal).collect();
        let statuses: Vec<_> = own.iter().map(|got| got.status).collect();
        assert_eq!(statuses, [500, 500, 200], "{signal}");
        assert!(own.iter().all(|got| got.body == own[0].body));
    }
    let log = eventually("the attempts of a signal", async || {
        let log = get(&service, &format!("/v1/webhooks/{id}/deliveries")).await;
        let signal = log["attempts"][0]["signal"].clone();
        let own: Vec<_> = log["attempts"]
            .as_array()?
            .iter()
            .filter(|a| a["signal"] == signal)
            .cloned()
            .collect();
        (own.len() == 3 && own[0]["result"] == "delivered").then_some(own)
    })
    .await;
    let numbers: Vec<_> = log.iter().map(|a| a["attempt"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(
        (&log[1]["status"], &log[1]["error"]),
        (&json!(500), &json!("it answers 500"))
    );
    assert!(log[1]["next_attempt"].as_f64().unwrap() > log[1]["time"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &["--webhook-timeout", "60000"]).await;
    let silent = Receiver::ruled(|_, _| Answer::Never).await;
    let good = Receiver::start().await;
    define(&service, &silent.url(), json!({})).await;
    define(&service, &good.url(), json!({})).await;
    feed(&service, 3, 0..900).await;
    // It has a minute for each answer: whoever waited for it would not be done in time.
    silent.gets(1).await;
    let started = std::time::Instant::now();
    all_arrive(&service, &good).await;
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    // The engine does not wait either.
    feed(&service, 3, 900..1200).await;
    all_arrive(&service, &good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_too_long_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &["--webhook-timeout", "300"]).await;
    let receiver = Receiver::ruled(|_, before| match before {
        0 | 1 => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 0..300).await;
    all_arrive(&service, &receiver).await;
    let log = get(&service, &format!("/v1/webhooks/{id}/deliveries?limit=200")).await;
    let late = log["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["result"] == "retry");
    let late = late.expect("the first attempt is among them");
    assert_eq!(
        (&late["status"], &late["error"]),
        (&json!(null), &json!("no answer within 0.3 s"))
    );
    assert!(late["duration_ms"].as_u64().unwrap() >= 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_time_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let receiver = Receiver::ruled(|_, before| match before {
        0 => Answer::With(429, "retry-after", "2".to_owned()),
        _ => Answer::Status(200),
    })
    .await;
    define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 0..300).await;
    all_arrive(&service, &receiver).await;
    let got = receiver.got();
    let waited = got[1].at - got[0].at;
    // Rounding of clocks to milliseconds may take one away.
    assert!(
        waited >= Duration::from_millis(1990),
        "nothing came before {waited:?}, not even other signals"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_disables_its_webhook_until_somebody_enables_it() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let receiver = Receiver::ruled(|_, _| Answer::Status(410)).await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    let path = format!("/v1/webhooks/{id}");
    feed(&service, 1, 0..300).await;
    let webhook = eventually("it to be disabled", async || {
        let webhook = get(&service, &path).await;
        (webhook["enabled"] == false).then_some(webhook)
    })
    .await;
    assert_eq!(
        (&webhook["state"], &webhook["reason"]),
        (&json!("disabled"), &json!("the receiver answered 410 Gone"))
    );
    let audit = get(&service, "/v1/audit").await;
    assert!(
        audit["entries"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["action"] == "webhook.disable" && e["subject"] == *id)
    );
    receiver.rule(|_, _| Answer::Status(200));
    feed(&service, 1, 300..600).await;
    let missed = signals(&service, STRATEGY);
    let asked = receiver.got().len();

    let (status, webhook) = service
        .put(
            &path,
            &json!({"url": receiver.url(), "strategies": [STRATEGY]}),
        )
        .await;
    assert_eq!(
        (status, &webhook["state"]),
        (200, &json!("failing")),
        "{webhook}"
    );
    feed(&service, 1, 600..900).await;
    let since: BTreeSet<_> = signals(&service, STRATEGY)
        .difference(&missed)
        .cloned()
        .collect();
    assert!(!since.is_empty());
    arrive(&receiver, &since).await;
    assert!(
        receiver.got()[asked..]
            .iter()
            .all(|got| !missed.contains(&got.id())),
        "what was missed stays so"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &["--webhook-allow", "127.0.0.2"]).await;
    let other = Receiver::at("127.0.0.2:0".parse().unwrap(), |_, _| Answer::Status(200)).await;
    for status in [301, 302, 307, 308] {
        let location = other.url();
        let receiver =
            Receiver::ruled(move |_, _| Answer::With(status, "location", location.clone())).await;
        let (id, _) = define(
            &service,
            &receiver.url(),
            json!({"description": status.to_string()}),
        )
        .await;
        let fed = receiver.got().len();
        feed(
            &service,
            1,
            usize::from(status) * 300..usize::from(status) * 300 + 300,
        )
        .await;
        receiver.gets(fed + 2).await;
        let log = eventually("an attempt", async || {
            let log = get(&service, &format!("/v1/webhooks/{id}/deliveries")).await;
            log["attempts"].get(0).cloned()
        })
        .await;
        let wanted = format!("it answers {status}; redirects are not followed");
        assert_eq!(
            (&log["status"], &log["error"]),
            (&json!(status), &json!(wanted))
        );
        let removed = service.request(Method::DELETE, &format!("/v1/webhooks/{id}"));
        assert_eq!(answer(removed).await.0, 204);
    }
    assert!(other.got().is_empty(), "{:?}", other.got());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_vanishes_gets_all_it_missed_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let receiver = Receiver::start().await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    feed(&service, 2, 0..400).await;
    let first = all_arrive(&service, &receiver).await;
    let address = receiver.vanish().await;
    feed(&service, 2, 400..4000).await;
    let webhook = eventually("it to fail", async || {
        let webhook = get(&service, &format!("/v1/webhooks/{id}")).await;
        (webhook["state"] == "failing" && webhook["due"].as_u64()? > 0).then_some(webhook)
    })
    .await;
    let error = webhook["last_attempt"]["error"].as_str().unwrap();
    assert!(error.contains("refused"), "{error}");
    let missed = signals(&service, STRATEGY);
    assert!(
        missed.len() > first.len() + 150,
        "more than waits in memory: {}",
        missed.len()
    );
    // What waits for a further attempt is little, whatever was missed.
    assert!(webhook["due"].as_u64().unwrap() <= 2 * 4, "{webhook}");

    let back = Receiver::at(address, |_, _| Answer::Status(200)).await;
    arrive(&back, &missed.difference(&first).cloned().collect()).await;
    eventually("nothing to be due", async || {
        let webhook = get(&service, &format!("/v1/webhooks/{id}")).await;
        (webhook["due"] == 0 && webhook["delivered"] == missed.len() && webhook["state"] == "live")
            .then_some(())
    })
    .await;
}
