//! What a crash leaves. Everything that was not synced is a *slot* with a few legal outcomes: a change of a
//! directory is lost or kept, a file has any size and each sector any version since the file's last sync.
//! A [`Cut`] chooses one outcome for each slot of one state, and can be written down as text.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::dice::Dice;
use super::inode::{Inode, put_sector};
use super::state::{State, shown};

/// One thing that a power cut decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// A change of a directory: lost, or kept.
    Name(usize),
    /// The size of a file: as of the last sync, or one of those since.
    Size(usize),
    /// What lies where a file grew and nothing was kept: zeros, or stale bytes.
    Fill(usize),
    /// A sector of a file: as of the last sync, or one of the versions since.
    Sector(usize, usize),
}

/// Everything that a power cut at one state decides.
pub(crate) struct Slots {
    slots: Vec<(What, u32)>,
}

/// What one crash leaves of one state of a disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Cut {
    /// The process was killed. The system goes on: what was not synced can still be lost later.
    Kill,
    /// The power was cut; one number for each thing that was not synced, in the order in which
    /// the disk lists them: 0 is "as of the last sync", `n` is the n-th version since. Missing
    /// numbers are 0.
    Power(Vec<u32>),
}

impl Slots {
    pub(crate) fn of(state: &State) -> Slots {
        let mut slots = Vec::new();
        let mut reachable: BTreeSet<usize> = state.durable_names.values().copied().collect();
        for (index, change) in state.changes.iter().enumerate() {
            slots.push((What::Name(index), 2));
            reachable.extend(change.inode());
        }
        for index in reachable {
            let Some(inode) = state.inodes.get(index).filter(|inode| !inode.is_clean()) else {
                continue;
            };
            if !inode.sizes.is_empty() {
                slots.push((What::Size(index), small(inode.sizes.len()) + 1));
                let longest = inode.sizes.iter().copied().max().unwrap_or(0);
                if longest > inode.medium.len().max(inode.reserved)
                    && stale_source(state, index).is_some()
                {
                    slots.push((What::Fill(index), 2));
                }
            }
            for (sector, versions) in &inode.versions {
                slots.push((What::Sector(index, *sector), small(versions.len()) + 1));
            }
        }
        Slots { slots }
    }

    /// How many power cuts are legal here.
    pub(crate) fn legal(&self) -> u128 {
        let outcomes = self.slots.iter().map(|(_, n)| u128::from(*n));
        outcomes.fold(1, u128::saturating_mul)
    }

    /// The `number`-th legal power cut, from 0.
    pub(crate) fn nth(&self, number: u128) -> Cut {
        let mut left = number;
        let digit = |(_, n): &(What, u32)| {
            let digit = left % u128::from(*n);
            left /= u128::from(*n);
            u32::try_from(digit).unwrap_or(0)
        };
        Cut::Power(self.slots.iter().map(digit).collect())
    }

    pub(crate) fn nothing_kept(&self) -> Cut {
        Cut::Power(vec![0; self.slots.len()])
    }

    pub(crate) fn all_kept(&self) -> Cut {
        let last = |(what, n): &(What, u32)| match what {
            What::Fill(_) => 0,
            _ => n - 1,
        };
        Cut::Power(self.slots.iter().map(last).collect())
    }

    /// A power cut by the dice: sometimes most is kept, sometimes most is lost; `torn` lets a
    /// sector be written in part.
    pub(crate) fn random(&self, dice: &mut Dice, torn: bool) -> Cut {
        let bias = dice.below(4);
        let mut choose = |(what, n): &(What, u32)| {
            let outcomes = usize::try_from(*n).unwrap_or(1);
            let digit = match bias {
                0 if !dice.once_in(5) => n - 1,
                1 if !dice.once_in(5) => 0,
                _ => small(dice.below(outcomes)),
            };
            let tear = torn && digit > 0 && matches!(what, What::Sector(..)) && dice.once_in(6);
            if tear {
                digit + n * (1 + small(dice.below(511)))
            } else {
                digit
            }
        };
        Cut::Power(self.slots.iter().map(&mut choose).collect())
    }

    /// Whether `cut` writes a sector in part.
    pub(crate) fn is_torn(&self, cut: &Cut) -> bool {
        let Cut::Power(digits) = cut else {
            return false;
        };
        let mut both = digits.iter().zip(&self.slots);
        both.any(|(digit, (_, outcomes))| digit >= outcomes)
    }

