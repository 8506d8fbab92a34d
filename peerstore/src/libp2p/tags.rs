//! Tags, which say what a peer is worth and may protect it; and the smoothed latency.

use std::collections::BTreeMap;
use std::time::Duration;

use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::profile::{Profile, Tag, check_len};
use super::ttl::Ttl;

/// Tags that begin so protect their peer from eviction and from being forgotten for its age.
pub const KEEP_ALIVE: &str = "keep-alive";
/// The longest name of a tag, in bytes.
pub const TAG_LEN_MAX: usize = 1_024;
/// How much a new latency sample weighs, unless another weight is asked for.
pub const LATENCY_SMOOTHING: f64 = 0.1;

/// Until when tags protect the peer; 0 if none does, the greatest number if one does for ever.
pub(crate) fn keep_alive_until_ms(profile: &Profile) -> u64 {
    let protecting = profile
        .tags
        .iter()
        .filter(|(name, _)| name.starts_with(KEEP_ALIVE));
    let until = protecting.map(|(_, tag)| tag.expiry_ms.unwrap_or(u64::MAX));
    until.max().unwrap_or(0)
}

impl PeerEditor<'_> {
    /// Tags the peer with a value from 0 to 100, for a time.
    ///
    /// # Errors
    /// `InvalidArgument` for a value over 100, `TooLarge` for the name, `TooMany` tags.
    pub fn set_tag(&mut self, name: &str, value: u8, ttl: Ttl) -> Result<()> {
        if value > 100 {
            return Err(Error::invalid(format!(
                "a tag has a value from 0 to 100, not {value}"
            )));
        }
        check_len("a tag", name.len(), TAG_LEN_MAX)?;
        let expiry_ms = (!ttl.is_pinned()).then(|| ttl.expiry(self.now_ms).max(1));
        let max = self.core.options.tags_max;
        let tags = &mut self.profile()?.tags;
        if tags.len() >= max && !tags.contains_key(name) {
            let what = format!("the peer has {max} tags, as many as it may");
            return Err(Error::new(ErrorKind::TooMany, what));
        }
        tags.insert(name.to_owned(), Tag { value, expiry_ms });
        Ok(())
    }

    /// Removes a tag; whether it was there.
    ///
    /// # Errors
    /// `Io`: what is there must be read.
    pub fn remove_tag(&mut self, name: &str) -> Result<bool> {
        Ok(self.profile()?.tags.remove(name).is_some())
    }

    /// Takes a sample of the latency: the first one as it is, later ones with the weight
    /// `smoothing`, which is 0.1 if it is not between 0 and 1.
    pub fn record_latency(&mut self, latency: Duration, smoothing: f64) {
        let weight = match (0.0..=1.0).contains(&smoothing) {
            true => smoothing,
            false => LATENCY_SMOOTHING,
        };
        let smoothed = match self.reach.latency_ns {
            None => latency,
            Some(old_ns) => {
                let old = Duration::from_nanos(old_ns).as_secs_f64();
                let new = (1.0 - weight) * old + weight * latency.as_secs_f64();
                Duration::try_from_secs_f64(new).unwrap_or(latency)
            }
        };
        self.reach.latency_ns = Some(u64::try_from(smoothed.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Forgets the latency.
    pub fn clear_latency(&mut self) {
        self.reach.latency_ns = None;
    }
}

impl Peerstore {
    /// Tags a peer with a value from 0 to 100, for a time or ([`Ttl::PERMANENT`]) for ever.
    ///
    /// # Errors
    /// `InvalidArgument` for a value over 100, `TooLarge` for the name, `TooMany` tags; else as
    /// [`Peerstore::update`].
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, Peerstore, Ttl};
    /// use libp2p_identity::PeerId;
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let relay = PeerId::random();
    /// peers.set_tag(relay, "keep-alive-relay", 50, Ttl::PERMANENT)?;
    /// assert_eq!(peers.tags(relay)?["keep-alive-relay"].value, 50);
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn set_tag(&self, peer: impl Into<Peer>, name: &str, value: u8, ttl: Ttl) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.set_tag(name, value, ttl))
    }

    /// Removes a tag of a peer; whether it was there.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn remove_tag(&self, peer: impl Into<Peer>, name: &str) -> Result<bool> {
        self.core()
            .update(&peer.into(), |peer| peer.remove_tag(name))
    }

    /// The tags of a peer that have not expired.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn tags(&self, peer: impl Into<Peer>) -> Result<BTreeMap<String, Tag>> {
        let profile = self.profile(&peer.into())?;
        Ok(profile.map(|profile| profile.tags).unwrap_or_default())
    }

    /// Takes a sample of the latency of a peer: the first one as it is, later ones by a tenth. It
    /// is written at most once a second, however many there are.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn record_latency(&self, peer: impl Into<Peer>, latency: Duration) -> Result<()> {
        self.record_latency_with(peer, latency, LATENCY_SMOOTHING)
    }

    /// As [`Peerstore::record_latency`], with a weight of its own for the new sample; one that is
    /// not between 0 and 1 is 0.1.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn record_latency_with(
        &self,
        peer: impl Into<Peer>,
        latency: Duration,
        smoothing: f64,
    ) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.record_latency(latency, smoothing);
            Ok(())
        })
    }

    /// The smoothed latency of a peer; `None` if it is not known.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn latency(&self, peer: impl Into<Peer>) -> Result<Option<Duration>> {
        let reach = self.core().reach(&peer.into())?;
        Ok(reach
            .and_then(|reach| reach.latency_ns)
            .map(Duration::from_nanos))
    }

    /// Forgets the latency of a peer.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn clear_latency(&self, peer: impl Into<Peer>) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.clear_latency();
            Ok(())
        })
    }
}
