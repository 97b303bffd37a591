//! The program `wigwag`.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wigwag::{
    author,
    config::{
        self, ConfigError, LogFormat, LogOptions, LogUrl, PluginCommand, ServeOptions,
        StrategyCommand, VerifyOptions,
    },
    log::{Log, embedded::ReadOnlyLog, kafka::KafkaLog},
    plugin,
    serve::serve,
    verify::{self, Outcome, VerifyError},
};

/// Where an option is wrong (EX_USAGE of sysexits).
const BAD_CONFIGURATION: u8 = 64;

/// What `verify` ends with where something differs, and where that could not be told.
const DIFFERS: u8 = 1;
const CANNOT_TELL: u8 = 2;

/// How long a call into a plugin may take while the past is checked: fuel decides, and a busy machine must not. What ran
/// into the service's own deadline is recorded.
const PATIENCE_WITH_PLUGINS: Duration = Duration::from_secs(60);

/// Turns market ticks into trading signals, with strategies that run as WebAssembly components.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service.
    Serve(Box<ServeOptions>),
    /// Recomputes the signals of the past and compares them with the stored ones.
    Verify(Box<VerifyOptions>),
    /// Writes, tries and uploads plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Starts, changes and looks at strategies of a service.
    #[command(subcommand)]
    Strategy(StrategyCommand),
    /// Compiles a component for the service, under limits; for its own use.
    #[command(hide = true)]
    CompilePlugin { cpu_seconds: u64, memory_bytes: u64 },
}

fn main() -> ExitCode {
    // These read their options from a file too, which clap alone cannot.
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let ended = match command.to_str() {
        Some("serve") => run_service(arguments),
        Some("verify") => run_verify(arguments),
        _ => run(Arguments::parse().command),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_service(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let options = match config::read(arguments, std::env::vars_os()) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = start_logging(&options) {
        complain(&error);
        return Ok(ExitCode::from(BAD_CONFIGURATION));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async { serve(options, stop_requested()?).await });
    // Threads that still wait for a log that does not answer must not hold the end up.
    runtime.shutdown_background();
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what is wrong with the options, or what was asked about them.
fn refuse(error: &ConfigError) -> anyhow::Result<ExitCode> {
    match error {
        ConfigError::Arguments(error) => {
            error.print()?;
            if !error.use_stderr() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        error => complain(error),
    }
    Ok(ExitCode::from(BAD_CONFIGURATION))
}

fn run_verify(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let options = match config::read_verify(arguments, std::env::vars_os()) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    match compare(&options) {
        Ok(Outcome::Same) => Ok(ExitCode::SUCCESS),
        Ok(Outcome::Differs) => Ok(ExitCode::from(DIFFERS)),
        Ok(Outcome::Unknown) => Ok(ExitCode::from(CANNOT_TELL)),
        Err(error) => {
            complain(&format!("{error:#}"));
            let is_option = matches!(error.downcast_ref(), Some(VerifyError::NoPartition { .. }));
            Ok(ExitCode::from(match is_option {
                true => BAD_CONFIGURATION,
                false => CANNOT_TELL,
            }))
        }
    }
}

fn compare(options: &VerifyOptions) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let log = open_to_read(&options.log)?;
    // What the service has compiled is used; a folder that is only looked at gets none.
    let compiled = Some(options.log.data_dir.join("compiled")).filter(|folder| folder.is_dir());
    let compiler = plugin::Compiler::new(std::env::current_exe()?, compiled);
    let limits = plugin::Limits {
        deadline: PATIENCE_WITH_PLUGINS,
        ..options.plugins.limits()
    };
    let runtime = plugin::Runtime::try_new(compiler, limits)?;
    let request = verify::Request {
        from: options.from.clone(),
        to: options.to.clone(),
        partitions: options.partition.clone(),
    };
    let bar = progress()?;
    let advanced = |more, done| {
        bar.inc_length(more);
        bar.inc(done);
    };
    let verdicts = verify::run(&*log, runtime, &request, &advanced)?;
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    match options.json {
        true => verify::write_json(&verdicts, &mut out)?,
        false => verify::write_text(&verdicts, started.elapsed(), &mut out)?,
    }
    out.flush()?;
    Ok(verify::outcome(&verdicts))
}

fn open_to_read(options: &LogOptions) -> anyhow::Result<Box<dyn Log>> {
    Ok(match &options.url {
        LogUrl::Embedded => Box::new(ReadOnlyLog::open(&options.data_dir, options.partitions)?),
        LogUrl::Kafka(brokers) => Box::new(KafkaLog::open_existing(options.kafka(brokers))?),
    })
}

/// Offsets done of those to be done, on a terminal.
fn progress() -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = "{bar:40} {human_pos} of {human_len} offsets, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

fn start_logging(options: &ServeOptions) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&options.log_level)
        .map_err(|e| anyhow::anyhow!("--log-level is {:?}: {e}", options.log_level))?;
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match options.log_format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Ends at SIGINT or SIGTERM.
fn stop_requested() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where a person is told why it ended"
)]
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("wigwag: {error}");
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(_) | Command::Verify(_) => unreachable!("read by its own rules in main"),
        Command::CompilePlugin {
            cpu_seconds,
            memory_bytes,
        } => {
            let code = plugin::compile_child(
                cpu_seconds,
                memory_bytes,
                io::stdin().lock(),
                io::stdout().lock(),
            );
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        Command::Plugin(command) => {
            let compiler = plugin::Compiler::new(std::env::current_exe()?, None);
            let mut out = io::BufWriter::new(io::stdout().lock());
            let done = author::plugin(command, compiler, &mut out);
            out.flush()?;
            done.map(|()| ExitCode::SUCCESS)
        }
        Command::Strategy(command) => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let done = author::strategy(command, &mut out);
            out.flush()?;
            done.map(|()| ExitCode::SUCCESS)
        }
    }
}
