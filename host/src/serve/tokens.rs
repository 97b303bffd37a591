//! Reads the tokens anew when their file has changed, so that they are rotated without a restart. The other options of the
//! file stay as they were at the start.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::{self, ConfigError},
    http::{KnownTokens, TokenConfig, Tokens},
};

/// Between two looks at the file. A mounted Secret is swapped as a whole folder, which a watch on the file would miss.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Keeps `known` as the file says, until it is dropped. A file that cannot be used, or holds no token, changes nothing.
pub(super) async fn follow(file: PathBuf, mut seen: Vec<TokenConfig>, known: KnownTokens) {
    known.publish();
    let mut complained = String::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let read = config::read_tokens(&file).and_then(|tokens| {
            let told = |error: &dyn std::fmt::Display| {
                ConfigError::Other(format!("{}: {error}", file.display()))
            };
            match tokens.is_empty() {
                true => Err(told(&"there are no [[tokens]]")),
                false => Tokens::try_new(&tokens)
                    .map(|usable| (tokens, usable))
                    .map_err(|error| told(&error)),
            }
        });
        match read {
            Ok((tokens, usable)) => {
                complained.clear();
                if tokens != seen {
                    let names = tokens.iter().map(|token| token.name.as_str());
                    let names = names.collect::<Vec<_>>().join(" ");
                    tracing::info!(names, "tokens read anew");
                    known.replace(usable);
                    seen = tokens;
                }
            }
            // Where there never were any, the one of this run stays.
            Err(_) if seen.is_empty() => {}
            Err(error) => {
                let error = error.to_string();
                if error != complained {
                    tracing::warn!(error, "the tokens stay as they were");
                    complained = error;
                }
            }
        }
    }
}
