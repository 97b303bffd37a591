//! The OpenAPI document and the routes are the same.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use wigwag::{bars::Interval, signal::SignalBar};

use crate::server::{Settings, Sketch, refused, single};

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

/// Every `$ref` of a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(path)) => drop(found.insert(path.clone())),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_in_the_document_is_answered_and_no_other() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let document = server.json("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 17, "{}", paths.len());
    for (template, item) in paths {
        let path = template
            .replace("{symbol}", "AAPL")
            .replace("{id}", "a:0:0:0:0")
            .replace("{name}", "none");
        for method in METHODS {
            let request = server.request(method.to_uppercase().parse().unwrap(), &path);
            let answer = request.send().await.unwrap();
            let (status, allowed) = (
                answer.status().as_u16(),
                answer.headers().get("allow").cloned(),
            );
            // A stream does not end by itself.
            let body = match status {
                200 => String::new(),
                _ => answer.text().await.unwrap(),
            };
            assert!(!body.contains("is no path here"), "{template}");
            match item.get(method) {
                Some(_) => assert_ne!(status, 405, "{method} {template}"),
                None => {
                    assert_eq!(status, 405, "{method} {template}");
                    assert!(
                        allowed.is_some(),
                        "{method} {template} does not say what is allowed"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let document = server.json("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for path in found {
        let pointer = path.strip_prefix('#').unwrap_or("outside");
        assert!(document.pointer(pointer).is_some(), "{path} leads nowhere");
    }
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{what}: {id} is used twice");
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{what} has no summary"
            );
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses
                    .keys()
                    .any(|status| status.starts_with('2') || status == "101"),
                "{what} never succeeds"
            );
            for (status, response) in responses {
                assert!(
                    response["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{what} {status}"
                );
                if status.starts_with(['4', '5']) {
                    let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{what} {status}");
                }
            }
            let empty = Vec::new();
            for parameter in operation["parameters"].as_array().unwrap_or(&empty) {
                assert!(parameter["schema"].is_object(), "{what}: {parameter}");
            }
            let named = path.matches('{').count();
            let given = operation["parameters"]
                .as_array()
                .unwrap_or(&empty)
                .iter()
                .filter(|p| p["in"] == "path")
                .count();
            assert_eq!(given, named, "{what} does not describe its path");
            for requirement in operation["security"].as_array().unwrap_or(&empty) {
                for scheme in requirement.as_object().unwrap().keys() {
                    assert!(schemes.contains_key(scheme), "{what}: {scheme}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signal_in_the_document_has_the_fields_of_a_signal() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let document = server.json("/openapi.json").await;
    let schema = &document["components"]["schemas"]["Signal"];
    let described: BTreeSet<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let mut signal = Sketch::default().signal();
    // Written where there is one only.
    signal.bar = Some(SignalBar {
        interval: Interval::Minute,
        open_time: 0.0,
    });
    let signal = serde_json::to_value(signal).unwrap();
    let written: BTreeSet<_> = signal.as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, written);
    assert!(
        schema["properties"]["timestamp"]["description"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("seconds")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_parameter_is_refused_by_name_on_every_route_of_the_api() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let document = server.json("/openapi.json").await;
    let mut asked = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        // What is for those who run the service is asked by programs that may add some.
        if !template.starts_with("/v1/") && template != "/ingest" {
            continue;
        }
        let path = template
            .replace("{symbol}", "AAPL")
            .replace("{id}", "a:0:0:0:0")
            .replace("{name}", "none");
        for method in item.as_object().unwrap().keys() {
            let method = match method.as_str() {
                "get" => Method::GET,
                "post" => Method::POST,
                "put" => Method::PUT,
                "delete" => Method::DELETE,
                _ => continue,
            };
            let request = server.request(method, &format!("{path}?bogus=1"));
            refused(
                request.bearer_auth("the-admin"),
                400,
                "unknown field `bogus`",
            )
            .await;
            asked += 1;
        }
    }
    assert!(asked >= 25, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_answers_is_a_problem_too() {
    let (_log, _folder, server) = single(Settings::default()).await;
    refused(
        server.get("/v1/nothing"),
        404,
        "/v1/nothing is no path here; see /openapi.json",
    )
    .await;
    refused(
        server.request(Method::PATCH, "/v1/signals"),
        405,
        "PATCH is not for /v1/signals",
    )
    .await;
    refused(
        server.request(Method::POST, "/livez"),
        405,
        "POST is not for /livez",
    )
    .await;
}
