//! `POST /ingest`: records in. The one route that must be fast.

use std::net::SocketAddr;

use axum::{
    Json,
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    IngestApp,
    auth::{Caller, ToIngest},
    body::{NoParameters, Query, check_content_type, read_body},
    problem::{BAD_REQUEST, Problem, RECORD},
};
use crate::ingest::{Answer, Content, PRODUCER_ID, Producer, SEQUENCE};

/// Content types that say one object a line.
const LINES: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-lines",
];

/// Content types that say nothing of the form, which is then seen from the body.
const ANY_FORM: [&str; 3] = ["application/json", "text/plain", "application/octet-stream"];

/// Where a request came from.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Takes records: one JSON object, an array of them, or one a line (NDJSON); also packed with gzip.
///
/// Answers when the good ones are durable; the others are told with field and rule. A producer that may have to send a
/// body again gives `Producer-Id` and a `Sequence` that rises with each body, and has one body in flight.
#[utoipa::path(
    post, path = "/ingest", tag = "ingest", operation_id = "post_records",
    request_body(content(
        (serde_json::Value = "application/json"),
        (String = "application/x-ndjson"),
    ), description = "records; see README for their fields"),
    params(
        ("Producer-Id" = Option<String>, Header, description = "who sends: 1 to 64 characters from A-Z a-z 0-9 . _ -"),
        ("Sequence" = Option<u64>, Header, description = "which body of that producer it is"),
        ("Content-Encoding" = Option<String>, Header, description = "gzip or none"),
    ),
    responses(
        (status = 200, description = "what became of the records", body = Answer),
        (status = 400, description = "not JSON, empty, or wrong headers", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no token, or one that is not known", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `ingest`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "the body did not arrive in time", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the one record breaks a rule; with `accepted`, `rejected` and `errors` as of 200", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "not acknowledged as a whole; with Producer-Id it is safe to send again", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = ["ingest"]), ("session" = ["ingest"]))
)]
pub(super) async fn post(
    State(app): State<IngestApp>,
    caller: Caller<ToIngest>,
    _: Query<NoParameters>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let content = content(&headers)?;
    let producer = producer(&headers, &caller)?;
    let body = read_body(
        &headers,
        body,
        app.limits.ingest_bytes,
        app.limits.body_within,
    )
    .await?;
    let source = match peer {
        Some(Extension(Peer(address))) => format!("http {address}"),
        None => "http".to_owned(),
    };
    let answer = app
        .ingest
        .post(body, content, producer, &source, (app.clock)())
        .await?;
    Ok(match answer {
        Answer {
            accepted: 0,
            rejected: 1,
            errors,
        } => {
            let detail = errors
                .first()
                .map_or_else(String::new, |e| e.message.clone());
            Problem::new(RECORD, detail)
                .with("accepted", 0)
                .with("rejected", 1)
                .with("errors", errors)
                .into_response()
        }
        answer => (StatusCode::OK, Json(answer)).into_response(),
    })
}

fn content(headers: &HeaderMap) -> Result<Content, Problem> {
    if check_content_type(headers, &ANY_FORM).is_ok() {
        return Ok(Content::Auto);
    }
    let all = [&ANY_FORM[..], &LINES[..]].concat();
    check_content_type(headers, &all).map(|()| Content::Lines)
}

/// A producer belongs to the token with which it sends, so that no other token's producer passes for it. A token's name
/// holds no dot.
fn producer(headers: &HeaderMap, caller: &Caller<ToIngest>) -> Result<Option<Producer>, Problem> {
    let text = |name: &str| {
        let Some(value) = headers.get(name) else {
            return Ok(None);
        };
        value.to_str().map(Some).map_err(|_| {
            Problem::new(
                BAD_REQUEST,
                format!("{name} holds characters that are not ASCII"),
            )
        })
    };
    let producer = Producer::parse(text(PRODUCER_ID)?, text(SEQUENCE)?)?;
    match (producer, &caller.token) {
        (Some(producer), Some(token)) => {
            let id = format!("{token}.{}", producer.id());
            Ok(Some(Producer::try_new(&id, producer.sequence())?))
        }
        (producer, _) => Ok(producer),
    }
}
