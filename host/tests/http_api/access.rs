//! Who may do what: tokens and their scopes, sessions of browsers, Host and Origin.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::{
    server::{Server, Settings, answer, refused, single},
    support::tick,
};

fn ingest(server: &Server) -> RequestBuilder {
    server
        .request(Method::POST, "/ingest")
        .body(tick("AAPL", crate::server::START, 1.0))
}

fn remove(server: &Server) -> RequestBuilder {
    server.request(Method::DELETE, "/v1/strategies/none")
}

fn read(server: &Server) -> RequestBuilder {
    server.get("/v1/signals")
}

fn closed() -> Settings {
    Settings {
        closed_reads: true,
        open_ingest: false,
        hosts: vec!["wigwag.example".into()],
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_may_do_what_its_scope_says_and_no_more() {
    let (_log, _folder, server) = single(closed()).await;
    // What is removed is not there: who may remove is told 404.
    for (token, reads, ingests, removes) in [
        (None, 401, 401, 401),
        (Some("guessed"), 401, 401, 401),
        (Some("the-feed"), 200, 200, 403),
        (Some("the-deployer"), 200, 403, 404),
        (Some("the-admin"), 200, 200, 404),
    ] {
        for (request, status) in [
            (read(&server), reads),
            (ingest(&server), ingests),
            (remove(&server), removes),
        ] {
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let (found, body) = answer(request).await;
            assert_eq!(found, status, "{token:?}: {body}");
        }
    }
    let problem = refused(
        remove(&server).bearer_auth("the-feed"),
        403,
        "token \"the-feed\" lacks scope \"plugins\"",
    );
    assert_eq!(problem.await["type"], "urn:wigwag:problem:forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_reads_is_closed_by_one_option_but_for_what_operators_probe() {
    let (_log, _folder, server) = single(closed()).await;
    for path in [
        "/v1/signals",
        "/v1/signals/ma:0:0:0:0",
        "/v1/stream",
        "/v1/symbols",
        "/v1/symbols/AAPL",
        "/v1/symbols/AAPL/bars",
        "/v1/symbols/AAPL/values",
        "/v1/plugins",
        "/v1/plugins/ma",
        "/v1/strategies",
        "/v1/strategies/ma-20",
    ] {
        refused(server.get(path), 401, "no token was sent").await;
    }
    for path in ["/", "/livez", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(answer(server.get(path)).await.0, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configuration_reading_and_sending_are_open_and_deploying_is_not() {
    let (_log, _folder, server) = single(Settings::default()).await;
    assert_eq!(answer(read(&server)).await.0, 200);
    assert_eq!(answer(ingest(&server)).await.0, 200);
    assert_eq!(
        answer(ingest(&server).bearer_auth("forgotten")).await.0,
        200,
        "open to all"
    );
    refused(remove(&server), 401, "Authorization: Bearer TOKEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_challenged_as_http_says() {
    let (_log, _folder, server) = single(closed()).await;
    for (request, challenge) in [
        (read(&server), "Bearer realm=\"wigwag\""),
        (
            read(&server).bearer_auth("x"),
            "Bearer realm=\"wigwag\", error=\"invalid_token\"",
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], challenge);
    }
    let basic = read(&server).header("Authorization", "Basic dGhlLWFkbWluOg==");
    refused(basic, 401, "no token was sent").await;
    let lower = read(&server).header("Authorization", "bearer the-admin");
    assert_eq!(answer(lower).await.0, 200, "the scheme has no case");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_session_stands_for_its_token_until_it_ends() {
    let (_log, _folder, server) = single(closed()).await;
    let session = |token: &str| {
        server
            .request(Method::POST, "/v1/session")
            .json(&json!({"token": token}))
    };
    refused(session("guessed"), 401, "not known").await;
    let begun = session("the-deployer").send().await.unwrap();
    assert_eq!(begun.status(), 200);
    let cookie = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    let info: serde_json::Value = begun.json().await.unwrap();
    assert_eq!(info, json!({"name": "the-deployer", "scopes": ["plugins"]}));
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    let state = async |request: RequestBuilder| answer(request).await.1;
    assert_eq!(
        state(server.get("/v1/session")).await,
        json!({"name": null, "scopes": [], "may_read": false})
    );
    assert_eq!(
        state(server.get("/v1/session").header("Cookie", pair)).await,
        json!({"name": "the-deployer", "scopes": ["plugins"], "may_read": true})
    );
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
    let with = |request: RequestBuilder| request.header("Cookie", format!("theme=dark; {pair}"));
    assert_eq!(answer(with(read(&server))).await.0, 200);
    assert_eq!(
        answer(with(remove(&server))).await.0,
        404,
        "may, and there is none"
    );
    refused(with(ingest(&server)), 403, "scope \"ingest\"").await;
    let behind_tls = session("the-deployer")
        .header("X-Forwarded-Proto", "https")
        .send()
        .await
        .unwrap();
    assert!(
        behind_tls.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .ends_with("; Secure")
    );
    let ended = server
        .request(Method::DELETE, "/v1/session")
        .send()
        .await
        .unwrap();
    assert_eq!(ended.status(), 204);
    let cookie = ended.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("wigwag_session=; ") && cookie.ends_with("; Max-Age=0"),
        "{cookie}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_cannot_write_and_can_still_be_read_to() {
    let (_log, _folder, server) = single(closed()).await;
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    let own = format!("127.0.0.1:{port}");
    for (host, origin, status) in [
        (own.clone(), None, 404),
        (format!("localhost:{port}"), None, 404),
        ("wigwag.example".into(), None, 404),
        ("203.0.113.7".into(), None, 404),
        ("evil.example".into(), None, 403),
        (format!("evil.example:{port}"), None, 403),
        (own.clone(), Some(format!("http://{own}")), 404),
        (own.clone(), Some("http://evil.example".to_owned()), 403),
        (own.clone(), Some("null".to_owned()), 403),
        (own.clone(), Some(format!("http://localhost:{port}")), 403),
        (
            "wigwag.example".into(),
            Some("https://wigwag.example".to_owned()),
            404,
        ),
    ] {
        let request = remove(&server)
            .bearer_auth("the-admin")
            .header("Host", &host);
        let request = match &origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        };
        let (found, body) = answer(request).await;
        assert_eq!(found, status, "{host} {origin:?}: {body}");
    }
    for request in [
        ingest(&server).bearer_auth("the-admin"),
        server
            .request(Method::POST, "/v1/session")
            .json(&json!({"token": "the-admin"})),
        server.request(Method::DELETE, "/v1/session"),
        server
            .request(Method::POST, "/v1/plugins")
            .bearer_auth("the-admin")
            .body("x"),
        server
            .request(Method::PUT, "/v1/strategies/x")
            .bearer_auth("the-admin")
            .json(&json!({"plugin": "ma"})),
    ] {
        refused(
            request.header("Host", "evil.example"),
            403,
            "Host is \"evil.example\"",
        )
        .await;
    }
    let reading = read(&server)
        .bearer_auth("the-admin")
        .header("Host", "10.1.2.3:8080");
    assert_eq!(
        answer(reading).await.0,
        200,
        "as a probe or Prometheus reads"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_belongs_to_its_token() {
    let (log, _folder, server) = single(closed()).await;
    for (token, wanted) in [("the-feed", "the-feed.p-1"), ("the-admin", "the-admin.p-1")] {
        let request = ingest(&server)
            .bearer_auth(token)
            .header("Producer-Id", "p-1")
            .header("Sequence", "7");
        assert_eq!(answer(request).await.0, 200);
        let mut found = Vec::new();
        for partition in 0..crate::server::PARTITIONS {
            found.extend(producers(&log, partition));
        }
        assert!(found.contains(&wanted.to_owned()), "{found:?}");
    }
}

/// Ids of the producers of all messages of `ticks` in a partition.
fn producers(log: &crate::server::TestLog, partition: u32) -> Vec<String> {
    use wigwag::log::{Messages, Start, Topic};
    let start = Start {
        topic: Topic::Ticks,
        partition,
        offset: 0,
    };
    let mut reader = log.log.read(&[start]).unwrap();
    let end = log.log.bounds(Topic::Ticks, partition).unwrap().end;
    let mut messages = Messages::new();
    while reader.position(Topic::Ticks, partition) < end {
        reader
            .poll(
                &mut messages,
                1 << 20,
                std::time::Duration::from_millis(100),
            )
            .unwrap();
    }
    let ids = messages.iter().filter_map(|m| m.headers.get("Producer-Id"));
    ids.map(|id| String::from_utf8(id.to_vec()).unwrap())
        .collect()
}
