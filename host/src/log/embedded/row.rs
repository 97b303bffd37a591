//! A row: one message, or several of one line each without headers, so that small messages do not cost a row
//! each. Keys and values of such a batch are joined by line feeds; offsets count up from the row's own.

use crate::log::{Append, Messages, Offset};
use std::{borrow::Cow, fmt::Write};

use super::place::Place;

/// Lines are joined up to this many bytes: a reader that starts inside a row must read all of it.
const JOINED_BYTES: usize = 64 << 10;

/// A row that is being put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) offset: Offset,
    pub(super) count: u32,
    pub(super) key: Vec<u8>,
    pub(super) headers: String,
    pub(super) value: Vec<u8>,
    is_lines: bool,
}

/// A row as it was stored.
pub(super) struct Stored<'a> {
    pub(super) offset: Offset,
    pub(super) count: u32,
    pub(super) timestamp_ms: i64,
    pub(super) crc: u32,
    pub(super) key: &'a [u8],
    pub(super) headers: &'a str,
    pub(super) value: &'a [u8],
}

impl Row {
    /// A row of one message, which more may join where `may_grow` says so.
    pub(super) fn new(offset: Offset, append: Append, may_grow: bool) -> Self {
        let is_lines = may_grow && is_line(&append);
        let headers = encode(&append.headers);
        Self {
            offset,
            count: 1,
            key: append.key,
            headers,
            value: append.value,
            is_lines,
        }
    }

    /// Adds a message, or gives it back where it needs a row of its own.
    pub(super) fn join(&mut self, append: Append) -> Result<(), Append> {
        let bytes = self.key.len() + self.value.len() + append.key.len() + append.value.len() + 2;
        if !self.is_lines || bytes > JOINED_BYTES || !is_line(&append) {
            return Err(append);
        }
        for (joined, part) in [(&mut self.key, append.key), (&mut self.value, append.value)] {
            joined.push(b'\n');
            joined.extend_from_slice(&part);
        }
        self.count += 1;
        Ok(())
    }

    pub(super) fn crc(&self, place: &Place, timestamp_ms: i64) -> u32 {
        crc(
            place,
            self.offset,
            self.count,
            timestamp_ms,
            &self.key,
            &self.headers,
            &self.value,
        )
    }
}

impl Stored<'_> {
    /// The offset after its last message.
    pub(super) fn end(&self) -> Offset {
        self.offset + Offset::from(self.count)
    }

    /// Adds its messages from `from` on to `into`, until that has `full_bytes`; returns the offset to go on from.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub(super) fn read(
        &self,
        place: &Place,
        from: Offset,
        into: &mut Messages,
        full_bytes: usize,
    ) -> Result<Offset, String> {
        let crc = crc(
            place,
            self.offset,
            self.count,
            self.timestamp_ms,
            self.key,
            self.headers,
            self.value,
        );
        if crc != self.crc {
            return Err(format!(
                "its bytes have the CRC-32 {crc:08x}, it was written with {:08x}",
                self.crc
            ));
        }
        let mut push = |offset, key, value| {
            let headers = decode(self.headers);
            let headers = headers.iter().map(|(name, value)| (*name, &**value));
            into.push(
                place.topic,
                place.partition,
                offset,
                self.timestamp_ms,
                key,
                value,
                headers,
            );
            into.bytes() >= full_bytes
        };
        if self.count == 1 {
            push(self.offset, self.key, self.value);
            return Ok(self.end());
        }
        let lines = || (self.key.split(|&b| b == b'\n')).zip(self.value.split(|&b| b == b'\n'));
        for (offset, (key, value)) in (self.offset..self.end()).zip(lines()) {
            if offset >= from && push(offset, key, value) {
                return Ok(offset + 1);
            }
        }
        Ok(self.end())
    }
}

fn is_line(append: &Append) -> bool {
    append.headers.is_empty()
        && append.key.len() + append.value.len() < JOINED_BYTES
        && !append.key.contains(&b'\n')
        && !append.value.contains(&b'\n')
}

