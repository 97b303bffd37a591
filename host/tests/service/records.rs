//! Records and bodies, good and bad.

use reqwest::Method;
use serde_json::json;

use crate::{
    START,
    process::{Service, answer, eventually},
    support::tick,
};

/// A good tick of `symbol` with one text replaced.
fn bad(symbol: &str, from: &str, to: &str) -> String {
    let line = tick(symbol, START, 10.5);
    assert!(line.contains(from), "{line}");
    line.replace(from, to)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_is_told_by_field_and_rule_and_the_good_ones_beside_it_count() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--max-body", "1000000"]).await;
    let close = "\"closing_price\":10.5";
    let cases = [
        ("{\"stock_symbol\":".to_owned(), "", "json", "not JSON"),
        (
            bad("BAD", close, "\"closing_price\":NaN"),
            "",
            "json",
            "not JSON",
        ),
        (
            bad("BAD", close, "\"closing_price\":Infinity"),
            "",
            "json",
            "not JSON",
        ),
        (
            bad("BAD", close, "\"closing_price\":\"NaN\""),
            "closing_price",
            "type",
            "NaN",
        ),
        (
            bad("BAD", close, "\"closing_price\":1e999"),
            "closing_price",
            "finite",
            "1e999",
        ),
        (
            bad("BAD", close, "\"closing_price\":-1.5"),
            "closing_price",
            "positive",
            "-1.5",
        ),
        (
            bad("BAD", close, "\"closing_price\":0"),
            "closing_price",
            "positive",
            "0",
        ),
        (
            bad("BAD", close, "\"closing_price\":null"),
            "closing_price",
            "type",
            "null",
        ),
        (
            bad("BAD", close, "\"closing_price\":true"),
            "closing_price",
            "type",
            "true",
        ),
        (
            bad("BAD", close, "\"close_price\":10.5"),
            "closing_price",
            "required",
            "closing_price",
        ),
        (
            bad("BAD", "\"volume\":3", "\"volume\":-3"),
            "volume",
            "non_negative",
            "-3",
        ),
        (
            bad("BAD", "\"high\":10.75", "\"high\":9"),
            "high",
            "low_high",
            "9",
        ),
        (
            bad("BAD", "\"BAD\"", "\"bad symbol\""),
            "stock_symbol",
            "symbol",
            "bad symbol",
        ),
        (
            bad("BAD", "{", "{\"data_type\":\"weather\","),
            "data_type",
            "data_type",
            "weather",
        ),
        (
            tick("BAD", 99_999_999_999.0, 10.5),
            "timestamp",
            "future",
            "99999999999",
        ),
        ("17".to_owned(), "", "object", "17"),
    ];
    for (n, (line, field, rule, wanted)) in cases.iter().enumerate() {
        let good = [0.0, 1.0].map(|s| tick("GOOD", START + (2 * n) as f64 + s, 10.0 + n as f64));
        let body = format!("{}\n{line}\n{}", good[0], good[1]);
        let (status, body) = service.post(body).await;
        assert_eq!(status, 200, "{line}: {body}");
        assert_eq!(
            (&body["accepted"], &body["rejected"]),
            (&json!(2), &json!(1)),
            "{line}: {body}"
        );
        let error = &body["errors"][0];
        let told = (
            &error["index"],
            error["field"].as_str(),
            error["rule"].as_str(),
        );
        assert_eq!(
            told,
            (&json!(1), Some(*field), Some(*rule)),
            "{line}: {body}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(wanted), "{line}: {message}");

        // Alone it is an error of the request.
        let (status, body) = service.post(line.clone()).await;
        assert_eq!(
            status,
            if *rule == "json" { 400 } else { 422 },
            "{line}: {body}"
        );
        assert!(
            body["detail"].as_str().unwrap().contains(wanted),
            "{line}: {body}"
        );
    }
    eventually("the good ones", async || {
        (service.ticks("GOOD").await == 2 * cases.len() as u64).then_some(())
    })
    .await;
    assert_eq!(service.ticks("BAD").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_in_each_form_and_refused_as_a_whole_where_it_is_none() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let options = ["--max-body", "1000000", "--ingest-listen", "127.0.0.1:0"];
    let service = Service::start(folder.path(), &options).await;
    let send = |content_type: &'static str, body: Vec<u8>| {
        let request = service.anonymous(Method::POST, "/ingest");
        request.header("Content-Type", content_type).body(body)
    };
    let json_type = "application/json";
    for (request, status, wanted) in [
        (send(json_type, Vec::new()), 400, "empty"),
        (send(json_type, b"<html></html>".to_vec()), 400, "not JSON"),
        (send(json_type, b"\xff\xfe\x00".to_vec()), 400, "not UTF-8"),
        (send("image/png", b"{}".to_vec()), 415, "image/png"),
        (send(json_type, vec![b' '; 10_000_000]), 413, "1000000"),
        (
            send(json_type, b"{}".to_vec()).header("Content-Encoding", "br"),
            415,
            "br",
        ),
        (
            send(json_type, b"{}".to_vec()).header("Content-Encoding", "gzip"),
            400,
            "gzip",
        ),
    ] {
        let (found, body) = answer(request).await;
        assert_eq!(found, status, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(wanted), "{body}");
    }

    let lines: Vec<String> = (0..6)
        .map(|n| tick("FORM", START + f64::from(n), 10.0 + f64::from(n)))
        .collect();
    let packed = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    // A body that is small only while it is packed.
    let bomb = send(json_type, packed(&" ".repeat(10_000_000))).header("Content-Encoding", "gzip");
    assert_eq!(answer(bomb).await.0, 413);

    let news = format!(
        r#"{{"data_type":"news_sentiment","stock_symbol":"FORM","timestamp":{START},"sentiment_score":0.5,"sentiment_magnitude":0.5}}"#
    );
    let array = format!("[{},{}]", lines[1], lines[2]);
    let mix = format!("{}\r\n\n{news}\n{}", lines[3], lines[4]);
    for (request, accepted) in [
        (send(json_type, lines[0].clone().into_bytes()), 1),
        (send(json_type, array.into_bytes()), 2),
        (send("application/x-ndjson", mix.into_bytes()), 3),
        (
            send(json_type, packed(&lines[5])).header("Content-Encoding", "gzip"),
            1,
        ),
        // A repeat of the newest, and one that is late: taken, and then dropped by the one rule of order.
        (send(json_type, lines[5].clone().into_bytes()), 1),
        (
            send(json_type, tick("FORM", START - 60.0, 10.0).into_bytes()),
            1,
        ),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!(
            (status, &body["accepted"]),
            (200, &json!(accepted)),
            "{body}"
        );
    }
    let session = eventually("the ticks", async || {
        let (_, session) = answer(service.anonymous(Method::GET, "/v1/symbols/FORM")).await;
        (session["late"] == 1).then_some(session)
    })
    .await;
    assert_eq!(
        (&session["ticks"], &session["repeats"]),
        (&json!(6), &json!(1)),
        "{session}"
    );
    assert_eq!(session["last"], 15.0);

    // A client that sends one record a request, to the address that takes records alone.
    let client = reqwest::Client::new();
    let url = service.ingest_url.as_ref().unwrap();
    for n in 0..200 {
        let line = tick("ONE", START + f64::from(n), 10.0);
        let request = client
            .post(format!("{url}/ingest"))
            .header("Content-Type", json_type)
            .body(line);
        assert_eq!(answer(request).await.0, 200);
    }
    let (status, _) = answer(client.get(format!("{url}/v1/symbols"))).await;
    assert_eq!(status, 404);
    eventually("the single records", async || {
        (service.ticks("ONE").await == 200).then_some(())
    })
    .await;
}
