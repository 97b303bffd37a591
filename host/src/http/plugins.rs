//! Plugins: uploaded, listed, removed.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    auth::{Caller, ToDeploy, ToRead},
    body::{NoParameters, Query, check_content_type, read_body},
    problem::{BAD_REQUEST, NOT_FOUND, Problem, UNAVAILABLE},
};
use crate::{
    control::{Outcome, PluginInfo},
    plugin::Digest,
};

/// How long an upload is waited for. A Rust plugin takes a tenth of it at most, a compile bomb is refused within it, a
/// Python runtime is not done.
pub(super) const UPLOADED_WITHIN: Duration = Duration::from_secs(8);

/// All plugins.
#[derive(Serialize, ToSchema)]
pub(super) struct PluginsList {
    /// The newest of each name, by name.
    plugins: Vec<PluginInfo>,
}

/// An upload that is not done yet, or what became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct UploadStatus {
    /// SHA-256 of the component, lower-case hex.
    digest: String,
    /// How far it is.
    state: UploadState,
    /// The plugin, where it is done.
    plugin: Option<PluginInfo>,
    /// Why it was refused, where it was.
    problem: Option<Problem>,
}

/// How far an upload is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum UploadState {
    /// It is being compiled and tried, or waits for that.
    Working,
    /// It is here.
    Done,
    /// It was refused.
    Refused,
}

/// Takes a component in. It is checked, compiled under limits, asked to describe itself, and tried: its results must be
/// the same for a second run, any split of batches, and a restore at any cut. What takes longer than some seconds is
/// answered with the address of its status.
#[utoipa::path(
    post, path = "/v1/plugins", tag = "plugins", operation_id = "upload_plugin",
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "the component"),
    responses(
        (status = 201, description = "it is here", body = PluginInfo, headers(("Location" = String))),
        (status = 200, description = "the same bytes were here already", body = PluginInfo),
        (status = 202, description = "it takes longer; its status tells what becomes of it", body = UploadStatus, headers(("Location" = String))),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `plugins`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "the body did not arrive in time", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "it is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "it is no usable plugin; `stage` says where it was refused", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it, or too many are on their way; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["plugins"]), ("session" = ["plugins"]))
)]
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    caller: Caller<ToDeploy>,
    _: Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_content_type(&headers, &["application/wasm", "application/octet-stream"])?;
    let bytes = read_body(
        &headers,
        body,
        app.limits.plugin_bytes,
        app.limits.body_within,
    )
    .await?;
    let digest = Digest::of(&bytes);
    let mut outcome = app.control.begin_upload(bytes, caller.actor())?;
    let within = app.limits.uploaded_within;
    let done = tokio::time::timeout(within, outcome.wait_for(Option::is_some)).await;
    let Ok(done) = done else {
        let location = format!("/v1/plugins/uploads/{digest}");
        let status = Json(status_of(digest, None));
        return Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], status).into_response());
    };
    let uploaded = done.ok().and_then(|outcome| outcome.clone());
    let upload = uploaded.ok_or_else(|| Problem::new(UNAVAILABLE, "the service is stopping"))??;
    let status = match upload.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let location = format!("/v1/plugins/{}", upload.plugin.digest);
    Ok((status, [(header::LOCATION, location)], Json(upload.plugin)).into_response())
}

fn status_of(digest: Digest, outcome: Outcome) -> UploadStatus {
    let (state, plugin, problem) = match outcome {
        None => (UploadState::Working, None, None),
        Some(Ok(upload)) => (UploadState::Done, Some(upload.plugin), None),
        Some(Err(error)) => (UploadState::Refused, None, Some(error.into())),
    };
    UploadStatus {
        digest: digest.to_string(),
        state,
        plugin,
        problem,
    }
}

/// Tells what became of an upload. Of one that is on its way, and of one that was refused, only the replica knows that
/// took it.
#[utoipa::path(
    get, path = "/v1/plugins/uploads/{digest}", tag = "plugins", operation_id = "get_upload",
    params(("digest" = String, Path, description = "SHA-256 of the component, hex")),
    responses(
        (status = 200, description = "how far it is", body = UploadStatus),
        (status = 400, description = "not a digest", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "none is known here", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn upload_status(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(text): Path<String>,
    _: Query<NoParameters>,
) -> Result<Json<UploadStatus>, Problem> {
    let digest: Digest = text.parse().map_err(|_| {
        let message =
            format!("digest is {text:?}; use the 64 hex digits of the component's SHA-256");
        Problem::of_field(BAD_REQUEST, "digest", message)
    })?;
    match app.control.upload_outcome(digest) {
        Some(outcome) => Ok(Json(status_of(digest, outcome))),
        None => Err(Problem::new(
            NOT_FOUND,
            format!(
                "no upload of {digest} is known here; ask the replica that took it, or send it again"
            ),
        )),
    }
}

/// Lists the plugins, by name.
#[utoipa::path(
    get, path = "/v1/plugins", tag = "plugins", operation_id = "list_plugins",
    responses(
        (status = 200, description = "the newest of each name", body = PluginsList),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    _: Query<NoParameters>,
) -> Json<PluginsList> {
    Json(PluginsList {
        plugins: app.control.plugins(),
    })
}

/// Gives one plugin.
#[utoipa::path(
    get, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "get_plugin",
    params(("name" = String, Path, description = "its name, which means the newest upload of it, `NAME@VERSION`, or its digest")),
    responses(
        (status = 200, description = "the plugin", body = PluginInfo),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(name): Path<String>,
    _: Query<NoParameters>,
) -> Result<Json<PluginInfo>, Problem> {
    let plugin = app.control.plugin(&name);
    plugin.map(Json).ok_or_else(|| {
        Problem::new(
            NOT_FOUND,
            format!("plugin {name:?} is not here; see /v1/plugins"),
        )
    })
}

/// Removes a name from the list. Its bytes stay as long as signals name them.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "remove_plugin",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 204, description = "it is removed"),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `plugins`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "a strategy runs it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = ["plugins"]), ("session" = ["plugins"]))
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller<ToDeploy>,
    Path(name): Path<String>,
    _: Query<NoParameters>,
) -> Result<StatusCode, Problem> {
    app.control.remove_plugin(&name, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
