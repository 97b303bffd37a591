//! The command line. Parses and refuses; does nothing.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory, Parser, error::ErrorKind};

use crate::{
    feed::Share,
    grid::{Grid, MAX_RATE},
    instant,
    market::MarketShape,
    record::Kind,
    symbol::Symbols,
    target::Address,
};

/// Where records go unless said otherwise.
const DEFAULT_TO: &str = "http://127.0.0.1:8080/ingest";

/// Simulates a market, or replays a recorded one, and sends its records to Wigwag, to Kafka, or to standard output.
///
/// Ticks lie on a grid that begins at midnight UTC, and each is a pure function of seed, symbol and place on the grid.
/// So several generators with the same options show one market, and a restarted one goes on in it.
#[derive(Parser, Clone, Debug)]
#[command(name = "wigwag-generator", version, max_term_width = 110)]
pub struct Options {
    /// Where to send: an http:// URL, kafka://HOST:PORT[/TOPIC] (topic "raw"), or - for standard output
    /// [default: http://127.0.0.1:8080/ingest, or nowhere when --listen is given]
    #[arg(long, value_name = "TARGET", env = "WIGWAG_GENERATOR_TO", value_parser = Address::parse)]
    pub to: Option<Address>,

    /// The bearer token sent with each POST
    #[arg(long, env = "WIGWAG_GENERATOR_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Serve the newest record of the simulated market as JSON at `GET /`, and `GET /healthz`
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "WIGWAG_GENERATOR_LISTEN",
        conflicts_with = "replay"
    )]
    pub listen: Option<SocketAddr>,

    /// Who serves: said in the header `Served-By` of each answer, so that one sees how a balancer shares requests out
    #[arg(long, value_name = "NAME", env = "WIGWAG_GENERATOR_NAME", requires = "listen", value_parser = parse_name)]
    pub name: Option<String>,

    /// Ticks a second, over all symbols and shares; 0 is as fast as possible (on a grid of 1000000 a second)
    #[arg(
        long,
        default_value = "100",
        env = "WIGWAG_GENERATOR_RATE",
        value_parser = parse_rate,
        allow_negative_numbers = true
    )]
    pub rate: f64,

    /// End after so many records of the whole market, all shares together [default: never]
    #[arg(long, value_name = "N", env = "WIGWAG_GENERATOR_COUNT")]
    pub count: Option<u64>,

    /// Kinds of record, separated by commas. Beside ticks, one record in 21 is of another kind
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        env = "WIGWAG_GENERATOR_KINDS",
        default_value = "stock_price,order_book,news_sentiment,market_data,economic_indicator"
    )]
    pub kinds: Vec<Kind>,

    /// Records in a POST at most; one is sent when it is full or its first record has waited 20 ms
    #[arg(long, value_name = "N", default_value = "1000", env = "WIGWAG_GENERATOR_BATCH", value_parser = parse_batch)]
    pub batch: usize,

    /// Decides every price
    #[arg(long, default_value = "1", env = "WIGWAG_GENERATOR_SEED")]
    pub seed: u64,

    /// Begin the grid, and what is sent, at this time (RFC 3339 or seconds since the epoch) instead of now, whatever
    /// the clock says: the same seed and start time give the same bytes
    #[arg(long, value_name = "TIME", env = "WIGWAG_GENERATOR_START_TIME", value_parser = instant::parse_us)]
    pub start_time: Option<i64>,

    /// The number of symbols (AAPL, GOOGL, AMZN, MSFT, TSLA, S0005, S0006, ...) or their names, separated by commas;
    /// with --replay, the one symbol of a file that names none, whatever it is called
    #[arg(long, value_name = "N|A,B,C", default_value = "5", env = "WIGWAG_GENERATOR_SYMBOLS", value_parser = Symbols::parse)]
    pub symbols: Symbols,

    /// Send the I-th of N equal parts of the market, by symbols
    #[arg(
        long,
        value_name = "I/N",
        default_value = "1/1",
        env = "WIGWAG_GENERATOR_SHARE"
    )]
    pub share: Share,

    /// Send the records of files instead of simulating them, several by time: CSV (ticks, columns in any order under the
    /// usual names) or NDJSON (all kinds). The symbol is in a column, or is the file's name, such as AAPL.csv
    #[arg(
        long,
        value_name = "FILE",
        env = "WIGWAG_GENERATOR_REPLAY",
        num_args = 1..,
        conflicts_with_all = ["rate", "kinds", "seed", "start_time", "share"]
    )]
    pub replay: Vec<PathBuf>,

    /// With --replay: sort all records by time first, in memory, where a file holds one symbol after the other or the
    /// newest day first
    #[arg(long, env = "WIGWAG_GENERATOR_SORT")]
    pub sort: bool,

    /// With --replay: recorded seconds in a second; 0 is as fast as possible
    #[arg(
        long,
        value_name = "FACTOR",
        default_value = "0",
        env = "WIGWAG_GENERATOR_SPEED",
        value_parser = parse_speed,
        allow_negative_numbers = true
    )]
    pub speed: f64,

    /// The Producer-Id sent with each POST [default: a random one for each run]
    #[arg(long, value_name = "ID", env = "WIGWAG_GENERATOR_PRODUCER_ID", value_parser = parse_producer_id)]
    pub producer_id: Option<String>,

    /// How much to log
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "WIGWAG_GENERATOR_LOG",
        value_parser = ["error", "warn", "info", "debug", "trace"]
    )]
    pub log: String,
}

