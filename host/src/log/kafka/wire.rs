//! Questions to brokers that librdkafka has no call for, in Kafka's own protocol. A connection carries one question at a
//! time, and is kept for the next; it speaks no TLS and no SASL.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        FindCoordinatorRequest, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
        TopicName, metadata_request::MetadataRequestTopic,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

/// How long a broker may take to be reached, and to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The largest answer that is read.
const ANSWER_BYTES: usize = 16 << 20;
/// `FindCoordinator`'s name for transactions.
const TRANSACTION: i8 = 1;

/// Where a broker listens, `HOST:PORT`.
pub(super) type Address = String;

/// A question failed; the text says which, and at whom.
pub(super) type Failure = String;

/// Connections that carry no question now, by broker.
#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<Address, Vec<TcpStream>>>);

impl Lines {
    /// Asks one broker.
    pub(super) fn ask<R: Request>(
        &self,
        address: &str,
        request: &R,
        version: i16,
    ) -> Result<R::Response, Failure> {
        let ask = || {
            let body = encode(request, version).map_err(io::Error::other)?;
            // What was kept may be closed since.
            let kept = self.take(address);
            let answered = kept.and_then(|line| exchange::<R>(line, &body, version).ok());
            if answered.is_none() {
                self.drop_kept(address);
            }
            answered.map_or_else(|| exchange::<R>(connect(address)?, &body, version), Ok)
        };
        let (line, answer) =
            ask().map_err(|error| format!("{address}: request {}: {error}", R::KEY))?;
        self.keep(address, line);
        Ok(answer)
    }

    /// Asks whichever of `brokers` (separated by commas) answers first; those that answered before come first.
    fn ask_any<R: Request>(
        &self,
        brokers: &str,
        request: &R,
        version: i16,
    ) -> Result<R::Response, Failure> {
        // As in librdkafka's setting, a protocol may stand before the address.
        let mut addresses: Vec<_> = (brokers.split(',').map(str::trim))
            .map(|broker| broker.rsplit_once("://").map_or(broker, |(_, host)| host))
            .collect();
        addresses.sort_by_key(|address| !self.has_kept(address));
        let mut failure = format!("no broker in \"{brokers}\"");
        for address in addresses {
            match self.ask(address, request, version) {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The broker that decides on a transactional id's transactions.
    pub(super) fn coordinator(
        &self,
        brokers: &str,
        transactional_id: &str,
    ) -> Result<Address, Failure> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(TRANSACTION)
            .with_coordinator_keys(vec![text(transactional_id)]);
        let answer = self.ask_any(brokers, &request, 4)?;
        let found = answer
            .coordinators
            .first()
            .ok_or("an answer without coordinator")?;
        match found.error_code {
            0 => Ok(format!("{}:{}", found.host, found.port)),
            code => Err(format!(
                "coordinator of \"{transactional_id}\": code {code}"
            )),
        }
    }

    /// Brokers, and partitions with their leaders, of topics.
    pub(super) fn metadata(
        &self,
        brokers: &str,
        topics: &[String],
    ) -> Result<MetadataResponse, Failure> {
        let topics = topics
            .iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(TopicName(text(topic)))))
            .collect();
        let request = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(false);
        self.ask_any(brokers, &request, 9)
    }

    fn take(&self, address: &str) -> Option<TcpStream> {
        self.kept().get_mut(address)?.pop()
    }

    fn keep(&self, address: &str, line: TcpStream) {
        self.kept()
            .entry(address.to_owned())
            .or_default()
            .push(line);
    }

    fn drop_kept(&self, address: &str) {
        self.kept().remove(address);
    }

    fn has_kept(&self, address: &str) -> bool {
        self.kept().contains_key(address)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Address, Vec<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The answer to a question, and the connection that can take the next.
fn exchange<R: Request>(
    mut line: TcpStream,
    body: &[u8],
    version: i16,
) -> io::Result<(TcpStream, R::Response)> {
    line.write_all(body)?;
    let mut length = [0; 4];
    line.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES {
        return Err(io::Error::other(format!(
            "an answer of {length} bytes; at most {ANSWER_BYTES} are read"
        )));
    }
    let mut answer = vec![0; length];
    line.read_exact(&mut answer)?;
    let answer = decode::<R::Response>(Bytes::from(answer), version).map_err(io::Error::other)?;
    Ok((line, answer))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("it has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(line) => {
                line.set_read_timeout(Some(LIMIT))?;
                line.set_write_timeout(Some(LIMIT))?;
                line.set_nodelay(true)?;
                return Ok(line);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The request with its header, behind its length.
fn encode<R: Request>(request: &R, version: i16) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("wigwag")));
    let mut body = BytesMut::new();
    header
        .encode(&mut body, R::header_version(version))
        .and_then(|()| request.encode(&mut body, version))
        .map_err(|error| error.to_string())?;
    let length = i32::try_from(body.len()).map_err(|error| error.to_string())?;
    let mut whole = BytesMut::with_capacity(4 + body.len());
    whole.put_i32(length);
    whole.put(body);
    Ok(whole)
}

/// Passes over the answer's header, of which nothing is needed: a connection carries one question at a time.
fn decode<A: Decodable + HeaderVersion>(mut answer: Bytes, version: i16) -> Result<A, String> {
    if answer.remaining() < 4 {
        return Err(format!("an answer of {} bytes", answer.remaining()));
    }
    ResponseHeader::decode(&mut answer, A::header_version(version))
        .and_then(|_| A::decode(&mut answer, version))
        .map_err(|error| error.to_string())
}
