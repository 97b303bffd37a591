//! Webhooks defined, changed, listed and removed: by whom, with which answers, and what is never told.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    define, feed, get,
    receiver::{Answer, Receiver},
    service::{answer, eventually},
    start,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let (id, secret) = define(
        &service,
        "http://127.0.0.1:9/a?b=c#d",
        json!({"description": "desk"}),
    )
    .await;
    assert!(
        secret.starts_with("whsec_") && secret.len() > 40,
        "{secret}"
    );
    let webhook = get(&service, &format!("/v1/webhooks/{id}")).await;
    assert_eq!(
        (&webhook["url"], &webhook["description"]),
        (&json!("http://127.0.0.1:9/a?b=c"), &json!("desk"))
    );
    for path in [
        "/v1/webhooks".to_owned(),
        format!("/v1/webhooks/{id}"),
        "/v1/audit".to_owned(),
    ] {
        let text = get(&service, &path).await.to_string();
        assert!(
            text.contains(&id) && !text.contains(&secret),
            "{path}: {text}"
        );
    }
    assert!(!service.lines().iter().any(|line| line.contains(&secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_reads_and_writes_webhooks() {
    let digest = |token: &str| wigwag::plugin::Digest::of(token.as_bytes()).to_string();
    let file = format!(
        "[[tokens]]\nname = \"deployer\"\nsha256 = \"{}\"\nscopes = [\"plugins\"]\n",
        digest("the-deployer")
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wigwag.toml"), file).unwrap();
    let service = start(folder.path(), &[]).await;
    let body = json!({"url": "http://127.0.0.1:9/"});
    for (method, path) in [
        (Method::GET, "/v1/webhooks"),
        (Method::POST, "/v1/webhooks"),
        (Method::GET, "/v1/webhooks/wh_1"),
        (Method::PUT, "/v1/webhooks/wh_1"),
        (Method::DELETE, "/v1/webhooks/wh_1"),
        (Method::GET, "/v1/webhooks/wh_1/deliveries"),
        (Method::GET, "/v1/webhooks/wh_1/dead"),
        (Method::POST, "/v1/webhooks/wh_1/resend"),
    ] {
        let (status, _) = answer(service.anonymous(method.clone(), path).json(&body)).await;
        assert_eq!(status, 401, "{method} {path}");
        let request = service.anonymous(method.clone(), path).json(&body);
        let (status, problem) = answer(request.bearer_auth("the-deployer")).await;
        assert_eq!(status, 403, "{method} {path}");
        assert_eq!(
            problem["detail"],
            "token \"deployer\" lacks scope \"admin\"; use one that has it"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_field_is_told_at_once_with_its_value_and_rule() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let post =
        async |body: Value| answer(service.request(Method::POST, "/v1/webhooks").json(&body)).await;
    let (status, body) = post(json!({
        "url": "ftp://example.com/", "symbols": ["aapl"], "strategies": [], "description": "x".repeat(201),
    }))
    .await;
    assert_eq!(
        (status, &body["type"]),
        (422, &json!("urn:wigwag:problem:refused")),
        "{body}"
    );
    let errors: Vec<_> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["field"].as_str().unwrap(), e["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        errors[0],
        ("url", "url is \"ftp://example.com/\"; use http or https")
    );
    assert_eq!(
        errors[1],
        (
            "description",
            "description has 201 characters; use at most 200"
        )
    );
    assert!(
        errors[2].0 == "symbols" && errors[2].1.contains("aapl"),
        "{errors:?}"
    );
    assert_eq!(
        errors[3],
        (
            "strategies",
            "strategies holds 0; name 1 to 1000, or leave it out for all"
        )
    );
    for (body, wanted) in [
        (
            json!({"url": "http://127.0.0.1:9/", "secret": "x"}),
            "unknown field `secret`",
        ),
        (
            json!({"url": "http://127.0.0.1:9/", "format": "teams"}),
            "unknown variant `teams`",
        ),
        (
            json!({"url": "http://127.0.0.1:9/", "side": "hold"}),
            "unknown variant `hold`",
        ),
        (json!({}), "missing field `url`"),
    ] {
        let (status, answer) = post(body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains(wanted),
            "{answer}"
        );
    }
    let audit = get(&service, "/v1/audit").await;
    let refused = &audit["entries"][0];
    assert_eq!(
        (&refused["action"], &refused["done"]),
        (&json!("webhook.create"), &json!(false)),
        "{audit}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_insists_on_a_version_and_goes_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let (id, secret) = define(&service, &first.url(), json!({})).await;
    let path = format!("/v1/webhooks/{id}");
    let put = |etag: &str, body: Value| {
        let request = service.request(Method::PUT, &path).header("If-Match", etag);
        answer(request.json(&body))
    };
    let body = json!({"url": second.url(), "strategies": ["ema-20"]});
    let (status, changed) = put("\"1\"", body.clone()).await;
    assert_eq!((status, &changed["version"]), (200, &json!(2)), "{changed}");
    assert_eq!(changed["secret"], Value::Null);
    let (status, problem) = put("\"1\"", body.clone()).await;
    assert_eq!(status, 412, "{problem}");
    let (status, problem) = put("\"one\"", body).await;
    assert_eq!(status, 400, "{problem}");
    feed(&service, 1, 0..300).await;
    let got = second.gets(1).await.remove(0);
    assert!(first.got().is_empty());
    assert!(got.header("webhook-signature").starts_with("v1,") && secret.starts_with("whsec_"));

    let remove = |etag: &str| {
        answer(
            service
                .request(Method::DELETE, &path)
                .header("If-Match", etag),
        )
    };
    assert_eq!(remove("\"1\"").await.0, 412);
    assert_eq!(remove("\"2\"").await.0, 204);
    assert_eq!(remove("\"2\"").await.0, 404);
    let (status, problem) = answer(service.request(Method::GET, &path)).await;
    assert_eq!(
        (status, problem["detail"].as_str().unwrap()),
        (
            404,
            &*format!("webhook {id:?} is not here; see /v1/webhooks")
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_or_sent_of_a_webhook_that_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &["--webhook-retry-for", "60000"]).await;
    let receiver = Receiver::ruled(|_, _| Answer::Status(500)).await;
    let (id, _) = define(&service, &receiver.url(), json!({})).await;
    let path = format!("/v1/webhooks/{id}");
    feed(&service, 1, 0..300).await;
    eventually("something to be due", async || {
        (get(&service, &path).await["due"].as_u64()? > 0).then_some(())
    })
    .await;
    assert_eq!(answer(service.request(Method::DELETE, &path)).await.0, 204);
    eventually("its records to be removed", async || {
        let log =
            wigwag::log::embedded::ReadOnlyLog::open(&folder.path().join("data"), None).ok()?;
        let left = (0..4)
            .map(|partition| records(&log, partition, &id))
            .sum::<usize>();
        (left == 0).then_some(())
    })
    .await;
    let asked = receiver.got().len();
    feed(&service, 1, 300..600).await;
    assert_eq!(receiver.got().len(), asked);
}

/// Messages with a value that `deliveries` holds of a webhook.
fn records(log: &wigwag::log::embedded::ReadOnlyLog, partition: u32, id: &str) -> usize {
    use wigwag::log::{Log, Messages, Start, Topic};
    let topic = Topic::Deliveries;
    let bounds = log.bounds(topic, partition).unwrap();
    let mut reader = log
        .read(&[Start {
            topic,
            partition,
            offset: bounds.start,
        }])
        .unwrap();
    let mut messages = Messages::new();
    let mut kept = 0;
    while reader.position(topic, partition) < bounds.end {
        messages.clear();
        reader
            .poll(
                &mut messages,
                1 << 20,
                std::time::Duration::from_millis(100),
            )
            .unwrap();
        kept += messages
            .iter()
            .filter(|m| m.key.starts_with(id.as_bytes()) && !m.value.is_empty())
            .count();
    }
    kept
}
