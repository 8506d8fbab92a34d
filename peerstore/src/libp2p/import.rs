//! Peers on their way in, from an export or from elsewhere: added to what is there, or in its place. Lives are
//! absolute, so what waited is as old as it is; signed records are verified again.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;

use super::address::Address;
use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::export::io;
use super::lines::{check_head, incoming_of};
use super::options::PrivateKeys;
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::profile::MetadataValue;
use super::ttl::{Source, Ttl};

/// The longest line that an import reads, and the longest array of addresses, in bytes.
pub const LINE_LEN_MAX: usize = 16 << 20;
/// How many peers of an import are one change.
const CHUNK_LEN: usize = 256;
/// How many addresses of an import are in memory at once.
const ADDRESSES_AT_ONCE: usize = 64 << 10;

/// What an import does with peers that are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ImportMode {
    /// What comes is added: the greater ttl and expiry stay, metadata and tags are overwritten by
    /// key. The default.
    #[default]
    Merge,
    /// What comes takes the place of what is there.
    Replace,
}

/// What an import took and left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// Peers that were written.
    pub peers: u64,
    /// Addresses that were taken.
    pub addresses: u64,
    /// Addresses that had expired already.
    pub expired: u64,
    /// Signed records that were taken.
    pub records: u64,
    /// Keys that were taken.
    pub keys: u64,
    /// Lines, records, addresses, keys or values that do not hold, or are of a kind that is not known
    /// here.
    pub skipped: u64,
}

impl ImportReport {
    pub(crate) fn add(&mut self, other: &ImportReport) {
        self.peers += other.peers;
        self.addresses += other.addresses;
        self.expired += other.expired;
        self.records += other.records;
        self.keys += other.keys;
        self.skipped += other.skipped;
    }
}

/// A peer on its way in, from wherever.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) addresses: Vec<Address>,
    pub(crate) protocols: Vec<String>,
    pub(crate) metadata: BTreeMap<String, MetadataValue>,
    pub(crate) tags: BTreeMap<String, (u8, Option<u64>)>,
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) private_key: Option<zeroize::Zeroizing<Vec<u8>>>,
    pub(crate) record: Option<Vec<u8>>,
    pub(crate) latency_ns: Option<u64>,
}

impl Peerstore {
    /// Reads lines that [`Peerstore::export`] wrote. Every 256 peers are one atomic change; after an
    /// error those before stay, and reading the whole again does no harm.
    ///
    /// # Errors
    /// `InvalidArgument` if the first line is not that of an export, `UnsupportedVersion`; `Io`; as
    /// [`Peerstore::update`]. Lines and parts that do not hold are skipped and counted.
    pub fn import(&self, input: impl BufRead, mode: ImportMode) -> Result<ImportReport> {
        let mut lines = Lines {
            input,
            line: Vec::new(),
        };
        check_head(lines.next()?.unwrap_or_default())?;
        let mut report = ImportReport::default();
        let mut chunk = Vec::new();
        loop {
            let line = lines.next()?;
            if line.is_none() || chunk.len() >= CHUNK_LEN {
                report.add(&self.take_in(std::mem::take(&mut chunk), mode)?);
            }
            let Some(line) = line else {
                return Ok(report);
            };
            match incoming_of(line, &mut report) {
                Some(peer) => chunk.push(peer),
                None => report.skipped += 1,
            }
        }
    }

    /// Reads addresses that end with `/p2p` and the peer, one a line or as one array of JSON texts,
    /// and gives each this ttl. Lines are taken in as they come, however many: changes are as those of
    /// [`Peerstore::import`], and a peer whose lines lie far apart is written, and counted, more than
    /// once. An array is read whole first, and has up to [`LINE_LEN_MAX`] bytes.
    ///
    /// # Errors
    /// `TooLarge` for a line or an array over [`LINE_LEN_MAX`] bytes, `InvalidArgument` for what
    /// begins as an array and is none; `Io`; as [`Peerstore::update`]. What is no such address is
    /// skipped and counted.
    pub fn import_addrs(&self, mut input: impl BufRead, ttl: Ttl) -> Result<ImportReport> {
        let mut named = NamedAddresses {
            peerstore: self,
            ttl,
            peers: BTreeMap::new(),
            len: 0,
            report: ImportReport::default(),
        };
        if first_byte(&mut input)? == Some(b'[') {
            for text in array_of(input)? {
                named.take(text.as_str())?;
            }
            return named.end();
        }
        let mut lines = Lines {
            input,
            line: Vec::new(),
        };
        while let Some(line) = lines.next()? {
            let line = line.trim_ascii();
            if !line.is_empty() {
                named.take(std::str::from_utf8(line).ok())?;
            }
        }
        named.end()
    }

