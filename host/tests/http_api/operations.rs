//! What operators ask: life, readiness, numbers; and what a connection may cost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    server::{START, Server, Settings, TestLog, answer, appends, refused, single, sketches},
    support::tick,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_ready_lives_and_says_what_is_missing() {
    let engine_ready = Arc::new(AtomicBool::new(false));
    let settings = Settings {
        engine_ready: engine_ready.clone(),
        ..Settings::default()
    };
    let (_log, _folder, server) = single(settings).await;
    let problem = refused(
        server.get("/readyz"),
        503,
        "the engine has 0 of 4 partitions",
    )
    .await;
    assert_eq!(
        problem["errors"],
        json!(["the engine has 0 of 4 partitions"])
    );
    let unready = server.get("/readyz").send().await.unwrap();
    assert_eq!(unready.headers()["retry-after"], "1");
    assert_eq!(answer(server.get("/livez")).await, (200, json!("ok\n")));
    engine_ready.store(true, Ordering::Relaxed);
    assert_eq!(answer(server.get("/readyz")).await, (200, json!("ok\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_has_not_caught_up_is_not_ready() {
    let log = TestLog::new();
    for some in sketches(0, 100_000).chunks(10_000) {
        log.append(appends(some)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_unready(&log, folder.path(), Settings::default()).await;
    // Ready and complete, or told to wait: never ready and incomplete.
    let mut waited = false;
    loop {
        let (status, body) = answer(server.get("/readyz")).await;
        if status == 200 {
            break;
        }
        assert_eq!(status, 503);
        waited |= body["detail"]
            .as_str()
            .unwrap()
            .contains("before it has caught up");
    }
    assert!(waited, "it was never seen to read");
    let newest = sketches(99_999, 1)[0].signal().id;
    assert_eq!(
        answer(server.get(&format!("/v1/signals/{newest}"))).await.0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_routes_by_template_and_count_requests() {
    let (_log, _folder, server) = single(Settings::default()).await;
    for symbol in ["ONE", "TWO"] {
        answer(server.get(&format!("/v1/symbols/{symbol}/bars"))).await;
    }
    answer(server.get("/secret/path")).await;
    let text = server.get("/metrics").send().await.unwrap();
    assert_eq!(
        text.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = text.text().await.unwrap();
    let route = "method=\"GET\",route=\"/v1/symbols/{symbol}/bars\"";
    assert!(
        text.contains(&format!(
            "wigwag_http_requests_total{{{route},status=\"200\"}}"
        )),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "wigwag_http_request_seconds_bucket{{{route},le=\"0.001\"}}"
        )),
        "{text}"
    );
    assert!(text.contains("route=\"none\",status=\"404\""), "{text}");
    assert!(
        !text.contains("secret") && !text.contains("ONE"),
        "a path of a client became a label"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_page_points_to_the_api() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let (status, body) = answer(server.get("/")).await;
    assert_eq!(status, 200);
    assert!(body.as_str().unwrap().contains("/openapi.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_on_one_connection_are_each_answered() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let mut connection = TcpStream::connect(server.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let body = tick("AAPL", START, 1.0);
    let one = format!(
        "POST /ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection
        .write_all(one.repeat(3).as_bytes())
        .await
        .unwrap();
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while text.matches("\"accepted\":1").count() < 3 {
        let read = connection.read(&mut bytes).await.unwrap();
        assert!(read > 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_in_hand_and_does_not_wait_for_the_idle() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    // One that says nothing, one that says half, and one that asks just now.
    let _idle = TcpStream::connect(&address).await.unwrap();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"POST /ingest HTTP/1.1\r\nHost: local")
        .await
        .unwrap();
    let post = server
        .request(Method::POST, "/ingest")
        .body(tick("AAPL", START, 1.0));
    let asking = tokio::spawn(answer(post));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let took = server.stop().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(asking.await.unwrap().0, 200);
}
