//! The answer of a keydir to a lookup: where the key may lie. Only the record can tell.

use crate::segment::location::Location;

/// Where a key may lie: usually no or one place; more where tags collide.
#[derive(Default)]
pub(crate) struct Candidates {
    first: Option<Location>,
    more: Vec<Location>,
}

impl Candidates {
    pub(crate) fn push(&mut self, location: Location) {
        match self.first {
            None => self.first = Some(location),
            Some(_) => self.more.push(location),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Location> + Clone + '_ {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn contains(&self, location: Location) -> bool {
        self.iter().any(|candidate| candidate == location)
    }
}
