//! Signals that could not be delivered in time: listed, and sent again.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    STRATEGY, arrive, define, feed, get,
    receiver::{Answer, Receiver},
    service::{Service, answer, eventually},
    signals, start,
};

async fn dead_ids(service: &Service, id: &str) -> BTreeSet<String> {
    let list = get(service, &format!("/v1/webhooks/{id}/dead?limit=1000")).await;
    let dead = list["dead"].as_array().unwrap();
    dead.iter()
        .map(|d| d["signal"].as_str().unwrap().to_owned())
        .collect()
}

async fn resend(service: &Service, id: &str, body: &Value) -> (u16, Value) {
    let path = format!("/v1/webhooks/{id}/resend");
    answer(service.request(Method::POST, &path).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_too_long_is_a_dead_letter_that_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &["--webhook-retry-for", "400"]).await;
    let receiver = Receiver::ruled(|_, _| Answer::Status(503)).await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 0..300).await;
    let wanted = signals(&service, STRATEGY);
    eventually("all to be dead", async || {
        (dead_ids(&service, &id).await == wanted).then_some(())
    })
    .await;
    let list = get(&service, &format!("/v1/webhooks/{id}/dead")).await;
    let causes: BTreeSet<_> = list["dead"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["cause"].as_str().unwrap())
        .collect();
    assert!(causes.contains("it answers 503"), "{causes:?}");
    let webhook = get(&service, &format!("/v1/webhooks/{id}")).await;
    assert_eq!(
        (&webhook["due"], &webhook["dead"]),
        (&json!(0), &json!(wanted.len()))
    );

    // One of them, and then the others.
    receiver.rule(|_, _| Answer::Status(200));
    let one = wanted.first().unwrap();
    let (status, body) = resend(&service, &id, &json!({"signal": one})).await;
    assert_eq!((status, &body["resent"]), (202, &json!(1)), "{body}");
    arrive(&receiver, &BTreeSet::from([one.clone()])).await;
    eventually("it to be dead no more", async || {
        (!dead_ids(&service, &id).await.contains(one)).then_some(())
    })
    .await;
    let (status, body) = resend(&service, &id, &json!({})).await;
    assert_eq!(
        (status, &body["resent"]),
        (202, &json!(wanted.len() - 1)),
        "{body}"
    );
    arrive(&receiver, &wanted).await;
    eventually("no dead letter", async || {
        dead_ids(&service, &id).await.is_empty().then_some(())
    })
    .await;

    let (status, body) = resend(&service, &id, &json!({"signal": one})).await;
    assert_eq!(status, 404, "{body}");
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("dead letter {one:?} of webhook {id:?}")),
        "{body}"
    );
    let audit = get(&service, "/v1/audit").await;
    let entries = audit["entries"].as_array().unwrap().clone();
    let of = |done: bool| {
        entries
            .iter()
            .filter(|e| e["action"] == "webhook.resend" && e["done"] == done)
            .count()
    };
    assert_eq!((of(true), of(false)), (2, 1), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_a_webhook_is_disabled_is_dead_and_comes_back_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let receiver = Receiver::ruled(|_, _| Answer::Status(500)).await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    let path = format!("/v1/webhooks/{id}");
    feed(&service, 1, 0..300).await;
    eventually("something to be due", async || {
        (get(&service, &path).await["due"].as_u64()? > 0).then_some(())
    })
    .await;
    let definition = |enabled: bool| json!({"url": receiver.url(), "strategies": [STRATEGY], "enabled": enabled});
    let (status, webhook) = service.put(&path, &definition(false)).await;
    assert_eq!(
        (status, &webhook["state"]),
        (200, &json!("disabled")),
        "{webhook}"
    );
    let dead = eventually("nothing to be due", async || {
        let dead = dead_ids(&service, &id).await;
        (get(&service, &path).await["due"] == 0 && !dead.is_empty()).then_some(dead)
    })
    .await;
    let (status, body) = resend(&service, &id, &json!({})).await;
    assert_eq!(status, 409, "{body}");
    receiver.rule(|_, _| Answer::Status(200));
    assert_eq!(service.put(&path, &definition(true)).await.0, 200);
    assert_eq!(resend(&service, &id, &json!({})).await.0, 202);
    arrive(&receiver, &dead).await;
}
