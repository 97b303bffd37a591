//! Carries the WAL over into the database, so that it starts anew and stays short. The long part runs on a
//! thread of its own beside the commits; only what came in meanwhile is left for the writer, who alone can see
//! to it that nothing comes in while it works.

use rusqlite::Connection;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

/// The WAL is carried over once about so much was written to it.
const WAL_BYTES: usize = 8 << 20;

const IDLE: u8 = 0;
const WORKING: u8 = 1;
const DONE: u8 = 2;

pub(super) struct Checkpoints {
    /// Written to the WAL since it last began anew, about.
    wal_bytes: usize,
    state: Arc<AtomicU8>,
    orders: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// With a connection for the thread.
    pub(super) fn new(connection: Connection, name: &str) -> std::io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let state = Arc::new(AtomicU8::new(IDLE));
        let (own_state, name) = (Arc::clone(&state), name.to_owned());
        let thread = std::thread::Builder::new()
            .name("log-checkpoint".into())
            .spawn(move || {
                for () in ordered {
                    checkpoint(&connection, &name);
                    own_state.store(DONE, Ordering::Release);
                }
            })?;
        Ok(Self {
            wal_bytes: 0,
            state,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.wal_bytes += bytes;
    }

    /// To be called between transactions with the connection that writes.
    pub(super) fn advance(&mut self, connection: &Connection, name: &str) {
        match self.state.load(Ordering::Acquire) {
            DONE => {
                checkpoint(connection, name);
                self.wal_bytes = 0;
                self.state.store(IDLE, Ordering::Release);
            }
            IDLE if self.wal_bytes >= WAL_BYTES => {
                self.state.store(WORKING, Ordering::Release);
                if let Some(orders) = &self.orders {
                    let _ = orders.send(());
                }
            }
            _ => {}
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// As far as no reader still needs the WAL; the next one goes on from there.
fn checkpoint(connection: &Connection, name: &str) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())) {
        tracing::warn!(%error, log = name, "the WAL was not carried over");
    }
}
