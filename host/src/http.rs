//! The API over HTTP: routes, problem details, tokens, streams, the dashboard's files. Knows the words of HTTP, and of the rest only what it may
//! ask: ingest, the view, control.

mod audit;
mod auth;
mod body;
mod dashboard;
mod ingest;
mod known;
mod operations;
mod plugins;
mod problem;
mod serve;
mod signals;
mod socket;
mod stall;
mod strategies;
mod stream;
mod subscriber;
mod symbols;
mod waiting;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::{
    OpenApi,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use auth::{Access, Scope, TokenConfig, TokenError, Tokens};
pub use known::KnownTokens;
pub use serve::{Closing, Routes, serve};
pub use waiting::waiting_router;

use crate::{
    control::Control,
    ingest::{Clock, Ingest},
    log::Log,
    notify::Webhooks,
    view::View,
};
use problem::{DEFECT, METHOD_NOT_ALLOWED, NOT_FOUND, Problem, UNAVAILABLE};

/// How long a request may take once it has arrived. An upload is compiled meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What the API bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of `POST /ingest`, as sent and unpacked, in bytes.
    pub ingest_bytes: usize,
    /// The largest plugin in bytes.
    pub plugin_bytes: usize,
    /// How long a body may take to arrive.
    pub body_within: Duration,
    /// An upload that takes longer is answered with the address of its status.
    pub uploaded_within: Duration,
    /// Streams open at once.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ingest_bytes: 16 << 20,
            plugin_bytes: 64 << 20,
            body_within: Duration::from_secs(30),
            uploaded_within: plugins::UPLOADED_WITHIN,
            streams: 1_000,
        }
    }
}

/// What `POST /ingest` is made of.
#[derive(Clone)]
pub struct IngestApp {
    /// Where records go.
    pub ingest: Ingest,
    /// Who may send them.
    pub access: Arc<Access>,
    /// See [`Limits`].
    pub limits: Limits,
    /// The clock, seconds since the epoch.
    pub clock: Clock,
}

/// What the API is made of.
#[derive(Clone)]
pub struct App {
    /// For `POST /ingest`; none where this process does not take records.
    pub ingest: Option<IngestApp>,
    /// What is read; none where this process does not answer questions: then it has no routes but those of operation.
    pub view: Option<View>,
    /// Plugins and strategies.
    pub control: Arc<Control>,
    /// Who is told of signals.
    pub webhooks: Arc<Webhooks>,
    /// Asked by `/readyz` only.
    pub log: Arc<dyn Log>,
    /// Whether it stays ready while the log is away, as one that only answers questions: those it answers from its store.
    pub outlasts_log: bool,
    /// What else must be true before the service is ready; says what is not.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// See [`Limits`].
    pub limits: Limits,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Ends the streams when the service stops.
    pub closing: Closing,
}

impl App {
    fn view(&self) -> &View {
        let view = self.view.as_ref();
        view.expect("the routes that read are there only with a view")
    }
}

/// [`App`], shared, and what the routes share among themselves.
#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    streams: Arc<Semaphore>,
    openapi: Arc<str>,
}

impl FromRef<Shared> for Arc<App> {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.clone()
    }
}

impl FromRef<Shared> for Arc<Access> {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.access.clone()
    }
}

impl FromRef<IngestApp> for Arc<Access> {
    fn from_ref(app: &IngestApp) -> Self {
        app.access.clone()
    }
}

/// All routes.
pub fn router(app: App) -> Router {
    let (routes, openapi) = routes_of(app.ingest.clone(), app.view.is_some());
    let openapi = openapi.to_json().expect("an OpenAPI document is JSON");
    let shared = Shared {
        streams: Arc::new(Semaphore::new(app.limits.streams)),
        openapi: openapi.into(),
        app: Arc::new(app),
    };
    finish(routes.with_state(shared))
}

/// `/ingest` and `/livez` only, for a listener beside the main one.
pub fn ingest_router(app: IngestApp) -> Router {
    let (routes, _) = OpenApiRouter::new()
        .routes(routes!(ingest::post))
        .with_state(app)
        .routes(routes!(operations::livez))
        .split_for_parts();
    finish(routes)
}

fn routes_of(ingest: Option<IngestApp>, has_view: bool) -> (Router<Shared>, OpenApi) {
    let mut routes = operation_routes();
    if has_view {
        routes = routes.merge(api_routes()).merge(dashboard_routes());
    } else {
        routes = routes.routes(routes!(operations::front));
    }
    if let Some(ingest) = ingest {
        let ingest = OpenApiRouter::new()
            .routes(routes!(ingest::post))
            .with_state(ingest);
        routes = routes.merge(ingest);
    }
    let (routes, mut openapi) = routes.split_for_parts();
    describe(&mut openapi);
    (routes, openapi)
}

