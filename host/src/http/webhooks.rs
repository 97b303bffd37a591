//! Webhooks: defined, changed, removed, what became of their deliveries, and dead letters sent again. All of it is for
//! operators: an address may be a secret itself.

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
    auth::{Caller, ToAdminister},
    body::{JsonBody, Limit, NoParameters, Query},
    problem::{BAD_REQUEST, NOT_FOUND, Problem},
    strategies::etags,
};
use crate::notify::{AttemptInfo, DeadLetter, WebhookInfo, WebhookRequest};

/// All webhooks.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhooksList {
    /// The oldest first.
    webhooks: Vec<WebhookInfo>,
}

/// A webhook that is new.
#[derive(Serialize, ToSchema)]
pub(super) struct NewWebhook {
    #[serde(flatten)]
    webhook: WebhookInfo,
    /// What its requests are signed with, told only here: `whsec_` and base64, as Standard Webhooks libraries take it.
    secret: String,
}

/// Lists the webhooks, the oldest first.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses(
        (status = 200, description = "the oldest first", body = WebhooksList),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Caller<ToAdminister>,
    _: Query<NoParameters>,
) -> Json<WebhooksList> {
    Json(WebhooksList {
        webhooks: app.webhooks.list(),
    })
}

/// Defines a webhook. It gets the signals that are committed from now on, each at least once: `webhook-id` is the signal's
/// id, the same at each attempt. What fails is tried again for a day, and then is a dead letter.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", operation_id = "create_webhook", request_body = WebhookRequest,
    responses(
        (status = 201, description = "it is new; the secret is told only here", body = NewWebhook, headers(("ETag" = String), ("Location" = String))),
        (status = 400, description = "not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "there are too many", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "each wrong field, in `errors`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller<ToAdminister>,
    _: Query<NoParameters>,
    JsonBody(request): JsonBody<WebhookRequest>,
) -> Result<Response, Problem> {
    let (webhook, secret) = app.webhooks.create(request, &caller.actor()).await?;
    let location = format!("/v1/webhooks/{}", webhook.id);
    let headers = [etag(&webhook), (header::LOCATION, location)];
    let body = Json(NewWebhook { webhook, secret });
    Ok((StatusCode::CREATED, headers, body).into_response())
}

/// Gives one webhook, and how its deliveries stand.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "get_webhook",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "the webhook", body = WebhookInfo, headers(("ETag" = String))),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Caller<ToAdminister>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
) -> Result<Response, Problem> {
    let webhook = app.webhooks.get(&id).ok_or_else(|| not_found(&id))?;
    Ok(([etag(&webhook)], Json(webhook)).into_response())
}

