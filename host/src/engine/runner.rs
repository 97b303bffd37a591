//! The threads around the core: takes partitions as the log gives them, and owns each on a thread of its own until it is
//! lost, fails, or the engine stops.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{CheckpointEvery, Deployment, Kept, Owner, takeover::TakeoverError};
use crate::log::{Group, Lease, Log, LogError, Offset};

/// How long to wait before a partition that cannot be taken over is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How often it is told that the brokers are still away.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// How long a stop waits for the last steps.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// What the engine of this process is doing.
#[derive(Debug, Default)]
pub struct EngineStatus {
    partitions: Mutex<BTreeMap<u32, Progress>>,
    /// Partitions where retention comes near what a takeover has to replay.
    endangered: Mutex<BTreeMap<u32, String>>,
}

/// What it is doing on one partition that is its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether it has reached its committed position and takes new ticks.
    pub live: bool,
    /// The offset of the next message.
    pub position: Offset,
    /// Why it stands still, where it does.
    pub trouble: Option<String>,
    /// Strategies that are on it.
    pub strategies: usize,
    /// The newest committed checkpoint.
    pub checkpoint: Option<Kept>,
}

impl EngineStatus {
    /// The partitions of this process, by number.
    #[must_use]
    pub fn partitions(&self) -> BTreeMap<u32, Progress> {
        self.lock().clone()
    }

    /// What retention is about to take from whom, in words.
    #[must_use]
    pub fn endangered(&self) -> BTreeMap<u32, String> {
        let endangered = self.endangered.lock();
        endangered.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_endangered(&self, all: BTreeMap<u32, String>) {
        let mut endangered = self
            .endangered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *endangered = all;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Progress>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every partition's thread needs.
#[derive(Clone)]
struct Context {
    log: Arc<dyn Log>,
    deployment: Arc<dyn Deployment>,
    every: CheckpointEvery,
    step_interval: Duration,
    status: Arc<EngineStatus>,
    stop: Arc<AtomicBool>,
}

/// Runs until `stop`: joins the engines, and owns a thread for each partition that it is given.
pub fn run(
    log: Arc<dyn Log>,
    deployment: Arc<dyn Deployment>,
    every: CheckpointEvery,
    step_interval: Duration,
    status: Arc<EngineStatus>,
    stop: Arc<AtomicBool>,
) {
    let context = Context {
        log,
        deployment,
        every,
        step_interval,
        status,
        stop,
    };
    let mut owners: Vec<JoinHandle<()>> = Vec::new();
    let mut told: Option<Instant> = None;
    while !context.stop.load(Ordering::Relaxed) {
        if let Err(error) = share(&context, &mut owners) {
            if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                tracing::warn!(%error, "engine cannot share the partitions; trying again");
                told = Some(Instant::now());
            }
            std::thread::sleep(TRY_AGAIN.min(Duration::from_millis(500)));
        }
    }
    for owner in owners {
        drop(owner.join());
    }
}

fn share(context: &Context, owners: &mut Vec<JoinHandle<()>>) -> Result<(), LogError> {
    let mut member = context.log.join(Group::Engine)?;
    while !context.stop.load(Ordering::Relaxed) {
        let lease = member.poll(Duration::from_millis(100))?;
        owners.retain(|owner| !owner.is_finished());
        let Some(lease) = lease else { continue };
        // What an owner gave up because of the stop comes back at once.
        if context.stop.load(Ordering::Relaxed) {
            break;
        }
        let context = context.clone();
        let name = format!("engine-{}", lease.partition());
        let owner = std::thread::Builder::new()
            .name(name)
            .spawn(move || own(&context, lease));
        match owner {
            Ok(owner) => owners.push(owner),
            Err(error) => tracing::error!(%error, "no thread for a partition"),
        }
    }
    // The member stays until the partitions are given up: their last commits need it.
    for owner in owners.drain(..) {
        drop(owner.join());
    }
    Ok(())
}

/// Owns one partition until it is lost, fails, or the engine stops.
fn own(context: &Context, mut lease: Box<dyn Lease>) {
    let number = lease.partition();
    // Trouble is over when a step is committed again, and not when it is tried again.
    let trouble = context.status.lock().remove(&number);
    let trouble = trouble.and_then(|progress| progress.trouble);
    let progress = Progress {
        trouble: trouble.clone(),
        ..Progress::default()
    };
    context.status.lock().insert(number, progress);
    let ended = live(context, &mut *lease, trouble);
    match ended {
        Ok(()) => {
            context.status.lock().remove(&number);
        }
        Err(TakeoverError::Log(error @ LogError::Lost { .. })) => {
            tracing::info!(partition = number, %error, "partition given up");
            context.status.lock().remove(&number);
        }
        Err(error) => {
            tracing::error!(partition = number, %error, "partition stands still; trying again");
            metrics::counter!("wigwag_engine_partition_failures_total").increment(1);
            let progress = Progress {
                trouble: Some(error.to_string()),
                ..Progress::default()
            };
            context.status.lock().insert(number, progress);
            wait(&context.stop, TRY_AGAIN);
        }
    }
}

fn live(
    context: &Context,
    lease: &mut dyn Lease,
    mut trouble: Option<String>,
) -> Result<(), TakeoverError> {
    let (log, deployment) = (context.log.clone(), context.deployment.clone());
    let mut owner = Owner::take_over(log, deployment, context.every, lease, Instant::now())?
        .with_step_interval(context.step_interval);
    while !context.stop.load(Ordering::Relaxed) {
        owner.turn(lease, Instant::now())?;
        trouble = trouble.filter(|_| !owner.has_settled());
        let (position, strategies) = owner.progress();
        let progress = Progress {
            live: true,
            position,
            trouble: trouble.clone(),
            strategies,
            checkpoint: owner.checkpoint(),
        };
        context.status.lock().insert(lease.partition(), progress);
    }
    let until = Instant::now() + STOP_WITHIN;
    while !owner.finish(lease, Instant::now())? && Instant::now() < until {}
    Ok(())
}

pub(super) fn wait(stop: &AtomicBool, time: Duration) {
    let until = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}
