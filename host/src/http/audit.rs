//! The audit log, newest first: for administrators only.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    auth::{Caller, ToAdminister},
    body::{Limit, Query},
    problem::Problem,
};
use crate::control::AuditRecord;

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// At most so many: 1 to 1000.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Below>,
}

/// An offset of `audit`, as text.
struct Below(u64);

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            let message = format!("cursor is {text:?}; use next_cursor of the page before");
            serde::de::Error::custom(message)
        })
    }
}

/// A part of the audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditEntries {
    /// Newest first.
    entries: Vec<AuditRecord>,
    /// Where the list goes on, on any replica; null at its end.
    next_cursor: Option<String>,
}

/// Lists each upload, change and removal: who, what, when, from which address, and what was answered.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", operation_id = "list_audit", params(AuditQuery),
    responses(
        (status = 200, description = "a part of the list", body = AuditEntries),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not answer; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin"]), ("session" = ["admin"]))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Caller<ToAdminister>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditEntries>, Problem> {
    let (below, limit) = (query.cursor.map(|below| below.0), query.limit.0);
    let page = app.control.audit_log(below, limit).await?;
    Ok(Json(AuditEntries {
        entries: page.entries,
        next_cursor: page.next.map(|below| below.to_string()),
    }))
}