/// Changes a webhook; its secret stays. One that was disabled, by a person or by an answer 410, and is enabled now gets the
/// signals that are committed from now on.
#[utoipa::path(
    put, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "put_webhook", request_body = WebhookRequest,
    params(
        ("id" = String, Path, description = "its id"),
        ("If-Match" = Option<String>, Header, description = "etag that it must have"),
    ),
    responses(
        (status = 200, description = "it is changed", body = WebhookInfo, headers(("ETag" = String))),
        (status = 400, description = "not JSON, or wrong headers", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is not in the state that the header names", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "each wrong field, in `errors`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller<ToAdminister>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<WebhookRequest>,
) -> Result<Response, Problem> {
    let versions = versions(&headers)?;
    let actor = caller.actor();
    let webhook = app.webhooks.change(&id, request, versions, &actor).await?;
    Ok(([etag(&webhook)], Json(webhook)).into_response())
}

/// Removes a webhook, and all that is kept of its deliveries.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "remove_webhook",
    params(
        ("id" = String, Path, description = "its id"),
        ("If-Match" = Option<String>, Header, description = "etag that it must have"),
    ),
    responses(
        (status = 204, description = "it is removed"),
        (status = 400, description = "wrong headers", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "it is not in the state that the header names", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller<ToAdminister>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let versions = versions(&headers)?;
    app.webhooks.remove(&id, versions, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PartQuery {
    /// At most so many: 1 to 1000.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// Attempts.
#[derive(Serialize, ToSchema)]
pub(super) struct Deliveries {
    /// The newest first.
    attempts: Vec<AttemptInfo>,
}

/// Lists the newest attempts to deliver: of each partition 50 are kept.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(("id" = String, Path, description = "its id"), PartQuery),
    responses(
        (status = 200, description = "the newest first", body = Deliveries),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn deliveries(
    State(app): State<Arc<App>>,
    _: Caller<ToAdminister>,
    Path(id): Path<String>,
    Query(query): Query<PartQuery>,
) -> Result<Json<Deliveries>, Problem> {
    let attempts = app.webhooks.attempts(&id, query.limit.0);
    attempts
        .map(|attempts| Json(Deliveries { attempts }))
        .ok_or_else(|| not_found(&id))
}

/// Dead letters.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// The newest first.
    dead: Vec<DeadLetter>,
}

/// Lists the newest signals that could not be delivered: of each partition 250 are kept.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/dead", tag = "webhooks", operation_id = "list_dead_letters",
    params(("id" = String, Path, description = "its id"), PartQuery),
    responses(
        (status = 200, description = "the newest first", body = DeadLetters),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn dead(
    State(app): State<Arc<App>>,
    _: Caller<ToAdminister>,
    Path(id): Path<String>,
    Query(query): Query<PartQuery>,
) -> Result<Json<DeadLetters>, Problem> {
    let dead = app.webhooks.dead_letters(&id, query.limit.0);
    dead.map(|dead| Json(DeadLetters { dead }))
        .ok_or_else(|| not_found(&id))
}

/// What is to be sent again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResendRequest {
    /// The id of one signal among the dead letters; left out for all of them, at most the newest 1,000.
    #[serde(default)]
    signal: Option<String>,
}

/// What is sent again.
#[derive(Serialize, ToSchema)]
pub(super) struct Resent {
    /// How many dead letters.
    resent: usize,
}

/// Sends dead letters again, as if their signals were committed now.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/resend", tag = "webhooks", operation_id = "resend_dead_letters", request_body = ResendRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 202, description = "they will be sent", body = Resent),
        (status = 400, description = "not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such webhook or dead letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "the webhook is disabled", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "the body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "each wrong field, in `errors`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn resend(
    State(app): State<Arc<App>>,
    caller: Caller<ToAdminister>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
    JsonBody(request): JsonBody<ResendRequest>,
) -> Result<(StatusCode, Json<Resent>), Problem> {
    let signal = request.signal.as_deref();
    let resent = app.webhooks.resend(&id, signal, &caller.actor()).await?;
    Ok((StatusCode::ACCEPTED, Json(Resent { resent })))
}

fn not_found(id: &str) -> Problem {
    Problem::new(
        NOT_FOUND,
        format!("webhook {id:?} is not here; see /v1/webhooks"),
    )
}

fn etag(webhook: &WebhookInfo) -> (HeaderName, String) {
    (header::ETAG, format!("\"{}\"", webhook.version))
}

/// The versions that `If-Match` allows; none where any will do.
fn versions(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Problem> {
    let wanted = etags(headers, header::IF_MATCH)?;
    if wanted.is_empty() || wanted.iter().any(|etag| etag == "*") {
        return Ok(None);
    }
    let versions = wanted
        .iter()
        .map(|etag| etag.trim_matches('"').parse().ok());
    versions.collect::<Option<_>>().map(Some).ok_or_else(|| {
        let given = headers
            .get(header::IF_MATCH)
            .map_or("", |value: &HeaderValue| value.to_str().unwrap_or_default());
        let rule = "use the ETag that the webhook came with";
        Problem::new(BAD_REQUEST, format!("If-Match is {given:?}; {rule}"))
    })
}