    /// Writes peers from elsewhere, a chunk at a time, each chunk as one change.
    pub(crate) fn take_in(
        &self,
        peers: Vec<(Peer, Incoming)>,
        mode: ImportMode,
    ) -> Result<ImportReport> {
        let mut report = ImportReport::default();
        let mut rest = peers.into_iter().peekable();
        while rest.peek().is_some() {
            // A peer that comes twice comes in two changes.
            let mut names = Vec::new();
            let mut chunk = Vec::new();
            while names.len() < CHUNK_LEN
                && let Some((peer, incoming)) = rest.next_if(|(peer, _)| !names.contains(peer))
            {
                names.push(peer);
                chunk.push(incoming);
            }
            let done = self.update_many(&names, |editors| {
                let mut done = ImportReport::default();
                for (editor, incoming) in editors.iter_mut().zip(&chunk) {
                    editor.take_in(incoming, mode, &mut done)?;
                    done.peers += 1;
                }
                Ok(done)
            })?;
            report.add(&done);
        }
        Ok(report)
    }
}

impl PeerEditor<'_> {
    fn take_in(
        &mut self,
        incoming: &Incoming,
        mode: ImportMode,
        report: &mut ImportReport,
    ) -> Result<()> {
        if mode == ImportMode::Replace {
            // A private key that does not come with it stays, and so does the memory of its records.
            self.clear_addrs();
            self.clear_latency();
            let profile = self.profile()?;
            profile.protocols.clear();
            profile.metadata.clear();
            profile.tags.clear();
            profile.envelope = None;
            self.reach.has_envelope = false;
            self.keys()?.public = None;
        }
        for address in &incoming.addresses {
            self.take_in_address(address, report);
        }
        if let Some(record) = &incoming.record {
            self.take_in_record(record, incoming, report);
        }
        for address in &mut self.reach.addresses {
            // Of a record that was not taken.
            address.uncertified |= !address.certified;
        }
        self.add_protocols(&incoming.protocols)
            .or_else(|error| skip(error, report))?;
        for (key, value) in &incoming.metadata {
            self.put_metadata(key, value.clone())
                .or_else(|error| skip(error, report))?;
        }
        for (name, (value, expiry_ms)) in &incoming.tags {
            let ttl = match expiry_ms {
                None => Ttl::PERMANENT,
                Some(at_ms) => Ttl::from_millis(at_ms.saturating_sub(self.now_ms)),
            };
            if ttl != Ttl::NONE {
                self.set_tag(name, *value, ttl)
                    .or_else(|error| skip(error, report))?;
            }
        }
        if let Some(key) = &incoming.public_key {
            match self.add_public_key(key) {
                Ok(()) => report.keys += 1,
                Err(error) => skip(error, report)?,
            }
        }
        if let Some(key) = &incoming.private_key
            && !matches!(self.core.options.private_keys, PrivateKeys::Refuse)
        {
            match self.add_private_key(key) {
                Ok(()) => report.keys += 1,
                Err(error) => skip(error, report)?,
            }
        }
        if incoming.latency_ns.is_some() {
            self.reach.latency_ns = incoming.latency_ns;
        }
        Ok(())
    }

    /// The greater ttl and expiry stay, as when it is heard of again.
    fn take_in_address(&mut self, address: &Address, report: &mut ImportReport) {
        if !address.is_live(self.now_ms) {
            report.expired += 1;
            return;
        }
        let origin = super::addresses::Origin {
            source: address.source,
            confidence: address.confidence,
        };
        // Of life as much as is left; the ttl is the one that it was given.
        let left = match address.ttl.is_pinned() {
            true => address.ttl,
            false => Ttl::from_millis(address.expiry_ms.saturating_sub(self.now_ms)),
        };
        let known = self
            .reach
            .addresses
            .iter()
            .find(|known| known.addr == address.addr);
        let (seen_ms, was_uncertified) =
            known.map_or((0, false), |a| (a.last_seen_ms, a.uncertified));
        self.add(std::slice::from_ref(&address.addr), left, origin, false);
        let added = super::address::normal_form(&self.peer, &address.addr);
        let found = self
            .reach
            .addresses
            .iter_mut()
            .find(|known| Some(&known.addr) == added.as_ref());
        if let Some(found) = found {
            found.ttl = found.ttl.max(address.ttl);
            found.first_seen_ms = found.first_seen_ms.min(address.first_seen_ms);
            found.last_success_ms = found.last_success_ms.max(address.last_success_ms);
            found.last_failure_ms = found.last_failure_ms.max(address.last_failure_ms);
            found.half_failures = found.half_failures.max(address.half_failures);
            found.uncertified = was_uncertified || address.uncertified || !address.certified;
            // It was heard of then, not now.
            found.last_seen_ms = seen_ms.max(address.last_seen_ms);
            report.addresses += 1;
        } else {
            report.skipped += 1;
        }
    }

    /// A record is taken for what it says, not for how long: its addresses came with their lives.
    fn take_in_record(&mut self, record: &[u8], incoming: &Incoming, report: &mut ImportReport) {
        // Some stores do not say which addresses a record holds.
        let says = incoming.addresses.iter().any(|address| address.certified);
        let certified = incoming
            .addresses
            .iter()
            .filter(|address| address.certified || !says);
        let before: HashMap<Multiaddr, Address> = self
            .reach
            .addresses
            .iter()
            .map(|address| (address.addr.clone(), address.clone()))
            .collect();
        let longest = certified
            .map(|address| address.expiry_ms)
            .max()
            .unwrap_or(0);
        let left = Ttl::from_millis(longest.saturating_sub(self.now_ms));
        if left == Ttl::NONE
            || !self
                .consume_record(record, left)
                .is_ok_and(super::Consumed::is_accepted)
        {
            report.skipped += 1;
            return;
        }
        report.records += 1;
        // What was there keeps its life; what had expired when it was written does not come back.
        let came: Vec<Multiaddr> = incoming
            .addresses
            .iter()
            .map(|address| address.addr.clone())
            .collect();
        self.reach.addresses.retain_mut(|address| {
            if let Some(before) = before.get(&address.addr) {
                (address.ttl, address.expiry_ms) = (before.ttl, before.expiry_ms);
                address.last_seen_ms = before.last_seen_ms;
                return true;
            }
            came.contains(&address.addr)
        });
    }
}