    /// Cuts that lose a little less each: one thing that `cut` takes is kept after all.
    pub(crate) fn milder(&self, cut: &Cut) -> Vec<Cut> {
        let Cut::Power(digits) = cut else {
            return Vec::new();
        };
        let best = self.all_kept();
        let Cut::Power(best) = &best else {
            return Vec::new();
        };
        let mut milder = Vec::new();
        for (index, kept) in best.iter().enumerate() {
            if digits.get(index).copied().unwrap_or(0) != *kept {
                let mut less = digits.clone();
                less.resize(best.len(), 0);
                if let Some(digit) = less.get_mut(index) {
                    *digit = *kept;
                }
                milder.push(Cut::Power(less));
            }
        }
        milder
    }

    /// What `cut` loses, a line for each thing, in words.
    pub(crate) fn told(&self, state: &State, cut: &Cut) -> Vec<String> {
        let Cut::Power(digits) = cut else {
            return vec!["the process was killed; nothing that reached the kernel is lost".into()];
        };
        let mut told = Vec::new();
        for (index, (what, n)) in self.slots.iter().enumerate() {
            let digit = digits.get(index).copied().unwrap_or(0);
            told.extend(tell(state, *what, digit, *n));
        }
        if told.is_empty() {
            told.push("nothing was lost".to_owned());
        }
        told
    }
}

/// What one slot lost, if it did.
fn tell(state: &State, what: What, digit: u32, outcomes: u32) -> Option<String> {
    let last = outcomes - 1;
    let (version, tear) = (digit % outcomes, digit / outcomes);
    match what {
        What::Name(index) if digit == 0 => Some(format!("lost: {}", state.changes.get(index)?)),
        What::Size(inode) if digit != last => {
            let name = name_of(state, inode);
            let file = state.inodes.get(inode)?;
            let len = size_of(file, digit);
            Some(format!(
                "{name} is {len} bytes long, not {}",
                file.now.len()
            ))
        }
        What::Fill(inode) if digit > 0 => Some(format!(
            "{} holds stale bytes where nothing was kept",
            name_of(state, inode)
        )),
        What::Sector(inode, sector) if digit != last => {
            let start = sector * state.sector_len;
            let place = format!(
                "bytes {start}..{} of {}",
                start + state.sector_len,
                name_of(state, inode)
            );
            Some(match (version, tear) {
                (0, _) => format!("lost: {place}"),
                (version, 0) => format!("{place}: version {version} of {last} since the last sync"),
                (version, tear) => {
                    format!("torn: {place}: the first {tear} bytes of version {version} of {last}")
                }
            })
        }
        _ => None,
    }
}

fn name_of(state: &State, inode: usize) -> String {
    let now = state.names.iter().find(|(_, at)| **at == inode);
    let named = now.or_else(|| state.durable_names.iter().find(|(_, at)| **at == inode));
    let changed = || {
        state
            .changes
            .iter()
            .find(|change| change.inode() == Some(inode))
    };
    match named {
        Some((name, _)) => shown(name),
        None => changed().map_or_else(|| "a file without a name".to_owned(), ToString::to_string),
    }
}

fn size_of(inode: &Inode, digit: u32) -> usize {
    let index = usize::try_from(digit).unwrap_or(0).checked_sub(1);
    let size = index.and_then(|index| inode.sizes.get(index));
    size.copied().unwrap_or(inode.medium.len())
}

/// A file that is gone, whose blocks another may have got: the youngest that has no name.
fn stale_source(state: &State, not: usize) -> Option<&Arc<Inode>> {
    let named: BTreeSet<usize> = state.names.values().copied().collect();
    let gone = |(index, inode): &(usize, &Arc<Inode>)| {
        *index != not && !named.contains(index) && inode.now.len() > 0
    };
    let mut inodes = state.inodes.iter().enumerate().rev();
    inodes.find(gone).map(|(_, inode)| inode)
}

