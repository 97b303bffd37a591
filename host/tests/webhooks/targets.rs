//! Where webhooks may not lead, when they are defined and when they are delivered.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    define, feed, get,
    receiver::{Answer, Receiver},
    service::{Service, answer, eventually},
    start,
};

async fn refused(service: &Service, url: &str) -> Value {
    let request = service
        .request(Method::POST, "/v1/webhooks")
        .json(&json!({"url": url}));
    let (status, body) = answer(request).await;
    assert_eq!(status, 422, "{url}: {body}");
    assert_eq!(body["errors"][0]["field"], "url", "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_public_is_refused_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--webhook-allow", "127.0.0.8/30"]).await;
    for (url, address, kind) in [
        ("http://127.0.0.1/", "127.0.0.1", "loopback"),
        ("http://localhost:9/", "", "loopback"),
        ("http://2130706433/", "127.0.0.1", "loopback"),
        ("http://0x7f.1/", "127.0.0.1", "loopback"),
        ("http://0177.0.0.1/", "127.0.0.1", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1", "loopback"),
        ("http://[::1]/", "::1", "loopback"),
        ("http://0.0.0.0/", "0.0.0.0", "of this network"),
        (
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254",
            "link-local",
        ),
        ("http://[fd00:ec2::254]/", "fd00:ec2::254", "not public"),
        ("https://10.1.2.3/", "10.1.2.3", "private"),
        ("https://172.20.0.1/", "172.20.0.1", "private"),
        ("https://192.168.0.10/", "192.168.0.10", "private"),
        (
            "https://100.64.1.1/",
            "100.64.1.1",
            "of a provider's network",
        ),
        ("https://[fe80::1]/", "fe80::1", "not public"),
    ] {
        let body = refused(&service, url).await;
        let detail = body["detail"].as_str().unwrap();
        for part in [address, kind, "--webhook-allow"] {
            assert!(detail.contains(part), "{url}: {detail}");
        }
    }
    for allowed in ["http://127.0.0.9/", "http://[::ffff:127.0.0.10]/"] {
        let request = service
            .request(Method::POST, "/v1/webhooks")
            .json(&json!({"url": allowed}));
        let (status, body) = answer(request).await;
        assert_eq!(status, 201, "{allowed}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_judged_again_when_it_is_connected_to() {
    // By its name, so that what counts is to where the name leads at that time.
    let receiver = Receiver::start().await;
    let url = format!("http://localhost:{}/hook", receiver.address.port());
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--webhook-allow", "127.0.0.1,::1"]).await;
    let (id, _) = define(&service, &url, json!({})).await;
    feed(&service, 1, 0..300).await;
    let before = receiver.gets(1).await.len();
    let path = format!("/v1/webhooks/{id}");
    let before = eventually("it to be recorded", async || {
        let webhook = get(&service, &path).await;
        let now = receiver.got().len();
        (now >= before && webhook["delivered"] == now).then_some(now)
    })
    .await;
    service.kill();

    let service = Service::start(folder.path(), &[]).await;
    feed_later(&service).await;
    let error = eventually("an attempt to be refused", async || {
        let webhook = get(&service, &path).await;
        Some(webhook["last_attempt"]["error"].as_str()?.to_owned())
    })
    .await;
    assert!(
        error.contains("host \"localhost\" has the address") && error.contains("loopback"),
        "{error}"
    );
    assert_eq!(receiver.got().len(), before, "a request came through");
}

/// Ticks behind those that were there before the restart.
async fn feed_later(service: &Service) {
    let lines = &crate::support::walk(1, 600)[300..];
    assert_eq!(service.post(lines.join("\n")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_several_addresses_leads_to_allowed_ones_only() {
    // `localhost` is 127.0.0.1 and, on most machines, ::1: of these only the first is allowed.
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    let url = format!("http://localhost:{}/hook", receiver.address.port());
    let (_, _) = define(&service, &url, json!({})).await;
    feed(&service, 1, 0..300).await;
    crate::all_arrive(&service, &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_into_a_private_network_leads_nowhere() {
    let inside = Receiver::at("127.0.0.2:0".parse().unwrap(), |_, _| Answer::Status(200)).await;
    let location = inside.url();
    let receiver =
        Receiver::ruled(move |_, _| Answer::With(307, "location", location.clone())).await;
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &[]).await;
    define(&service, &receiver.url(), json!({})).await;
    feed(&service, 1, 0..300).await;
    receiver.gets(4).await;
    assert!(inside.got().is_empty());
}
