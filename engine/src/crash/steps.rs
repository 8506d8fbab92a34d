//! Steps of the built-in workloads: what they do, by which dice they are chosen, and how they are
//! written down.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::disk::sim::{Dice, mix};
use crate::options::Durability;

/// One change of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Change {
    /// The keyspace, from 0 to 2: hash, ordered, and one that comes and goes.
    pub space: u8,
    /// The key, one byte.
    pub key: u8,
    /// A put; a delete otherwise.
    pub put: bool,
}

/// One step of a built-in workload. Keyspaces are numbered from 0 to 2: hash, ordered, and one
/// that comes and goes; keys are one byte, values tell which write they are of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Puts a value of `len` bytes, at least 8.
    Put {
        /// The keyspace.
        space: u8,
        /// The key.
        key: u8,
        /// The value's length in bytes.
        len: u32,
        /// Seconds until it expires.
        ttl_s: Option<u32>,
        /// What it is to survive.
        durability: Durability,
    },
    /// Deletes a key.
    Delete {
        /// The keyspace.
        space: u8,
        /// The key.
        key: u8,
        /// What it is to survive.
        durability: Durability,
    },
    /// Several changes, whole or not at all; values have 200 bytes.
    Batch {
        /// The changes, in order.
        changes: Vec<Change>,
        /// What it is to survive.
        durability: Durability,
    },
    /// One change that happens only if the key is as expected: by seq for a put, by value for a
    /// delete, absent where there is nothing. Puts have 200 bytes.
    Swap {
        /// The change.
        change: Change,
        /// The expectation holds; otherwise it must be refused, with what is there.
        holds: bool,
        /// What it is to survive.
        durability: Durability,
    },
    /// Everything in an ordered keyspace is deleted by the empty prefix, or the one key that a
    /// prefix of one byte has.
    DeletePrefix {
        /// The keyspace: 1 or 2.
        space: u8,
        /// The prefix.
        key: Option<u8>,
        /// What it is to survive.
        durability: Durability,
    },
    /// The same changes in a transaction, which reads them back; committed or rolled back.
    Transaction {
        /// The changes, in order.
        changes: Vec<Change>,
        /// What it is to survive.
        durability: Durability,
        /// Rolled back otherwise.
        commit: bool,
    },
    /// A snapshot is taken in the place of the last; after each step that follows it must show
    /// what was there.
    Snapshot,
    /// Everything written before goes to the device.
    Sync,
    /// The active segment is sealed.
    Rotate,
    /// Space is given back where that is due.
    Merge,
    /// Everything is merged.
    MergeFull,
    /// A keyspace is dropped with all that it holds.
    Drop {
        /// The keyspace.
        space: u8,
    },
    /// The store is closed and opened again.
    Reopen,
    /// The same, with segments of that size from then on: what follows may lie far into them.
    Resize {
        /// KiB of a segment; 4 before the first such step.
        kib: u32,
    },
    /// That many seconds pass.
    Pass {
        /// How many.
        seconds: u32,
    },
    /// The flusher hands what waits in memory to the kernel.
    Flush,
    /// The sync interval is over.
    Interval,
    /// The worker takes a step.
    Work,
    /// A checkpoint is made in another directory, or brought up to date.
    Checkpoint,
}

/// Segments of workloads by the dice in which places lie far behind the beginning.
const LARGE_KIB: u32 = 256;
/// Some of the values in these are so long: what follows one or two lies beyond 64 KiB.
const LARGE_LEN: Range<usize> = 40_000..70_000;

impl Step {
    /// The same for large segments, which now and then get a long value, and are opened again more often.
    fn random_large(dice: &mut Dice) -> Step {
        let mut step = Step::random(dice);
        match &mut step {
            Step::Put { len, .. } if dice.once_in(3) => {
                let more = dice.below(LARGE_LEN.len());
                *len = u32::try_from(LARGE_LEN.start + more).unwrap_or(0);
            }
            // So many that pages of the keydir grow and shrink.
            Step::Batch { changes, .. } => {
                let many = |_| Change {
                    key: 10 + small(dice, 90),
                    ..Change::random(dice)
                };
                *changes = (0..30).map(many).collect();
            }
            // These begin new segments, or change nothing that lies far.
            Step::Rotate | Step::Snapshot | Step::Checkpoint => step = Step::Reopen,
            _ => {}
        }
        step
    }

