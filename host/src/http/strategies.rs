//! Strategies: defined, changed, removed, and what each is doing.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    auth::{Caller, ToDeploy, ToRead},
    body::{JsonBody, Limit, NoParameters, Query},
    problem::{BAD_REQUEST, NOT_FOUND, Problem},
};
use crate::control::{LoggedLine, Precondition, ShadowReport, StrategyInfo, StrategyRequest};

/// All strategies.
#[derive(Serialize, ToSchema)]
pub(super) struct StrategiesList {
    /// By id.
    strategies: Vec<StrategyInfo>,
}

/// Lists the strategies, by id.
#[utoipa::path(
    get, path = "/v1/strategies", tag = "strategies", operation_id = "list_strategies",
    responses(
        (status = 200, description = "by id", body = StrategiesList),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    _: Query<NoParameters>,
) -> Json<StrategiesList> {
    Json(StrategiesList {
        strategies: app.control.strategies(),
    })
}

/// Gives one strategy, and what it is doing on each partition.
#[utoipa::path(
    get, path = "/v1/strategies/{id}", tag = "strategies", operation_id = "get_strategy",
    params(
        ("id" = String, Path, description = "its id"),
        ("If-None-Match" = Option<String>, Header, description = "etag of what is known; unchanged is 304"),
    ),
    responses(
        (status = 200, description = "the strategy", body = StrategyInfo, headers(("ETag" = String))),
        (status = 304, description = "its definition is unchanged"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(strategy) = app.control.strategy(&id) else {
        return Err(not_found(&id));
    };
    let known = etags(&headers, header::IF_NONE_MATCH)?;
    if known
        .iter()
        .any(|etag| etag == "*" || *etag == strategy.etag)
    {
        return Ok((StatusCode::NOT_MODIFIED, etag_header(&strategy)).into_response());
    }
    Ok((etag_header(&strategy), Json(strategy)).into_response())
}

/// Defines or changes a strategy: another plugin or other parameters are an upgrade or a rollback. The engines take it
/// up at their next step, warmed up from the log. A `shadow` runs beside it; a definition that is the shadow's promotes
/// it, with its state. A quarantined strategy that is defined again, changed or not, tries again.
#[utoipa::path(
    put, path = "/v1/strategies/{id}", tag = "strategies", operation_id = "put_strategy", request_body = StrategyRequest,
    params(
        ("id" = String, Path, description = "1 to 64 characters from a-z 0-9 . _ -, the first a letter or digit"),
        ("If-Match" = Option<String>, Header, description = "etag that it must have"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it must not exist"),
    ),
    responses(
        (status = 201, description = "it is new", body = StrategyInfo, headers(("ETag" = String))),
        (status = 200, description = "it is changed", body = StrategyInfo, headers(("ETag" = String))),
        (status = 400, description = "not JSON, or wrong headers", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `plugins`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "there are too many", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is not in the state that the headers name", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "each wrong field, in `errors`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["plugins"]), ("session" = ["plugins"]))
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller<ToDeploy>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<StrategyRequest>,
) -> Result<Response, Problem> {
    let precondition = precondition(&headers)?;
    let (strategy, created) = app
        .control
        .put_strategy(&id, request, precondition, &caller.actor())
        .await?;
    let status = match created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, etag_header(&strategy), Json(strategy)).into_response())
}

/// Removes a strategy; the engines stop it at their next step. Its signals stay.
#[utoipa::path(
    delete, path = "/v1/strategies/{id}", tag = "strategies", operation_id = "remove_strategy",
    params(
        ("id" = String, Path, description = "its id"),
        ("If-Match" = Option<String>, Header, description = "etag that it must have"),
    ),
    responses(
        (status = 204, description = "it is removed"),
        (status = 400, description = "wrong headers", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `plugins`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is not in the state that the header names", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["plugins"]), ("session" = ["plugins"]))
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller<ToDeploy>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let precondition = precondition(&headers)?;
    app.control
        .remove_strategy(&id, precondition, &caller.actor())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What plugins logged.
#[derive(Serialize, ToSchema)]
pub(super) struct LogLines {
    /// The newest first.
    lines: Vec<LoggedLine>,
}

/// How many lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// At most so many: 1 to 1000.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// Gives the newest lines that a strategy's plugin logged, from all partitions, at most 500: bursts of 50 and then ten a
/// second on each partition are kept.
#[utoipa::path(
    get, path = "/v1/strategies/{id}/logs", tag = "strategies", operation_id = "get_strategy_logs",
    params(("id" = String, Path, description = "its id"), LogsQuery),
    responses(
        (status = 200, description = "the newest first", body = LogLines),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(id): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<LogLines>, Problem> {
    let lines = app.control.plugin_log(&id, query.limit.0);
    lines
        .map(|lines| Json(LogLines { lines }))
        .ok_or_else(|| not_found(&id))
}

/// Tells where the signals of a strategy's shadow differ from its own, as far as the newest 50,000 signals of each
/// partition reach.
#[utoipa::path(
    get, path = "/v1/strategies/{id}/shadow", tag = "strategies", operation_id = "get_strategy_shadow",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "counts, and the newest differences", body = ShadowReport),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no strategy or no shadow of it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not answer; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn shadow(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
) -> Result<Json<ShadowReport>, Problem> {
    Ok(Json(app.control.shadow_report(id).await?))
}

fn not_found(id: &str) -> Problem {
    Problem::new(
        NOT_FOUND,
        format!("strategy {id:?} is not here; see /v1/strategies"),
    )
}

fn etag_header(strategy: &StrategyInfo) -> [(HeaderName, HeaderValue); 1] {
    let etag = HeaderValue::try_from(&strategy.etag);
    [(
        header::ETAG,
        etag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
    )]
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let wanted = etags(headers, header::IF_MATCH)?;
    let unwanted = etags(headers, header::IF_NONE_MATCH)?;
    match (wanted.as_slice(), unwanted.as_slice()) {
        ([], []) => Ok(Precondition::Any),
        ([], [star]) if star == "*" => Ok(Precondition::Absent),
        ([], _) => Err(Problem::new(
            BAD_REQUEST,
            "If-None-Match is not *; a write takes * only, which means: where it does not exist",
        )),
        (_, []) => Ok(Precondition::Exists(wanted)),
        _ => Err(Problem::new(
            BAD_REQUEST,
            "If-Match and If-None-Match are both given; use one of them",
        )),
    }
}

/// The etags of a header, each with its quotes, or `*`.
pub(super) fn etags(headers: &HeaderMap, name: HeaderName) -> Result<Vec<String>, Problem> {
    let mut etags = Vec::new();
    for value in headers.get_all(&name) {
        let text = value.to_str().unwrap_or_default();
        for etag in text.split(',').map(str::trim) {
            // A weak comparison would do for reading, and the strategies' etags are strong.
            let etag = etag.strip_prefix("W/").unwrap_or(etag);
            let quoted = etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"');
            if !quoted && etag != "*" {
                return Err(Problem::new(
                    BAD_REQUEST,
                    format!(
                        "{name} is {text:?}; use etags in quotes, as the ETag header has them, or *"
                    ),
                ));
            }
            etags.push(etag.to_owned());
        }
    }
    Ok(etags)
}
