//! What is live in a segment: by keyspace, by expiry, and the tombstones. Counted while records
//! are written and replaced, and anew when the store opens. Knows no file and no record.

use crate::segment::cursor::Cursor;
use crate::segment::format::{NEVER, narrow, put_u32, put_u64};
use crate::segment::location::KeyspaceId;

/// Powers of two of milliseconds after the segment's creation: enough for 35 years and "later".
const LIFE_STEPS: usize = 41;

/// The live part of a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    shares: Vec<Share>,
    /// Live bytes by expiry, in powers of two of milliseconds after the segment's creation.
    expiring: Option<Box<[Step; LIFE_STEPS]>>,
    pub(crate) tombstone_bytes: u64,
}

/// Live bytes that expire in one step, and when the first and last of them do.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    bytes: u64,
    first_ms: u64,
    last_ms: u64,
}

impl Step {
    fn absorb(&mut self, more: Step) {
        if more.bytes == 0 {
            return;
        }
        let first = if self.bytes == 0 {
            more.first_ms
        } else {
            self.first_ms
        };
        self.first_ms = first.min(more.first_ms);
        self.last_ms = self.last_ms.max(more.last_ms);
        self.bytes += more.bytes;
    }

    /// About how many have expired: evenly spread from the first to the last, as records of one
    /// life are that were written evenly.
    fn expired(&self, now_ms: u64) -> u64 {
        if now_ms >= self.last_ms {
            return self.bytes;
        }
        let past = now_ms.saturating_sub(self.first_ms);
        let span = (self.last_ms - self.first_ms).max(1);
        let part = u128::from(self.bytes) * u128::from(past) / u128::from(span);
        u64::try_from(part).unwrap_or(0)
    }
}

/// A keyspace's share of a segment.
#[derive(Clone, Copy, Debug)]
struct Share {
    keyspace: KeyspaceId,
    bytes: u64,
    records: u64,
}

impl Live {
    pub(crate) fn add(&mut self, keyspace: KeyspaceId, len: u64, expiry: u64, created_ms: u64) {
        match self
            .shares
            .iter_mut()
            .find(|share| share.keyspace == keyspace)
        {
            Some(share) => {
                share.bytes += len;
                share.records += 1;
            }
            None => self.shares.push(Share {
                keyspace,
                bytes: len,
                records: 1,
            }),
        }
        if expiry != NEVER {
            let steps = self
                .expiring
                .get_or_insert_with(|| Box::new([Step::default(); LIFE_STEPS]));
            if let Some(step) = steps.get_mut(life_step(expiry, created_ms)) {
                step.absorb(Step {
                    bytes: len,
                    first_ms: expiry,
                    last_ms: expiry,
                });
            }
        }
    }

    /// Bytes of live puts.
    pub(crate) fn bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.bytes).sum()
    }

    /// Bytes and number of a keyspace's live puts.
    pub(crate) fn of(&self, keyspace: KeyspaceId) -> (u64, u64) {
        let share = self.shares.iter().find(|share| share.keyspace == keyspace);
        share.map_or((0, 0), |share| (share.bytes, share.records))
    }

    /// Everything of a dropped keyspace is dead.
    pub(crate) fn drop_keyspace(&mut self, keyspace: KeyspaceId) {
        self.shares.retain(|share| share.keyspace != keyspace);
    }

    /// Only what belongs to keyspaces that still are.
    pub(crate) fn retain(&mut self, is_there: impl Fn(KeyspaceId) -> bool) {
        self.shares.retain(|share| is_there(share.keyspace));
    }

    /// Whether some live put expires.
    pub(crate) fn expires(&self) -> bool {
        self.expiring.is_some()
    }

    pub(crate) fn absorb(&mut self, more: &Live) {
        for add in &more.shares {
            match self
                .shares
                .iter_mut()
                .find(|share| share.keyspace == add.keyspace)
            {
                Some(share) => {
                    share.bytes += add.bytes;
                    share.records += add.records;
                }
                None => self.shares.push(*add),
            }
        }
        self.tombstone_bytes += more.tombstone_bytes;
        if let Some(more) = &more.expiring {
            let steps = self
                .expiring
                .get_or_insert_with(|| Box::new([Step::default(); LIFE_STEPS]));
            for (step, add) in steps.iter_mut().zip(more.iter()) {
                step.absorb(*add);
            }
        }
    }

    pub(crate) fn remove(&mut self, keyspace: KeyspaceId, len: u64, expiry: u64, created_ms: u64) {
        if let Some(share) = self
            .shares
            .iter_mut()
            .find(|share| share.keyspace == keyspace)
        {
            share.bytes = share.bytes.saturating_sub(len);
            share.records = share.records.saturating_sub(1);
        }
        if expiry != NEVER
            && let Some(steps) = &mut self.expiring
            && let Some(step) = steps.get_mut(life_step(expiry, created_ms))
        {
            step.bytes = step.bytes.saturating_sub(len);
        }
    }

    /// About how many live bytes have expired.
    pub(crate) fn expired(&self, now_ms: u64) -> u64 {
        let steps = self.expiring.iter().flat_map(|steps| steps.iter());
        steps.map(|step| step.expired(now_ms)).sum()
    }
}

