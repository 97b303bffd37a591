//! Questions to brokers that librdkafka has no call for, in Kafka's own protocol, one connection a question. They are
//! few, and asked when a partition changes hands; it speaks no TLS and no SASL.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
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

/// Asks one broker.
pub(super) fn ask<R: Request>(
    address: &str,
    request: &R,
    version: i16,
) -> Result<R::Response, Failure> {
    exchange(address, request, version)
        .map_err(|error| format!("{address}: request {}: {error}", R::KEY))
}

/// Asks whichever of `brokers` (separated by commas) answers first.
fn ask_any<R: Request>(brokers: &str, request: &R, version: i16) -> Result<R::Response, Failure> {
    let mut failure = format!("no broker in \"{brokers}\"");
    for broker in brokers.split(',').map(str::trim) {
        // As in librdkafka's setting, a protocol may stand before the address.
        let address = broker.rsplit_once("://").map_or(broker, |(_, host)| host);
        match ask(address, request, version) {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The broker that decides on a transactional id's transactions.
pub(super) fn coordinator(brokers: &str, transactional_id: &str) -> Result<Address, Failure> {
    let request = FindCoordinatorRequest::default()
        .with_key_type(TRANSACTION)
        .with_coordinator_keys(vec![text(transactional_id)]);
    let answer = ask_any(brokers, &request, 4)?;
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
pub(super) fn metadata(brokers: &str, topics: &[String]) -> Result<MetadataResponse, Failure> {
    let topics = topics
        .iter()
        .map(|topic| MetadataRequestTopic::default().with_name(Some(TopicName(text(topic)))))
        .collect();
    let request = MetadataRequest::default()
        .with_topics(Some(topics))
        .with_allow_auto_topic_creation(false);
    ask_any(brokers, &request, 9)
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn exchange<R: Request>(address: &str, request: &R, version: i16) -> io::Result<R::Response> {
    let body = encode(request, version).map_err(io::Error::other)?;
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&body)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES {
        return Err(io::Error::other(format!(
            "an answer of {length} bytes; at most {ANSWER_BYTES} are read"
        )));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    decode::<R::Response>(Bytes::from(answer), version).map_err(io::Error::other)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("it has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return Ok(stream),
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

/// Passes over the answer's header, of which nothing is needed: a connection carries one answer.
fn decode<A: Decodable + HeaderVersion>(mut answer: Bytes, version: i16) -> Result<A, String> {
    if answer.remaining() < 4 {
        return Err(format!("an answer of {} bytes", answer.remaining()));
    }
    ResponseHeader::decode(&mut answer, A::header_version(version))
        .and_then(|_| A::decode(&mut answer, version))
        .map_err(|error| error.to_string())
}