    fn random(dice: &mut Dice) -> Step {
        let durability =
            [Durability::Buffered, Durability::Kernel, Durability::Device][dice.below(3)];
        let (space, key) = (small(dice, 2), small(dice, 6));
        match dice.below(28) {
            0..=6 => Step::Put {
                space: if dice.once_in(8) { 2 } else { space },
                key,
                len: u32::try_from(dice.below(900)).unwrap_or(0),
                ttl_s: dice.once_in(3).then(|| 1 + u32::from(small(dice, 100))),
                durability,
            },
            7..=8 => Step::Delete {
                space,
                key,
                durability,
            },
            9..=10 => {
                let count = 1 + dice.below(5);
                Step::Batch {
                    changes: (0..count).map(|_| Change::random(dice)).collect(),
                    durability,
                }
            }
            11 => Step::Sync,
            12..=13 => Step::Merge,
            14 => Step::MergeFull,
            15 => Step::Pass {
                seconds: u32::from(small(dice, 80)),
            },
            16 => Step::Rotate,
            17 => Step::Drop {
                space: if dice.once_in(2) { 2 } else { space },
            },
            18 => Step::Flush,
            19 => Step::Interval,
            20 => Step::Work,
            21 => Step::Reopen,
            22 => {
                let count = 1 + dice.below(5);
                Step::Transaction {
                    changes: (0..count).map(|_| Change::random(dice)).collect(),
                    durability,
                    commit: !dice.once_in(4),
                }
            }
            23 => Step::Checkpoint,
            24 => Step::Swap {
                change: Change::random(dice),
                holds: !dice.once_in(4),
                durability,
            },
            25 => Step::DeletePrefix {
                space: if dice.once_in(4) { 2 } else { 1 },
                key: dice.once_in(2).then_some(key),
                durability,
            },
            _ => Step::Snapshot,
        }
    }
}

impl Change {
    fn random(dice: &mut Dice) -> Change {
        Change {
            space: small(dice, 2),
            key: small(dice, 6),
            put: !dice.once_in(4),
        }
    }
}

/// What a segment may be told to hold; more than its end takes memory in every disk of a run.
const SEGMENT_KIB: std::ops::RangeInclusive<u32> = 4..=65_536;

fn small(dice: &mut Dice, n: usize) -> u8 {
    u8::try_from(dice.below(n)).unwrap_or(0)
}

/// A list of steps; written with commas between them, it can be read back.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Workload {
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Workload {
    /// That many steps by the dice of `seed`. One workload in eight has large segments, and begins by
    /// saying so.
    #[must_use]
    pub fn random(seed: u64, steps: usize) -> Workload {
        let mut dice = Dice::new(seed);
        if !Dice::new(mix(&[seed, 0x1A26E])).once_in(8) {
            return Workload {
                steps: (0..steps).map(|_| Step::random(&mut dice)).collect(),
            };
        }
        let resize = Step::Resize { kib: LARGE_KIB };
        let others = (1..steps).map(|_| Step::random_large(&mut dice));
        Workload {
            steps: std::iter::once(resize).chain(others).collect(),
        }
    }

    /// Every workload of 1 to `steps` steps from [`Workload::menu`], shorter ones within the longer
    /// ones they begin.
    #[must_use]
    pub fn all(steps: usize) -> Vec<Workload> {
        let menu = Workload::menu();
        let mut all = Vec::new();
        extend_all(&menu, steps, &mut Vec::new(), &mut all);
        all
    }

    /// One of each kind of step, all of them about the same few keys: what workloads are
    /// made of when all are tried.
    #[must_use]
    pub fn menu() -> Vec<Step> {
        let parse = |step: &str| step.parse().ok();
        let menu = [
            "p0.1.700d",
            "p1.1.20t5k",
            "p2.1.30b",
            "d0.1d",
            "b+0.1-1.1+1.2d",
            "t+1.1-0.1k",
            "e+0.1d",
            "D1d",
            "s",
            "r",
            "m",
            "M",
            "x0",
            "x2",
            "o",
            "W",
            "c",
        ];
        menu.into_iter().filter_map(parse).collect()
    }
}