/// The keydir image keeps it, so that an open that reads no hints knows what is dead.
impl Live {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.tombstone_bytes);
        put_u32(
            out,
            u32::try_from(self.shares.len()).expect("one for each keyspace"),
        );
        let steps = || {
            self.expiring
                .iter()
                .flat_map(|steps| steps.iter())
                .enumerate()
        };
        let used = || steps().filter(|(_, step)| step.bytes > 0);
        put_u32(
            out,
            u32::try_from(used().count()).expect("there are few steps"),
        );
        for share in &self.shares {
            put_u32(out, share.keyspace.0);
            put_u64(out, share.bytes);
            put_u64(out, share.records);
        }
        for (index, step) in used() {
            put_u32(out, u32::try_from(index).expect("there are few steps"));
            put_u64(out, step.bytes);
            put_u64(out, step.first_ms);
            put_u64(out, step.last_ms);
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Live> {
        let mut live = Live {
            tombstone_bytes: cursor.u64()?,
            ..Live::default()
        };
        let (shares, steps) = (narrow(cursor.u32()?), narrow(cursor.u32()?));
        let len = shares
            .checked_mul(20)?
            .checked_add(steps.checked_mul(28)?)?;
        if len > cursor.len() {
            return None;
        }
        for _ in 0..shares {
            live.shares.push(Share {
                keyspace: KeyspaceId(cursor.u32()?),
                bytes: cursor.u64()?,
                records: cursor.u64()?,
            });
        }
        for _ in 0..steps {
            let index = narrow(cursor.u32()?);
            let step = Step {
                bytes: cursor.u64()?,
                first_ms: cursor.u64()?,
                last_ms: cursor.u64()?,
            };
            let all = live
                .expiring
                .get_or_insert_with(|| Box::new([Step::default(); LIFE_STEPS]));
            let place = all.get_mut(index).filter(|place| place.bytes == 0)?;
            if step.bytes == 0 || step.first_ms > step.last_ms {
                return None;
            }
            *place = step;
        }
        Some(live)
    }
}

/// The step in which `expiry` lies.
fn life_step(expiry: u64, created_ms: u64) -> usize {
    let life = expiry.saturating_sub(created_ms);
    let step = life.checked_ilog2().map_or(0, |log| log as usize + 1);
    step.min(LIFE_STEPS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_bytes_grow_from_none_to_all_over_the_lives_of_the_records() {
        let mut live = Live::default();
        let created = 1_000_000;
        live.add(KeyspaceId(1), 100, created + 1_000, created);
        live.add(KeyspaceId(1), 100, created + 60_000, created);
        live.add(KeyspaceId(1), 100, NEVER, created);
        assert_eq!(live.expired(created), 0);
        assert_eq!(live.expired(created + 2_000), 100);
        assert_eq!(live.expired(created + 200_000), 200);
        // Nothing of records with one life counts before the first of them is over.
        assert_eq!(live.expired(created + 59_999), 100);
        live.remove(KeyspaceId(1), 100, created + 60_000, created);
        assert_eq!(live.expired(created + 200_000), 100);
    }
}
