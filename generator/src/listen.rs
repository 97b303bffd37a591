//! Serves the newest record over HTTP, for those who fetch. What it answers depends on the options and the time only,
//! so that several generators behind a load balancer answer as one.

use std::{
    future::ready,
    io,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{clock, market::Market, stop::Stop};

const SERVED_BY: HeaderName = HeaderName::from_static("served-by");

/// Serves until `stop` is asked for and those being answered had their time. `name` is said in each answer's
/// header, and nowhere in what all replicas answer alike.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    market: Market,
    name: Option<&str>,
    stop: Stop,
) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(newest))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(Arc::new(Mutex::new(market)));
    let name = name.and_then(|name| HeaderValue::from_str(name).ok());
    let router = match name {
        Some(name) => router.layer(map_response(move |mut response: Response| {
            response.headers_mut().insert(SERVED_BY, name.clone());
            ready(response)
        })),
        None => router,
    };
    let overdue = stop.clone();
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.asked().await });
    tokio::select! {
        served = serving.into_future() => served,
        () = overdue.overdue() => Ok(()),
    }
}

async fn newest(State(market): State<Arc<Mutex<Market>>>) -> Response {
    let record = market
        .lock()
        .expect("nothing panics while it holds the market")
        .newest(clock::now_us());
    let Some(record) = record else {
        let problem = r#"{"title":"the market is not open","status":503,"detail":"the start time is in the future"}"#;
        let headers = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::RETRY_AFTER, "1"),
        ];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, problem).into_response();
    };
    let mut json = Vec::new();
    record.write_json(&mut json);
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, json).into_response()
}
