//! Certified addresses: signed peer records, verified before anything is touched, and the rules by which they
//! take the place of older ones (S1 to S11 of the checklist).

use std::collections::HashSet;

use bytes::Bytes;
use libp2p_core::{Multiaddr, PeerRecord, SignedEnvelope};

use super::address::normal_form;
use super::addresses::{IDENTIFY_ADDRESSES_MAX, Origin};
use super::datastore::Batch;
use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::event::RemovalReason;
use super::options::{EqualSeq, Options};
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::ttl::{Confidence, Source, Ttl};

/// The own record of a node stands under this key.
const LOCAL_RECORD: &[u8] = b"mlocal-record";

/// What became of a signed record that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Consumed {
    /// It is the peer's record now.
    Accepted,
    /// It was the peer's record already; its addresses live longer.
    Refreshed,
    /// A newer one was accepted before. Nothing changed.
    Older,
    /// Another one of the same seq was accepted before. Nothing changed.
    SameSeq,
    /// It is another peer's than was expected. Nothing changed.
    UnexpectedPeer,
}

impl Consumed {
    /// Whether it was taken.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        matches!(self, Consumed::Accepted | Consumed::Refreshed)
    }
}

/// How many addresses of one record are taken: as many as of an identify message, or as a peer may have if that is
/// more.
fn addresses_max(options: &Options) -> usize {
    match options.addresses_max {
        0 => usize::MAX,
        max => max.max(IDENTIFY_ADDRESSES_MAX),
    }
}

/// A signed record that holds.
pub(crate) struct Verified {
    pub(crate) peer: Peer,
    seq: u64,
    addresses: Vec<Multiaddr>,
    envelope: Bytes,
}

impl Verified {
    /// Checks form, signature, type, and that the signer is the peer that the record is about.
    pub(crate) fn read(envelope: &[u8], options: &Options) -> Result<Verified> {
        let max = options.signed_record_bytes_max;
        super::profile::check_len("a signed record", envelope.len(), max)?;
        let bad = |error: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::InvalidRecord,
                format!("a signed record does not hold: {error}"),
            )
        };
        let read = || SignedEnvelope::from_protobuf_encoding(envelope).map_err(|error| bad(&error));
        let mut record = PeerRecord::from_signed_envelope_interop(read()?);
        if record.is_err() && options.legacy_records {
            record = PeerRecord::from_signed_envelope(read()?);
        }
        let record = record.map_err(|error| bad(&error))?;
        Ok(Verified {
            peer: Peer::from(record.peer_id()),
            seq: record.seq(),
            addresses: record.addresses().to_vec(),
            envelope: Bytes::copy_from_slice(envelope),
        })
    }
}

impl PeerEditor<'_> {
    /// Takes a signed record of this peer: its addresses take the place of those of the record
    /// before, and live for `ttl`.
    ///
    /// # Errors
    /// `InvalidRecord` if it does not hold, `TooLarge`, `TooMany`; nothing changed then.
    pub fn consume_record(&mut self, envelope: &[u8], ttl: Ttl) -> Result<Consumed> {
        let record = Verified::read(envelope, &self.core.options)?;
        self.consume_verified(&record, ttl, addresses_max(&self.core.options))
    }

    /// As [`PeerEditor::consume_record`], for what only the peer itself can have sent, with identify: another
    /// peer's record is an error, and of its addresses as many are taken as of an unsigned message.
    ///
    /// # Errors
    /// `InvalidRecord` for another peer's too.
    pub(crate) fn consume_own_record(&mut self, envelope: &[u8], ttl: Ttl) -> Result<Consumed> {
        let record = Verified::read(envelope, &self.core.options)?;
        match self.consume_verified(&record, ttl, IDENTIFY_ADDRESSES_MAX)? {
            Consumed::UnexpectedPeer => {
                let what = format!(
                    "a signed record does not hold: it is not that of {}",
                    self.peer
                );
                Err(Error::new(ErrorKind::InvalidRecord, what))
            }
            consumed => Ok(consumed),
        }
    }

    /// Takes the first so many addresses of a record.
    pub(crate) fn consume_verified(
        &mut self,
        record: &Verified,
        ttl: Ttl,
        addresses_max: usize,
    ) -> Result<Consumed> {
        if record.peer != self.peer {
            return Ok(Consumed::UnexpectedPeer);
        }
        let forgets = !self.core.options.remember_seq && self.reach.addresses.is_empty();
        let known = self.reach.seq.filter(|_| !forgets);
        let mut answer = Consumed::Accepted;
        match known {
            Some(seq) if seq > record.seq => return Ok(Consumed::Older),
            Some(seq) if seq == record.seq => {
                let same = self.reach.has_envelope
                    && self.profile()?.envelope.as_ref() == Some(&record.envelope);
                match self.core.options.equal_seq {
                    EqualSeq::Reject => return Ok(Consumed::SameSeq),
                    EqualSeq::RefreshIfIdentical if !same && self.reach.has_envelope => {
                        return Ok(Consumed::SameSeq);
                    }
                    _ if same => answer = Consumed::Refreshed,
                    _ => {}
                }
            }
            _ => {}
        }
        let counted = self
            .core
            .counters
            .envelopes
            .load(std::sync::atomic::Ordering::Relaxed);
        if !self.reach.has_envelope && counted >= self.core.options.signed_records_max {
            let what = format!("there are {counted} signed records, as many as there may be");
            return Err(Error::new(ErrorKind::TooMany, what));
        }
        let new: Vec<Multiaddr> = record
            .addresses
            .iter()
            .take(addresses_max)
            .filter_map(|addr| normal_form(&self.peer, addr))
            .collect();
        // Looked for as often as there are addresses already.
        let named: HashSet<&Multiaddr> = new.iter().collect();
        self.remove_where(RemovalReason::Superseded, |address| {
            let stays = named.contains(&address.addr) || address.is_pinned() || address.uncertified;
            address.certified && !stays
        });
        for address in &mut self.reach.addresses {
            address.certified &= named.contains(&address.addr);
        }
        let origin = Origin {
            source: Source::Identify,
            confidence: Confidence::High,
        };
        self.add(&new, ttl, origin, true);
        self.reach.seq = Some(record.seq);
        let envelope = record.envelope.clone();
        self.profile()?.envelope = Some(envelope);
        self.reach.has_envelope = true;
        Ok(answer)
    }
}

