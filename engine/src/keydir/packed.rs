//! Sorted byte strings in one block: what all of them begin with once, then what is left of each.
//! A block is never changed; a changed one is copied. It knows nothing of what its keys mean.

use std::cmp::Ordering;

/// A key in two parts: what it shares with its block, and the rest.
pub(super) type Parts<'a> = (&'a [u8], &'a [u8]);

/// Sorted keys, each once.
pub(super) struct Packed {
    /// How many bytes all keys begin with; they come first in `bytes`.
    shared: usize,
    ends: Ends,
    bytes: Box<[u8]>,
}

/// Where each key's rest ends, counted from where the first begins.
enum Ends {
    Short(Box<[u16]>),
    Long(Box<[u32]>),
}

impl Ends {
    /// From lengths to ends; short ones where they fit.
    fn of(lens: impl Iterator<Item = usize> + Clone) -> Ends {
        let mut end = 0;
        let mut ends = lens.clone().map(|len| {
            end += len;
            end
        });
        let total: usize = lens.clone().sum();
        if u16::try_from(total).is_ok() {
            // No end is above the total.
            Ends::Short(
                ends.map(|end| u16::try_from(end).unwrap_or(u16::MAX))
                    .collect(),
            )
        } else {
            assert!(u32::try_from(total).is_ok(), "a block is bounded in keys");
            Ends::Long(
                ends.by_ref()
                    .map(|end| u32::try_from(end).unwrap_or(u32::MAX))
                    .collect(),
            )
        }
    }

    fn len(&self) -> usize {
        match self {
            Ends::Short(ends) => ends.len(),
            Ends::Long(ends) => ends.len(),
        }
    }

    fn get(&self, index: usize) -> usize {
        match self {
            Ends::Short(ends) => ends.get(index).map_or(0, |end| usize::from(*end)),
            Ends::Long(ends) => ends.get(index).map_or(0, |end| *end as usize),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Ends::Short(ends) => size_of_val(&**ends),
            Ends::Long(ends) => size_of_val(&**ends),
        }
    }
}

impl Packed {
    /// A block of keys that come in order.
    pub(super) fn of<'a>(keys: impl Iterator<Item = Parts<'a>> + Clone) -> Packed {
        let (first, last) = (keys.clone().next(), keys.clone().last());
        let shared = match (first, last) {
            (Some(first), Some(last)) => shared_len(first, last),
            _ => 0,
        };
        let len = |(a, b): Parts<'_>| a.len() + b.len() - shared;
        let total: usize = keys.clone().map(len).sum();
        let mut bytes = Vec::with_capacity(shared + total);
        if let Some(first) = first {
            push_from(&mut bytes, first, 0, shared);
        }
        for key in keys.clone() {
            push_from(&mut bytes, key, shared, usize::MAX);
        }
        Packed {
            shared,
            ends: Ends::of(keys.map(len)),
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// The block with `key` at its place `at`, as `of` would make it, in one copy of its bytes:
    /// what nearly every new key needs. `None` if the key does not begin as all others do, or has
    /// no room among short ends.
    pub(super) fn with(&self, at: usize, key: &[u8]) -> Option<Packed> {
        let Ends::Short(ends) = &self.ends else {
            return None;
        };
        // The first key is all shared, which only `of` sees.
        ends.first()?;
        let (shared, rests) = self.bytes.split_at_checked(self.shared)?;
        let rest = key.strip_prefix(shared)?;
        u16::try_from(rests.len() + rest.len()).ok()?;
        let more = u16::try_from(rest.len()).ok()?;
        let (ends_before, ends_after) = ends.split_at_checked(at)?;
        let start = ends_before.last().copied().unwrap_or(0);
        let (before, after) = rests.split_at_checked(usize::from(start))?;
        let behind = ends_after.iter().map(|end| end + more);
        let mut ends = Vec::with_capacity(ends.len() + 1);
        ends.extend_from_slice(ends_before);
        ends.push(start + more);
        ends.extend(behind);
        Some(Packed {
            shared: self.shared,
            ends: Ends::Short(ends.into_boxed_slice()),
            bytes: [shared, before, rest, after].concat().into_boxed_slice(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all keys, each whole.
    pub(super) fn keys_bytes(&self) -> usize {
        self.bytes.len() + self.shared * self.len().saturating_sub(1)
    }

    /// Bytes of memory that it points to.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.bytes()
    }

    pub(super) fn key(&self, index: usize) -> Parts<'_> {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before),
            None => 0,
        };
        let (shared, rest) = self.bytes.split_at(self.shared.min(self.bytes.len()));
        (
            shared,
            rest.get(start..self.ends.get(index)).unwrap_or_default(),
        )
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Parts<'_>> + Clone {
        (0..self.len()).map(|index| self.key(index))
    }

    /// Where `key` stands, or where it would.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let shared = self.bytes.get(..self.shared).unwrap_or_default();
        let (head, rest) = key.split_at(self.shared.min(key.len()));
        match head.cmp(shared) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.len()),
            Ordering::Equal => {}
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle).1.cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The part whose keys begin at or below `key`, where each of these begins one.
    pub(super) fn floor(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(at) => at,
            Err(at) => at.saturating_sub(1),
        }
    }
}

