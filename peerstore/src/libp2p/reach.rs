//! How a peer is reached, and when it was: the record that exists for every peer that is known, and the only
//! one that changes often. Its stored form, version 1, is defined here and nowhere else:
//!
//! flags; versions of the other two records; base time (last update); created, last connected, end of the
//! disconnect grace (near the base); ttl after disconnect; highest seq of a signed record; latency; then each
//! address: bytes, flags, source and confidence, ttl (0 permanent, 1 connected, else milliseconds + 2), and
//! near the base: expiry unless pinned, first and last seen; by flag last success, last failure and its count.

use libp2p_core::Multiaddr;

use super::address::{Address, parse_address};
use super::codec::{Reader, Writer};
use super::error::Result;
use super::ttl::{Confidence, Source, Ttl};

const VERSION: u8 = 1;

const HAS_PUBLIC_KEY: u8 = 1;
const HAS_PRIVATE_KEY: u8 = 2;
const KEEP_ALIVE: u8 = 4;
const HAS_ENVELOPE: u8 = 8;
const HAS_SEQ: u8 = 16;
const HAS_LATENCY: u8 = 32;
const HAS_GRACE: u8 = 64;
const IS_KEPT: u8 = 128;

const CERTIFIED: u8 = 1;
const UNCERTIFIED: u8 = 2;
const SUCCEEDED: u8 = 4;
const FAILED: u8 = 8;
const ADDRESS_FLAGS_KNOWN: u8 = 15;
/// Length, flags, source, ttl and three times, of at least a byte each.
const ADDRESS_LEN_MIN: usize = 6;

/// How a peer is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reach {
    /// The profile that belongs to it; 0 for none. Read together, both name the same.
    pub(crate) profile_version: u64,
    /// The keys that belong to it; 0 for none.
    pub(crate) keys_version: u64,
    pub(crate) has_public_key: bool,
    pub(crate) has_private_key: bool,
    /// A tag that protects it from eviction, whose life may be limited: see the profile.
    pub(crate) keep_alive_until_ms: u64,
    pub(crate) has_envelope: bool,
    /// It is not forgotten for its age, because a program keeps data with it: see the profile.
    pub(crate) is_kept: bool,
    /// When something but times changed.
    pub(crate) updated_ms: u64,
    pub(crate) created_ms: u64,
    /// 0 for never.
    pub(crate) last_connected_ms: u64,
    /// After it, what go's peer store manager forgets is forgotten; 0 while no grace runs.
    pub(crate) grace_until_ms: u64,
    /// What connected addresses become at the disconnect.
    pub(crate) ttl_after_disconnect: Option<Ttl>,
    /// The highest seq of a signed record that was accepted.
    pub(crate) seq: Option<u64>,
    /// Nanoseconds, smoothed.
    pub(crate) latency_ns: Option<u64>,
    pub(crate) addresses: Vec<Address>,
}

impl Reach {
    pub(crate) fn live(&self, now_ms: u64) -> impl Iterator<Item = &Address> {
        self.addresses
            .iter()
            .filter(move |address| address.is_live(now_ms))
    }

    pub(crate) fn is_connected(&self) -> bool {
        let connected = |address: &Address| address.ttl == Ttl::CONNECTED;
        self.addresses.iter().any(connected)
    }

    /// When the last address expires; 0 without one.
    pub(crate) fn latest_expiry_ms(&self) -> u64 {
        let expiries = self.addresses.iter().map(|address| address.expiry_ms);
        expiries.max().unwrap_or(0)
    }

    /// How many addresses there are, if there is nothing else and each of them will expire; else 0.
    pub(crate) fn plain_addresses(&self) -> u8 {
        let more = self.profile_version != 0
            || self.keys_version != 0
            || self.has_envelope
            || self.keep_alive_until_ms != 0
            || self.grace_until_ms != 0
            || self.ttl_after_disconnect.is_some()
            || self.seq.is_some()
            || self.latency_ns.is_some();
        let special = |address: &Address| address.is_pinned() || address.certified;
        match more || self.addresses.iter().any(special) {
            true => 0,
            false => u8::try_from(self.addresses.len()).unwrap_or(0),
        }
    }