impl Options {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// What to print, and on which stream, when something is refused, or help or version is asked for.
    pub fn parse_from<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(args)?;
        let given = |id| {
            !matches!(
                matches.value_source(id),
                None | Some(clap::parser::ValueSource::DefaultValue)
            )
        };
        let options = <Self as clap::FromArgMatches>::from_arg_matches(&matches)?;
        let refuse =
            |message: String| Err(Self::command().error(ErrorKind::ValueValidation, message));
        let symbols = options.symbols.as_slice().len();
        if options.share.of() > symbols {
            return refuse(format!(
                "share is of {} parts; use at most the number of symbols, {symbols}",
                options.share.of()
            ));
        }
        if options.sort && options.replay.is_empty() {
            return refuse("sort is given, but there is no --replay".into());
        }
        if given("speed") && options.replay.is_empty() {
            return refuse(format!(
                "speed is {}, but there is no --replay; use --rate",
                options.speed
            ));
        }
        let files = options.replay.len();
        if files > 0 && given("symbols") && symbols != 1 {
            return refuse(format!(
                "there are {symbols} symbols; with --replay, name the one that the file leaves out"
            ));
        }
        if files > 1 && given("symbols") {
            return refuse(format!(
                "there are {files} files; each names its symbols in a column or is named by one, so leave --symbols out"
            ));
        }
        let shape = options.market_shape();
        if let Err(error) = Grid::try_new(shape.origin_us, shape.slots_per_s, symbols) {
            return refuse(error.to_string());
        }
        // Checked here because clap would show what it refuses, and a token is a secret.
        let visible =
            |token: &String| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        if !options.token.iter().all(visible) {
            return refuse("the token is not one or more visible ASCII characters".into());
        }
        if options.token.is_some() && !matches!(options.target(), Some(Address::Http(_))) {
            return refuse("a token is given, but nothing is sent over HTTP; leave it out or send to an http:// URL".into());
        }
        Ok(options)
    }

    /// Where records go, if anywhere.
    pub fn target(&self) -> Option<Address> {
        match (&self.to, self.listen) {
            (Some(to), _) => Some(to.clone()),
            (None, Some(_)) => None,
            (None, None) => {
                Some(Address::parse(DEFAULT_TO).expect("the default target is an address"))
            }
        }
    }

    /// The simulated market.
    pub fn market_shape(&self) -> MarketShape {
        MarketShape {
            seed: self.seed,
            symbols: self.symbols.clone(),
            // Midnight UTC is when the epoch's days begin.
            origin_us: self.start_time.unwrap_or(0),
            slots_per_s: if self.rate == 0.0 {
                MAX_RATE
            } else {
                self.rate
            },
            kinds: self.kinds.clone(),
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    in_range(text, 0.0..=MAX_RATE).ok_or_else(|| {
        format!(
            "rate is {text} ticks a second; use 0 (as fast as possible) or more, up to {MAX_RATE}"
        )
    })
}

fn parse_speed(text: &str) -> Result<f64, String> {
    in_range(text, 0.0..=1e9)
        .ok_or_else(|| format!("speed is {text}; use 0 (as fast as possible) or more, up to 1e9"))
}

fn in_range(text: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|value| range.contains(value))
}