/// The whole key in one piece.
pub(super) fn whole((shared, rest): Parts<'_>) -> Box<[u8]> {
    [shared, rest].concat().into_boxed_slice()
}

/// How many bytes two keys begin with alike.
fn shared_len(a: Parts<'_>, b: Parts<'_>) -> usize {
    let bytes = |(a, b): Parts<'_>| [a, b].concat();
    bytes(a)
        .iter()
        .zip(bytes(b))
        .take_while(|(a, b)| **a == *b)
        .count()
}

/// Appends the bytes of a key between two positions.
fn push_from(bytes: &mut Vec<u8>, (shared, rest): Parts<'_>, from: usize, to: usize) {
    let cut = |part: &[u8], before: usize| {
        let clamp = |at: usize| at.saturating_sub(before).min(part.len());
        clamp(from)..clamp(to)
    };
    bytes.extend_from_slice(shared.get(cut(shared, 0)).unwrap_or_default());
    bytes.extend_from_slice(rest.get(cut(rest, shared.len())).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(keys: &[&[u8]]) -> Packed {
        Packed::of(keys.iter().map(|key| (&b""[..], *key)))
    }

    #[test]
    fn a_block_gives_back_its_keys_and_finds_them() {
        let long = [7_u8; 70_000];
        for keys in [
            vec![],
            vec![&b""[..]],
            vec![b"", b"a"],
            vec![b"prefix-a", b"prefix-b", b"prefix-bb", b"prefix-c"],
            vec![&long, b"a", b"b"],
        ] {
            let block = packed(&keys);
            let back: Vec<Box<[u8]>> = block.keys().map(whole).collect();
            assert_eq!(back.iter().map(|key| &**key).collect::<Vec<_>>(), keys);
            for (at, key) in keys.iter().enumerate() {
                assert_eq!(block.search(key), Ok(at));
                assert_eq!(block.search(&[key, &b"\0"[..]].concat()), Err(at + 1));
            }
        }
        let block = packed(&[b"pre-b", b"pre-d"]);
        for (key, at) in [
            (&b"pra"[..], 0),
            (b"pre", 0),
            (b"pre-c", 1),
            (b"prf", 2),
            (b"z", 2),
        ] {
            assert_eq!(block.search(key), Err(at), "{key:?}");
        }
    }

    #[test]
    fn a_key_put_in_makes_the_block_that_all_keys_make() {
        let keys: Vec<String> = (100..160).map(|i| format!("/node/{}/{i}", i % 7)).collect();
        let mut sorted: Vec<&[u8]> = Vec::new();
        let (mut block, mut copied) = (packed(&[]), 0);
        for key in keys
            .iter()
            .map(String::as_bytes)
            .chain([&b"/node/"[..], b"/", b"x"])
        {
            let at = block.search(key).expect_err("a new one");
            sorted.insert(at, key);
            let whole = packed(&sorted);
            if let Some(with) = block.with(at, key) {
                assert_eq!((with.shared, &with.bytes), (whole.shared, &whole.bytes));
                let ends = |block: &Packed| (0..block.len()).map(|i| block.ends.get(i)).collect();
                let (a, b): (Vec<usize>, Vec<usize>) = (ends(&with), ends(&whole));
                assert_eq!(a, b);
                copied += 1;
            }
            let bytes: usize = sorted.iter().map(|key| key.len()).sum();
            assert_eq!(whole.keys_bytes(), bytes);
            block = whole;
        }
        assert!(copied > 50, "{copied}");
        let long = packed(&[b"a", &[7; 65_530]]);
        assert!(
            long.with(1, b"b1234567").is_none(),
            "no room among short ends"
        );
        assert!(long.with(1, b"b").is_some());
    }

    #[test]
    fn what_keys_share_is_kept_once() {
        let keys: Vec<String> = (100..200).map(|i| format!("/node/12D3KooW/{i}")).collect();
        let refs: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        // Two bytes of each key are left, and two tell where it ends.
        assert!(packed(&refs).bytes() < 100 * 4 + 20);
    }
}
