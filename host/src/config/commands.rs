//! The command line of those who write plugins and run strategies: `wigwag plugin` and `wigwag strategy`. Knows nothing of
//! what the commands do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::{bars::Interval, strategy::Input};

/// `wigwag plugin`.
#[derive(Subcommand, Debug)]
pub enum PluginCommand {
    /// Makes a folder with a strategy, a test, ticks and all that it takes to build them
    New {
        /// The plugin's name and the folder's: 1 to 64 characters from a-z 0-9 -, starting with a letter
        name: String,
        /// What it is written in
        #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
        lang: Language,
    },
    /// Makes the component out of a plugin's folder: build/NAME.wasm
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Looks at a component as the service does before it takes it, and says what it is
    Check {
        /// What it is about.
        #[command(flatten)]
        subject: Subject,
    },
    /// Runs it over a file of ticks: signals, values, costs, and whether it keeps the contract
    Test {
        /// What it is about.
        #[command(flatten)]
        subject: Subject,
        /// As for `run` [default: ticks.csv of the plugin's folder]
        #[arg(long, value_name = "FILE")]
        ticks: Option<PathBuf>,
        /// Parameters of the plugin that differ from its defaults
        #[arg(long, value_name = "JSON", default_value = "{}")]
        params: String,
        /// Runs it over the bars of these ticks: 1s, 1m, 5m, 1h or 1d
        #[arg(long, value_name = "INTERVAL")]
        bars: Option<Interval>,
        /// Signals to print
        #[arg(long, value_name = "N", default_value = "10")]
        signals: usize,
    },
    /// Runs it over a file of ticks and prints its signals, one JSON object a line
    Run {
        /// What it is about.
        #[command(flatten)]
        subject: Subject,
        /// NDJSON of records, or CSV with columns open, high, low, close, volume and, where there are any, symbol and
        /// timestamp (seconds); `-` is standard input
        #[arg(long, value_name = "FILE")]
        ticks: PathBuf,
        /// Parameters of the plugin that differ from its defaults
        #[arg(long, value_name = "JSON", default_value = "{}")]
        params: String,
        /// Runs it over the bars of these ticks: 1s, 1m, 5m, 1h or 1d; a bar that no later tick closes is left out
        #[arg(long, value_name = "INTERVAL")]
        bars: Option<Interval>,
        /// Prints each tick's indicator values too
        #[arg(long)]
        values: bool,
    },
    /// Uploads it, starts a strategy from it, and prints its first signals
    Push {
        /// What it is about.
        #[command(flatten)]
        subject: Subject,
        /// The strategy's id [default: the plugin's name]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// How the strategy is defined.
        #[command(flatten)]
        definition: Definition,
        /// Signals to wait for
        #[arg(long, value_name = "N", default_value = "5")]
        signals: usize,
        /// Seconds to wait for them
        #[arg(long, value_name = "SECONDS", default_value = "60")]
        within: u64,
        /// The service.
        #[command(flatten)]
        service: ServiceOptions,
    },
    /// Lists the plugins of the service
    List {
        /// The service.
        #[command(flatten)]
        service: ServiceOptions,
    },
}

/// `wigwag strategy`.
#[derive(Subcommand, Debug)]
pub enum StrategyCommand {
    /// Defines a strategy, or changes of it what is given, and runs it
    Set {
        /// Its id: 1 to 64 characters from a-z 0-9 . _ -, the first a letter or digit
        id: String,
        /// A plugin's name, which means its newest upload, NAME@VERSION, or a digest [default: what it has]
        #[arg(long, value_name = "PLUGIN")]
        plugin: Option<String>,
        /// How the strategy is defined.
        #[command(flatten)]
        definition: Definition,
        /// Stops it, but keeps it
        #[arg(long)]
        disabled: bool,
        /// The service.
        #[command(flatten)]
        service: ServiceOptions,
    },
    /// Lists the strategies, and what each is doing
    List {
        /// The service.
        #[command(flatten)]
        service: ServiceOptions,
    },
    /// Removes a strategy; its signals stay
    Remove {
        /// Its id
        id: String,
        /// The service.
        #[command(flatten)]
        service: ServiceOptions,
    },
    /// Prints what its plugin logged last
    Logs {
        /// Its id
        id: String,
        /// The service.
        #[command(flatten)]
        service: ServiceOptions,
    },
}

/// What a template is written in.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the SDK
    Rust,
    /// Python, by componentize-py
    Python,
    /// JavaScript, by componentize-qjs
    #[value(alias = "js")]
    Javascript,
    /// C, by clang and wasi-libc
    C,
}

/// Which component is meant.
#[derive(Args, Clone, Debug)]
pub struct Subject {
    /// A component's file, a plugin's folder, or a built-in: ma, ema, rsi
    #[arg(default_value = ".")]
    pub plugin: String,
}

/// How a strategy is defined.
#[derive(Args, Clone, Debug)]
pub struct Definition {
    /// Parameters of the plugin that differ from its defaults
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,

    /// Only these symbols; all where it is left out
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',')]
    pub symbols: Option<Vec<String>>,

    /// What it reads: ticks, or bars:1s, bars:1m, bars:5m, bars:1h, bars:1d [default: what it has, or ticks]
    #[arg(long, value_name = "INPUT")]
    pub input: Option<Input>,
}

/// Where the service is, and what it knows us by.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Address of the service [default: as it wrote it into its data folder]
    #[arg(long, value_name = "URL", env = "WIGWAG_URL")]
    pub url: Option<String>,

    /// Token with scope `plugins` [default: as the service wrote it into its data folder]
    #[arg(
        long,
        value_name = "TOKEN",
        env = "WIGWAG_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,

    /// Data folder of the service [default: data, data/embedded or data/kafka, here or in a folder above]
    #[arg(long, value_name = "DIR", env = "WIGWAG_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}
