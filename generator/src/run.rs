//! One run from start to end: reads records when they are due, hands them to the target in batches, reports.

use std::{io, mem, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tracing::info;

use crate::{
    batch::Batch,
    clock,
    feed::Feed,
    grid::GridError,
    listen,
    market::Market,
    options::Options,
    pace::Pace,
    record::Record,
    replay::{Merge, Replay, ReplayError},
    stop::{Stop, stop},
    target::{Address, SendError, Sent, Target},
    totals::{Display, Totals},
};

/// How long the first record of a batch waits for others.
const LINGER: Duration = Duration::from_millis(20);

/// Why a run failed.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum RunError {
    #[error("{0}")]
    Grid(#[from] GridError),
    #[error("{0}")]
    Replay(#[from] ReplayError),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("listen address {0}: {1}")]
    Listen(SocketAddr, io::Error),
}

/// Does what the options say until it is done or `shutdown` completes; then ends within two seconds.
///
/// # Errors
/// When a file, an address or the target does not do what it should; what was sent before that is reported all the
/// same.
pub async fn run(
    options: Options,
    display: &Display,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (stopper, stop) = stop();
    let totals = Arc::new(Totals::default());
    let begun = Instant::now();
    let work = async {
        let serving = async {
            match options.listen {
                Some(address) => serve(address, &options, stop.clone()).await,
                None => Ok(()),
            }
        };
        let sending = async {
            match options.target() {
                Some(address) => send(&address, &options, &totals, display, &stop).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(serving, sending).map(|_| ())
    };
    let mut work = std::pin::pin!(work);
    let done = tokio::select! {
        done = &mut work => done,
        () = shutdown => {
            stopper.ask();
            work.await
        }
    };
    if options.target().is_some() {
        display.finish(&totals, begun.elapsed());
    }
    done
}

async fn serve(address: SocketAddr, options: &Options, stop: Stop) -> Result<(), RunError> {
    let market = Market::try_new(&options.market_shape())?;
    let failed = |error| RunError::Listen(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let url = format!("http://{}/", listener.local_addr().map_err(failed)?);
    info!(url, "serving the newest record");
    listen::serve(listener, market, options.name.as_deref(), stop)
        .await
        .map_err(failed)
}

async fn send(
    address: &Address,
    options: &Options,
    totals: &Arc<Totals>,
    display: &Display,
    stop: &Stop,
) -> Result<(), RunError> {
    let mut target = Target::open(
        address,
        options.token.as_deref(),
        options.producer_id.as_deref(),
        Arc::clone(totals),
    )?;
    let mut batches = Batches::open(options)?;
    info!(to = %address, "sending");
    let pumping = async {
        let pumped = pump(&mut batches, &mut target, stop).await;
        // What was given to the target before a failure still is to arrive.
        let finished = target.finish(stop).await;
        pumped.and_then(|()| Ok(finished?))
    };
    tokio::select! {
        pumped = pumping => pumped,
        () = display.report(totals) => Ok(()),
    }
}

/// Fills the next batch while the one before is under way.
async fn pump(batches: &mut Batches, target: &mut Target, stop: &Stop) -> Result<(), RunError> {
    let (mut full, mut empty) = (Batch::default(), Batch::default());
    let mut more = batches.fill_until_stopped(&mut full, stop).await;
    while !full.is_empty() && !stop.is_asked() {
        let filling = async {
            // Lets the connection write the request before this thread is busy filling.
            yield_now().await;
            match more {
                Ok(true) => batches.fill_until_stopped(&mut empty, stop).await,
                end => end,
            }
        };
        let (sent, filled) = tokio::join!(target.send(&mut full, stop), filling);
        more = filled;
        if sent? == Sent::Enough {
            return Ok(());
        }
        full.clear();
        mem::swap(&mut full, &mut empty);
    }
    more.map(|_| ())
}

type Records = Box<dyn Iterator<Item = Result<Record, ReplayError>>>;

/// The records of a run in batches, each when it is due.
struct Batches {
    records: Records,
    pace: Pace,
    size: usize,
    /// Read, but not due yet.
    pending: Option<Record>,
}

impl Batches {
    fn open(options: &Options) -> Result<Self, RunError> {
        let (records, pace) = match options.replay.is_empty() {
            false => Self::replayed(options)?,
            true => Self::simulated(options)?,
        };
        Ok(Self {
            records,
            pace,
            size: options.batch,
            pending: None,
        })
    }

    fn replayed(options: &Options) -> Result<(Records, Pace), RunError> {
        let symbol = match options.symbols.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        let files = options.replay.iter();
        let replays = files.map(|path| Replay::open(path, symbol));
        let merged = Merge::of(replays.collect::<Result<_, _>>()?);
        let records: Records = match options.sort {
            true => Box::new(merged.sorted()?.map(Ok)),
            false => Box::new(merged),
        };
        let count = options.count.and_then(|count| usize::try_from(count).ok());
        let pace = if options.speed == 0.0 {
            Pace::Unbounded
        } else {
            Pace::relative(options.speed)
        };
        Ok((Box::new(records.take(count.unwrap_or(usize::MAX))), pace))
    }

    fn simulated(options: &Options) -> Result<(Records, Pace), RunError> {
        let market = Market::try_new(&options.market_shape())?;
        let grid = market.grid();
        let (from, pace) = match (options.start_time, options.rate) {
            (Some(_), 0.0) => (grid.origin(), Pace::Unbounded),
            (Some(_), _) => (grid.origin(), Pace::relative(1.0)),
            (None, _) => {
                let newest = grid.newest(clock::now_us());
                let next = newest.map_or(grid.origin(), |slot| grid.after(slot));
                (next, Pace::Wall { seen_us: 0 })
            }
        };
        let count = options.count.unwrap_or(u64::MAX);
        let feed = Feed::new(market, options.share, from, count);
        Ok((Box::new(feed.map(Ok)), pace))
    }

    /// Fills a batch as [`Batches::fill`] does, but leaves it as it is when `stop` is asked for.
    async fn fill_until_stopped(
        &mut self,
        batch: &mut Batch,
        stop: &Stop,
    ) -> Result<bool, RunError> {
        tokio::select! {
            filled = self.fill(batch) => Ok(filled?),
            () = stop.asked() => Ok(false),
        }
    }

    /// Waits for the next record and adds those that are due soon after it. `false` says that no more will come.
    async fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReplayError> {
        let mut closes = None;
        while batch.len() < self.size {
            let record = match self.pending.take() {
                Some(record) => record,
                None => match self.records.next().transpose()? {
                    Some(record) => record,
                    None => return Ok(false),
                },
            };
            if let Some(due) = self.pace.due(record.time_us) {
                // Kept where the next call, or one after a cancelled wait, finds it.
                self.pending = Some(record);
                if closes.is_some_and(|closes| due > closes) {
                    return Ok(true);
                }
                sleep_until(due).await;
                continue;
            }
            if batch.is_empty() {
                closes = Some(Instant::now() + LINGER);
            }
            batch.push(&record);
        }
        Ok(true)
    }
}
