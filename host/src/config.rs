//! What an operator can set: each option of `wigwag serve` and `wigwag verify` on the command line, as a `WIGWAG_*`
//! variable, or as a line of `wigwag.toml`, in this order of precedence. Unknown ones are refused by name.

mod commands;

pub use commands::{Definition, Language, PluginCommand, ServiceOptions, StrategyCommand, Subject};

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, ValueEnum};

use crate::{
    control::Admission,
    http::{TokenConfig, Tokens},
    log::kafka,
    notify::{self, Network, Schedule, Targets},
    plugin,
    verify::Point,
};

/// The file that is read where `--config` names none.
const DEFAULT_FILE: &str = "wigwag.toml";

/// The prefix of variables.
const ENV_PREFIX: &str = "WIGWAG_";

/// Where everything durable is: for each command that opens the log.
#[derive(Args, Clone, Debug)]
pub struct LogOptions {
    /// Folder of the embedded log, the API's store, and compiled plugins
    #[arg(
        long,
        value_name = "DIR",
        env = "WIGWAG_DATA_DIR",
        default_value = "./data"
    )]
    pub data_dir: PathBuf,

    /// Where everything durable is kept: `embedded`, or `kafka://HOST:PORT[,HOST:PORT...]`
    #[arg(
        id = "log",
        long = "log",
        value_name = "LOG",
        env = "WIGWAG_LOG",
        default_value = "embedded"
    )]
    pub url: LogUrl,

    /// Partitions of `ticks`; never changes on a log that exists [default: 4 embedded, 12 on Kafka]
    #[arg(long, value_name = "N", env = "WIGWAG_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub partitions: Option<u32>,

    /// Kafka: put before each topic's and group's name
    #[arg(
        long,
        value_name = "TEXT",
        env = "WIGWAG_TOPIC_PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub topic_prefix: String,

    /// Kafka: a setting of librdkafka as KEY=VALUE, such as security.protocol=ssl; may be repeated
    #[arg(
        long,
        value_name = "KEY=VALUE",
        env = "WIGWAG_KAFKA",
        value_delimiter = ','
    )]
    pub kafka: Vec<KeyValue>,
}

/// What an instance of a plugin may use: for each command that runs plugins.
#[derive(Args, Clone, Copy, Debug)]
pub struct PluginOptions {
    /// Memory that an instance of a plugin may use, in MiB
    #[arg(long, value_name = "MIB", env = "WIGWAG_PLUGIN_MEMORY", default_value = "128", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub plugin_memory: u64,

    /// Fuel that a plugin may use for one row; about one an instruction
    #[arg(long, value_name = "N", env = "WIGWAG_PLUGIN_FUEL", default_value = "10000000", value_parser = clap::value_parser!(u64).range(100_000..=10_000_000_000))]
    pub plugin_fuel: u64,
}