impl State {
    /// The disk that `cut` leaves of this one.
    pub(crate) fn after(&self, cut: &Cut) -> State {
        let digits = match cut {
            Cut::Kill => {
                return State {
                    capacity: None,
                    last: None,
                    operations: 0,
                    ..self.clone()
                };
            }
            Cut::Power(digits) => digits,
        };
        let slots = Slots::of(self).slots;
        let digit = |index: usize| digits.get(index).copied().unwrap_or(0);
        let mut names = self.durable_names.clone();
        for (index, (what, _)) in slots.iter().enumerate() {
            if let What::Name(change) = what
                && digit(index) > 0
                && let Some(change) = self.changes.get(*change)
            {
                change.apply(Arc::make_mut(&mut names));
            }
        }
        // What keeps no name is gone; its number is kept, so that all others keep theirs.
        let none = || Arc::new(Inode::default());
        let mut inodes: Vec<_> = self.inodes.iter().map(|_| none()).collect();
        for index in names.values() {
            if let (Some(place), Some(inode)) = (inodes.get_mut(*index), self.inodes.get(*index)) {
                *place = match inode.is_clean() {
                    true => Arc::new(Inode::durable(inode.medium.clone())),
                    false => Arc::new(self.inode_after(*index, inode, &slots, &digit)),
                };
            }
        }
        State {
            inodes,
            names: names.clone(),
            durable_names: names,
            changes: Vec::new(),
            capacity: None,
            last: None,
            operations: 0,
            ..self.clone()
        }
    }

    fn inode_after(
        &self,
        index: usize,
        inode: &Inode,
        slots: &[(What, u32)],
        digit: &dyn Fn(usize) -> u32,
    ) -> Inode {
        let mine = |what: &What| match what {
            What::Size(at) | What::Fill(at) | What::Sector(at, _) => *at == index,
            What::Name(_) => false,
        };
        let mut content = inode.medium.clone();
        let mut size = content.len();
        for (slot, (what, outcomes)) in slots.iter().enumerate().filter(|(_, (what, _))| mine(what))
        {
            let digit = digit(slot);
            match what {
                What::Size(_) => {
                    size = size_of(inode, digit);
                    content.resize(size.max(inode.medium.len()));
                }
                What::Fill(_) if digit > 0 => {
                    if let Some(stale) = stale_source(self, index) {
                        let from = inode.medium.len().max(inode.reserved);
                        let stale = stale.now.range(from, content.len());
                        content.write(from, &stale);
                    }
                }
                What::Sector(_, sector) => {
                    let (version, tear) = (digit % outcomes, digit / outcomes);
                    let version = usize::try_from(version).unwrap_or(0).checked_sub(1);
                    let versions = inode.versions.get(sector);
                    if let Some(bytes) = version.and_then(|v| versions.and_then(|all| all.get(v))) {
                        let whole = match tear {
                            0 => bytes.len(),
                            tear => usize::try_from(tear).unwrap_or(0).min(bytes.len()),
                        };
                        let bytes = bytes.get(..whole).unwrap_or_default();
                        put_sector(&mut content, sector * self.sector_len, bytes);
                    }
                }
                What::Fill(_) | What::Name(_) => {}
            }
        }
        content.resize(size);
        Inode::durable(content)
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut::Power(digits) = self else {
            return f.write_str("k");
        };
        f.write_str("p")?;
        let end = digits
            .iter()
            .rposition(|digit| *digit > 0)
            .map_or(0, |last| last + 1);
        for digit in digits.iter().take(end) {
            match char::from_digit(*digit, 36) {
                Some(one) if *digit < 36 => write!(f, "{one}")?,
                _ => write!(f, "Z{digit}Z")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Cut, String> {
        if text == "k" {
            return Ok(Cut::Kill);
        }
        let wrong = || format!("'{text}' is no cut; one is written k or p012");
        let mut digits = Vec::new();
        let mut rest = text.strip_prefix('p').ok_or_else(wrong)?;
        while let Some(first) = rest.chars().next() {
            if let Some(long) = rest.strip_prefix('Z') {
                let (number, behind) = long.split_once('Z').ok_or_else(wrong)?;
                digits.push(number.parse().map_err(|_| wrong())?);
                rest = behind;
            } else {
                let digit = Some(first).filter(|c| !c.is_ascii_uppercase());
                digits.push(digit.and_then(|c| c.to_digit(36)).ok_or_else(wrong)?);
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        Ok(Cut::Power(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_written_and_read_back() {
        for cut in [
            Cut::Kill,
            Cut::Power(vec![]),
            Cut::Power(vec![0, 1, 35, 36, 0, 70_000, 2]),
        ] {
            assert_eq!(cut.to_string().parse(), Ok(cut));
        }
        assert_eq!("p012".parse(), Ok(Cut::Power(vec![0, 1, 2])));
        for wrong in ["", "x", "pZ3", "pA", "p!", "kk"] {
            assert!(wrong.parse::<Cut>().is_err(), "{wrong}");
        }
    }
}