/// What does not hold is counted; what is wrong with the store ends the import.
fn skip(error: Error, report: &mut ImportReport) -> Result<()> {
    match error.kind() {
        ErrorKind::TooMany
        | ErrorKind::TooManyPeers
        | ErrorKind::TooLarge
        | ErrorKind::InvalidArgument
        | ErrorKind::InvalidKey
        | ErrorKind::InvalidRecord
        | ErrorKind::Refused => {
            report.skipped += 1;
            Ok(())
        }
        _ => Err(error),
    }
}

/// Addresses with the names of their peers, gathered until they are a chunk.
struct NamedAddresses<'a> {
    peerstore: &'a Peerstore,
    ttl: Ttl,
    peers: BTreeMap<Peer, Incoming>,
    /// Addresses of all of them.
    len: usize,
    report: ImportReport,
}

impl NamedAddresses<'_> {
    /// Takes one text; `None` was none.
    fn take(&mut self, text: Option<&str>) -> Result<()> {
        let addr = text.and_then(|text| text.trim().parse::<Multiaddr>().ok());
        let named = addr.and_then(|addr| match addr.iter().last() {
            Some(Protocol::P2p(id)) => Some((Peer::from(id), addr)),
            _ => None,
        });
        let Some((peer, addr)) = named else {
            self.report.skipped += 1;
            return Ok(());
        };
        // The lines of one peer that follow each other are one change, wherever a chunk would end.
        let is_full = self.peers.len() >= CHUNK_LEN && !self.peers.contains_key(&peer);
        if is_full || self.len >= ADDRESSES_AT_ONCE {
            self.write()?;
        }
        let mut address = Address::new(addr, self.ttl, self.peerstore.now_ms());
        (address.source, address.uncertified) = (Source::Import, true);
        self.peers.entry(peer).or_default().addresses.push(address);
        self.len += 1;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.len = 0;
        let peers = std::mem::take(&mut self.peers).into_iter().collect();
        let done = self.peerstore.take_in(peers, ImportMode::Merge)?;
        self.report.add(&done);
        Ok(())
    }

    fn end(mut self) -> Result<ImportReport> {
        self.write()?;
        Ok(self.report)
    }
}

/// The first byte that is not blank; it is still to be read.
fn first_byte(input: &mut impl BufRead) -> Result<Option<u8>> {
    loop {
        let came = match input.fill_buf() {
            Ok(came) => came,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io("import", &error)),
        };
        let (blank, len) = (came.len() - came.trim_ascii_start().len(), came.len());
        let first = came.get(blank).copied();
        input.consume(blank);
        if first.is_some() || len == 0 {
            return Ok(first);
        }
    }
}

/// A whole array of JSON, of bounded length; what of it is a text is somewhere else to be judged.
fn array_of(input: impl BufRead) -> Result<Vec<serde_json::Value>> {
    let mut text = Vec::new();
    let mut bounded = std::io::Read::take(input, LINE_LEN_MAX as u64 + 1);
    std::io::Read::read_to_end(&mut bounded, &mut text).map_err(|error| io("import", &error))?;
    if text.len() > LINE_LEN_MAX {
        let what = format!(
            "an array of addresses has more than {LINE_LEN_MAX} bytes: give one address a line, \
             of which there may be any number"
        );
        return Err(Error::new(ErrorKind::TooLarge, what));
    }
    serde_json::from_slice(&text).map_err(|error| {
        Error::invalid(format!(
            "this begins as a JSON array of addresses and is none: {error}"
        ))
    })
}

/// Lines of bounded length.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let mut bounded = std::io::Read::take(&mut self.input, LINE_LEN_MAX as u64);
        let read = bounded
            .read_until(b'\n', &mut self.line)
            .map_err(|error| io("import", &error))?;
        if read == LINE_LEN_MAX {
            let what = format!("a line has more than {LINE_LEN_MAX} bytes");
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        Ok((read > 0).then_some(self.line.as_slice()))
    }
}