/// Options of `wigwag serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// File of options, one `name = value` a line, and `[[tokens]]` [default: ./wigwag.toml where there is one]
    #[arg(long, value_name = "FILE", env = "WIGWAG_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address of API and ingestion
    #[arg(
        long,
        value_name = "ADDR",
        env = "WIGWAG_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// A second address that serves `POST /ingest` alone
    #[arg(long, value_name = "ADDR", env = "WIGWAG_INGEST_LISTEN")]
    pub ingest_listen: Option<SocketAddr>,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,

    /// What this process does; the embedded log wants all
    #[arg(
        long,
        value_name = "ROLES",
        env = "WIGWAG_ROLES",
        value_delimiter = ',',
        default_value = "ingest,engine,api,notify"
    )]
    pub roles: Vec<Role>,

    /// Embedded log: `full` also survives a lost power supply, `normal` a killed process only
    #[arg(long, value_name = "MODE", env = "WIGWAG_SYNC", default_value = "full")]
    pub sync: SyncMode,

    /// Kafka: replicas of each new topic; -1 is the broker's default
    #[arg(
        long,
        value_name = "N",
        env = "WIGWAG_REPLICATION",
        default_value = "-1",
        allow_hyphen_values = true
    )]
    pub replication: i16,

    /// Kafka: how long, in milliseconds, until an engine that is not heard of loses its partitions
    #[arg(
        long,
        value_name = "MS",
        env = "WIGWAG_SESSION_TIMEOUT",
        default_value = "10000"
    )]
    pub session_timeout: u64,

    /// Fetch records from this address too, such as a generator's or its load balancer's; may be repeated
    #[arg(long, value_name = "URL", env = "WIGWAG_PULL", value_delimiter = ',')]
    pub pull: Vec<String>,

    /// How often, in milliseconds
    #[arg(long, value_name = "MS", env = "WIGWAG_PULL_INTERVAL", default_value = "1000", value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub pull_interval: u64,

    /// How far in the future a record's time may lie, in milliseconds
    #[arg(long, value_name = "MS", env = "WIGWAG_MAX_FUTURE_SKEW", default_value = "10000", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub max_future_skew: u64,

    /// The largest body of a POST to /ingest, in bytes, unpacked
    #[arg(long, value_name = "BYTES", env = "WIGWAG_MAX_BODY", default_value = "16777216", value_parser = clap::value_parser!(u64).range(1024..=1_073_741_824))]
    pub max_body: u64,

    /// Who may read: `open` is everyone who reaches the address, `token` wants any valid token
    #[arg(long, value_name = "WHO", env = "WIGWAG_READS", default_value = "open")]
    pub reads: Reads,

    /// A name under which the service is reached, beside localhost and its addresses; may be repeated
    #[arg(
        long,
        value_name = "NAME",
        env = "WIGWAG_ALLOWED_HOST",
        value_delimiter = ','
    )]
    pub allowed_host: Vec<String>,

    /// A checkpoint at least after this many rows of a partition
    #[arg(long, value_name = "N", env = "WIGWAG_CHECKPOINT_ROWS", default_value = "100000", value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    pub checkpoint_rows: u64,

    /// ... and at least after this long, in milliseconds
    #[arg(long, value_name = "MS", env = "WIGWAG_CHECKPOINT_INTERVAL", default_value = "10000", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub checkpoint_interval: u64,

    /// The least time between two steps of a partition, in milliseconds: more makes signals later by up to this, and commits fewer
    #[arg(long, value_name = "MS", env = "WIGWAG_STEP_INTERVAL", default_value = "0", value_parser = clap::value_parser!(u64).range(..=1000))]
    pub step_interval: u64,

    /// What plugins may use.
    #[command(flatten)]
    pub plugins: PluginOptions,

    /// Ticks a second, of all symbols, for which strategies are taken: together they must stay within --plan-cores
    #[arg(long, value_name = "N", env = "WIGWAG_PLAN_TICKS", default_value = "10000", value_parser = positive)]
    pub plan_ticks: f64,

    /// Cores that all strategies together may take at that rate, by their price in fuel; 5e9 fuel is a core's second
    #[arg(long, value_name = "N", env = "WIGWAG_PLAN_CORES", default_value = "1", value_parser = positive)]
    pub plan_cores: f64,

    /// A network into which webhooks may lead though it is not public, such as 10.1.0.0/16; may be repeated
    #[arg(
        long,
        value_name = "CIDR",
        env = "WIGWAG_WEBHOOK_ALLOW",
        value_delimiter = ','
    )]
    pub webhook_allow: Vec<Network>,

    /// How long, in milliseconds, a webhook's receiver has for its answer
    #[arg(long, value_name = "MS", env = "WIGWAG_WEBHOOK_TIMEOUT", default_value = "15000", value_parser = clap::value_parser!(u64).range(100..=120_000))]
    pub webhook_timeout: u64,

    /// How long, in milliseconds, to wait after a delivery's first failure; twice as long after each further one, up to
    /// 15 minutes
    #[arg(long, value_name = "MS", env = "WIGWAG_WEBHOOK_RETRY_FIRST", default_value = "5000", value_parser = clap::value_parser!(u64).range(10..=900_000))]
    pub webhook_retry_first: u64,

    /// For how long, in milliseconds, a delivery is tried before it is a dead letter
    #[arg(long, value_name = "MS", env = "WIGWAG_WEBHOOK_RETRY_FOR", default_value = "86400000", value_parser = clap::value_parser!(u64).range(100..=604_800_000))]
    pub webhook_retry_for: u64,

    /// How log lines are written
    #[arg(
        long,
        value_name = "FORMAT",
        env = "WIGWAG_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// Which log lines are written, such as `info` or `warn,wigwag=debug`
    #[arg(
        long,
        value_name = "LEVEL",
        env = "WIGWAG_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,

    /// Tokens of the file.
    #[arg(skip)]
    pub tokens: Vec<TokenConfig>,
}

