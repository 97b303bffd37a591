//! Plugins and strategies: uploaded, defined under conditions, removed.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use wigwag::{
    http,
    plugin::{BUILT_IN, Digest},
};

use crate::{
    server::{PARTITIONS, Server, Settings, answer, eventually, refused, single},
    support::MISBEHAVE,
};

fn ma() -> &'static [u8] {
    BUILT_IN.iter().find(|(name, _)| *name == "ma").unwrap().1
}

fn deployer(server: &Server, method: Method, path: &str) -> RequestBuilder {
    server.request(method, path).bearer_auth("the-deployer")
}

fn upload(server: &Server, bytes: &'static [u8]) -> RequestBuilder {
    deployer(server, Method::POST, "/v1/plugins")
        .header("Content-Type", "application/wasm")
        .body(bytes)
}

/// Sends a component, and waits until it is there, however busy the machine is.
async fn taken(server: &Server, bytes: &'static [u8]) {
    let (status, body) = answer(upload(server, bytes)).await;
    assert!(matches!(status, 201 | 202), "{body}");
    let digest = body["digest"].as_str().unwrap();
    let path = format!("/v1/plugins/{digest}");
    let is_there = async || {
        let asked = server.get(&path).send().await.unwrap();
        asked.status() == 200
    };
    while !is_there().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn put(server: &Server, id: &str, body: &Value) -> RequestBuilder {
    deployer(server, Method::PUT, &format!("/v1/strategies/{id}")).json(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_takes_long_is_answered_by_where_its_result_will_stand() {
    let settings = Settings {
        http: http::Limits {
            uploaded_within: Duration::ZERO,
            ..http::Limits::default()
        },
        ..Settings::default()
    };
    let (_log, _folder, server) = single(settings).await;
    let imports_files = wat::parse_str(
        r#"(component (import "evil:host/files@1.0.0" (instance)) (instance $i)
            (export "wigwag:plugin/strategy@1.0.0" (instance $i)))"#,
    );
    for (bytes, state, status) in [
        (MISBEHAVE.to_vec(), "done", 200),
        (imports_files.unwrap(), "refused", 404),
    ] {
        let digest = Digest::of(&bytes).to_string();
        let request = deployer(&server, Method::POST, "/v1/plugins");
        let request = request.header("Content-Type", "application/wasm");
        let answered = request.body(bytes).send().await.unwrap();
        let location = format!("/v1/plugins/uploads/{digest}");
        // What is refused before it is compiled may be so within the millisecond that no time takes.
        if answered.status() != 422 || state == "done" {
            assert_eq!(answered.status(), 202);
            assert_eq!(answered.headers()["location"], location);
            let told: Value = answered.json().await.unwrap();
            assert_eq!(
                told,
                json!({"digest": digest, "state": "working", "plugin": null, "problem": null})
            );
        }
        let told = eventually("its result", async || {
            let told = server.json(&location).await;
            (told["state"] != "working").then_some(told)
        })
        .await;
        assert_eq!(told["state"], state, "{told}");
        let asked = server.get(&format!("/v1/plugins/{digest}"));
        let (found, plugin) = answer(asked).await;
        assert_eq!(found, status, "{plugin}");
        match state {
            "done" => assert_eq!((&told["plugin"], &told["problem"]), (&plugin, &Value::Null)),
            _ => {
                let problem = &told["problem"];
                assert_eq!(
                    (&told["plugin"], &problem["stage"]),
                    (&Value::Null, &json!("check"))
                );
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("evil:host/files"), "{detail}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_new_once_and_found_by_name_and_digest_until_it_is_removed() {
    let (_log, _folder, server) = single(Settings::default()).await;
    assert_eq!(server.json("/v1/plugins").await, json!({"plugins": []}));
    let created = upload(&server, ma()).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let digest = Digest::of(ma()).to_string();
    assert_eq!(
        created.headers()["location"],
        format!("/v1/plugins/{digest}")
    );
    let info: Value = created.json().await.unwrap();
    assert_eq!(
        (&info["name"], &info["digest"], &info["size_bytes"]),
        (&json!("ma"), &json!(digest), &json!(ma().len()))
    );
    assert_eq!(info["params"][0]["name"], "period");
    assert_eq!(
        answer(upload(&server, ma())).await,
        (200, info.clone()),
        "the same bytes again"
    );
    for path in ["/v1/plugins/ma".to_owned(), format!("/v1/plugins/{digest}")] {
        assert_eq!(server.json(&path).await, info);
    }
    assert_eq!(server.json("/v1/plugins").await, json!({"plugins": [info]}));
    let remove = || deployer(&server, Method::DELETE, "/v1/plugins/ma");
    assert_eq!(
        answer(put(&server, "mine", &json!({"plugin": "ma"})))
            .await
            .0,
        201
    );
    refused(remove(), 409, "\"ma\" is run by mine").await;
    assert_eq!(
        answer(deployer(&server, Method::DELETE, "/v1/strategies/mine"))
            .await
            .0,
        204
    );
    assert_eq!(answer(remove()).await.0, 204);
    refused(remove(), 404, "plugin \"ma\" is not here").await;
    refused(
        server.get("/v1/plugins/ma"),
        404,
        "plugin \"ma\" is not here",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_refused_with_the_stage_at_which_it_fails() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let problem = refused(upload(&server, b"not wasm"), 422, "").await;
    assert_eq!(
        (&problem["stage"], &problem["errors"]),
        (&json!("check"), &json!([]))
    );
    let typed = deployer(&server, Method::POST, "/v1/plugins").body(ma());
    let typed = typed.header("Content-Type", "text/html");
    refused(typed, 415, "application/wasm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_changes_only_in_the_state_that_the_writer_names() {
    let (_log, _folder, server) = single(Settings::default()).await;
    taken(&server, MISBEHAVE).await;
    let body = json!({"plugin": "misbehave"});
    let path = "/v1/strategies/mine";
    refused(
        put(&server, "mine", &body).header("If-Match", "*"),
        412,
        "mine",
    )
    .await;
    let created = put(&server, "mine", &body)
        .header("If-None-Match", "*")
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    let first = created.headers()["etag"].to_str().unwrap().to_owned();
    let info: Value = created.json().await.unwrap();
    assert_eq!(
        (&info["etag"], &info["version"], &info["enabled"]),
        (&json!(first), &json!(1), &json!(true))
    );
    assert_eq!(info["state"].as_array().unwrap().len(), PARTITIONS as usize);

    let answered = server
        .get(path)
        .header("If-None-Match", &first)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            answered.status().as_u16(),
            answered.headers()["etag"].as_bytes()
        ),
        (304, first.as_bytes())
    );
    assert!(answered.bytes().await.unwrap().is_empty());
    let other = server
        .get(path)
        .header("If-None-Match", "\"other\"")
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), 200);

    refused(
        put(&server, "mine", &body).header("If-None-Match", "*"),
        412,
        "mine",
    )
    .await;
    let stale = put(&server, "mine", &body)
        .header("If-Match", "\"other\"")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (stale.status().as_u16(), stale.headers()["etag"].as_bytes()),
        (412, first.as_bytes()),
        "tells the state that it is in"
    );
    let off = json!({"plugin": "misbehave", "enabled": false, "symbols": ["AAPL"], "values_interval_ms": 0});
    let several = format!("\"other\", {first}");
    let (status, changed) = answer(put(&server, "mine", &off).header("If-Match", several)).await;
    assert_eq!(
        (status, &changed["version"], &changed["symbols"]),
        (200, &json!(2), &json!(["AAPL"]))
    );
    assert_eq!(server.json(path).await["etag"], changed["etag"]);
    assert_eq!(
        server.json("/v1/strategies").await["strategies"][0]["id"],
        "mine"
    );

    let remove = || deployer(&server, Method::DELETE, path);
    refused(remove().header("If-Match", &first), 412, "mine").await;
    let etag = changed["etag"].as_str().unwrap();
    assert_eq!(answer(remove().header("If-Match", etag)).await.0, 204);
    refused(remove(), 404, "\"mine\"").await;
    refused(server.get(path), 404, "\"mine\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_definition_is_refused_by_field() {
    let (_log, _folder, server) = single(Settings::default()).await;
    taken(&server, ma()).await;
    for (body, field, wanted) in [
        (
            json!({"plugin": "ma", "parms": {}}),
            "parms",
            "unknown field `parms`",
        ),
        (
            json!({"plugin": "ma", "enabled": "yes"}),
            "enabled",
            "enabled: invalid type: string \"yes\"",
        ),
        (json!({"plugin": 7}), "plugin", "plugin: invalid type"),
        (json!({}), "", "missing field `plugin`"),
        (
            json!({"plugin": "ma", "values_interval_ms": -1}),
            "values_interval_ms",
            "-1",
        ),
        (json!({"plugin": "nowhere"}), "plugin", "nowhere"),
        (
            json!({"plugin": "ma", "symbols": ["aapl"]}),
            "symbols",
            "aapl",
        ),
        (
            json!({"plugin": "ma", "input": "candles"}),
            "input",
            "candles",
        ),
        (
            json!({"plugin": "ma", "input": {"bars": "2m"}}),
            "input",
            "with 1s, 1m, 5m, 1h or 1d",
        ),
        (
            json!({"plugin": "ma", "input": {"bars": "1m"}, "values_interval_ms": 60_001}),
            "values_interval_ms",
            "values_interval_ms is 60001; use 0 to 60000: values are put out at each bar of 1m",
        ),
    ] {
        let problem = refused(put(&server, "mine", &body), 422, wanted).await;
        let found = problem["errors"][0]["field"].as_str().unwrap();
        assert!(found.starts_with(field), "{body}: {problem}");
    }
    // However much is wrong, what is told of it is bounded.
    let symbols: Vec<_> = (0..9_000).map(|n| format!("no {n}")).collect();
    let params: serde_json::Map<String, Value> = (0..9_000)
        .map(|n| (format!("p{n}"), "long".repeat(20).into()))
        .collect();
    let body = json!({"plugin": "ma", "symbols": symbols, "params": params});
    let problem = refused(put(&server, "mine", &body), 422, "\"no 0\"").await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 40);
    let long = json!({"plugin": "ma", "params": {"period": "x".repeat(100_000)}});
    let problem = refused(
        put(&server, "mine", &long),
        422,
        "parameter \"period\" is \"xxx",
    )
    .await;
    assert!(problem["detail"].as_str().unwrap().len() < 300, "{problem}");

    let typed = |content_type: &str, text: &'static str| {
        let request = deployer(&server, Method::PUT, "/v1/strategies/mine");
        request.header("Content-Type", content_type).body(text)
    };
    for not_json in ["", "{", "{\"plugin\":\"ma\"} x"] {
        let problem = refused(
            typed("application/json", not_json),
            400,
            "the body is not JSON",
        )
        .await;
        assert_eq!(problem["type"], "urn:wigwag:problem:not-json");
    }
    refused(typed("text/yaml", "{}"), 415, "text/yaml").await;
    let good = json!({"plugin": "ma"});
    refused(put(&server, "Mine", &good), 422, "id is \"Mine\"").await;
    refused(
        put(&server, "mine", &good).header("If-Match", "unquoted"),
        400,
        "if-match is \"unquoted\"",
    )
    .await;
    refused(
        put(&server, "mine", &good).header("If-None-Match", "\"x\""),
        400,
        "If-None-Match is not *",
    )
    .await;
    let both = put(&server, "mine", &good)
        .header("If-Match", "*")
        .header("If-None-Match", "*");
    refused(both, 400, "both given").await;
    refused(put(&server, "mine?dry=1", &good), 400, "`dry`").await;
    assert_eq!(
        server.json("/v1/strategies").await,
        json!({"strategies": []})
    );
}
