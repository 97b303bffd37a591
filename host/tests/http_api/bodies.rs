//! What a body may be: its form, encoding, size and time.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use serde_json::json;
use wigwag::http;

use crate::{
    server::{START, Server, Settings, answer, refused, single},
    support::tick,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn small() -> Settings {
    Settings {
        http: http::Limits {
            ingest_bytes: 100_000,
            plugin_bytes: 1_000,
            body_within: Duration::from_millis(300),
            ..http::Limits::default()
        },
        ..Settings::default()
    }
}

fn post(server: &Server, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    server.request(Method::POST, "/ingest").body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_taken_in_each_form_content_type_and_encoding() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let record = |n: u32| tick("AAPL", START + f64::from(n), 100.0 + f64::from(n));
    let lines = format!("{}\n{}\n", record(1), record(2));
    let array = format!("[{},{}]", record(3), record(4));
    for (request, accepted) in [
        (post(&server, record(0)), 1),
        (
            post(&server, record(0)).header("Content-Type", "application/json"),
            1,
        ),
        (
            post(&server, record(0)).header("Content-Type", "application/json; charset=utf-8"),
            1,
        ),
        (
            post(&server, record(0)).header("Content-Type", "text/plain"),
            1,
        ),
        (
            post(&server, record(0)).header("Content-Type", "application/x-www-form-urlencoded"),
            1,
        ),
        (
            post(&server, lines.clone()).header("Content-Type", "application/x-ndjson"),
            2,
        ),
        (
            post(&server, lines.clone()).header("Content-Type", "application/jsonl"),
            2,
        ),
        (post(&server, array), 2),
        (
            post(&server, gzip(lines.as_bytes())).header("Content-Encoding", "gzip"),
            2,
        ),
        (
            post(&server, lines.clone()).header("Content-Encoding", "identity"),
            2,
        ),
        (
            post(&server, gzip(lines.repeat(5_000).as_bytes())).header("Content-Encoding", "GZIP"),
            10_000,
        ),
    ] {
        let found = answer(request).await;
        assert_eq!(
            found,
            (
                200,
                json!({"accepted": accepted, "rejected": 0, "errors": []})
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_is_a_problem_and_one_among_good_ones_is_told_beside_them() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let good = tick("AAPL", START, 100.0);
    let bad = good.replace("\"volume\":3", "\"volume\":-3");
    let problem = refused(post(&server, bad.clone()), 422, "volume").await;
    assert_eq!(
        (&problem["accepted"], &problem["rejected"]),
        (&json!(0), &json!(1))
    );
    let error = problem["errors"][0].clone();
    assert_eq!(
        (&error["index"], &error["field"]),
        (&json!(0), &json!("volume")),
        "{error}"
    );
    let (status, body) = answer(post(&server, format!("{good}\n{bad}"))).await;
    assert_eq!(
        (status, &body["accepted"], &body["rejected"]),
        (200, &json!(1), &json!(1))
    );
    assert_eq!(body["errors"][0]["index"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_read_is_refused_by_what_is_wrong() {
    let (_log, _folder, server) = single(small()).await;
    let line = tick("AAPL", START, 100.0);
    let typed = |value: &str| post(&server, line.clone()).header("Content-Type", value);
    refused(
        typed("text/csv"),
        415,
        "Content-Type is \"text/csv\"; use one of application/json",
    )
    .await;
    refused(
        typed("multipart/form-data; boundary=x"),
        415,
        "multipart/form-data",
    )
    .await;
    let coded = |value: &str| post(&server, line.clone()).header("Content-Encoding", value);
    let refusal = coded("br").send().await.unwrap();
    assert_eq!(refusal.headers()["accept-encoding"], "gzip");
    refused(
        coded("br"),
        415,
        "Content-Encoding is \"br\"; use gzip or none",
    )
    .await;
    refused(coded("gzip"), 400, "not gzip").await;
    refused(post(&server, ""), 400, "empty").await;
    refused(post(&server, "{\"stock"), 400, "").await;
    refused(
        post(&server, line.clone()).header("Sequence", "1"),
        400,
        "Sequence is given without Producer-Id",
    )
    .await;
    let broken = gzip(line.as_bytes());
    let broken = broken[..broken.len() / 2].to_vec();
    refused(
        post(&server, broken).header("Content-Encoding", "gzip"),
        400,
        "not gzip",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_announced_streamed_or_packed() {
    let (_log, _folder, server) = single(small()).await;
    let large = vec![b' '; 100_001];
    refused(post(&server, large.clone()), 413, "more than 100000 bytes").await;
    let chunks = large
        .chunks(1_000)
        .map(|c| Ok::<_, std::io::Error>(c.to_vec()))
        .collect::<Vec<_>>();
    let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    refused(post(&server, streamed), 413, "more than 100000 bytes").await;
    // A thousandfold.
    let bomb = gzip(&vec![b' '; 100_000_000]);
    let bomb = bomb[..bomb.len().min(99_000)].to_vec();
    refused(
        post(&server, bomb).header("Content-Encoding", "gzip"),
        413,
        "more than 100000 bytes",
    )
    .await;
    let plugin = server
        .request(Method::POST, "/v1/plugins")
        .bearer_auth("the-admin")
        .body(vec![0; 1_001]);
    refused(plugin, 413, "more than 1000 bytes").await;
    let (status, _) = answer(post(&server, tick("AAPL", START, 1.0))).await;
    assert_eq!(status, 200, "the service goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let (_log, _folder, server) = single(small()).await;
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let body = reqwest::Body::wrap_stream(never);
    refused(
        post(&server, body),
        408,
        "the body did not arrive within 0.3 s",
    )
    .await;
}