/// Only the longest: the others are their beginnings.
fn extend_all(menu: &[Step], left: usize, begun: &mut Vec<Step>, all: &mut Vec<Workload>) {
    if left == 0 {
        all.push(Workload {
            steps: begun.clone(),
        });
        return;
    }
    for step in menu {
        begun.push(step.clone());
        extend_all(menu, left - 1, begun, all);
        begun.pop();
    }
}

fn letter(durability: Durability) -> char {
    match durability {
        Durability::Buffered => 'b',
        Durability::Kernel => 'k',
        Durability::Device => 'd',
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Put {
                space,
                key,
                len,
                ttl_s,
                durability,
            } => {
                write!(f, "p{space}.{key}.{len}")?;
                if let Some(ttl) = ttl_s {
                    write!(f, "t{ttl}")?;
                }
                write!(f, "{}", letter(*durability))
            }
            Step::Delete {
                space,
                key,
                durability,
            } => write!(f, "d{space}.{key}{}", letter(*durability)),
            Step::Batch {
                changes,
                durability,
            } => write_changes(f, 'b', changes, *durability),
            Step::Swap {
                change,
                holds,
                durability,
            } => write_changes(f, if *holds { 'e' } else { 'E' }, &[*change], *durability),
            Step::DeletePrefix {
                space,
                key,
                durability,
            } => {
                write!(f, "D{space}")?;
                if let Some(key) = key {
                    write!(f, ".{key}")?;
                }
                write!(f, "{}", letter(*durability))
            }
            Step::Transaction {
                changes,
                durability,
                commit,
            } => write_changes(f, if *commit { 't' } else { 'T' }, changes, *durability),
            Step::Snapshot => f.write_str("n"),
            Step::Sync => f.write_str("s"),
            Step::Rotate => f.write_str("r"),
            Step::Merge => f.write_str("m"),
            Step::MergeFull => f.write_str("M"),
            Step::Drop { space } => write!(f, "x{space}"),
            Step::Reopen => f.write_str("o"),
            Step::Resize { kib } => write!(f, "S{kib}"),
            Step::Pass { seconds } => write!(f, "w{seconds}"),
            Step::Flush => f.write_str("f"),
            Step::Interval => f.write_str("i"),
            Step::Work => f.write_str("W"),
            Step::Checkpoint => f.write_str("c"),
        }
    }
}

fn write_changes(
    f: &mut fmt::Formatter<'_>,
    step: char,
    changes: &[Change],
    durability: Durability,
) -> fmt::Result {
    write!(f, "{step}")?;
    for Change { space, key, put } in changes {
        let sign = if *put { '+' } else { '-' };
        write!(f, "{sign}{space}.{key}")?;
    }
    write!(f, "{}", letter(durability))
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Step, String> {
        parse(text).ok_or_else(|| format!("'{text}' is no step"))
    }
}

