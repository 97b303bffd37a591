//! Plugins that come while ticks flow, misbehave, or may not come at all.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    START,
    market::{LAST, SYMBOLS},
    process::{Service, answer, eventually},
    support::{self, tick},
};

pub(crate) async fn upload(service: &Service, bytes: &'static [u8]) -> (u16, Value) {
    service.upload(bytes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_misbehaves_is_quarantined_and_its_neighbours_do_not_notice() {
    const HOWS: [&str; 4] = ["panic", "loop", "memory", "not-a-number"];
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (disturbed, calm) = (
        Service::start(with.path(), &[]).await,
        Service::start(without.path(), &[]).await,
    );
    assert_eq!(upload(&disturbed, support::MISBEHAVE).await.0, 201);
    for how in HOWS {
        let definition =
            json!({"plugin": "misbehave", "params": {"how": how}, "values_interval_ms": 0});
        let (status, body) = disturbed
            .put(&format!("/v1/strategies/m-{how}"), &definition)
            .await;
        assert_eq!(status, 201, "{body}");
    }
    let state = async |how: &str, wanted: &'static str, skipped: u64| {
        eventually(wanted, async || {
            let info = disturbed.get(&format!("/v1/strategies/m-{how}")).await;
            let found = info["state"]
                .as_array()?
                .iter()
                .find(|s| s["skipped_rows"] == skipped)?
                .clone();
            (found["status"] == wanted).then_some(found)
        })
        .await
    };
    for how in HOWS {
        state(how, "live", 0).await;
    }
    // One symbol, and so one partition; its third row and later ones are those that the plugin fails at.
    let mut lines = Vec::new();
    let mut post = async |closes: &[f64]| {
        let body: Vec<String> = closes
            .iter()
            .map(|close| {
                lines.push(());
                tick("S0", START + lines.len() as f64, *close)
            })
            .collect();
        for service in [&disturbed, &calm] {
            let (status, answer) = service.post(body.join("\n")).await;
            assert_eq!((status, &answer["rejected"]), (200, &json!(0)), "{answer}");
        }
    };
    let walk: Vec<f64> = (0..300).map(|n| support::close(0, n)).collect();
    post(&walk[..100]).await;
    post(&[walk[100], 666.0, walk[101]]).await;
    for how in HOWS {
        let state = state(how, "live", 1).await;
        assert_eq!(state["reason"], Value::Null, "{how}");
    }
    post(&walk[102..200]).await;
    // Not equal to each other in every field, which would be repeats: their times differ.
    post(&[666.0; 6]).await;
    post(&walk[200..]).await;
    for how in HOWS {
        let state = state(how, "quarantined", 5).await;
        assert!(
            state["reason"].as_str().is_some_and(|r| !r.is_empty()),
            "{how}: {state}"
        );
        println!("{how}: {}", state["reason"]);
    }
    let last: Vec<String> = (0..SYMBOLS)
        .map(|n| tick(&format!("S{n}"), LAST, 100.0))
        .collect();
    for service in [&disturbed, &calm] {
        assert_eq!(service.post(last.join("\n")).await.0, 200);
        eventually("the last values", async || {
            let summary = service.get("/v1/symbols/S0").await;
            let newest = summary["indicators"].as_array()?;
            let ours = newest
                .iter()
                .filter(|v| !v["strategy"].as_str().unwrap().starts_with("m-"));
            let done = ours.filter(|v| v["timestamp"] == LAST).count();
            (done == 3).then_some(())
        })
        .await;
    }
    let theirs = disturbed.signals(1000).await;
    let (of_it, neighbours): (Vec<_>, Vec<_>) = theirs
        .into_iter()
        .partition(|s| s.contains("\"strategy\":\"m-"));
    assert!(
        !of_it.is_empty() && neighbours.len() > 20,
        "{} {}",
        of_it.len(),
        neighbours.len()
    );
    assert_eq!(neighbours, calm.signals(1000).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_uploaded_while_ticks_flow_gives_its_first_signal_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &[]).await;
    let (done, flow) = (AtomicBool::new(false), AtomicU32::new(0));
    let feed = async {
        for n in 0.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let lines: Vec<_> = (0..SYMBOLS)
                .map(|s| {
                    tick(
                        &format!("S{s}"),
                        START + f64::from(n) * 0.1,
                        support::close(s, n as usize),
                    )
                })
                .collect();
            assert_eq!(service.post(lines.join("\n")).await.0, 200);
            flow.store(n, Ordering::Relaxed);
        }
    };
    let deploy = async {
        eventually("ticks to flow", async || {
            (flow.load(Ordering::Relaxed) > 20).then_some(())
        })
        .await;
        let started = Instant::now();
        let (status, plugin) = upload(&service, support::MISBEHAVE).await;
        assert_eq!(
            (status, &plugin["name"]),
            (201, &json!("misbehave")),
            "{plugin}"
        );
        assert_eq!(
            upload(&service, support::MISBEHAVE).await,
            (200, plugin.clone())
        );
        let (status, body) = service
            .put("/v1/strategies/new", &json!({"plugin": "misbehave"}))
            .await;
        assert_eq!(
            (status, &body["plugin_digest"]),
            (201, &plugin["digest"]),
            "{body}"
        );
        let signal = eventually("the first signal", async || {
            let page = service.get("/v1/signals?strategy=new&limit=1").await;
            page["signals"].get(0).cloned()
        })
        .await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(signal["plugin_digest"], plugin["digest"]);
        let id = signal["id"].as_str().unwrap();
        let mut explained = service.get(&format!("/v1/signals/{id}")).await;
        let explained = explained.as_object_mut().unwrap();
        assert!(explained.remove("provenance").is_some());
        assert_eq!(Some(&*explained), signal.as_object());
        done.store(true, Ordering::Relaxed);
        println!("first signal after {took:?}");
    };
    tokio::join!(feed, deploy);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deployed_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // SHA-256 of the token that stands before each.
    let file = "[[tokens]]\nname = \"all\"\nsha256 = \"ALL\"\nscopes = [\"admin\"]\n\
                [[tokens]]\nname = \"feed\"\nsha256 = \"FEED\"\nscopes = [\"ingest\"]\n";
    let digest = |token: &str| wigwag::plugin::Digest::of(token.as_bytes()).to_string();
    let file = file
        .replace("ALL", &digest("secret"))
        .replace("FEED", &digest("feeds"));
    std::fs::write(folder.path().join("wigwag.toml"), file).unwrap();
    let mut service = Service::start(folder.path(), &[]).await;
    service.token = "secret".to_owned();
    assert_eq!(upload(&service, support::MISBEHAVE).await.0, 201);
    let path = "/v1/strategies/mine";
    let good = json!({"plugin": "misbehave"});
    let (status, mine) = service.put(path, &good).await;
    assert_eq!(status, 201, "{mine}");

    let put = |body: Value| service.anonymous(Method::PUT, path).json(&body);
    let admin = |request: reqwest::RequestBuilder| request.bearer_auth("secret");
    for (request, status, wanted) in [
        (put(good.clone()), 401, "no token was sent"),
        (put(good.clone()).bearer_auth("guessed"), 401, "not known"),
        (
            put(good.clone()).bearer_auth("feeds"),
            403,
            "\"feed\" lacks scope \"plugins\"",
        ),
        (
            service.anonymous(Method::POST, "/v1/plugins"),
            401,
            "no token was sent",
        ),
        (
            service.anonymous(Method::DELETE, path),
            401,
            "no token was sent",
        ),
        (
            admin(put(json!({"plugin": "misbehave", "parms": {}}))),
            422,
            "parms",
        ),
        (admin(put(json!({"plugin": "nowhere"}))), 422, "nowhere"),
        (
            admin(put(json!({"plugin": "ma", "params": {"period": 0}}))),
            422,
            "0",
        ),
        (
            admin(put(json!({"plugin": "ma", "params": {"perod": 9}}))),
            422,
            "perod",
        ),
        (
            admin(put(json!({"plugin": "ma", "params": {"period": "x"}}))),
            422,
            "x",
        ),
        (
            admin(put(
                json!({"plugin": "rsi", "params": {"oversold": 80, "overbought": 20}}),
            )),
            422,
            "oversold",
        ),
        (
            admin(put(good.clone())).header("If-Match", "\"9-0000000000000000\""),
            412,
            "mine",
        ),
        (
            admin(put(good.clone())).header("If-None-Match", "*"),
            412,
            "mine",
        ),
        (
            admin(service.anonymous(Method::DELETE, "/v1/plugins/misbehave")),
            409,
            "mine",
        ),
    ] {
        let (found, body) = answer(request).await;
        assert_eq!(found, status, "{body}");
        assert!(
            body.to_string().replace("\\\"", "\"").contains(wanted),
            "{wanted}: {body}"
        );
    }
    let bytes = admin(
        service
            .anonymous(Method::POST, "/v1/plugins")
            .body("no component"),
    );
    let (status, body) = answer(bytes.header("Content-Type", "application/wasm")).await;
    assert_eq!((status, &body["stage"]), (422, &json!("check")), "{body}");
    let now = service.get(path).await;
    assert_eq!(
        (&now["version"], &now["etag"]),
        (&mine["version"], &mine["etag"])
    );

    let matching = admin(put(json!({"plugin": "misbehave", "params": {"at": 1.0}})));
    let (status, body) = answer(matching.header("If-Match", mine["etag"].as_str().unwrap())).await;
    assert_eq!((status, &body["version"]), (200, &json!(2)), "{body}");
    assert_eq!(answer(service.request(Method::DELETE, path)).await.0, 204);
    assert_eq!(
        answer(service.request(Method::DELETE, "/v1/plugins/misbehave"))
            .await
            .0,
        204
    );
}
