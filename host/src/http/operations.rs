//! For those who run the service: whether it lives, whether it is ready, its numbers, and the description of the API.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    App, Shared,
    problem::{Problem, UNAVAILABLE},
};
use crate::view::View;

const FRONT: &str = concat!(
    "Wigwag ",
    env!("CARGO_PKG_VERSION"),
    "\n\nThis is the address of its API: market ticks in, trading signals out.\n
  /openapi.json   describes every route
  /v1/signals     the newest signals
  /v1/stream      signals as they are committed
  /v1/symbols     what is traded, with today's figures

README.md of the repository shows how to send ticks and how to write a plugin.\n"
);

/// Says what is here.
#[utoipa::path(get, path = "/", tag = "operations",
    responses((status = 200, description = "a page of text for a person", body = String, content_type = "text/plain")))]
pub(super) async fn front() -> &'static str {
    FRONT
}

/// Whether the process lives. Asks nothing else.
#[utoipa::path(get, path = "/livez", tag = "operations",
    responses((status = 200, description = "it lives", body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the service does its work: the log answers, the view has caught up, the engines are live. A process that only
/// answers questions stays ready while the log is away: it answers from its own store.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "it is ready", body = String, content_type = "text/plain"),
        (status = 503, description = "what is missing, in `errors`", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    let closing = match app.closing.is_closed() {
        true => Err("the service is stopping".to_owned()),
        false => Ok(()),
    };
    let log = app.log.check().map_err(|error| error.to_string());
    let view = app.view.as_ref();
    let outlasts = app.outlasts_log && log.is_err() && view.is_some_and(View::has_caught_up);
    let (log, view) = match outlasts {
        true => (Ok(()), Ok(())),
        false => (log, view.map_or(Ok(()), View::check)),
    };
    let missing: Vec<String> = [closing, log, (app.ready)(), view]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if missing.is_empty() {
        return Ok("ok\n");
    }
    Err(Problem::new(UNAVAILABLE, missing.join("; ")).with("errors", missing))
}

/// Numbers for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "text exposition format 0.0.4", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.metrics.render()).into_response()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn openapi(State(shared): State<Shared>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        shared.openapi.to_string(),
    )
        .into_response()
}
