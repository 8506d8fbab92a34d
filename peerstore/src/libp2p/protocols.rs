//! The protocol book: which protocols a peer speaks, and which peers speak a protocol.

use std::collections::BTreeSet;

use super::core::lock;
use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::speakers::Found;

impl PeerEditor<'_> {
    /// Adds protocols. At a limit nothing is added.
    ///
    /// # Errors
    /// `TooMany` or `TooLarge` if the peer would have more than it may, counted without doubles.
    pub fn add_protocols<S: AsRef<str>>(&mut self, protocols: &[S]) -> Result<()> {
        let mut all = self.profile()?.protocols.clone();
        all.extend(protocols.iter().map(|name| name.as_ref().to_owned()));
        self.take_protocols(all)
    }

    /// Sets protocols in place of all that were there.
    ///
    /// # Errors
    /// As [`PeerEditor::add_protocols`].
    pub fn set_protocols<S: AsRef<str>>(&mut self, protocols: &[S]) -> Result<()> {
        let all = protocols.iter().map(|name| name.as_ref().to_owned());
        self.take_protocols(all.collect())
    }

    /// Removes protocols; unknown ones are no error.
    ///
    /// # Errors
    /// `Io`: what is there must be read.
    pub fn remove_protocols<S: AsRef<str>>(&mut self, protocols: &[S]) -> Result<()> {
        let all = &mut self.profile()?.protocols;
        protocols.iter().for_each(|name| {
            all.remove(name.as_ref());
        });
        Ok(())
    }

    fn take_protocols(&mut self, all: BTreeSet<String>) -> Result<()> {
        let options = &self.core.options;
        if all.len() > options.protocols_max {
            let what = format!(
                "too many protocols: {} would speak {}, {} are the limit",
                self.peer,
                all.len(),
                options.protocols_max
            );
            return Err(Error::new(ErrorKind::TooMany, what));
        }
        let bytes = all.iter().map(String::len).sum();
        super::profile::check_len("the list of protocols", bytes, options.protocol_bytes_max)?;
        self.profile()?.protocols = all;
        Ok(())
    }
}

impl Peerstore {
    /// Adds protocols that a peer speaks.
    ///
    /// # Errors
    /// `TooMany` or `TooLarge` if the peer would have more than it may, counted without doubles;
    /// else as [`Peerstore::update`]. Nothing is added then.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, Peerstore};
    /// use libp2p_identity::PeerId;
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let peer = PeerId::random();
    /// peers.add_protocols(peer, &["/ipfs/kad/1.0.0", "/ipfs/id/1.0.0"])?;
    /// let spoken = peers.supports_protocols(peer, &["/x", "/ipfs/id/1.0.0", "/ipfs/kad/1.0.0"])?;
    /// assert_eq!(spoken, ["/ipfs/id/1.0.0", "/ipfs/kad/1.0.0"]);
    /// assert_eq!(peers.peers_with_protocol("/ipfs/kad/1.0.0")?.len(), 1);
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn add_protocols<S: AsRef<str>>(
        &self,
        peer: impl Into<Peer>,
        protocols: &[S],
    ) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.add_protocols(protocols))
    }

    /// Sets the protocols of a peer in place of all that were there.
    ///
    /// # Errors
    /// As [`Peerstore::add_protocols`].
    pub fn set_protocols<S: AsRef<str>>(
        &self,
        peer: impl Into<Peer>,
        protocols: &[S],
    ) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.set_protocols(protocols))
    }

    /// Removes protocols of a peer.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn remove_protocols<S: AsRef<str>>(
        &self,
        peer: impl Into<Peer>,
        protocols: &[S],
    ) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.remove_protocols(protocols))
    }

    /// The protocols of a peer; none of one that is not known.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn protocols(&self, peer: impl Into<Peer>) -> Result<BTreeSet<String>> {
        let profile = self.profile(&peer.into())?;
        Ok(profile.map(|profile| profile.protocols).unwrap_or_default())
    }

    /// Those of the protocols asked for that the peer speaks, in the order of the question.
    ///
    /// # Errors
    /// As [`Peerstore::protocols`].
    pub fn supports_protocols<S: AsRef<str>>(
        &self,
        peer: impl Into<Peer>,
        protocols: &[S],
    ) -> Result<Vec<String>> {
        let spoken = self.protocols(peer)?;
        let asked = protocols.iter().map(AsRef::as_ref);
        let found = asked.filter(|name| spoken.contains(*name));
        Ok(found.map(str::to_owned).collect())
    }

    /// The first of the protocols asked for that the peer speaks.
    ///
    /// # Errors
    /// As [`Peerstore::protocols`].
    pub fn first_supported_protocol<S: AsRef<str>>(
        &self,
        peer: impl Into<Peer>,
        protocols: &[S],
    ) -> Result<Option<String>> {
        Ok(self.supports_protocols(peer, protocols)?.into_iter().next())
    }

    /// All peers that speak a protocol, from an index in memory: their records are not read, unless
    /// strangers brought more than 65,536 different names into the store.
    ///
    /// # Errors
    /// `Closed`; `Io` and `Corrupted` if records had to be read.
    pub fn peers_with_protocol(&self, protocol: &str) -> Result<Vec<Peer>> {
        self.core().check_open()?;
        let number = match lock(&self.core().protocols).find(protocol) {
            Found::Nobody => return Ok(Vec::new()),
            Found::Number(number) => Some(number),
            Found::Unknown => None,
        };
        let mut found = Vec::new();
        if let Some(number) = number {
            for shard in self.core().shards() {
                let state = shard.read();
                let places = state.speakers.get(&number);
                let places = places.into_iter().flat_map(roaring::RoaringBitmap::iter);
                found.extend(places.filter_map(|place| state.directory.peer(place)));
            }
            return Ok(found);
        }
        for peer in self.peers_where(|known, _| known.has_profile) {
            if self.protocols(peer)?.contains(protocol) {
                found.push(peer);
            }
        }
        Ok(found)
    }
}