/// Options of `wigwag verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyOptions {
    /// File of options, as of `serve` [default: ./wigwag.toml where there is one]
    #[arg(long, value_name = "FILE", env = "WIGWAG_CONFIG")]
    pub config: Option<PathBuf>,

    /// First message of `ticks` whose signals are compared: an offset, of each partition; or the time at which it was
    /// appended, as 2026-01-31T09:00:00Z or @SECONDS since the epoch [default: as far back as can be told]
    #[arg(long, value_name = "OFFSET|TIME")]
    pub from: Option<Point>,

    /// The message before which the comparison ends [default: the committed position]
    #[arg(long, value_name = "OFFSET|TIME")]
    pub to: Option<Point>,

    /// Only this partition; may be repeated
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub partition: Vec<u32>,

    /// One JSON object a partition instead of text
    #[arg(long)]
    pub json: bool,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,

    /// What plugins may use.
    #[command(flatten)]
    pub plugins: PluginOptions,
}

/// Where everything durable is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogUrl {
    /// SQLite in the data folder.
    Embedded,
    /// Kafka: `HOST:PORT[,HOST:PORT...]`.
    Kafka(String),
}

impl std::str::FromStr for LogUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let brokers = text.strip_prefix("kafka://").unwrap_or_default();
        let port = |broker: &str| {
            broker
                .rsplit_once(':')
                .is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok())
        };
        if !brokers.is_empty() && brokers.split(',').all(port) {
            return Ok(Self::Kafka(brokers.to_owned()));
        }
        Err("use embedded, or kafka://HOST:PORT[,HOST:PORT...]".to_owned())
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Takes records in.
    Ingest,
    /// Runs strategies.
    Engine,
    /// Answers questions.
    Api,
    /// Delivers signals to webhooks.
    Notify,
}

/// How the embedded log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyncMode {
    /// Each commit is on disk before it is answered.
    Full,
    /// Each commit is with the operating system before it is answered.
    Normal,
}

/// Who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reads {
    /// Everyone who reaches the address.
    Open,
    /// Who has a token.
    Token,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A setting that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue(pub String, pub String);

impl std::str::FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.to_owned(), value.to_owned())),
            _ => Err("use KEY=VALUE".to_owned()),
        }
    }
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// As clap says it, `--help` and `--version` too.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// A file, a variable, or options that do not go together.
    #[error("{0}")]
    Other(String),
}

#[derive(clap::Parser)]
#[command(
    name = "wigwag serve",
    about = "Runs the service",
    max_term_width = 110,
    args_override_self = true
)]
struct Serve {
    #[command(flatten)]
    options: ServeOptions,
}

#[derive(clap::Parser)]
#[command(
    name = "wigwag verify",
    about = "Recomputes the signals of the past and compares them with the stored ones, byte for byte",
    after_help = "Exit codes: 0 all are the same, 1 some differ, 2 it could not be told, 64 a wrong option.",
    max_term_width = 110,
    args_override_self = true
)]
struct Verify {
    #[command(flatten)]
    options: VerifyOptions,
}

/// Reads the options of `wigwag serve`. `arguments` are those after `serve`; `variables` are the environment's.
///
/// # Errors
/// The first option that is unknown or wrong, with its value and rule.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<ServeOptions, ConfigError> {
    let config = |serve: &Serve| serve.options.config.clone();
    let (serve, tokens) = read_as::<Serve>("wigwag serve", config, arguments, variables)?;
    let mut options = serve.options;
    options.tokens = tokens;
    check(options)
}

