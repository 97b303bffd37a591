//! The program: reads the command line, runs, and turns the end into an exit status.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::EnvFilter;
use wigwag_generator::{options::Options, run::run, totals::Display};

/// `EX_USAGE`: the command line or the environment is wrong, and starting again will not help.
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let options = match Options::parse_from(std::env::args_os()) {
        Ok(options) => options,
        Err(refused) => {
            let _ = refused.print();
            return if refused.use_stderr() {
                ExitCode::from(BAD_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let share = options.share.of() as u64;
    let display = Display::new(options.count.map(|count| count / share));
    let level = &options.log;
    let filter = EnvFilter::new(format!("warn,wigwag_generator={level},librdkafka={level}"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(display.clone())
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            error!(%cause, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let shutdown = shutdown_signal()?;
        run(options, &display, shutdown)
            .await
            .map_err(anyhow::Error::from)
    });
    // A write to a stalled pipe cannot be taken back; it ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!("{cause}");
            ExitCode::FAILURE
        }
    }
}

fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
