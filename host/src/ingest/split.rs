//! Cuts a body into records without reading them.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Content, IngestError};

/// The records of a body, each without the white space around it.
///
/// # Errors
/// Where there is none, where there are too many, or where an array is not JSON.
pub(super) fn split(
    body: &[u8],
    content: Content,
    max_records: usize,
) -> Result<Vec<&[u8]>, IngestError> {
    let body = trim(body);
    match body.first() {
        None => Err(IngestError::Empty),
        Some(b'[') if content == Content::Auto => array(body, max_records),
        _ => {
            let lines = lines(body, max_records);
            if content == Content::Auto && one_over_lines(body) {
                Ok(vec![body])
            } else {
                lines
            }
        }
    }
}

fn lines(body: &[u8], max_records: usize) -> Result<Vec<&[u8]>, IngestError> {
    /// Guessing low costs a copy, guessing high memory.
    const USUAL_LINE_BYTES: usize = 160;

    let mut records = Vec::with_capacity(body.len() / USUAL_LINE_BYTES + 1);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
        let line = trim(&body[start..end]);
        if !line.is_empty() {
            if records.len() == max_records {
                return Err(too_many(max_records));
            }
            records.push(line);
        }
        start = end + 1;
    }
    Ok(records)
}

/// Whether the body is one value that is written over several lines.
fn one_over_lines(body: &[u8]) -> bool {
    let is_json = |text| serde_json::from_slice::<IgnoredAny>(text).is_ok();
    match memchr::memchr(b'\n', body) {
        Some(end) => !is_json(&body[..end]) && is_json(body),
        None => false,
    }
}

fn array(body: &[u8], max_records: usize) -> Result<Vec<&[u8]>, IngestError> {
    let not_json = |problem: &dyn fmt::Display| {
        IngestError::NotJson(format!("the body is not JSON: {problem}"))
    };
    let text = str::from_utf8(body).map_err(|error| not_json(&error))?;
    let mut elements = Elements {
        records: Vec::new(),
        max_records,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    elements
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| {
            // The one error that is ours and not JSON's.
            if error.is_data() {
                too_many(max_records)
            } else {
                not_json(&error)
            }
        })?;
    Ok(elements.records)
}

fn too_many(limit: usize) -> IngestError {
    IngestError::TooLarge {
        limit,
        unit: "records",
    }
}

/// Collects the elements of an array, unread.
struct Elements<'a> {
    records: Vec<&'a [u8]>,
    max_records: usize,
}

impl<'de> DeserializeSeed<'de> for &mut Elements<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Elements<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} records", self.max_records)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&RawValue>()? {
            if self.records.len() == self.max_records {
                return Err(A::Error::invalid_length(self.max_records + 1, &self));
            }
            self.records.push(element.get().as_bytes());
        }
        Ok(())
    }
}

/// Without JSON's white space at both ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..]
    | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(body: &str) -> Result<Vec<&str>, String> {
        let records =
            split(body.as_bytes(), Content::Auto, 3).map_err(|error| error.to_string())?;
        Ok(records
            .into_iter()
            .map(|r| str::from_utf8(r).unwrap())
            .collect())
    }

    fn ok(records: &[&'static str]) -> Result<Vec<&'static str>, String> {
        Ok(records.to_vec())
    }

    #[test]
    fn one_object_is_one_record_however_it_is_laid_out() {
        assert_eq!(records(r#"{"a":1}"#), ok(&[r#"{"a":1}"#]));
        assert_eq!(records(" \r\n{\"a\":1}\n"), ok(&[r#"{"a":1}"#]));
        assert_eq!(records("{\n \"a\": 1\n}\n"), ok(&["{\n \"a\": 1\n}"]));
    }

    #[test]
    fn lines_are_records_and_empty_ones_are_not() {
        assert_eq!(
            records("{\"a\":1}\r\n\n  {\"a\":2} \n"),
            ok(&[r#"{"a":1}"#, r#"{"a":2}"#])
        );
        assert_eq!(records("{oops\n{\"a\":2}"), ok(&["{oops", r#"{"a":2}"#]));
        assert_eq!(records("1\n[2]\nx"), ok(&["1", "[2]", "x"]));
    }

    #[test]
    fn the_elements_of_an_array_are_records() {
        assert_eq!(
            records(" [ {\"a\":[1,2]} ,\n{\"b\":\"],\"} ]\n"),
            ok(&[r#"{"a":[1,2]}"#, r#"{"b":"],"}"#])
        );
        assert_eq!(records("[]"), ok(&[]));
    }

    #[test]
    fn an_array_that_is_not_json_is_refused_as_a_whole() {
        for body in [
            "[{\"a\":1},]",
            "[{\"a\":1}",
            "[{\"a\":1}]x",
            "[{oops},{\"a\":1}]",
            "[1,2,3,{oops]",
        ] {
            assert!(
                records(body)
                    .unwrap_err()
                    .starts_with("the body is not JSON: "),
                "{body}"
            );
        }
        let refused = split(b"[\"\xff\"]", Content::Auto, 3).unwrap_err();
        assert!(matches!(refused, IngestError::NotJson(_)), "{refused}");
    }

    #[test]
    fn too_many_records_are_refused() {
        let refused = Err("the body has more than 3 records; send it in smaller parts".to_string());
        assert_eq!(records("1\n2\n3\n4"), refused);
        assert_eq!(records("[1,2,3,4]"), refused);
        assert_eq!(records("[1,2,3]"), ok(&["1", "2", "3"]));
    }

    #[test]
    fn a_body_of_white_space_is_empty() {
        for body in ["", " ", "\n\r\n\t"] {
            assert!(
                matches!(
                    split(body.as_bytes(), Content::Auto, 3),
                    Err(IngestError::Empty)
                ),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_body_that_is_said_to_be_lines_is_taken_as_lines() {
        let split = |body| split(body, Content::Lines, 3).unwrap();
        assert_eq!(split(b"[1]\n[2]"), [b"[1]", b"[2]"]);
        assert_eq!(split(b"{\n}"), [b"{", b"}"]);
    }

    #[test]
    fn deep_nesting_uses_no_stack() {
        let body = "[".repeat(2_000_000);
        assert!(matches!(
            split(body.as_bytes(), Content::Auto, 3),
            Err(IngestError::NotJson(_))
        ));
    }

    proptest! {
        #[test]
        fn any_body_is_cut_or_refused_and_nothing_is_added(body in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"[]{}\",:1 \n\r".to_vec())], 0..200)) {
            for content in [Content::Auto, Content::Lines] {
                if let Ok(records) = split(&body, content, 100) {
                    prop_assert!(records.iter().all(|record| !record.is_empty() && trim(record).len() == record.len()));
                    prop_assert!(records.iter().map(|record| record.len()).sum::<usize>() <= body.len());
                }
            }
        }

        #[test]
        fn an_array_has_the_elements_that_serde_json_sees(values in prop::collection::vec("[a-z\"\\\\\\[\\]{},]{0,8}", 0..50)) {
            let body = serde_json::to_string_pretty(&values).unwrap();
            let records = split(body.as_bytes(), Content::Auto, 50).unwrap();
            let back: Vec<String> = records.iter().map(|r| serde_json::from_slice(r).unwrap()).collect();
            prop_assert_eq!(back, values);
        }
    }
}