fn operation_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(operations::livez))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
        .routes(routes!(operations::openapi))
}

fn dashboard_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(dashboard::page))
        // Names of a build, of which the document need not tell.
        .route("/assets/{file}", axum::routing::get(dashboard::asset))
}

fn api_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(
            auth::session::session,
            auth::session::begin_session,
            auth::session::end_session
        ))
        .routes(routes!(signals::list))
        .routes(routes!(signals::get))
        .routes(routes!(stream::stream))
        .routes(routes!(socket::open))
        .routes(routes!(symbols::list))
        .routes(routes!(symbols::get))
        .routes(routes!(symbols::bars))
        .routes(routes!(symbols::values))
        .routes(routes!(plugins::upload, plugins::list))
        .routes(routes!(plugins::get, plugins::remove))
        .routes(routes!(plugins::upload_status))
        .routes(routes!(audit::list))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::put, webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::dead))
        .routes(routes!(webhooks::resend))
        .routes(routes!(strategies::logs))
        .routes(routes!(strategies::shadow))
        .routes(routes!(strategies::list))
        .routes(routes!(
            strategies::put,
            strategies::get,
            strategies::remove
        ))
}

fn describe(openapi: &mut OpenApi) {
    openapi.info.title = "Wigwag".into();
    openapi.info.version = env!("CARGO_PKG_VERSION").into();
    openapi.info.description = Some(
        "Market ticks in, trading signals out. Times are seconds since the epoch, UTC, as numbers, unless their \
         name says another unit. Lists are newest first. Errors are problem details (RFC 9457)."
            .into(),
    );
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
    );
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(auth::COOKIE))),
    );
}

/// What holds for every route: an answer in time, numbers, and problem details for what no route answers.
fn finish(routes: Router) -> Router {
    routes
        .fallback(async |request: Request| {
            let path = request.uri().path();
            Problem::new(
                NOT_FOUND,
                format!("{path} is no path here; see /openapi.json"),
            )
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            Problem::new(
                METHOD_NOT_ALLOWED,
                format!("{method} is not for {path}; see /openapi.json"),
            )
        })
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| {
                let detail = "the request met a defect of the service; its log has the place";
                Problem::new(DEFECT, detail).into_response()
            },
        ))
        .layer(middleware::from_fn(observe))
}

async fn observe(request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let method = match *request.method() {
        axum::http::Method::GET => "GET",
        axum::http::Method::HEAD => "HEAD",
        axum::http::Method::POST => "POST",
        axum::http::Method::PUT => "PUT",
        axum::http::Method::DELETE => "DELETE",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request));
    let response = answer.await.unwrap_or_else(|_| {
        let seconds = ANSWER_WITHIN.as_secs();
        let detail = format!(
            "there was no answer within {seconds} s; what was asked may or may not be done"
        );
        Problem::new(UNAVAILABLE, detail).into_response()
    });
    // The label of the template costs a copy, of which a request has dozens.
    let route = route.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    metrics::counter!("wigwag_http_requests_total",
        "method" => method, "route" => route.clone(), "status" => status_text(response.status()))
    .increment(1);
    metrics::histogram!("wigwag_http_request_seconds", "method" => method, "route" => route)
        .record(started.elapsed().as_secs_f64());
    response
}

/// Says what the numbers of the API mean.
pub fn describe_metrics() {
    known::describe_metrics();
    metrics::describe_counter!(
        "wigwag_http_requests_total",
        "Requests answered, by method, route and status"
    );
    metrics::describe_histogram!(
        "wigwag_http_request_seconds",
        metrics::Unit::Seconds,
        "From a request's headers to the head of its answer"
    );
    metrics::describe_gauge!("wigwag_http_streams", "Streams open now");
}

fn status_text(status: axum::http::StatusCode) -> String {
    status.as_str().to_owned()
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static, E: Into<Problem> + Send + 'static>(
    ask: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    match spawn_blocking(ask).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Problem::new(UNAVAILABLE, "the service is stopping")),
        },
    }
}

/// `{NAME: [JSON, ...]REST}` of texts that are JSON already.
fn json_list(name: &str, items: &[Vec<u8>], rest: &str) -> Response {
    let bytes = items.iter().map(|item| item.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(bytes + name.len() + rest.len() + 8);
    body.extend_from_slice(format!("{{\"{name}\":[").as_bytes());
    join(&mut body, items);
    body.push(b']');
    body.extend_from_slice(rest.as_bytes());
    body.push(b'}');
    json(body)
}

fn join(body: &mut Vec<u8>, items: &[Vec<u8>]) {
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(item);
    }
}

fn json(body: Vec<u8>) -> Response {
    (
        [(axum::http::header::CONTENT_TYPE, "application/json")],
        body,
    )
        .into_response()
}