fn crc(
    place: &Place,
    offset: Offset,
    count: u32,
    timestamp_ms: i64,
    key: &[u8],
    headers: &str,
    value: &[u8],
) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(place.topic.name().as_bytes());
    crc.update(&place.partition.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(&count.to_le_bytes());
    crc.update(&timestamp_ms.to_le_bytes());
    for part in [key, headers.as_bytes(), value] {
        crc.update(&part.len().to_le_bytes());
        crc.update(part);
    }
    crc.sum()
}

/// Headers as text that a person can read, one `name=value` a line; what is not printable ASCII is `%xx`.
fn encode(headers: &[(&'static str, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        text.push_str(name);
        text.push('=');
        for &byte in value {
            if matches!(byte, b' '..=b'~') && byte != b'%' {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02x}");
            }
        }
        text.push('\n');
    }
    text
}

fn decode(text: &str) -> Vec<(&str, Cow<'_, [u8]>)> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, unescape(value)))
        .collect()
}

fn unescape(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(code, 16));
        bytes.extend_from_slice(rest.as_bytes());
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Topic;

    fn append(value: &[u8]) -> Append {
        Append {
            topic: Topic::Ticks,
            partition: 0,
            key: Vec::new(),
            value: value.to_vec(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn lines_join_until_the_row_is_large() {
        let line = vec![b'x'; 1000];
        let mut row = Row::new(0, append(&line), true);
        while row.join(append(&line)).is_ok() {}
        assert!(
            (JOINED_BYTES - 1100..=JOINED_BYTES).contains(&row.value.len()),
            "{} bytes",
            row.value.len()
        );
        assert_eq!(
            row.count as usize,
            row.key.len() + 1,
            "a line feed between any two"
        );
    }

    #[test]
    fn what_is_no_line_keeps_its_own_row() {
        let with_header = Append {
            headers: vec![("h", Vec::new())],
            ..append(b"a")
        };
        let with_key = Append {
            key: b"\n".to_vec(),
            ..append(b"a")
        };
        for other in [append(b"a\nb"), with_header, with_key] {
            assert_eq!(
                Row::new(0, append(b"a"), true).join(other.clone()),
                Err(other.clone())
            );
            assert_eq!(
                Row::new(0, other, true).join(append(b"a")),
                Err(append(b"a"))
            );
        }
        assert_eq!(
            Row::new(0, append(b"a"), false).join(append(b"b")),
            Err(append(b"b"))
        );
    }

    #[test]
    fn headers_are_readable_and_come_back() {
        let headers = vec![
            ("Producer-Id", b"p 1=%\n".to_vec()),
            ("none", Vec::new()),
            ("all", (0..=255).collect()),
        ];
        let text = encode(&headers);
        assert!(
            text.starts_with("Producer-Id=p 1=%25%0a\nnone=\nall=%00%01"),
            "{text}"
        );
        let decoded: Vec<_> = decode(&text)
            .into_iter()
            .map(|(name, value)| (name, value.into_owned()))
            .collect();
        assert_eq!(decoded, headers);
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let row = Row::new(7, append(b"value"), true);
        let places = super::super::place::Places::new(1);
        let place = places.get(Topic::Ticks, 0).expect("a place");
        let mut value = row.value.clone();
        for flip in [0, 1] {
            value[2] ^= flip;
            let (crc, headers) = (row.crc(place, 9), &row.headers);
            let stored = Stored {
                offset: 7,
                count: 1,
                timestamp_ms: 9,
                crc,
                key: b"",
                headers,
                value: &value,
            };
            let mut messages = Messages::new();
            let read = stored.read(place, 7, &mut messages, 100);
            assert_eq!(
                (read.is_ok(), messages.len()),
                if flip == 0 { (true, 1) } else { (false, 0) }
            );
        }
    }
}
