//! From an upload to live.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    all,
    made::{Made, begin, trigger},
    reaches, send,
    service::Service,
    support::{MISBEHAVE, tick, walk},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_tried_and_priced_and_live_soon() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--sync", "normal"]).await;
    let (status, body) = service.post(walk(5, 1_000).join("\n")).await;
    assert_eq!(status, 200, "{body}");
    let started = Instant::now();
    let (status, body) = send(&service, MISBEHAVE).await;
    assert_eq!(status, 201, "{body}");
    let fuel = body["fuel_per_tick"].as_u64().unwrap();
    assert!((10..2_000).contains(&fuel), "{fuel}");
    let taken = started.elapsed();
    let definition = json!({"plugin": "misbehave"});
    let (status, body) = service.put("/v1/strategies/mine", &definition).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["fuel_per_tick"], fuel, "the same parameters");
    reaches(&service, "mine", |s| all(s, "live")).await;
    println!(
        "{} bytes: taken after {taken:?}, live after {:?}",
        MISBEHAVE.len(),
        started.elapsed()
    );
    // Its limit is 300 ms where nothing else runs; this holds on a machine that does much else.
    assert!(started.elapsed() < Duration::from_secs(10));

    let digest = body["plugin_digest"].as_str().unwrap();
    let told = service.get(&format!("/v1/plugins/uploads/{digest}")).await;
    assert_eq!(
        (&told["state"], &told["plugin"]["name"]),
        (&json!("done"), &json!("misbehave"))
    );
    let unknown = format!("/v1/plugins/uploads/{}", "0".repeat(64));
    let asked = service
        .anonymous(reqwest::Method::GET, &unknown)
        .send()
        .await;
    assert_eq!(asked.unwrap().status(), 404);
}

/// In whichever partition its tick stands, and however many ticks stand before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_misbehaves_at_the_newest_real_ticks_only_is_refused() {
    const SYMBOLS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let options = ["--sync", "normal", "--partitions", "4"];
    let service = Service::start(folder.path(), &options).await;
    let refused = async |name: &str, lines: &[String]| {
        for lines in lines.chunks(2_000) {
            let (status, body) = service.post(lines.join("\n")).await;
            assert_eq!((status, &body["rejected"]), (200, &json!(0)), "{body}");
        }
        let made = Made::new(name).evil("unreachable").component();
        let (status, body) = send(&service, &made).await;
        assert_eq!(
            (status, &body["stage"]),
            (422, &json!("conformance")),
            "{name}: {body}"
        );
        let detail = body["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("the newest ticks of the log, at"),
            "{detail}"
        );
        assert!(detail.contains("trapped"), "{detail}");
    };
    let time = 1_700_010_000.0;
    begin("real-far");
    // Each message holds more ticks than there is room for.
    refused(
        "real-far",
        &[walk(SYMBOLS, 40_000), vec![tick("S0", time, trigger())]].concat(),
    )
    .await;
    for symbol in 0..SYMBOLS {
        let name = format!("real-{symbol}");
        begin(&name);
        let symbol = format!("S{symbol}");
        refused(&name, &[tick(&symbol, time + 1.0, trigger())]).await;
    }
    // A hundred messages of a tick each behind it are not too many.
    begin("real-near");
    let mut lines = vec![tick("S0", time + 2.0, trigger())];
    let later = |n: usize| tick("S0", time + 3.0 + n as f64, 100.0);
    lines.extend((0..100).map(later));
    for line in &lines[..100] {
        assert_eq!(service.post(line.clone()).await.0, 200);
    }
    refused("real-near", &lines[100..]).await;
    // Three hundred are, of the thousand that four partitions share.
    for line in &lines[1..] {
        for _ in 0..3 {
            assert_eq!(service.post(line.clone()).await.0, 200);
        }
    }
    let made = Made::new("real-past").evil("unreachable").component();
    let (status, body) = send(&service, &made).await;
    assert_eq!(status, 201, "{body}");
}

/// A trial tells nothing where nothing comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_compared_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--sync", "normal"]).await;
    begin("silent");
    let (status, silent) = send(&service, &Made::new("silent").component()).await;
    assert_eq!((status, &silent["compared"]), (201, &json!(0)), "{silent}");
    let (status, body) = send(&service, MISBEHAVE).await;
    assert_eq!(status, 201, "{body}");
    assert!(body["compared"].as_u64().unwrap() >= 600, "{body}");
    assert_eq!(service.get("/v1/plugins/silent").await, silent);
}

/// Two clients that send the same bytes at once are answered alike, and the bytes are compiled once.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_at_once_are_one_upload() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &["--sync", "normal"]).await;
    let (first, second) = tokio::join!(send(&service, MISBEHAVE), send(&service, MISBEHAVE));
    assert!(
        matches!(first.0, 200 | 201) && matches!(second.0, 200 | 201),
        "{first:?} {second:?}"
    );
    assert_eq!(first.1["digest"], second.1["digest"]);
}
