//! Where records go: the address, and the one interface to HTTP, Kafka and standard output.

use std::{fmt, io, sync::Arc};

use reqwest::Url;
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use crate::{batch::Batch, stop::Stop, totals::Totals};

pub mod http;
pub mod kafka;

use http::{Http, HttpError};
use kafka::{Kafka, KafkaError};

/// The topic that takes records from producers.
const RAW_TOPIC: &str = "raw";

/// An address that records can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An ingest route.
    Http(Url),
    /// A topic on a Kafka.
    Kafka {
        /// `HOST:PORT`, several separated by commas.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// Standard output.
    Stdout,
}

/// Why a text is no address.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error(
        "{0:?} is nowhere to send to; use an http:// URL, kafka://HOST:PORT[/TOPIC], or - for standard output"
    )]
    Scheme(String),
    /// No URL.
    #[error("{0:?}: {1}")]
    Url(String, String),
    /// Secrets in a URL end up in logs.
    #[error("the URL carries a user name or password; use --token")]
    Credentials,
    /// Without transport security built in.
    #[error(
        "{0:?}: https is not built in; send to an http:// URL, through a TLS proxy if the way there is open"
    )]
    Https(String),
    /// No broker.
    #[error("{0:?} names no broker by HOST:PORT; use kafka://HOST:PORT[,HOST:PORT][/TOPIC]")]
    Broker(String),
    /// No topic name.
    #[error(
        "topic {0:?} is no topic name; use 1 to 249 characters from A-Z, a-z, 0-9, '.', '_' and '-'"
    )]
    Topic(String),
}

/// Takes batches, in order, one at a time.
pub enum Target {
    /// Over HTTP.
    Http(Http),
    /// To Kafka.
    Kafka(Kafka),
    /// To standard output.
    Stdout(tokio::io::Stdout, Arc<Totals>),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is the target's now; the next one may follow.
    Done,
    /// The run is to end, or nobody reads any more: no further batch is wanted.
    Enough,
}

/// Why sending cannot go on.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum SendError {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    #[error("standard output: {0}")]
    Stdout(io::Error),
}

impl Address {
    /// Reads `http://…`, `kafka://HOST:PORT[,HOST:PORT][/TOPIC]` or `-`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text == "-" {
            Ok(Self::Stdout)
        } else if let Some(rest) = text.strip_prefix("kafka://") {
            let (brokers, topic) = rest.split_once('/').unwrap_or((rest, RAW_TOPIC));
            let named = |broker: &str| {
                broker
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            };
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            let topic = if topic.is_empty() { RAW_TOPIC } else { topic };
            if !brokers.split(',').all(named) {
                Err(AddressError::Broker(text.to_owned()))
            } else if topic.len() > 249
                || matches!(topic, "." | "..")
                || !topic.bytes().all(allowed)
            {
                Err(AddressError::Topic(topic.to_owned()))
            } else {
                Ok(Self::Kafka {
                    brokers: brokers.to_owned(),
                    topic: topic.to_owned(),
                })
            }
        } else if text.starts_with("https://") {
            Err(AddressError::Https(text.to_owned()))
        } else if text.starts_with("http://") {
            let url = Url::parse(text)
                .map_err(|error| AddressError::Url(text.to_owned(), error.to_string()))?;
            if url.username().is_empty() && url.password().is_none() {
                Ok(Self::Http(url))
            } else {
                Err(AddressError::Credentials)
            }
        } else {
            Err(AddressError::Scheme(text.to_owned()))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => url.fmt(f),
            Self::Kafka { brokers, topic } => write!(f, "kafka://{brokers}/{topic}"),
            Self::Stdout => f.write_str("-"),
        }
    }
}

impl Target {
    /// Makes ready to send; connects when there is something to send.
    ///
    /// # Errors
    /// When the client library refuses its settings.
    pub fn open(
        address: &Address,
        token: Option<&str>,
        producer_id: Option<&str>,
        totals: Arc<Totals>,
    ) -> Result<Self, SendError> {
        Ok(match address {
            Address::Http(url) => Self::Http(Http::new(url.clone(), token, producer_id, totals)?),
            Address::Kafka { brokers, topic } => Self::Kafka(Kafka::new(brokers, topic, totals)?),
            Address::Stdout => Self::Stdout(tokio::io::stdout(), totals),
        })
    }

    /// Sends a batch, waiting and trying again as long as that may help and `stop` is not asked for. The batch comes
    /// back with its buffers, and its content is not to be used any more.
    ///
    /// # Errors
    /// When trying again would not help.
    pub async fn send(&mut self, batch: &mut Batch, stop: &Stop) -> Result<Sent, SendError> {
        match self {
            Self::Http(http) => Ok(http.send(batch, stop).await?),
            Self::Kafka(kafka) => Ok(kafka.send(batch, stop).await?),
            Self::Stdout(stdout, totals) => {
                totals.add_sent(batch.len() as u64);
                let written = async {
                    stdout.write_all(&batch.body).await?;
                    stdout.flush().await
                };
                let written = tokio::select! {
                    written = written => written,
                    // Whoever reads the pipe has stalled.
                    () = stop.overdue() => return Ok(Sent::Enough),
                };
                match written {
                    Ok(()) => {
                        totals.add_accepted(batch.len() as u64);
                        Ok(Sent::Done)
                    }
                    // As in `... | head`.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Sent::Enough),
                    Err(error) => Err(SendError::Stdout(error)),
                }
            }
        }
    }

    /// Waits until all that was sent has arrived, or the time after `stop` is over.
    ///
    /// # Errors
    /// When something did not arrive and never will.
    pub async fn finish(&mut self, stop: &Stop) -> Result<(), SendError> {
        match self {
            Self::Kafka(kafka) => Ok(kafka.finish(stop).await?),
            Self::Http(_) | Self::Stdout(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_shown() {
        for text in [
            "http://127.0.0.1:8080/ingest",
            "kafka://127.0.0.1:9092/raw",
            "kafka://a:1,b:2/other.topic",
            "-",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Address::parse("kafka://k:9092").unwrap().to_string(),
            "kafka://k:9092/raw"
        );
        assert_eq!(
            Address::parse("kafka://k:9092/").unwrap().to_string(),
            "kafka://k:9092/raw"
        );
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        let refused = |text| Address::parse(text).unwrap_err().to_string();
        assert!(
            refused("localhost:8080").starts_with("\"localhost:8080\" is nowhere to send to; use")
        );
        assert!(refused("https://x/ingest").contains("https is not built in"));
        assert!(refused("http://").starts_with("\"http://\": "));
        assert!(refused("kafka://").contains("names no broker"));
        assert!(refused("kafka://host").contains("names no broker"));
        assert!(refused("kafka://host:99999").contains("names no broker"));
        assert!(refused("kafka://host:1/a/b").contains("topic \"a/b\""));
        let secret = refused("http://user:secret@host/");
        assert!(secret.contains("--token") && !secret.contains("secret"));
    }
}
