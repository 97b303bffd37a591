//! `GET /v1/ws`: several subscriptions on one WebSocket, each with the filters, the events and the places of
//! `GET /v1/stream`.
//!
//! The rule for slow clients is that of the other stream, since both fetch from the same subscriptions: no signal is left
//! out, of the rest the newest of each comes, and a peer that takes nothing for a while is dropped. While a message
//! cannot be written nothing is read, so that a client cannot ask for more than it takes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{
        State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
        },
    },
    response::Response,
};
use futures_util::{SinkExt, future::select_all};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Interval;

use super::{
    App, Closing, Shared,
    auth::{Caller, OwnPage, ToRead},
    body::{NoParameters, Query},
    problem::{BAD_REQUEST, NOT_FOUND, Problem},
    subscriber::{CHUNK_BYTES, HEARTBEAT_EVERY, RETRY_AFTER, Seat, StreamQuery, positions, words},
};
use crate::view::{Positions, Subscription};

/// Subscriptions of one socket.
const MAX_SUBSCRIPTIONS: usize = 32;

/// The longest message of a client in bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// A client that takes nothing is not told that the service stops.
const SAY_STOP_WITHIN: Duration = Duration::from_millis(500);

/// The longest id of a subscription in bytes; it comes back with each event.
const MAX_ID_BYTES: usize = 64;

/// What a client asks.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Order {
    /// A subscription under an id of the client's choice; one of the same id is replaced.
    Subscribe {
        id: String,
        #[serde(default)]
        query: StreamQuery,
        last_event_id: Option<String>,
    },
    Unsubscribe {
        id: String,
    },
}

/// Opens a WebSocket over which signals, indicator values, closed bars and ticks come as they are committed.
///
/// Send `{"op": "subscribe", "id": ID, "query": {...}, "last_event_id": ...}`, where `query` has the parameters of
/// `GET /v1/stream`, and `{"op": "unsubscribe", "id": ID}`. Each message is `{"event", "subscription", "id", "data"}` with
/// the events of `GET /v1/stream`, and `subscribed`, `unsubscribed` and `error` (a problem) as answers. See docs/streams.md.
#[utoipa::path(
    get, path = "/v1/ws", tag = "signals", operation_id = "open_socket",
    responses(
        (status = 101, description = "messages as JSON text"),
        (status = 400, description = "the request opens no WebSocket", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "a page of another site asks", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "too many streams are open", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn open(
    State(shared): State<Shared>,
    _: OwnPage,
    _: Caller<ToRead>,
    _: Query<NoParameters>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|error| {
        let detail = format!("this address is a WebSocket, and the request opens none: {error}");
        Problem::new(BAD_REQUEST, detail)
    })?;
    let seat = Seat::take(&shared)?;
    let app: Arc<App> = shared.app;
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async |socket| {
        let client = Client {
            socket,
            subscriptions: BTreeMap::new(),
            heartbeat: tokio::time::interval(HEARTBEAT_EVERY),
            closing: app.closing.clone(),
            app,
            _seat: seat,
        };
        client.serve().await;
    }))
}

struct Client {
    socket: WebSocket,
    subscriptions: BTreeMap<String, Subscription>,
    heartbeat: Interval,
    app: Arc<App>,
    closing: Closing,
    _seat: Seat,
}

impl Client {
    /// Until the client leaves, takes nothing for too long, or the service stops.
    async fn serve(mut self) {
        let closing = self.closing.clone();
        tokio::select! {
            biased;
            () = closing.closed() => {
                let stopping = CloseFrame { code: 1001, reason: "the service is stopping".into() };
                let told = self.socket.send(Message::Close(Some(stopping)));
                // It may be gone already, or take nothing.
                drop(tokio::time::timeout(SAY_STOP_WITHIN, told).await);
            }
            // An error is a client that is gone.
            _ = self.converse() => {}
        }
    }

    async fn converse(&mut self) -> Result<(), axum::Error> {
        loop {
            tokio::select! {
                biased;
                _ = self.heartbeat.tick() => self.beat().await?,
                message = self.socket.recv() => match message {
                    Some(message) => self.obey(message?).await?,
                    None => return Ok(()),
                },
                () = any_changed(&mut self.subscriptions) => self.tell_news().await?,
            }
        }
    }