impl Peerstore {
    /// Takes a signed peer record, as an envelope in its wire form: verified first, then applied as
    /// one change of the peer that signed it. Its addresses take the place of those of the record
    /// before, except pinned ones and those that were also added without a signature. Of one record the
    /// first 500 are taken, or as many as [`Options::addresses_max`] allows if that is more.
    ///
    /// # Errors
    /// `InvalidRecord` if form, signature, type or signer do not hold; `TooLarge`; `TooMany` at
    /// the limit of records; else as [`Peerstore::update`]. Nothing is changed then.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Consumed, Options, Peerstore, Ttl};
    /// use libp2p_core::PeerRecord;
    /// use libp2p_identity::Keypair;
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let key = Keypair::generate_ed25519();
    /// let addr = "/ip4/192.0.2.7/tcp/4001".parse().expect("an address");
    /// let record = PeerRecord::new_interop(&key, vec![addr]).expect("signed");
    /// let envelope = record.to_signed_envelope().into_protobuf_encoding();
    ///
    /// assert_eq!(peers.consume_record(&envelope, Ttl::ADDRESS)?, Consumed::Accepted);
    /// let peer = key.public().to_peer_id();
    /// assert_eq!(peers.record(peer)?.as_deref(), Some(&envelope[..]));
    /// assert!(peers.addresses(peer)?[0].certified);
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn consume_record(&self, envelope: &[u8], ttl: Ttl) -> Result<Consumed> {
        self.core().check_writable()?;
        let record = Verified::read(envelope, &self.core().options)?;
        let max = addresses_max(&self.core().options);
        self.core().update(&record.peer, |peer| {
            peer.consume_verified(&record, ttl, max)
        })
    }

    /// As [`Peerstore::consume_record`], of this peer alone: another's is
    /// [`Consumed::UnexpectedPeer`] and changes nothing.
    ///
    /// # Errors
    /// As [`Peerstore::consume_record`].
    pub fn consume_record_of(
        &self,
        peer: impl Into<Peer>,
        envelope: &[u8],
        ttl: Ttl,
    ) -> Result<Consumed> {
        self.core().check_writable()?;
        let record = Verified::read(envelope, &self.core().options)?;
        if record.peer != peer.into() {
            return Ok(Consumed::UnexpectedPeer);
        }
        let max = addresses_max(&self.core().options);
        self.core().update(&record.peer, |peer| {
            peer.consume_verified(&record, ttl, max)
        })
    }

    /// The signed record of a peer, byte for byte, while the peer has an address that lives.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn record(&self, peer: impl Into<Peer>) -> Result<Option<Bytes>> {
        let peer = peer.into();
        match self.core().known(&peer) {
            Some(known) if known.has_envelope => {}
            _ => return self.core().check_open().map(|()| None),
        }
        let now_ms = self.core().now_ms();
        let whole = self.core().whole(&peer)?;
        let live = whole.filter(|whole| whole.reach.live(now_ms).next().is_some());
        Ok(live.and_then(|whole| whole.profile.envelope))
    }

    /// The node's own signed record, as it was set.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    pub fn local_record(&self) -> Result<Option<Bytes>> {
        self.core().check_open()?;
        self.core().data.get(LOCAL_RECORD)
    }

    /// Keeps the node's own signed record.
    ///
    /// # Errors
    /// `InvalidRecord` if it does not hold, `TooLarge`; else as [`Peerstore::update`].
    pub fn set_local_record(&self, envelope: &[u8]) -> Result<()> {
        self.core().check_writable()?;
        Verified::read(envelope, &self.core().options)?;
        let mut batch = Batch::new();
        batch.put(LOCAL_RECORD, envelope.to_vec());
        self.core()
            .data
            .commit(batch, self.core().options.acknowledge)
    }
}
