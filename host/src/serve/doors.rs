//! The listeners and what they answer with. Knows nothing of what is asked.

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::http::{self, Closing, Routes};

/// The listeners: bound at first, then open, at last closed.
pub(super) struct Doors {
    bound: Vec<(TcpListener, Routes)>,
    closing: Closing,
    stop: watch::Sender<bool>,
    open: JoinSet<()>,
}

impl Doors {
    pub(super) fn new(bound: Vec<(TcpListener, Routes)>, closing: Closing) -> Self {
        Self {
            bound,
            closing,
            stop: watch::Sender::new(false),
            open: JoinSet::new(),
        }
    }

    /// Answers from here on. Does nothing where it does already.
    pub(super) fn open(&mut self) {
        for (listener, routes) in self.bound.drain(..) {
            let mut stop = self.stop.subscribe();
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            let closing = self.closing.clone();
            self.open
                .spawn(http::serve(listener, routes, closing, stopped));
        }
    }

    /// Takes nobody in any more; those who are in are answered meanwhile.
    pub(super) fn close(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when all that were in have gone.
    pub(super) async fn closed(mut self) {
        self.close();
        while self.open.join_next().await.is_some() {}
    }
}