    /// Roughly what it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let addresses = self.addresses.iter().map(|address| address.addr.len() + 40);
        size_of::<Reach>()
            + addresses.sum::<usize>()
            + self.addresses.capacity() * size_of::<Address>()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(VERSION);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let keep_alive = self.keep_alive_until_ms != 0;
        let grace = self.grace_until_ms != 0 || self.ttl_after_disconnect.is_some();
        let flags = flag(self.has_public_key, HAS_PUBLIC_KEY)
            | flag(self.has_private_key, HAS_PRIVATE_KEY)
            | flag(keep_alive, KEEP_ALIVE)
            | flag(self.has_envelope, HAS_ENVELOPE)
            | flag(self.seq.is_some(), HAS_SEQ)
            | flag(self.latency_ns.is_some(), HAS_LATENCY)
            | flag(grace, HAS_GRACE)
            | flag(self.is_kept, IS_KEPT);
        writer.byte(flags);
        writer.number(self.profile_version);
        writer.number(self.keys_version);
        let base = self.updated_ms;
        writer.number(base);
        writer.near(self.created_ms, base);
        // Never is told apart by a number of its own, not by a distance of decades.
        writer.number(self.last_connected_ms);
        if keep_alive {
            writer.near(self.keep_alive_until_ms, base);
        }
        if grace {
            writer.number(self.grace_until_ms);
            write_ttl(&mut writer, self.ttl_after_disconnect.unwrap_or(Ttl::NONE));
        }
        if let Some(seq) = self.seq {
            writer.number(seq);
        }
        if let Some(latency_ns) = self.latency_ns {
            writer.number(latency_ns);
        }
        writer.number(self.addresses.len() as u64);
        for address in &self.addresses {
            write_address(&mut writer, address, base);
        }
        writer.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Reach> {
        Reach::read(bytes, |reader, bytes| {
            let parsed = parse_address(bytes);
            parsed.map_err(|error| reader.fault(&format!("hold no address: {error}")))
        })
    }

    fn read(
        bytes: &[u8],
        parse: impl Fn(&Reader<'_>, &[u8]) -> Result<Multiaddr>,
    ) -> Result<Reach> {
        let mut reader = Reader::new("the addresses of a peer", bytes, VERSION)?;
        let flags = reader.byte()?;
        let has = |flag: u8| flags & flag != 0;
        let mut reach = Reach {
            profile_version: reader.number()?,
            keys_version: reader.number()?,
            has_public_key: has(HAS_PUBLIC_KEY),
            has_private_key: has(HAS_PRIVATE_KEY),
            has_envelope: has(HAS_ENVELOPE),
            is_kept: has(IS_KEPT),
            ..Reach::default()
        };
        let base = reader.number()?;
        reach.updated_ms = base;
        reach.created_ms = reader.near(base)?;
        reach.last_connected_ms = reader.number()?;
        if has(KEEP_ALIVE) {
            reach.keep_alive_until_ms = reader.near(base)?;
        }
        if has(HAS_GRACE) {
            reach.grace_until_ms = reader.number()?;
            reach.ttl_after_disconnect =
                Some(read_ttl(&mut reader)?).filter(|ttl| *ttl != Ttl::NONE);
        }
        if has(HAS_SEQ) {
            reach.seq = Some(reader.number()?);
        }
        if has(HAS_LATENCY) {
            reach.latency_ns = Some(reader.number()?);
        }
        let count = reader.count(ADDRESS_LEN_MIN)?;
        reach.addresses.reserve_exact(count);
        for _ in 0..count {
            reach
                .addresses
                .push(read_address(&mut reader, base, &parse)?);
        }
        reader.end()?;
        Ok(reach)
    }
}

/// A reach whose addresses are empty: everything that opening needs, without parsing them.
pub(crate) struct Skimmed {
    pub(crate) reach: Reach,
    pub(crate) is_connected: bool,
}

impl Skimmed {
    pub(crate) fn read(bytes: &[u8]) -> Result<Skimmed> {
        // A copy of one empty address is a count.
        let empty = Multiaddr::empty();
        let reach = Reach::read(bytes, |_, _| Ok(empty.clone()))?;
        let is_connected = reach.is_connected();
        Ok(Skimmed {
            reach,
            is_connected,
        })
    }