    async fn obey(&mut self, message: Message) -> Result<(), axum::Error> {
        let text = match message {
            Message::Text(text) => text,
            // Close is answered by the next read, pings by the library.
            Message::Close(_) | Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) => {
                let problem = Problem::new(BAD_REQUEST, "the message is binary; send JSON as text");
                return self.answer("error", None, &problem.to_json()).await;
            }
        };
        let order = match serde_json::from_str(&text) {
            Ok(order) => order,
            Err(error) => {
                let problem =
                    Problem::new(BAD_REQUEST, format!("the message is no order: {error}"));
                return self.answer("error", None, &problem.to_json()).await;
            }
        };
        let (Order::Subscribe { id, .. } | Order::Unsubscribe { id }) = &order;
        let id = id.clone();
        match self.carry_out(order) {
            Ok(done) => {
                self.answer(done, Some(&id), &json!({})).await?;
                self.tell_news().await
            }
            Err(problem) => self.answer("error", Some(&id), &problem.to_json()).await,
        }
    }

    fn carry_out(&mut self, order: Order) -> Result<&'static str, Problem> {
        match order {
            Order::Subscribe {
                id,
                query,
                last_event_id,
            } => {
                if id.is_empty() || id.len() > MAX_ID_BYTES {
                    let bytes = id.len();
                    let rule = format!("id has {bytes} bytes; use 1 to {MAX_ID_BYTES}");
                    return Err(Problem::of_field(BAD_REQUEST, "id", rule));
                }
                let is_new = !self.subscriptions.contains_key(&id);
                if is_new && self.subscriptions.len() == MAX_SUBSCRIPTIONS {
                    let detail = format!(
                        "this socket has {MAX_SUBSCRIPTIONS} subscriptions already; end some or open another"
                    );
                    return Err(Problem::new(BAD_REQUEST, detail));
                }
                let view = self.app.view();
                let place = last_event_id
                    .map(|place| positions(view, "last_event_id", &place))
                    .transpose()?;
                let subscription = query.subscribe(view, place);
                self.subscriptions.insert(id, subscription);
                Ok("subscribed")
            }
            Order::Unsubscribe { id } => match self.subscriptions.remove(&id) {
                Some(_) => Ok("unsubscribed"),
                None => {
                    let detail =
                        format!("subscription {id:?} is not here; it was ended or never begun");
                    Err(Problem::new(NOT_FOUND, detail))
                }
            },
        }
    }

    /// Sends what is there for each subscription.
    async fn tell_news(&mut self) -> Result<(), axum::Error> {
        for (name, subscription) in &mut self.subscriptions {
            let mut messages = Vec::new();
            let taken = subscription.take(CHUNK_BYTES, |event, positions| {
                let (event, data) = words(event);
                messages.push(message(event, Some(name), positions, &data));
            });
            if let Err(error) = taken.await {
                tracing::warn!(%error, "a socket waits for the view");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            for message in messages {
                self.socket.feed(message).await?;
            }
        }
        self.socket.flush().await
    }

    /// One for each subscription, with its place; one without where there is none.
    async fn beat(&mut self) -> Result<(), axum::Error> {
        if self.subscriptions.is_empty() {
            let beat = message("heartbeat", None, None, b"{}");
            self.socket.feed(beat).await?;
        }
        for (name, subscription) in &self.subscriptions {
            let beat = message("heartbeat", Some(name), subscription.positions(), b"{}");
            self.socket.feed(beat).await?;
        }
        self.socket.flush().await
    }

    async fn answer(
        &mut self,
        event: &str,
        subscription: Option<&str>,
        data: &Value,
    ) -> Result<(), axum::Error> {
        let place = subscription.and_then(|id| self.subscriptions.get(id)?.positions());
        let data = data.to_string();
        let answer = message(event, subscription, place, data.as_bytes());
        self.socket.send(answer).await
    }
}

/// Waits until there may be something to take for one of them.
async fn any_changed(subscriptions: &mut BTreeMap<String, Subscription>) {
    let waiting = subscriptions.values_mut();
    let waiting: Vec<_> = waiting.map(|s| Box::pin(s.changed())).collect();
    match waiting.is_empty() {
        true => std::future::pending().await,
        false => drop(select_all(waiting).await),
    }
}

fn message(
    event: &str,
    subscription: Option<&str>,
    place: Option<&Positions>,
    data: &[u8],
) -> Message {
    let mut text = format!("{{\"event\":\"{event}\"");
    if let Some(id) = subscription {
        // The client's own text.
        text.push_str(",\"subscription\":");
        text.push_str(&Value::from(id).to_string());
    }
    if let Some(place) = place {
        text.push_str(&format!(",\"id\":\"{place}\""));
    }
    text.push_str(",\"data\":");
    text.push_str(std::str::from_utf8(data).expect("JSON is UTF-8"));
    text.push('}');
    Message::text(text)
}
