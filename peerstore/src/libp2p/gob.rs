//! Values as go's `encoding/gob` writes them behind an interface, as far as go's peer store holds them: plain
//! ones, and the set of protocols. Anything else is not decoded. What is read may be anything.

use super::profile::MetadataValue;

/// A decoded value.
#[derive(Debug, PartialEq)]
pub(crate) enum Gob {
    Value(MetadataValue),
    /// A map from text to nothing.
    Set(Vec<String>),
}

/// Type numbers of gob, doubled as its signed integers are.
const BOOL: u64 = 1 << 1;
const INT: u64 = 2 << 1;
const UINT: u64 = 3 << 1;
const FLOAT: u64 = 4 << 1;
const BYTES: u64 = 5 << 1;
const STRING: u64 = 6 << 1;
const INTERFACE: u64 = 8 << 1;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// Below 128 a byte; else how many bytes follow, negated, and these, the greatest first.
    fn uint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 128 {
            return Some(u64::from(first));
        }
        let len = first.wrapping_neg();
        let bytes = self.take(u64::from(len)).filter(|_| len <= 8)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.uint()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
}

fn int(coded: u64) -> i64 {
    let half = (coded >> 1).cast_signed();
    if coded & 1 == 1 { !half } else { half }
}

/// The value of the last message; those before it describe types.
pub(crate) fn decode_gob(bytes: &[u8]) -> Option<Gob> {
    let mut messages = Reader(bytes);
    let mut last = None;
    while !messages.0.is_empty() {
        let len = messages.uint()?;
        last = Some(messages.take(len)?);
    }
    let mut message = Reader(last?);
    if message.uint()? != INTERFACE || message.byte()? != 0 {
        return None;
    }
    let name = message.text()?;
    let kind = message.uint()?;
    let len = message.uint()?;
    let mut value = Reader(message.take(len)?);
    if value.byte()? != 0 || !message.0.is_empty() {
        return None;
    }
    let decoded = match kind {
        BOOL => Gob::Value((value.uint()? != 0).into()),
        INT => Gob::Value(int(value.uint()?).into()),
        UINT => Gob::Value(value.uint()?.into()),
        FLOAT => Gob::Value(f64::from_bits(value.uint()?.swap_bytes()).into()),
        BYTES => {
            let len = value.uint()?;
            Gob::Value(value.take(len)?.into())
        }
        STRING => Gob::Value(value.text()?.into()),
        _ if name.starts_with("map[protocol.ID]struct") => {
            let count = value.uint()?;
            let mut names = Vec::new();
            for _ in 0..count {
                names.push(value.text()?.to_owned());
                // A struct without fields is its end.
                if value.byte()? != 0 {
                    return None;
                }
            }
            Gob::Set(names)
        }
        _ => return None,
    };
    value.0.is_empty().then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_hex(text: &str) -> Vec<u8> {
        crate::libp2p::lines::of_hex(text).expect("digits")
    }

    #[test]
    fn what_go_wrote_is_read() {
        let agent = of_hex("15100006737472696e670c0a00086b75626f2f302e31");
        assert_eq!(decode_gob(&agent), Some(Gob::Value("kubo/0.1".into())));
        let seven = of_hex("0a100003696e740402000e");
        assert_eq!(decode_gob(&seven), Some(Gob::Value(7_i64.into())));
    }

    #[test]
    fn numbers_of_all_sizes_follow_gobs_rules() {
        // By the rules that the package's documentation lays down.
        let of_kind = |kind: &[u8], name: &str, value: &[u8]| {
            let mut message = vec![16, 0, u8::try_from(name.len()).expect("short")];
            message.extend_from_slice(name.as_bytes());
            message.extend_from_slice(kind);
            message.extend_from_slice(&[u8::try_from(value.len() + 1).expect("short"), 0]);
            message.extend_from_slice(value);
            let mut bytes = vec![u8::try_from(message.len()).expect("short")];
            bytes.extend(message);
            decode_gob(&bytes)
        };
        let value = |kind: u8, name: &str, value: &[u8]| of_kind(&[kind], name, value);
        let is = |found: Option<Gob>, expected: MetadataValue| {
            assert_eq!(found, Some(Gob::Value(expected)));
        };
        is(value(2, "bool", &[1]), true.into());
        is(value(4, "int", &[0x0d]), (-7_i64).into());
        is(value(6, "uint", &[0xfe, 1, 0]), 256_u64.into());
        is(value(8, "float64", &[0xfe, 0xf8, 0x3f]), 1.5.into());
        is(value(10, "[]uint8", &[2, 0, 255]), vec![0_u8, 255].into());
        // The number of a type of the sender's own, 65, doubled: above 127 its length comes first.
        let set = of_kind(
            &[0xff, 130],
            "map[protocol.ID]struct {}",
            b"\x02\x02/a\x00\x02/b\x00",
        );
        assert_eq!(set, Some(Gob::Set(vec!["/a".into(), "/b".into()])));
        assert_eq!(
            of_kind(&[0xff, 130], "main.Thing", &[1, 2]),
            None,
            "a type that nobody knows"
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let agent = of_hex("15100006737472696e670c0a00086b75626f2f302e31");
        for cut in 0..agent.len() {
            assert_eq!(decode_gob(&agent[..cut]), None);
        }
        for at in 0..agent.len() * 8 {
            let mut flipped = agent.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let _ = decode_gob(&flipped);
        }
        assert_eq!(decode_gob(&[0xff; 30]), None);
    }
}
