//! All of it as one service: opens the log, starts the roles, answers, and stops within a deadline.

mod doors;
mod opening;
mod tokens;

use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use doors::Doors;
use opening::{Waits, open_log};
use tokio::net::TcpListener;

use crate::{
    config::{self, LogUrl, Reads, Role, ServeOptions},
    control::Control,
    engine::{self, CheckpointEvery, EngineStatus},
    http::{self, Access, App, Closing, IngestApp, Routes, Tokens},
    ingest::{self, Ingest},
    log::Log,
    metrics,
    notify::{self, Webhooks},
    plugin::{BUILT_IN, Compiler, Digest, Runtime},
    view::{self, View},
};

/// How long the roles may take to stop; HTTP has the rest of two seconds.
const STOP_WITHIN: Duration = Duration::from_millis(1700);

/// What a service writes into its data folder for those who ask it: where it listens, and the admin token of this run.
pub const ADDRESS_FILE: &str = "address";
/// See [`ADDRESS_FILE`].
pub const TOKEN_FILE: &str = "admin.token";

/// Runs the service until `shutdown` ends.
///
/// # Errors
/// What keeps it from starting. Once it runs, trouble is told by `/readyz` and the log, and it goes on.
pub async fn serve(
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener = bind(options.listen).await?;
    let ingest_listener = match options.ingest_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    std::fs::create_dir_all(&options.log.data_dir).with_context(|| {
        format!(
            "data folder {} cannot be made",
            options.log.data_dir.display()
        )
    })?;
    let addresses = (
        listener.local_addr()?,
        ingest_listener
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?,
    );
    let waits = Waits::default();
    let (told, reason) = (waits.clone(), waits.clone());
    let routes = Routes::from(http::waiting_router(move || told.reason()));
    let ingest_routes = Routes::from(http::waiting_router(move || reason.reason()));
    let mut bound = vec![(listener, routes.clone())];
    bound.extend(ingest_listener.map(|listener| (listener, ingest_routes.clone())));
    let closing = Closing::default();
    let mut doors = Doors::new(bound, closing.clone());
    // Brokers may be away for long; a file is there at once or not at all.
    let is_remote = matches!(options.log.url, LogUrl::Kafka(_));
    if is_remote {
        announce(&options, addresses);
        doors.open();
    }
    let mut shutdown = pin!(shutdown);
    let log = tokio::select! {
        log = open_log(&options, &waits) => log?,
        () = &mut shutdown => {
            doors.closed().await;
            return Ok(());
        }
    };
    // The folder is ours from here on, and so is the token in it.
    let access = Arc::new(access(&options)?);
    write_address(&options.log.data_dir, addresses.0)?;
    if !is_remote {
        announce(&options, addresses);
    }
    let runtime = Runtime::try_new(compiler(&options.log.data_dir)?, options.plugins.limits())?;
    let control = Control::start(log.clone(), runtime)?.admitting(options.admission());
    let control = Arc::new(control);
    let targets = options.notify().targets;
    let webhooks = Arc::new(Webhooks::start(log.clone(), targets, now_s)?);
    let ingest = Ingest::new(log.clone(), ingest_options(&options));
    let status = Arc::new(EngineStatus::default());
    let view = match options.has(Role::Api) {
        true => Some(open_view(&options, &log).await?),
        false => None,
    };
    let mut roles = Roles::start(&options, &log, &control, &ingest, &status)?;
    if options.has(Role::Notify) {
        roles.start_notify(&options, &webhooks)?;
    }
    let rereading = tokio::spawn(tokens::follow(
        config::file_of(&options),
        options.tokens.clone(),
        access.tokens.clone(),
    ));
    let ingest_app = IngestApp {
        ingest,
        access: access.clone(),
        limits: http_limits(&options),
        clock: now_s,
    };
    let app = App {
        ingest: options.has(Role::Ingest).then(|| ingest_app.clone()),
        view: view.clone(),
        control: control.clone(),
        webhooks: webhooks.clone(),
        log: log.clone(),
        outlasts_log: !options.has(Role::Ingest) && !options.has(Role::Engine),
        ready: ready(&options, &control, &webhooks, &status),
        access,
        limits: http_limits(&options),
        metrics: metrics::install(),
        closing,
    };
    ingest_routes.replace(http::ingest_router(ingest_app));
    routes.replace(http::router(app));
    doors.open();

    shutdown.await;
    tracing::info!("stopping");
    rereading.abort();
    // Ingest and API answer until the last step is committed: HTTP drains while the engine finishes.
    doors.close();
    roles.stop().await;
    doors.closed().await;
    if let Some(view) = view {
        drop(tokio::task::spawn_blocking(move || view.stop()).await);
    }
    tracing::info!("stopped");
    Ok(())
}

