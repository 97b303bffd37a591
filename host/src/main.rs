//! The program `wigwag`.

use std::{ffi::OsString, io, process::ExitCode};

use clap::{Parser, Subcommand};
use wigwag::{
    config::{self, ConfigError, LogFormat, ServeOptions},
    offline, plugin,
    serve::serve,
};

/// Where an option is wrong (EX_USAGE of sysexits).
const BAD_CONFIGURATION: u8 = 64;

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
    /// Works with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Compiles a component for the service, under limits; for its own use.
    #[command(hide = true)]
    CompilePlugin { cpu_seconds: u64, memory_bytes: u64 },
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Runs a plugin over a file of ticks and prints its signals, one JSON object a line.
    Run {
        /// A component's file, or a built-in: ma, ema, rsi.
        plugin: String,
        /// NDJSON of records, or CSV with columns open, high, low, close, volume and, where there are any,
        /// symbol and timestamp (seconds); `-` is standard input.
        #[arg(long, value_name = "FILE")]
        ticks: std::path::PathBuf,
        /// Parameters of the plugin that differ from its defaults.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        params: String,
        /// Prints each tick's indicator values too.
        #[arg(long)]
        values: bool,
    },
}

fn main() -> ExitCode {
    // `serve` reads its options from a file too, which clap alone cannot.
    let mut arguments = std::env::args_os().skip(1);
    let ended = if arguments.next().is_some_and(|command| command == "serve") {
        run_service(arguments)
    } else {
        run(Arguments::parse().command)
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
        Err(ConfigError::Arguments(error)) => {
            error.print()?;
            return Ok(ExitCode::from(if error.use_stderr() {
                BAD_CONFIGURATION
            } else {
                0
            }));
        }
        Err(error) => {
            complain(&error);
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
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

fn start_logging(options: &ServeOptions) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&options.log_level)
        .map_err(|e| anyhow::anyhow!("--log-level is {:?}: {e}", options.log_level))?;
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
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
        Command::Serve(_) => unreachable!("read by its own rules in main"),
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
        Command::Plugin(PluginCommand::Run {
            plugin,
            ticks,
            params,
            values,
        }) => {
            let compiler = plugin::Compiler::new(std::env::current_exe()?, None);
            let request = offline::Request {
                plugin,
                ticks,
                params,
                values,
            };
            offline::run(
                &request,
                compiler,
                &mut io::BufWriter::new(io::stdout().lock()),
            )?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
