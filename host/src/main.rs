//! The program `wigwag`.

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};
use wigwag::{offline, plugin};

/// Turns market ticks into trading signals, with strategies that run as WebAssembly components.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "the one place where a person is told why it ended"
            )]
            {
                eprintln!("wigwag: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
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
