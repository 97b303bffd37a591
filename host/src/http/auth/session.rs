//! A browser's session: a cookie that holds a token, begun, looked at and ended.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{Access, COOKIE, Scope, site::SameSite, token_of, unauthenticated};
use crate::http::{
    body::{JsonBody, NoParameters, Query},
    problem::{Problem, REFUSED},
};

/// A token that is to become a session.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SessionRequest {
    /// The token.
    token: String,
}

/// What a session may do.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SessionInfo {
    /// The token's name.
    name: String,
    /// What it is for.
    scopes: Vec<Scope>,
}

/// Who asks, for a page that wants to show what it may do.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SessionState {
    /// The token's name; null where none was sent, or one that is not known.
    name: Option<String>,
    /// What it is for.
    scopes: Vec<Scope>,
    /// Whether all that reads is answered.
    may_read: bool,
}

/// Says whose session it is, without refusing anybody.
#[utoipa::path(
    get, path = "/v1/session", tag = "session", operation_id = "get_session",
    responses((status = 200, description = "who asks, and for what the token is", body = SessionState))
)]
pub(in crate::http) async fn session(
    State(access): State<Arc<Access>>,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Json<SessionState> {
    let tokens = access.tokens.now();
    let token = token_of(&headers).and_then(|text| tokens.find(text));
    Json(SessionState {
        name: token.map(|token| token.name.to_string()),
        scopes: token.map_or_else(Vec::new, |token| token.scopes.clone()),
        may_read: token.is_some() || !access.closed_reads,
    })
}

/// Makes a token a browser's session: a cookie that scripts cannot read and other sites cannot use.
#[utoipa::path(
    post, path = "/v1/session", tag = "session", request_body = SessionRequest,
    responses(
        (status = 200, description = "the cookie is set", body = SessionInfo),
        (status = 401, description = "the token is not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::http) async fn begin_session(
    _: SameSite,
    State(access): State<Arc<Access>>,
    _: Query<NoParameters>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SessionRequest>,
) -> Result<Response, Problem> {
    let tokens = access.tokens.now();
    let Some(token) = tokens.find(request.token.as_bytes()) else {
        return Err(unauthenticated("the token is not known here", true));
    };
    let info = SessionInfo {
        name: token.name.to_string(),
        scopes: token.scopes.clone(),
    };
    // The token is text that a client sent; what is in it must not write attributes of the cookie.
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    if !request.token.bytes().all(plain) {
        return Err(Problem::of_field(
            REFUSED,
            "token",
            "token holds characters that a cookie cannot hold; use one of letters, digits and - . _ ~ + / =",
        ));
    }
    Ok((
        [(header::SET_COOKIE, cookie(&request.token, &headers, ""))],
        Json(info),
    )
        .into_response())
}

/// Ends a browser's session.
#[utoipa::path(
    delete, path = "/v1/session", tag = "session",
    responses((status = 204, description = "the cookie is removed"))
)]
pub(in crate::http) async fn end_session(
    _: SameSite,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Response {
    (
        StatusCode::NO_CONTENT,
        [(header::SET_COOKIE, cookie("", &headers, "; Max-Age=0"))],
    )
        .into_response()
}

fn cookie(value: &str, headers: &HeaderMap, rest: &str) -> String {
    // Whoever ends TLS before us says so.
    let secure = match headers.get("X-Forwarded-Proto") {
        Some(proto) if proto == "https" => "; Secure",
        _ => "",
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{rest}")
}