/// Reads the options of `wigwag verify` in the same way; those that only `serve` has may stand in the file and the
/// variables, which both have in common.
///
/// # Errors
/// The first option that is unknown or wrong, with its value and rule.
pub fn read_verify(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<VerifyOptions, ConfigError> {
    let config = |verify: &Verify| verify.options.config.clone();
    let (verify, _) = read_as::<Verify>("wigwag verify", config, arguments, variables)?;
    let options = verify.options;
    if let (Some(from), Some(to)) = (&options.from, &options.to)
        && from.is_after(to)
    {
        let message = format!("--from is {from}, after --to, which is {to}");
        return Err(ConfigError::Other(message));
    }
    Ok(options)
}

/// Reads a command's options, and the tokens of the file.
fn read_as<P: clap::Parser>(
    program: &str,
    config: impl Fn(&P) -> Option<PathBuf>,
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(P, Vec<TokenConfig>), ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // What a service knows may be set for all commands together.
    let (known, own) = (names(&Serve::command()), names(&P::command()));
    let set_by_variable = known_variables(variables, &known)?;

    // clap reads the environment itself; a first reading tells which file, a second takes the file's lines as
    // if they stood before the arguments.
    let program = || std::iter::once(OsString::from(program));
    let given = P::command().try_get_matches_from(program().chain(arguments.clone()))?;
    let first = P::from_arg_matches(&given)?;
    let Some(file) = read_file(config(&first).as_deref())? else {
        return Ok((first, Vec::new()));
    };
    let lines = file
        .options
        .into_iter()
        .filter(|(name, _)| !set_by_variable.contains(name));
    let mut all: Vec<OsString> = program().collect();
    for (name, value) in lines {
        if !known.contains(&name) || name == "config" {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let (path, known) = (file.path.display(), known.join(", "));
            return Err(ConfigError::Other(format!(
                "{path}: {name:?} is no option; there are {known}"
            )));
        }
        // What the command line gives replaces the file's line, also where it may be repeated.
        if own.contains(&name)
            && given.value_source(&name.replace('-', "_"))
                != Some(clap::parser::ValueSource::CommandLine)
        {
            all.push(format!("--{name}={value}").into());
        }
    }
    all.extend(arguments);
    let matches = P::command().try_get_matches_from(all)?;
    Ok((P::from_arg_matches(&matches)?, file.tokens))
}

/// The long names of a command's options.
fn names(command: &clap::Command) -> BTreeSet<String> {
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    names.map(str::to_owned).collect()
}

/// The options that variables set; one with our prefix and no option is refused.
fn known_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, ConfigError> {
    let mut set = BTreeSet::new();
    for (variable, _) in variables {
        let variable = variable.to_string_lossy().into_owned();
        let Some(rest) = variable.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        // The generator has options of its own, and so have those who ask a service.
        if rest.starts_with("GENERATOR_") || ["URL", "TOKEN"].contains(&rest) {
            continue;
        }
        let name = rest.to_ascii_lowercase().replace('_', "-");
        if !names.contains(&name) {
            return Err(ConfigError::Other(format!(
                "the variable {variable} belongs to no option; see wigwag serve --help"
            )));
        }
        set.insert(name);
    }
    Ok(set)
}

/// The file from which the options of a service come, whether it is there or not.
#[must_use]
pub fn file_of(options: &ServeOptions) -> PathBuf {
    let named = options.config.clone();
    named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

/// The tokens that stand in a file now; none where there is no file.
///
/// # Errors
/// What keeps it from being read, with its path.
pub fn read_tokens(file: &Path) -> Result<Vec<TokenConfig>, ConfigError> {
    match file.exists() {
        true => Ok(read_file(Some(file))?.map_or_else(Vec::new, |file| file.tokens)),
        false => Ok(Vec::new()),
    }
}

struct ConfigFile {
    path: PathBuf,
    options: Vec<(String, String)>,
    tokens: Vec<TokenConfig>,
}

fn read_file(named: Option<&Path>) -> Result<Option<ConfigFile>, ConfigError> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE)).to_owned();
    let wrong =
        |why: &dyn std::fmt::Display| ConfigError::Other(format!("{}: {why}", path.display()));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(wrong(&error)),
    };
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(&e))?;
    let tokens = match table.remove("tokens") {
        Some(tokens) => tokens
            .try_into()
            .map_err(|e| wrong(&format!("tokens: {e}")))?,
        None => Vec::new(),
    };
    let mut options = Vec::new();
    for (name, value) in table {
        let text = |value: &toml::Value| match value {
            toml::Value::String(s) => Ok(s.clone()),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                Ok(value.to_string())
            }
            _ => Err(wrong(&format!(
                "{name} is {value}; a text, a number or a list of them is possible"
            ))),
        };
        let value = match &value {
            toml::Value::Array(values) => values
                .iter()
                .map(text)
                .collect::<Result<Vec<_>, _>>()?
                .join(","),
            value => text(value)?,
        };
        options.push((name.replace('_', "-"), value));
    }
    Ok(Some(ConfigFile {
        path,
        options,
        tokens,
    }))
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "use a number above 0".to_owned())
}

/// Rules between options.
fn check(options: ServeOptions) -> Result<ServeOptions, ConfigError> {
    let all = [Role::Ingest, Role::Engine, Role::Api, Role::Notify];
    if options.log.url == LogUrl::Embedded && !all.iter().all(|role| options.roles.contains(role)) {
        let message = "--roles names fewer than all; the embedded log takes all roles in one process: use --log kafka://... to share them";
        return Err(ConfigError::Other(message.to_owned()));
    }
    Tokens::try_new(&options.tokens).map_err(|e| ConfigError::Other(e.to_string()))?;
    Ok(options)
}

