//! The dashboard's files as they are served. What the page does is tried in a browser (`dashboard/test`).

use reqwest::{RequestBuilder, Response};

use crate::server::{Server, Settings, refused, single};

fn page(server: &Server) -> RequestBuilder {
    server.get("/").header("Accept", "text/html,*/*;q=0.8")
}

async fn get(request: RequestBuilder) -> Response {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or_else(String::new, |v| v.to_str().unwrap().to_owned())
}

/// The addresses of the page's own script and style.
fn assets(html: &str) -> Vec<String> {
    let parts = html.split('"').filter(|part| part.starts_with("/assets/"));
    parts.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_page_and_a_program_the_text() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let html = get(page(&server)).await;
    assert_eq!(header(&html, "content-type"), "text/html; charset=utf-8");
    assert!(html.text().await.unwrap().contains("<title>Wigwag</title>"));
    let text = get(server.get("/")).await;
    assert!(header(&text, "content-type").starts_with("text/plain"));
    for answer in [get(page(&server)).await, text] {
        assert!(header(&answer, "vary").contains("Accept"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_from_elsewhere_and_nothing_inline_may_run() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let answer = get(page(&server)).await;
    let policy = header(&answer, "content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
    let html = answer.text().await.unwrap();
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "{html}"
    );
    assert!(
        !html.contains("<style") && !html.contains("style="),
        "{html}"
    );
    for script in html.split("<script").skip(1) {
        assert!(
            script.split('>').next().unwrap().contains("src=\"/assets/"),
            "{html}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_asked_for_anew_and_its_parts_are_kept_for_ever() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let answer = get(page(&server)).await;
    assert_eq!(header(&answer, "cache-control"), "no-cache");
    let etag = header(&answer, "etag");
    let again = page(&server).header("If-None-Match", &etag).send().await;
    let again = again.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(header(&again, "etag"), etag);
    let changed = page(&server).header("If-None-Match", "\"other\"");
    assert_eq!(get(changed).await.status(), 200);
    let assets = assets(&answer.text().await.unwrap());
    assert!(assets.len() >= 3, "{assets:?}");
    for path in assets {
        let part = get(server.get(&path)).await;
        assert!(
            header(&part, "cache-control").contains("immutable"),
            "{path}"
        );
        assert_ne!(
            header(&part, "content-type"),
            "application/octet-stream",
            "{path}"
        );
    }
    refused(
        server.get("/assets/index-0.js"),
        404,
        "\"index-0.js\" is no part of this dashboard",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_come_packed_to_those_who_unpack_them() {
    let (_log, _folder, server) = single(Settings::default()).await;
    let html = get(page(&server)).await.text().await.unwrap();
    let mut bytes = 0;
    for path in assets(&html) {
        // This client asks for gzip and unpacks it by itself.
        let unpacked = get(server.get(&path)).await.bytes().await.unwrap();
        let plain = reqwest::Client::builder().no_gzip().build().unwrap();
        let plain = get(plain.get(format!("{}{path}", server.url))).await;
        assert_eq!(header(&plain, "content-encoding"), "");
        assert_eq!(plain.bytes().await.unwrap(), unpacked, "{path}");
        let packed = reqwest::Client::builder().no_gzip().build().unwrap();
        let packed = packed.get(format!("{}{path}", server.url));
        let packed = get(packed.header("Accept-Encoding", "br, gzip")).await;
        assert_eq!(header(&packed, "content-encoding"), "gzip");
        bytes += packed.bytes().await.unwrap().len();
    }
    assert!(bytes < 250 << 10, "{bytes} bytes over the line");
}