fn access(options: &ServeOptions) -> anyhow::Result<Access> {
    let mut tokens = Tokens::try_new(&options.tokens)?;
    if options.tokens.is_empty() {
        let (with_admin, token) = tokens.with_fresh_admin();
        tokens = with_admin;
        let path = write_token(&options.log.data_dir, &token)?;
        #[expect(
            clippy::print_stderr,
            reason = "for the person who started it, and not for log collectors"
        )]
        {
            eprintln!(
                "admin token of this run: {token} (also in {})",
                path.display()
            );
        }
    }
    let all_loopback = [Some(options.listen), options.ingest_listen]
        .iter()
        .flatten()
        .all(|a| a.ip().is_loopback());
    Ok(Access {
        tokens: tokens.into(),
        closed_reads: options.reads == Reads::Token,
        open_ingest: all_loopback,
        hosts: options.allowed_host.clone(),
    })
}

fn http_limits(options: &ServeOptions) -> http::Limits {
    http::Limits {
        ingest_bytes: ingest_options(options).max_body_bytes,
        ..http::Limits::default()
    }
}

async fn open_view(options: &ServeOptions, log: &Arc<dyn Log>) -> anyhow::Result<View> {
    let (folder, log) = (options.log.data_dir.clone(), log.clone());
    let now_ms = (now_s() * 1000.0) as i64;
    let open = move || View::open(&folder, view::Limits::default(), log, now_ms);
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// What must be true, beside log and view, before the service is ready.
fn ready(
    options: &ServeOptions,
    control: &Arc<Control>,
    webhooks: &Arc<Webhooks>,
    status: &Arc<EngineStatus>,
) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    let (control, status, is_engine) = (control.clone(), status.clone(), options.has(Role::Engine));
    let webhooks = webhooks.clone();
    let sole_engine = options.log.url == LogUrl::Embedded;
    let partitions = options.log.partitions() as usize;
    Arc::new(move || {
        if !control.is_caught_up() {
            return Err("plugins and strategies are being read from the log".to_owned());
        }
        if !webhooks.is_caught_up() {
            return Err("webhooks are being read from the log".to_owned());
        }
        let running = status.partitions();
        if let Some((number, trouble)) = running
            .iter()
            .find_map(|(n, p)| p.trouble.as_ref().map(|t| (n, t)))
        {
            return Err(format!("partition {number} stands still: {trouble}"));
        }
        if is_engine && sole_engine && running.len() < partitions {
            return Err(format!(
                "the engine has {} of {partitions} partitions",
                running.len()
            ));
        }
        if let Some((number, _)) = running.iter().find(|(_, p)| !p.live) {
            return Err(format!(
                "partition {number} is being brought to its committed position"
            ));
        }
        match status.endangered().into_values().next() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    })
}

/// What an operator asks for first.
fn announce(options: &ServeOptions, (address, for_records): (SocketAddr, Option<SocketAddr>)) {
    let log = match &options.log.url {
        LogUrl::Embedded => format!("embedded, {}", options.log.data_dir.display()),
        LogUrl::Kafka(brokers) => format!("kafka://{brokers}"),
    };
    let limits = options.plugins.limits();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        log,
        partitions = options.log.partitions(),
        roles = ?options.roles,
        plugin_memory_bytes = limits.memory_bytes,
        plugin_row_fuel = limits.row_fuel,
        "starting"
    );
    for (name, bytes) in BUILT_IN {
        tracing::info!(plugin = name, digest = %Digest::of(bytes), "built-in");
    }
    let address = address.to_string();
    tracing::info!(address, "listening");
    if let Some(address) = for_records {
        let address = address.to_string();
        tracing::info!(address, "listening for records");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let hint = "is it in use? choose another with --listen or --ingest-listen";
    TcpListener::bind(address)
        .await
        .with_context(|| format!("address {address} cannot be listened on; {hint}"))
}

/// This very program compiles plugins; what it made is kept in the data folder.
fn compiler(data_dir: &Path) -> anyhow::Result<Compiler> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    Ok(Compiler::new(program, Some(data_dir.join("compiled"))))
}

fn ingest_options(options: &ServeOptions) -> ingest::Options {
    ingest::Options {
        max_body_bytes: usize::try_from(options.max_body).unwrap_or(usize::MAX),
        max_future_skew: Duration::from_millis(options.max_future_skew).as_secs_f64(),
        ..ingest::Options::default()
    }
}

