//! The dashboard's files: built beforehand (`dashboard/dist`), embedded, packed once, and served under headers that let
//! nothing but them run. What the page then asks for are the routes of the API like anybody's.

use std::{borrow::Cow, collections::BTreeMap, io::Write, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

use super::{
    operations,
    problem::{NOT_FOUND, Problem},
};

/// Only our own scripts and styles, no text as HTML, no frame around the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

const PAGE: &str = "index.html";

#[derive(RustEmbed)]
#[folder = "../dashboard/dist"]
struct Dist;

/// A file as it is sent.
struct File {
    content_type: &'static str,
    bytes: Cow<'static, [u8]>,
    gzip: Vec<u8>,
    etag: HeaderValue,
}

/// All files by their path; packed when the first is asked for.
static FILES: LazyLock<BTreeMap<String, File>> = LazyLock::new(|| {
    let files = Dist::iter().filter_map(|path| {
        let file = Dist::get(&path)?;
        let etag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..12]));
        let file = File {
            content_type: content_type(&path),
            gzip: gzip(&file.data),
            bytes: file.data,
            etag: HeaderValue::try_from(etag).expect("hex digits in quotes"),
        };
        Some((path.into_owned(), file))
    });
    files.collect()
});

/// Shows the dashboard to a browser, and to others what is here.
#[utoipa::path(get, path = "/", tag = "operations",
    responses((status = 200, description = "the dashboard where HTML is accepted, else a page of text", body = String, content_type = "text/html")))]
pub(super) async fn page(headers: HeaderMap) -> Response {
    let wants_html = headers.get_all(header::ACCEPT).iter().any(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        accept.contains("text/html")
    });
    match FILES.get(PAGE) {
        Some(page) if wants_html => page.answer(&headers, "no-cache"),
        _ => ([(header::VARY, "Accept")], operations::front().await).into_response(),
    }
}

/// A part of the dashboard, under a name that holds its hash.
pub(super) async fn asset(
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match FILES.get(&format!("assets/{file}")) {
        // A name without a hash is one of the licences, which change with the parts that they are of.
        Some(asset) if !file.contains('-') => Ok(asset.answer(&headers, "no-cache")),
        Some(asset) => Ok(asset.answer(&headers, "public, max-age=31536000, immutable")),
        None => Err(Problem::new(
            NOT_FOUND,
            format!("{file:?} is no part of this dashboard; load / again"),
        )),
    }
}

impl File {
    fn answer(&'static self, asked: &HeaderMap, cache: &'static str) -> Response {
        let known = asked.get_all(header::IF_NONE_MATCH).iter().any(|etags| {
            let etags = etags.as_bytes();
            etags == b"*" || memchr::memmem::find(etags, self.etag.as_bytes()).is_some()
        });
        let packed = asked.get_all(header::ACCEPT_ENCODING).iter().any(|accept| {
            let accept = accept.to_str().unwrap_or_default();
            accept.split(',').any(|coding| coding.trim() == "gzip")
        });
        let mut response = match (known, packed) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, true) => ([(header::CONTENT_ENCODING, "gzip")], &*self.gzip).into_response(),
            (false, false) => self.bytes.clone().into_response(),
        };
        let headers = response.headers_mut();
        for (name, value) in fixed_headers() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::ETAG, self.etag.clone());
        response
    }
}

fn fixed_headers() -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (header::VARY, "Accept, Accept-Encoding"),
    ]
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(bytes).and_then(|()| packed.finish());
    written.expect("writing to memory does not fail")
}