    /// Whether an address would live for longer than its ttl: the clock stepped back.
    pub(crate) fn is_ahead_of(&self, now_ms: u64) -> bool {
        let mut addresses = self.reach.addresses.iter();
        addresses.any(|address| address.expiry_ms > address.ttl.expiry(now_ms))
    }
}

fn write_ttl(writer: &mut Writer, ttl: Ttl) {
    writer.number(match ttl {
        Ttl::PERMANENT => 0,
        Ttl::CONNECTED => 1,
        finite => finite.millis().saturating_add(2),
    });
}

fn read_ttl(reader: &mut Reader<'_>) -> Result<Ttl> {
    Ok(match reader.number()? {
        0 => Ttl::PERMANENT,
        1 => Ttl::CONNECTED,
        finite => Ttl::from_millis((finite - 2).min(Ttl::CONNECTED.millis() - 1)),
    })
}

fn write_address(writer: &mut Writer, address: &Address, base: u64) {
    writer.string(address.addr.as_ref());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let failed = address.last_failure_ms != 0 || address.half_failures != 0;
    writer.byte(
        flag(address.certified, CERTIFIED)
            | flag(address.uncertified, UNCERTIFIED)
            | flag(address.last_success_ms != 0, SUCCEEDED)
            | flag(failed, FAILED),
    );
    writer.byte(address.source.number() << 4 | address.confidence.number());
    write_ttl(writer, address.ttl);
    if !address.ttl.is_pinned() {
        writer.near(address.expiry_ms, base);
    }
    writer.near(address.first_seen_ms, base);
    writer.near(address.last_seen_ms, base);
    if address.last_success_ms != 0 {
        writer.near(address.last_success_ms, base);
    }
    if failed {
        writer.number(address.last_failure_ms);
        writer.byte(address.half_failures);
    }
}

fn read_address(
    reader: &mut Reader<'_>,
    base: u64,
    parse: impl Fn(&Reader<'_>, &[u8]) -> Result<Multiaddr>,
) -> Result<Address> {
    let bytes = reader.string()?;
    let addr = parse(reader, bytes)?;
    let flags = reader.byte()?;
    if flags & !ADDRESS_FLAGS_KNOWN != 0 {
        return Err(reader.fault("have flags of an address that nobody wrote"));
    }
    let origin = reader.byte()?;
    let source = Source::of_number(origin >> 4);
    let confidence = Confidence::of_number(origin & 15);
    let (Some(source), Some(confidence)) = (source, confidence) else {
        return Err(reader.fault("name an origin that nobody wrote"));
    };
    let ttl = read_ttl(reader)?;
    let mut address = Address::new(addr, ttl, 0);
    if !ttl.is_pinned() {
        address.expiry_ms = reader.near(base)?.min(u64::MAX - 1);
    }
    address.certified = flags & CERTIFIED != 0;
    address.uncertified = flags & UNCERTIFIED != 0;
    address.source = source;
    address.confidence = confidence;
    address.first_seen_ms = reader.near(base)?;
    address.last_seen_ms = reader.near(base)?;
    if flags & SUCCEEDED != 0 {
        address.last_success_ms = reader.near(base)?;
    }
    if flags & FAILED != 0 {
        address.last_failure_ms = reader.number()?;
        address.half_failures = reader.byte()?;
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026, in milliseconds.
    const NOW_MS: u64 = 1_767_225_600_000;

    fn full() -> Reach {
        let addr = |text: &str| text.parse().expect("an address");
        let mut first = Address::new(addr("/ip4/192.0.2.7/tcp/4001"), Ttl::ADDRESS, NOW_MS);
        first.certified = true;
        first.source = Source::Identify;
        first.last_success_ms = NOW_MS - 5;
        let mut second = Address::new(addr("/ip4/1.2.3.4/udp/1/quic-v1"), Ttl::CONNECTED, NOW_MS);
        second.uncertified = true;
        second.confidence = Confidence::High;
        second.last_failure_ms = NOW_MS - 7;
        second.half_failures = 3;
        Reach {
            profile_version: 3,
            keys_version: 1,
            has_public_key: true,
            has_private_key: true,
            keep_alive_until_ms: u64::MAX,
            has_envelope: true,
            is_kept: true,
            updated_ms: NOW_MS,
            created_ms: NOW_MS - 1_000,
            last_connected_ms: NOW_MS - 10,
            grace_until_ms: NOW_MS + 60_000,
            ttl_after_disconnect: Some(Ttl::RECENTLY_CONNECTED),
            seq: Some(u64::MAX),
            latency_ns: Some(20_000_000),
            addresses: vec![first, second],
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let small = Reach {
            updated_ms: NOW_MS,
            created_ms: NOW_MS,
            addresses: vec![Address::new(
                "/ip4/192.0.2.7/tcp/4001".parse().expect("an address"),
                Ttl::ADDRESS,
                NOW_MS,
            )],
            ..Reach::default()
        };
        assert_eq!(
            hex(&small.encode()),
            "0100000080d0eab6b733000001080 4c0000207060fa1000182dddb0180bab7030000"
                .replace(' ', "")
        );
        for reach in [small, full(), Reach::default()] {
            assert_eq!(Reach::decode(&reach.encode()).expect("ours"), reach);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_error_or_another_record_and_never_a_panic() {
        let bytes = full().encode();
        for cut in 0..bytes.len() {
            assert!(Reach::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if let Ok(found) = Reach::decode(&flipped) {
                assert_ne!(found, full(), "bit {at}");
            }
        }
        let mut newer = bytes;
        newer[0] = 2;
        let refused = Reach::decode(&newer).expect_err("of another version");
        assert_eq!(refused.kind(), crate::libp2p::ErrorKind::UnsupportedVersion);
    }
}
