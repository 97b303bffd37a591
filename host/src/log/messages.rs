//! A batch of messages in one arena: reading a million small messages allocates a few times, not millions.

use super::{Offset, Topic};

/// Messages in the order in which they were read.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    topic: Topic,
    partition: u32,
    offset: Offset,
    timestamp_ms: i64,
    key: usize,
    value: usize,
    headers: usize,
    end: usize,
}

/// One message, borrowed from [`Messages`].
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'a> {
    /// Where it stands.
    pub topic: Topic,
    /// Where it stands.
    pub partition: u32,
    /// Where it stands.
    pub offset: Offset,
    /// When it was appended, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Empty means none.
    pub key: &'a [u8],
    /// The payload.
    pub value: &'a [u8],
    /// Names and values.
    pub headers: Headers<'a>,
}

/// A message's headers.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a>(&'a [u8]);

impl Messages {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a message.
    #[expect(
        clippy::too_many_arguments,
        reason = "a message has that many parts, and this is the one writer"
    )]
    pub fn push<'h>(
        &mut self,
        topic: Topic,
        partition: u32,
        offset: Offset,
        timestamp_ms: i64,
        key: &[u8],
        value: &[u8],
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) {
        let key_at = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_at = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let headers_at = self.bytes.len();
        for (name, value) in headers {
            for part in [name.as_bytes(), value] {
                self.bytes.extend_from_slice(
                    &u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes(),
                );
                self.bytes.extend_from_slice(part);
            }
        }
        self.entries.push(Entry {
            topic,
            partition,
            offset,
            timestamp_ms,
            key: key_at,
            value: value_at,
            headers: headers_at,
            end: self.bytes.len(),
        });
    }

    /// The messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        self.entries.iter().map(|e| MessageRef {
            topic: e.topic,
            partition: e.partition,
            offset: e.offset,
            timestamp_ms: e.timestamp_ms,
            key: &self.bytes[e.key..e.value],
            value: &self.bytes[e.value..e.headers],
            headers: Headers(&self.bytes[e.headers..e.end]),
        })
    }
}

impl<'a> Headers<'a> {
    /// Names and values in the order in which they were written.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.0;
        let mut part = move || {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let (part, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = tail;
            Some(part)
        };
        std::iter::from_fn(move || Some((std::str::from_utf8(part()?).ok()?, part()?)))
    }

    /// The first value of that name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_with_all_its_parts() {
        let mut messages = Messages::new();
        messages.push(
            Topic::Ticks,
            3,
            7,
            9,
            b"AAPL",
            b"{}",
            [("Producer-Id", &b"p"[..]), ("empty", b"")],
        );
        messages.push(Topic::Raw, 0, 8, 10, b"", b"x", []);
        let read: Vec<_> = messages.iter().collect();
        assert_eq!(
            (read[0].topic, read[0].partition, read[0].offset),
            (Topic::Ticks, 3, 7)
        );
        assert_eq!(
            (read[0].key, read[0].value, read[0].timestamp_ms),
            (&b"AAPL"[..], &b"{}"[..], 9)
        );
        assert_eq!(read[0].headers.get("Producer-Id"), Some(&b"p"[..]));
        assert_eq!(read[0].headers.get("empty"), Some(&b""[..]));
        assert_eq!(read[0].headers.get("absent"), None);
        assert!(read[1].headers.is_empty() && read[1].key.is_empty());
    }
}
