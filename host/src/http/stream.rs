//! `GET /v1/stream`: what is committed, as server-sent events.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::Error};
use tokio::{sync::OwnedSemaphorePermit, time::Interval};
use utoipa::IntoParams;

use super::{
    App, Closing, Shared,
    auth::{Caller, ToRead},
    body::{Query, SymbolParam},
    problem::{BAD_REQUEST, Problem, UNAVAILABLE},
    signals::SideParam,
};
use crate::view::{Event, Filter, Kinds, Positions, Subscription};

const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// What is taken at once for a client, of each kind: a slow one has no more than this in memory.
const CHUNK_BYTES: usize = 64 << 10;

/// How long a stream waits before it asks a view again that could not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What to stream.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Only of this symbol.
    #[param(value_type = Option<String>)]
    symbol: Option<SymbolParam>,
    /// Signals and values only of this strategy.
    strategy: Option<String>,
    /// Signals only of this side: `buy` or `sell`.
    #[param(value_type = Option<String>)]
    side: Option<SideParam>,
    /// Some of `signal`, `value`, `tick`, joined by commas.
    #[serde(default)]
    #[param(value_type = Option<String>, default = "signal", example = "signal,value")]
    types: Types,
}

struct Types(Kinds);

impl Default for Types {
    fn default() -> Self {
        Self(Kinds {
            signals: true,
            values: false,
            ticks: false,
        })
    }
}

impl<'de> Deserialize<'de> for Types {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut kinds = Kinds {
            signals: false,
            values: false,
            ticks: false,
        };
        for kind in String::deserialize(deserializer)?.split(',') {
            match kind {
                "signal" => kinds.signals = true,
                "value" => kinds.values = true,
                "tick" => kinds.ticks = true,
                other => {
                    return Err(D::Error::custom(format!(
                        "types has {other:?}; use some of signal, value, tick, joined by commas"
                    )));
                }
            }
        }
        Ok(Self(kinds))
    }
}

/// Streams signals, indicator values and ticks as they are committed, as server-sent events.
///
/// Events: `signal`, `value` and `tick` with JSON; `heartbeat` at once and every 15 s; `gap` where signals that the client
/// has not seen are older than those that are kept. The id of `signal`, `gap` and `heartbeat` is the place in the stream:
/// a client that comes again with it as `Last-Event-ID`, to any replica, gets each signal that it has not seen, once.
/// A client that reads slowly misses no signal; of values and ticks it gets the newest of each.
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
    let app: Arc<App> = shared.app;
    let positions = match headers.get("Last-Event-ID") {
        Some(id) => {
            let id = id.to_str().unwrap_or_default();
            let positions = Positions::parse(id, app.view().partitions());
            Some(
                positions
                    .map_err(|e| Problem::of_field(BAD_REQUEST, "Last-Event-ID", e.to_string()))?,
            )
        }
        None => None,
    };
    let Ok(permit) = shared.streams.try_acquire_owned() else {
        let streams = app.limits.streams;
        return Err(Problem::new(
            UNAVAILABLE,
            format!("{streams} streams are open already; close some or ask another replica"),
        ));
    };
    let filter = Filter {
        symbol: query.symbol.map(|symbol| symbol.0),
        strategy: query.strategy,
        side: query.side.map(|side| side.0),
    };
    let stream = Stream {
        subscription: app.view().subscribe(filter, query.types.0, positions),
        heartbeat: tokio::time::interval(HEARTBEAT_EVERY),
        closing: app.closing.clone(),
        _permit: permit,
        _counted: Counted::new(),
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
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Counts an open stream while it lives.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("wigwag_http_streams").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("wigwag_http_streams").decrement(1);
    }
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
                write_event(&mut chunk, &id, event);
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

fn write_event(chunk: &mut Vec<u8>, id: &str, event: Event<'_>) {
    match event {
        Event::Signal(json) => write(chunk, "signal", id, json),
        Event::Value(json) => write(chunk, "value", "", json),
        Event::Tick(json) => write(chunk, "tick", "", json),
        Event::Gap {
            partition,
            from,
            to,
        } => {
            let json = format!("{{\"partition\":{partition},\"from\":{from},\"to\":{to}}}");
            write(chunk, "gap", id, json.as_bytes());
        }
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
