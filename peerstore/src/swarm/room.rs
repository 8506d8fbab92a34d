//! Room for a peer when there are as many as there may be: who was connected once stays before who was only heard
//! of, and goes for who is connected now.

use libp2p_identity::PeerId;

use super::custom::CustomData;
use super::store::PersistentStore;
use crate::libp2p::{ErrorKind, KEEP_ALIVE, Peer, PeerEditor, Result, Ttl};

/// What keeps a peer that was connected from being displaced. Goes by itself with the proven life.
const WAS_CONNECTED: &str = "keep-alive.was-connected";
/// How many peers are looked at for one that may go, when all were connected once.
const SAMPLE: usize = 32;

impl<T: CustomData> PersistentStore<T> {
    /// A change that may bring a new peer. When there is no room for it, and `displaces`, one of
    /// those that were connected loses its protection: the longest ago of a few.
    pub(super) fn make<R>(
        &mut self,
        peer: &PeerId,
        displaces: bool,
        mut change: impl FnMut(&mut PeerEditor<'_>) -> Result<R>,
    ) -> Result<R> {
        match self.books.update(peer, &mut change) {
            Err(error) if displaces && error.kind() == ErrorKind::TooManyPeers => {
                self.unprotect_one()?;
                self.books.update(peer, change)
            }
            other => other,
        }
    }

    fn unprotect_one(&mut self) -> Result<()> {
        let mut peers = self.books.all_peers();
        if let Some(position) = self.position {
            peers = peers.from(position);
        }
        let mut sample: Vec<Peer> = peers.by_ref().take(SAMPLE).collect();
        self.position = Some(peers.position());
        if sample.len() < SAMPLE {
            peers = self.books.all_peers();
            sample.extend(peers.by_ref().take(SAMPLE));
            self.position = Some(peers.position());
        }
        let mut oldest = None;
        for peer in sample {
            let is_connected = peer
                .to_peer_id()
                .is_some_and(|peer| self.connections.contains(&peer));
            if is_connected {
                continue;
            }
            let tags = self.books.tags(peer)?;
            let Some(tag) = tags.get(WAS_CONNECTED) else {
                continue;
            };
            let others = tags
                .keys()
                .any(|name| name != WAS_CONNECTED && name.starts_with(KEEP_ALIVE));
            if !others {
                let found = (tag.expiry_ms, peer);
                oldest =
                    Some(oldest.map_or(found, |oldest: (Option<u64>, Peer)| oldest.min(found)));
            }
        }
        match oldest {
            Some((_, peer)) => self.books.remove_tag(peer, WAS_CONNECTED).map(drop),
            None => Ok(()),
        }
    }
}

/// Keeps a peer from being displaced by those that were only heard of; written once in an eighth of
/// the life.
pub(super) fn protect(editor: &mut PeerEditor<'_>, life: Ttl) -> Result<()> {
    let until_ms = editor.now_ms.saturating_add(life.millis());
    let tag = editor.profile()?.tags.get(WAS_CONNECTED);
    let enough_ms = until_ms.saturating_sub(life.millis() / 8);
    match tag.is_some_and(|tag| tag.expiry_ms.is_none_or(|at_ms| at_ms > enough_ms)) {
        true => Ok(()),
        false => editor.set_tag(WAS_CONNECTED, 0, life),
    }
}