fn parse_batch(text: &str) -> Result<usize, String> {
    let parsed = text.parse().ok().filter(|n| (1..=100_000).contains(n));
    parsed.ok_or_else(|| format!("batch is {text} records; use 1 to 100000"))
}

fn parse_producer_id(text: &str) -> Result<String, String> {
    plain("producer id", text)
}

fn parse_name(text: &str) -> Result<String, String> {
    plain("name", text)
}

/// What may stand in a header as it is.
fn plain(what: &str, text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{what} is {text:?}; use 1 to 64 characters from A-Z, a-z, 0-9, '-', '_' and '.'"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Options, String> {
        let args = std::iter::once("wigwag-generator").chain(args.split_whitespace());
        Options::parse_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_is_the_local_service() {
        let options = parse("").unwrap();
        assert_eq!(options.target().unwrap().to_string(), DEFAULT_TO);
        assert_eq!(
            (options.rate, options.batch, options.kinds.len()),
            (100.0, 1000, 5)
        );
        assert_eq!(options.symbols.as_slice().len(), 5);
    }

    #[test]
    fn listening_sends_only_when_told_to() {
        assert!(parse("--listen 127.0.0.1:0").unwrap().target().is_none());
        assert!(
            parse("--listen 127.0.0.1:0 --to -")
                .unwrap()
                .target()
                .is_some()
        );
    }

    #[test]
    fn what_is_refused_is_told_with_value_and_rule() {
        for (args, parts) in [
            ("--rate -1", ["-1", "use 0 (as fast as possible) or more"]),
            ("--rate fast", ["fast", "use 0"]),
            ("--rate 1e7", ["1e7", "up to 1000000"]),
            ("--rate 0.00001", ["0.00001", "at least one a day"]),
            ("--batch 0", ["batch is 0", "use 1 to 100000"]),
            (
                "--kinds stock_price,trades",
                ["trades", "economic_indicator"],
            ),
            ("--start-time soon", ["soon", "RFC 3339"]),
            ("--symbols 0", ["is 0", "use 1 to 100000"]),
            ("--symbols A,A", ["\"A\"", "twice"]),
            ("--share 4/3", ["4/3", "I from 1 to N"]),
            ("--share 1/6", ["6 parts", "number of symbols, 5"]),
            ("--speed 2", ["speed is 2", "no --replay"]),
            ("--replay f --rate 5", ["--replay", "--rate"]),
            ("--replay f --symbols 3", ["3 symbols", "--replay"]),
            ("--replay f --speed -2", ["-2", "use 0"]),
            ("--replay f g --symbols A", ["2 files", "--symbols"]),
            ("--sort", ["sort is given", "no --replay"]),
            ("--replay f --listen 127.0.0.1:0", ["--replay", "--listen"]),
            ("--to ftp://x", ["ftp://x", "use an http:// URL"]),
            ("--to kafka://x", ["kafka://x", "HOST:PORT"]),
            ("--to - --token t", ["token", "HTTP"]),
            ("--listen 5000", ["5000", "--listen"]),
            ("--producer-id a,b", ["a,b", "1 to 64"]),
            (
                "--listen 127.0.0.1:0 --name a,b",
                ["name is \"a,b\"", "1 to 64"],
            ),
            ("--name a", ["--name", "--listen"]),
            ("--colour red", ["--colour", "unexpected"]),
        ] {
            let refused = parse(args).unwrap_err();
            assert!(
                parts.iter().all(|part| refused.contains(part)),
                "{args}: {refused}"
            );
        }
    }

    #[test]
    fn a_refused_token_is_not_shown() {
        let refused = parse("--token s\u{e9}cret").unwrap_err();
        assert!(
            refused.contains("visible ASCII") && !refused.contains("cret"),
            "{refused}"
        );
    }

    #[test]
    fn help_shows_every_default() {
        let help = Options::command().render_long_help().to_string();
        for shown in [
            DEFAULT_TO,
            "[default: 100]",
            "[default: 1000]",
            "WIGWAG_GENERATOR_START_TIME",
        ] {
            assert!(help.contains(shown), "{shown} in {help}");
        }
    }
}
