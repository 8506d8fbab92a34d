//! Bytes in JSON: a string where they are UTF-8, else `{"hex": "..."}`; and the exchange record that
//! `export` writes and `import` reads, one a line.
//!
//! The rule is lossless both ways and stands in docs/cli.md. This file must never know a store.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The rule, for the help texts.
pub(crate) const JSON_HELP: &str = "\
In JSON, bytes that are valid UTF-8 are a string; all others are an object {\"hex\": \"00ff...\"}.";

/// Bytes on their way into JSON.
#[derive(Clone, Copy)]
pub(crate) struct BytesOut<'a>(pub(crate) &'a [u8]);

impl Serialize for BytesOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => HexForm {
                hex: hex::encode(self.0),
            }
            .serialize(serializer),
        }
    }
}

/// Bytes on their way out of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BytesIn(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for BytesIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BytesIn, D::Error> {
        match EitherForm::deserialize(deserializer)? {
            EitherForm::Text(text) => Ok(BytesIn(text.into_bytes())),
            EitherForm::Hex(form) => hex::decode(&form.hex)
                .map(BytesIn)
                .map_err(|error| serde::de::Error::custom(format_args!("bad hex: {error}"))),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HexForm {
    hex: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or {\"hex\": \"...\"}")]
enum EitherForm {
    Text(String),
    Hex(HexForm),
}

/// One record as `export` writes it.
#[derive(Serialize)]
pub(crate) struct RecordOut<'a> {
    pub(crate) keyspace: &'a str,
    pub(crate) key: BytesOut<'a>,
    pub(crate) value: BytesOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
}

/// One record as `import` reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordIn {
    pub(crate) keyspace: Option<String>,
    pub(crate) key: BytesIn,
    pub(crate) value: BytesIn,
    pub(crate) expires_at_ms: Option<u64>,
    /// `list --values --json` and `get --json` print it; an import gives every record a new one.
    #[serde(default, rename = "seq")]
    _seq: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(bytes: &[u8]) -> (String, Vec<u8>) {
        let text = serde_json::to_string(&BytesOut(bytes)).expect("bytes always have a JSON form");
        let back: BytesIn = serde_json::from_str(&text).expect("our own JSON is readable");
        (text, back.0)
    }

    #[test]
    fn every_kind_of_bytes_survives_the_way_through_json() {
        let samples: [&[u8]; 8] = [
            b"",
            b"plain",
            b"quote \" backslash \\ newline \n nul \0 bell \x07",
            "gr\u{fc}n \u{1f980} \u{2028}".as_bytes(),
            b"\xff\xfe",
            b"half a character \xc3",
            b"{\"hex\": \"00\"}",
            b"@text",
        ];
        for bytes in samples {
            assert_eq!(round_trip(bytes).1, bytes);
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(round_trip(&all).1, all);
    }

    #[test]
    fn only_bytes_that_are_not_utf8_take_the_hex_form() {
        assert_eq!(round_trip(b"abc").0, "\"abc\"");
        assert_eq!(round_trip(&[0xff, 0x00]).0, "{\"hex\":\"ff00\"}");
    }

    #[test]
    fn a_record_line_names_what_is_wrong_with_it() {
        let good: RecordIn =
            serde_json::from_str(r#"{"key":"k","value":{"hex":"00ff"},"expires_at_ms":5}"#)
                .expect("a good line");
        assert_eq!(good.key.0, b"k");
        assert_eq!(good.value.0, [0x00, 0xff]);
        assert_eq!((good.keyspace, good.expires_at_ms), (None, Some(5)));
        for (line, part) in [
            (r#"{"key":"k"}"#, "value"),
            (r#"{"key":"k","value":"v","ttl":5}"#, "ttl"),
            (r#"{"key":7,"value":"v"}"#, "hex"),
            (r#"{"key":"k","value":{"hex":"0"}}"#, "hex"),
            (r#"{"key":"k","value":"v""#, "EOF"),
        ] {
            let error = serde_json::from_str::<RecordIn>(line).expect_err("a bad line");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
