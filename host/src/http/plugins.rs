//! Plugins: uploaded, listed, removed.

use std::sync::Arc;

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
    problem::{NOT_FOUND, Problem},
};
use crate::control::PluginInfo;

/// All plugins.
#[derive(Serialize, ToSchema)]
pub(super) struct PluginsList {
    /// The newest of each name, by name.
    plugins: Vec<PluginInfo>,
}

/// Takes a component in. It is checked, compiled under limits and asked to describe itself.
#[utoipa::path(
    post, path = "/v1/plugins", tag = "plugins", operation_id = "upload_plugin",
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "the component"),
    responses(
        (status = 201, description = "it is here", body = PluginInfo, headers(("Location" = String))),
        (status = 200, description = "the same bytes were here already", body = PluginInfo),
        (status = 401, description = "no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a token without scope `plugins`, or a foreign Host or Origin", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "the body did not arrive in time", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "it is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "another content type or encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "it is no usable plugin; `stage` says where it was refused", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "the log did not take it; it may be tried again", body = Problem, content_type = "application/problem+json"),
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
    let upload = app.control.upload(bytes, caller.name()).await?;
    let status = match upload.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let location = format!("/v1/plugins/{}", upload.plugin.digest);
    Ok((status, [(header::LOCATION, location)], Json(upload.plugin)).into_response())
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
    params(("name" = String, Path, description = "its name, which means the newest upload of it, or its digest")),
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
    app.control.remove_plugin(&name, caller.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
