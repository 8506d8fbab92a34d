//! What is written and asked for: keys, values and the orders in which they come. All of it follows
//! from numbers, so that no list of keys takes memory beside the store under measure.

use std::time::Duration;

/// The shortest key: fewer bytes cannot tell all keys apart.
pub const KEY_LEN_MIN: usize = 8;
/// So many keys share a prefix of [`PREFIX_LEN`] bytes.
pub const GROUP: u64 = 64;
/// The bytes of a key that say its group.
pub const PREFIX_LEN: usize = 6;
/// Values are taken from so many random bytes: none of them repeats within what a store would
/// put into one block.
const POOL_LEN: usize = 1 << 20;

/// The sizes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Keys.
    pub n: u64,
    /// Bytes of each key.
    pub key_len: usize,
    /// Bytes of each value.
    pub value_len: usize,
    /// Threads where the workload does not name a number.
    pub threads: u64,
    /// A measured phase ends after this time, however much of it is done.
    pub limit: Duration,
}

impl Load {
    /// Bytes of one key and value.
    #[must_use]
    pub fn pair_len(&self) -> u64 {
        crate::wide(self.key_len + self.value_len)
    }

    /// Writes key number `i` into `out`. Keys of one group share their first bytes; in order of
    /// their bytes the groups come in no order of their numbers.
    pub fn key(&self, i: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend(self.prefix(i / GROUP));
        let [low, high, ..] = (i % GROUP).to_le_bytes();
        out.extend([low, high]);
        let mut state = i;
        while out.len() < self.key_len {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let bytes = mixed(state).to_le_bytes();
            let missing = self.key_len - out.len();
            out.extend(bytes.into_iter().take(missing));
        }
    }

    /// What the keys of a group begin with.
    #[must_use]
    pub fn prefix(&self, group: u64) -> [u8; PREFIX_LEN] {
        let [a, b, c, d, e, f, ..] = group.wrapping_mul(0x9E37_79B9_7F4B).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// The bytes from which values are taken.
    #[must_use]
    pub fn pool(&self) -> Pool {
        let mut bytes = Vec::with_capacity(POOL_LEN + self.value_len);
        let mut random = Random::new(7);
        while bytes.len() < POOL_LEN + self.value_len {
            bytes.extend(random.next().to_le_bytes());
        }
        Pool {
            bytes,
            value_len: self.value_len,
        }
    }
}

/// Random bytes that do not shrink when packed.
pub struct Pool {
    bytes: Vec<u8>,
    value_len: usize,
}

impl Pool {
    /// The value of key `i` after it was written `version` times more than once.
    #[must_use]
    pub fn value(&self, i: u64, version: u64) -> &[u8] {
        let at = crate::narrow(mixed(i ^ (version << 48)) % crate::wide(POOL_LEN));
        self.bytes.get(at..at + self.value_len).unwrap_or_default()
    }
}

/// All numbers below `n`, each once, in an order that is random to any store.
#[derive(Clone, Copy)]
pub struct Order {
    n: u64,
    mask: u64,
    half: u32,
    seed: u64,
}

impl Order {
    /// Another seed is another order.
    #[must_use]
    pub fn new(n: u64, seed: u64) -> Order {
        let bits = 64 - n.saturating_sub(1).leading_zeros();
        Order {
            n: n.max(1),
            mask: u64::MAX.checked_shr(64 - bits).unwrap_or(0),
            half: (bits / 2).max(1),
            seed: mixed(seed),
        }
    }

    /// The number at place `i`, which is below `n`.
    #[must_use]
    pub fn at(&self, i: u64) -> u64 {
        let mut x = i % self.n;
        // A permutation of all numbers of so many bits; what lands outside goes round again.
        loop {
            for odd in [0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9] {
                x = x.wrapping_add(self.seed) & self.mask;
                x ^= x >> self.half;
                x = x.wrapping_mul(odd) & self.mask;
            }
            x ^= x >> self.half;
            if x < self.n {
                return x;
            }
        }
    }
}

/// Random numbers: splitmix64.
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(mixed(seed.wrapping_add(1)))
    }

    /// The next one, over all 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// One below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Numbers below `n` of which few come often: Zipf's law with exponent 0.99, as YCSB draws them.
pub struct Zipf {
    n: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Takes time in proportion to `n`, once.
    #[must_use]
    pub fn new(n: u64) -> Zipf {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let (all, two) = (zeta(n), zeta(2));
        Zipf {
            n,
            zeta: all,
            alpha: 1.0 / (1.0 - THETA),
            eta: (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - two / all),
        }
    }

    /// The next rank: 0 is the most frequent.
    pub fn next(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.n as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        // A float that is no number is 0, one beyond the end the last.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "casts from floats saturate"
        )]
        #[expect(clippy::cast_sign_loss, reason = "it is never below zero")]
        let rank = rank as u64;
        rank.min(self.n - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LOAD: Load = Load {
        n: 1_000,
        key_len: 32,
        value_len: 100,
        threads: 1,
        limit: Duration::from_secs(1),
    };

    #[test]
    fn an_order_holds_every_number_once() {
        for n in [1, 2, 3, 64, 1_000, 4_097] {
            let order = Order::new(n, 3);
            let seen: BTreeSet<u64> = (0..n).map(|i| order.at(i)).collect();
            assert_eq!(seen, (0..n).collect(), "{n}");
        }
        let moved = (0..1_000).filter(|i| Order::new(1_000, 1).at(*i) != *i);
        assert!(moved.count() > 950);
    }

    #[test]
    fn keys_differ_and_groups_share_their_prefix() {
        let (mut key, mut seen) = (Vec::new(), BTreeSet::new());
        for i in 0..10_000 {
            LOAD.key(i, &mut key);
            assert_eq!(key.len(), 32);
            assert!(key.starts_with(&LOAD.prefix(i / GROUP)));
            assert!(seen.insert(key.clone()));
        }
        for group in 0..150 {
            let prefix = LOAD.prefix(group);
            let members = seen.iter().filter(|key| key.starts_with(&prefix)).count();
            assert_eq!(members, crate::narrow(GROUP), "{group}");
        }
    }

    #[test]
    fn values_have_their_length_and_change_with_their_version() {
        let pool = LOAD.pool();
        assert!((0..1_000).all(|i| pool.value(i, 3).len() == 100));
        assert_ne!(pool.value(5, 0), pool.value(5, 1));
    }

    #[test]
    fn few_ranks_come_often() {
        let (zipf, mut random) = (Zipf::new(1_000), Random::new(1));
        let draws: Vec<u64> = (0..20_000).map(|_| zipf.next(&mut random)).collect();
        assert!(draws.iter().all(|rank| *rank < 1_000));
        let first = draws.iter().filter(|rank| **rank == 0).count();
        // 1 / zeta(1000) is 0.13.
        assert!((2_000..3_200).contains(&first), "{first}");
        let tenth = draws.iter().filter(|rank| **rank < 100).count();
        assert!(tenth > 11_000, "{tenth}");
    }
}