/// The clock of ingest: whether a record lies in the future.
#[expect(
    clippy::disallowed_methods,
    reason = "an edge of the service: records are judged by its clock once, here"
)]
fn now_s() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// What runs beside HTTP.
struct Roles {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    tasks: tokio::task::JoinSet<()>,
    stop_tasks: tokio::sync::watch::Sender<bool>,
}

impl Roles {
    fn start(
        options: &ServeOptions,
        log: &Arc<dyn Log>,
        control: &Arc<Control>,
        ingest: &Ingest,
        status: &Arc<EngineStatus>,
    ) -> anyhow::Result<Self> {
        let mut roles = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            tasks: tokio::task::JoinSet::new(),
            stop_tasks: tokio::sync::watch::Sender::new(false),
        };
        if options.has(Role::Engine) {
            roles.start_engine(options, log, control, status)?;
        }
        if options.has(Role::Ingest) {
            if matches!(options.log.url, LogUrl::Kafka(_)) {
                let (log, settings, stop) =
                    (log.clone(), ingest_options(options), roles.stop.clone());
                roles.thread("raw-intake", move || {
                    ingest::run_raw_intake(log, settings, now_s, stop)
                })?;
            }
            let client = reqwest::Client::builder()
                // Each fetch opens a connection, so that a balancer's replicas take turns.
                .pool_max_idle_per_host(0)
                .timeout(Duration::from_secs(10))
                .build()?;
            for url in &options.pull {
                let mut stopped = roles.stop_tasks.subscribe();
                let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
                let pull = ingest::pull(
                    url.parse()?,
                    options.pull_every(),
                    ingest.clone(),
                    client.clone(),
                    now_s,
                    shutdown,
                );
                roles.tasks.spawn(pull);
            }
        }
        Ok(roles)
    }

    /// The engine takes no tick before the strategies are known: a new log's first tick is seen by all of them.
    fn start_engine(
        &mut self,
        options: &ServeOptions,
        log: &Arc<dyn Log>,
        control: &Arc<Control>,
        status: &Arc<EngineStatus>,
    ) -> anyhow::Result<()> {
        let every = CheckpointEvery {
            rows: usize::try_from(options.checkpoint_rows).unwrap_or(usize::MAX),
            interval: Duration::from_millis(options.checkpoint_interval),
        };
        let step_interval = Duration::from_millis(options.step_interval);
        let (log, control, status, stop) = (
            log.clone(),
            control.clone(),
            status.clone(),
            self.stop.clone(),
        );
        let watch = (log.clone(), status.clone(), stop.clone());
        self.thread("engine-watch", move || {
            engine::watch(&*watch.0, &watch.1, &watch.2);
        })?;
        let handle = tokio::runtime::Handle::current();
        self.thread("engine", move || {
            if handle.block_on(ready_control(&control, &stop)) {
                engine::run(log, control, every, step_interval, status, stop);
            }
        })
    }

    fn start_notify(
        &mut self,
        options: &ServeOptions,
        webhooks: &Arc<Webhooks>,
    ) -> anyhow::Result<()> {
        let (webhooks, options, stop) = (webhooks.clone(), options.notify(), self.stop.clone());
        let runtime = tokio::runtime::Handle::current();
        self.thread("notify", move || {
            let _within = runtime.enter();
            notify::run(webhooks, options, now_s, stop);
        })
    }

    fn thread(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        self.threads.push(
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)?,
        );
        Ok(())
    }

    /// Stops reading, finishes and commits the step in hand.
    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stop_tasks.send_replace(true);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                drop(thread.join());
            }
        });
        let all = async {
            drop(joined.await);
            while self.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            let millis = u64::try_from(STOP_WITHIN.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                millis,
                "not all stopped in time; what was not committed is done again at the next start"
            );
        }
    }
}

/// Waits for what `control` holds, and deploys what a new log lacks. False where the service stops before.
async fn ready_control(control: &Control, stop: &AtomicBool) -> bool {
    let built_in = BUILT_IN.map(|(_, bytes)| bytes);
    let deployed = async {
        control.caught_up().await;
        while let Err(error) = control.deploy_defaults(&built_in).await {
            tracing::warn!(%error, "built-in plugins not deployed; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = deployed => true,
        () = stopped => false,
    }
}

/// Says where it listens, as a client on this machine reaches it.
fn write_address(folder: &Path, mut address: SocketAddr) -> anyhow::Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let path = folder.join(ADDRESS_FILE);
    std::fs::write(&path, format!("http://{address}"))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Keeps the token where only we, and the commands that we start, can read it.
fn write_token(folder: &Path, token: &str) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join(TOKEN_FILE);
    // A file that is there keeps its mode, so it goes first.
    drop(std::fs::remove_file(&path));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(token.as_bytes())?;
    Ok(path)
}