fn parse(text: &str) -> Option<Step> {
    let rest = text.get(1..)?;
    Some(match text.get(..1)? {
        "s" if rest.is_empty() => Step::Sync,
        "r" if rest.is_empty() => Step::Rotate,
        "m" if rest.is_empty() => Step::Merge,
        "M" if rest.is_empty() => Step::MergeFull,
        "o" if rest.is_empty() => Step::Reopen,
        "f" if rest.is_empty() => Step::Flush,
        "i" if rest.is_empty() => Step::Interval,
        "W" if rest.is_empty() => Step::Work,
        "c" if rest.is_empty() => Step::Checkpoint,
        "n" if rest.is_empty() => Step::Snapshot,
        "x" => Step::Drop {
            space: space(rest)?,
        },
        "S" => Step::Resize {
            kib: rest.parse().ok().filter(|kib| SEGMENT_KIB.contains(kib))?,
        },
        "w" => Step::Pass {
            seconds: rest.parse().ok()?,
        },
        kind => {
            let (rest, durability) = durability(rest)?;
            parse_write(kind, rest, durability)?
        }
    })
}

/// A write without its last letter, which says what it is to survive.
fn parse_write(kind: &str, rest: &str, durability: Durability) -> Option<Step> {
    Some(match kind {
        "p" => {
            let (rest, ttl_s) = match rest.split_once('t') {
                Some((rest, ttl)) => (rest, Some(ttl.parse().ok()?)),
                None => (rest, None),
            };
            let (place, len) = rest.rsplit_once('.')?;
            let (space, key) = place_of(place)?;
            Step::Put {
                space,
                key,
                len: len.parse().ok()?,
                ttl_s,
                durability,
            }
        }
        "d" => {
            let (space, key) = place_of(rest)?;
            Step::Delete {
                space,
                key,
                durability,
            }
        }
        "b" => Step::Batch {
            changes: changes(rest)?,
            durability,
        },
        "t" | "T" => Step::Transaction {
            changes: changes(rest)?,
            durability,
            commit: kind == "t",
        },
        "e" | "E" => {
            let [change] = *changes(rest)?.as_slice() else {
                return None;
            };
            Step::Swap {
                change,
                holds: kind == "e",
                durability,
            }
        }
        "D" => {
            let (space, key) = match rest.contains('.') {
                true => place_of(rest).map(|(space, key)| (space, Some(key)))?,
                false => (space(rest)?, None),
            };
            Step::DeletePrefix {
                space: Some(space).filter(|space| *space > 0)?,
                key,
                durability,
            }
        }
        _ => return None,
    })
}

fn changes(text: &str) -> Option<Vec<Change>> {
    let places = text.split(['+', '-']).skip(1);
    let signs = text.chars().filter(|c| matches!(c, '+' | '-'));
    let changes = places.zip(signs).map(|(place, sign)| {
        let (space, key) = place_of(place)?;
        Some(Change {
            space,
            key,
            put: sign == '+',
        })
    });
    changes.collect()
}

fn durability(text: &str) -> Option<(&str, Durability)> {
    let all = [Durability::Buffered, Durability::Kernel, Durability::Device];
    let found = all.into_iter().find(|d| text.ends_with(letter(*d)))?;
    Some((text.strip_suffix(letter(found))?, found))
}

fn place_of(text: &str) -> Option<(u8, u8)> {
    let (space_text, key) = text.split_once('.')?;
    Some((space(space_text)?, key.parse().ok()?))
}

fn space(text: &str) -> Option<u8> {
    text.parse().ok().filter(|space| *space < 3)
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{step}")?;
        }
        Ok(())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        let steps = text.split(',').filter(|step| !step.is_empty());
        Ok(Workload {
            steps: steps.map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_written_and_read_back() {
        for seed in 0..200 {
            let workload = Workload::random(seed, 12);
            assert_eq!(workload.to_string().parse(), Ok(workload));
        }
        assert_eq!(Workload::menu().len(), 17);
        assert_eq!(Workload::all(2).len(), 17 * 17);
        for wrong in [
            "p",
            "p9.1.7d",
            "d0d",
            "b+0d",
            "q",
            "p0.1.7",
            "s1",
            "S",
            "S3",
            "S65537",
            "x",
            "x7",
            "D0d",
            "D3d",
            "D",
            "e+0.1+0.2d",
            "ed",
        ] {
            assert!(wrong.parse::<Step>().is_err(), "{wrong}");
        }
    }
}
