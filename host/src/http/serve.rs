//! Accepts connections, bounded in number and patience, and ends them under one deadline.

use std::{io::ErrorKind, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use super::{ingest::Peer, stall::Impatient};

/// Connections of one listener; the next waits in the system's queue.
const MAX_CONNECTIONS: usize = 4_096;

/// A client that has a connection sends a request's headers, the first or the next, within this.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Bytes that a connection reads ahead or holds unwritten; also the longest headers.
const BUFFER_BYTES: usize = 64 << 10;

/// What is still being answered when the service stops has so long.
const DRAIN_WITHIN: Duration = Duration::from_millis(1_500);

/// Tells streams and connections that the service stops. Clones are one.
#[derive(Clone)]
pub struct Closing(Arc<watch::Sender<bool>>);

impl Default for Closing {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Closing {
    /// Ends the streams, and each connection after the answer in hand.
    pub fn close(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) async fn closed(&self) {
        // The sender is held here, so it cannot fail.
        let _ = self.0.subscribe().wait_for(|closed| *closed).await;
    }
}

/// What a listener answers with. It may change while it is served; clones are one.
#[derive(Clone)]
pub struct Routes(watch::Sender<Router>);

impl Routes {
    /// Answers later requests with other routes.
    pub fn replace(&self, router: Router) {
        drop(self.0.send_replace(router));
    }

    fn now(&self) -> Router {
        self.0.borrow().clone()
    }
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self(watch::Sender::new(router))
    }
}

/// Serves until `shutdown` ends; then closes `closing`, takes no more requests, finishes those in hand, and drops what is
/// not finished within 1.5 s.
pub async fn serve(
    listener: TcpListener,
    routes: impl Into<Routes>,
    closing: Closing,
    shutdown: impl Future<Output = ()>,
) {
    let routes = routes.into();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, peer, place) = accept(&listener, &places) => {
                connections.spawn(connection(stream, peer, place, routes.clone(), closing.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    closing.close();
    let drained = tokio::time::timeout(DRAIN_WITHIN, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "dropped what was not answered in time"
        );
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let place = places.clone().acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            // The client went away before it was served.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                // Out of files or memory: it passes when connections end.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    routes: Routes,
    closing: Closing,
) {
    // Fails where the peer is gone, which is seen soon anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        routes.now().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = closing.closed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(place);
}
