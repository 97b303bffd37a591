//! `GET /v1/stream`: what is committed, as server-sent events.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::time::Interval;

use super::{
    App, Closing, Shared,
    auth::{Caller, ToRead},
    body::Query,
    problem::Problem,
    subscriber::{CHUNK_BYTES, HEARTBEAT_EVERY, RETRY_AFTER, Seat, StreamQuery, positions, words},
};
use crate::view::{Positions, Subscription};

/// Streams signals, indicator values, closed bars and ticks as they are committed, as server-sent events.
///
/// Events: `signal`, `value`, `bar` and `tick` with JSON; `heartbeat` at once and every 15 s; `gap` where signals that the client
/// has not seen are older than those that are kept. The id of `signal`, `gap` and `heartbeat` is the place in the stream:
/// a client that comes again with it as `Last-Event-ID`, to any replica, gets each signal that it has not seen, once.
/// A client that reads slowly misses no signal; of values, bars and ticks it gets the newest of each.
#[utoipa::path(
    get, path = "/v1/stream", tag = "signals",
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header, description = "id of the last event that was seen")),
    responses(
        (status = 200, description = "events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "a parameter is wrong or unknown, or Last-Event-ID is not one of this API", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "too many streams are open", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn stream(
    State(shared): State<Shared>,
    _: Caller<ToRead>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seat = Seat::take(&shared)?;
    let app: Arc<App> = shared.app;
    let positions = match headers.get("Last-Event-ID") {
        Some(id) => {
            let id = id.to_str().unwrap_or_default();
            Some(positions(app.view(), "Last-Event-ID", id)?)
        }
        None => None,
    };
    let stream = Stream {
        subscription: query.subscribe(app.view(), positions),
        heartbeat: tokio::time::interval(HEARTBEAT_EVERY),
        closing: app.closing.clone(),
        _seat: seat,
    };
    let body = futures_util::stream::unfold(stream, async |mut stream| {
        let chunk = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies such as nginx would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Stream {
    subscription: Subscription,
    heartbeat: Interval,
    closing: Closing,
    _seat: Seat,
}

impl Stream {
    /// The next bytes; none when the service stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut chunk = Vec::new();
            let mut id = String::new();
            tokio::select! {
                biased;
                () = self.closing.closed() => return None,
                // Ready at once the first time, and so before anything else.
                _ = self.heartbeat.tick() => self.write_heartbeat(&mut chunk),
                () = self.subscription.changed() => {}
            }
            let taken = self.subscription.take(CHUNK_BYTES, |event, positions| {
                id.clear();
                if let Some(positions) = positions {
                    write!(id, "{positions}").expect("writing to memory does not fail");
                }
                let (name, json) = words(event);
                write(&mut chunk, name, &id, &json);
            });
            if let Err(error) = taken.await {
                tracing::warn!(%error, "a stream waits for the view");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            if !chunk.is_empty() {
                return Some(chunk.into());
            }
        }
    }

    fn write_heartbeat(&self, chunk: &mut Vec<u8>) {
        let id = self.subscription.positions().map(Positions::to_string);
        write(chunk, "heartbeat", id.as_deref().unwrap_or_default(), b"{}");
    }
}

/// JSON as the engine writes it holds no line ends.
fn write(chunk: &mut Vec<u8>, name: &str, id: &str, json: &[u8]) {
    let id_line = if id.is_empty() { "" } else { "\nid: " };
    for part in [
        b"event: ",
        name.as_bytes(),
        id_line.as_bytes(),
        id.as_bytes(),
        b"\ndata: ",
        json,
        b"\n\n",
    ] {
        chunk.extend_from_slice(part);
    }
}