impl LogOptions {
    /// Partitions of `ticks` on a new log.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions.unwrap_or(match self.url {
            LogUrl::Embedded => 4,
            LogUrl::Kafka(_) => 12,
        })
    }

    /// How to reach a Kafka log.
    #[must_use]
    pub fn kafka(&self, brokers: &str) -> kafka::Options {
        kafka::Options {
            brokers: brokers.to_owned(),
            prefix: self.topic_prefix.clone(),
            partitions: self.partitions(),
            extra: (self.kafka.iter())
                .map(|setting| (setting.0.clone(), setting.1.clone()))
                .collect(),
            ..kafka::Options::default()
        }
    }
}

impl PluginOptions {
    /// The limits of each instance.
    #[must_use]
    pub fn limits(&self) -> plugin::Limits {
        plugin::Limits {
            memory_bytes: usize::try_from(self.plugin_memory << 20).unwrap_or(usize::MAX),
            row_fuel: self.plugin_fuel,
            ..plugin::Limits::default()
        }
    }
}

impl ServeOptions {
    /// Whether this process plays a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What strategies may cost.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        Admission {
            ticks_per_second: self.plan_ticks,
            cores: self.plan_cores,
        }
    }

    /// How webhooks are delivered.
    #[must_use]
    pub fn notify(&self) -> notify::Options {
        notify::Options {
            targets: Targets {
                allowed: self.webhook_allow.clone(),
            },
            schedule: Schedule {
                first: Duration::from_millis(self.webhook_retry_first),
                retry_for: Duration::from_millis(self.webhook_retry_for),
            },
            timeout: Duration::from_millis(self.webhook_timeout),
        }
    }

    /// How often records are pulled.
    #[must_use]
    pub const fn pull_every(&self) -> Duration {
        Duration::from_millis(self.pull_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<ServeOptions, ConfigError> {
        let variables = variables
            .iter()
            .map(|(k, v)| (OsString::from(k), OsString::from(v)));
        read(arguments.iter().map(OsString::from), variables)
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    }

    #[test]
    fn the_command_line_goes_before_the_file_and_the_file_before_the_default() {
        let (_file, path) = file(
            "listen = \"127.0.0.1:9000\"\npartitions = 7\npull = [\"http://a\", \"http://b\"]\n",
        );
        let options = read_with(&["--config", &path, "--partitions", "9"], &[]).unwrap();
        assert_eq!(options.listen.port(), 9000);
        assert_eq!(options.log.partitions(), 9);
        assert_eq!(options.pull, ["http://a", "http://b"]);
        assert_eq!(options.pull_interval, 1000);
    }

    #[test]
    fn what_is_no_option_is_refused_by_name() {
        let (_file, path) = file("lisen = 1\n");
        let error = read_with(&["--config", &path], &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"lisen\" is no option"), "{error}");
        let error = read_with(&[], &[("WIGWAG_LISEN", "x")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("WIGWAG_LISEN belongs to no option"),
            "{error}"
        );
        let error = read_with(&["--lisen", "x"], &[]).unwrap_err().to_string();
        assert!(error.contains("--lisen"), "{error}");
        assert!(read_with(&[], &[("WIGWAG_GENERATOR_RATE", "1")]).is_ok());
    }

    #[test]
    fn a_wrong_value_is_told_with_its_rule() {
        for (arguments, wanted) in [
            (["--log", "kafka:/x"], "use embedded, or kafka://HOST:PORT"),
            (["--roles", "engine"], "embedded log takes all roles"),
            (["--max-future-skew", "10001"], "10001 is not in 0..=10000"),
        ] {
            let error = read_with(&arguments, &[]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn tokens_stand_in_the_file_by_their_digest() {
        let digest = "0".repeat(64);
        let token = |scope: &str, digest: &str| {
            format!("[[tokens]]\nname = \"ci\"\nsha256 = \"{digest}\"\nscopes = [\"{scope}\"]\n")
        };
        let (_file, path) = file(&token("plugins", &digest));
        assert_eq!(
            read_with(&["--config", &path], &[]).unwrap().tokens[0].name,
            "ci"
        );
        for (text, wanted) in [
            (token("root", &digest), "unknown variant `root`"),
            (token("admin", "secret"), "sha256 is not 64 hex digits"),
        ] {
            let (_file, path) = file(&text);
            let error = read_with(&["--config", &path], &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
