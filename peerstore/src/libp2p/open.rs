//! From a datastore to the books: what the last close saved, or one pass over the addresses, without decoding them,
//! and one over the profiles.
//! What a crash left as connected, and what a clock that ran ahead wrote, is put right before anybody reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::core::{Core, lock};
use super::datastore::{Batch, Datastore};
use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::options::{Options, PrivateKeys};
use super::peer::Peer;
use super::profile::Profile;
use super::reach::Skimmed;
use super::recent::Place;
use super::ttl::Ttl;

/// The version of everything that the books keep.
const FORMAT_KEY: &[u8] = b"mformat";
const FORMAT: &[u8] = b"1";
/// What tells later whether a secret is this store's.
const PROOF_KEY: &[u8] = b"msecret";
/// How many peers are put right in one batch.
const BATCH_LEN: usize = 256;

impl Core {
    pub(crate) fn open(
        data: Arc<dyn Datastore>,
        options: Options,
        read_only: bool,
    ) -> Result<Arc<Core>> {
        options.check()?;
        tracing::info!(?options, read_only, "opening a peer store");
        let mut core = Core::new(data, options, read_only);
        core.check_format()?;
        core.check_secret()?;
        let mut damaged = Vec::new();
        let loaded = core.load_image()?;
        core.from_image = loaded.is_some();
        let wrong = match loaded {
            Some(wrong) => wrong,
            None => core.load_records(&mut damaged)?,
        };
        core.look_ahead(core.horizon_ms());
        if core.options.strict
            && let Some(first) = damaged.first()
        {
            let what = format!(
                "{} records cannot be read, the first: {first}",
                damaged.len()
            );
            return Err(Error::corrupted(what));
        }
        core.counters
            .unreadable
            .store(damaged.len() as u64, Ordering::Relaxed);
        core.damaged = damaged;
        if !read_only {
            core.put_right(&wrong)?;
        }
        Ok(Arc::new(core))
    }

    fn check_format(&self) -> Result<()> {
        match self.data.get(FORMAT_KEY)? {
            Some(found) if found == FORMAT => Ok(()),
            Some(found) => {
                let what = format!(
                    "the books are of version {}; this program reads version 1",
                    String::from_utf8_lossy(&found)
                );
                Err(Error::new(ErrorKind::UnsupportedVersion, what))
            }
            None if self.read_only => Ok(()),
            None => {
                let mut batch = Batch::new();
                batch.put(FORMAT_KEY, FORMAT);
                self.data.commit(batch, self.options.acknowledge)
            }
        }
    }

    /// A secret that is not the store's makes private keys unavailable, and nothing else.
    fn check_secret(&mut self) -> Result<()> {
        let PrivateKeys::Sealed(secret) = &self.options.private_keys else {
            return Ok(());
        };
        match self.data.get(PROOF_KEY)? {
            Some(proof) => self.secret_fits = secret.proves(&proof),
            None if self.read_only => {}
            None => {
                let mut batch = Batch::new();
                batch.put(PROOF_KEY, secret.prove()?);
                self.data.commit(batch, self.options.acknowledge)?;
            }
        }
        if !self.secret_fits {
            tracing::warn!("private keys were sealed with another secret; they are unavailable");
        }
        Ok(())
    }

    /// Fills the directory from all records. Answers with the peers that have to be put right.
    fn load_records(&mut self, damaged: &mut Vec<String>) -> Result<Vec<Peer>> {
        self.expect_peers(self.data.keys(b"a").unwrap_or(0));
        let wrong = self.load_addresses(damaged)?;
        self.load_profiles(damaged)?;
        Ok(wrong)
    }

    fn load_addresses(&mut self, damaged: &mut Vec<String>) -> Result<Vec<Peer>> {
        let now_ms = self.now_ms();
        let mut wrong = Vec::new();
        let mut aside = Batch::new();
        for entry in self.data.query(b"a")? {
            let Some((key, value)) = readable(entry, damaged)? else {
                continue;
            };
            let found = Peer::from_bytes(key.get(1..).unwrap_or_default())
                .and_then(|peer| Ok((peer, Skimmed::read(&value)?)));
            let (peer, skimmed) = match found {
                Ok(found) => found,
                Err(error) => {
                    keep_aside(&mut aside, &key, &value, error, damaged)?;
                    continue;
                }
            };
            let converts = self.options.connected_at_open != Ttl::CONNECTED;
            if skimmed.is_ahead_of(now_ms) || (skimmed.is_connected && converts) {
                wrong.push(peer);
            }
            self.load(&peer, &skimmed);
        }
        if !aside.is_empty() && !self.read_only {
            self.commit(aside)?;
        }
        Ok(wrong)
    }

    fn load(&self, peer: &Peer, skimmed: &Skimmed) {
        let hash = self.hash(peer);
        let mut state = self.shard(Core::shard_number(hash)).write();
        let number = state.directory.insert(hash, peer, |peer| self.hash(peer));
        state
            .directory
            .set(number, self.known_of(peer, &skimmed.reach));
        if self.options.peers_max > 0 {
            let place = Place::new(Core::shard_number(hash), number);
            self.line_up(place, peer, &skimmed.reach);
        }
        drop(state);
        self.count_change(None, Some(&skimmed.reach));
    }

    /// Learns who speaks what.
    fn load_profiles(&mut self, damaged: &mut Vec<String>) -> Result<()> {
        for entry in self.data.query(b"b")? {
            let Some((key, value)) = readable(entry, damaged)? else {
                continue;
            };
            let found = Peer::from_bytes(key.get(1..).unwrap_or_default())
                .and_then(|peer| Ok((peer, Profile::decode(&value)?)));
            let (peer, profile) = match found {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::UnsupportedVersion => return Err(error),
                Err(error) => {
                    damaged.push(error.to_string());
                    continue;
                }
            };
            let hash = self.hash(&peer);
            let mut state = self.shard(Core::shard_number(hash)).write();
            let Some(place) = state.directory.find(hash, &peer) else {
                continue;
            };
            let mut protocols = lock(&self.protocols);
            for name in &profile.protocols {
                if let Some(number) = protocols.of(name) {
                    state.speaks(place, number);
                }
            }
        }
        Ok(())
    }

    /// Connected addresses live on for a while from now; no life is longer than its ttl.
    fn put_right(&self, wrong: &[Peer]) -> Result<()> {
        let connected = self.options.connected_at_open;
        for peers in wrong.chunks(BATCH_LEN) {
            let mut editors = Vec::with_capacity(peers.len());
            for peer in peers {
                let mut editor = PeerEditor::begin(self, peer)?;
                editor.touches = false;
                editor.hard = true;
                let now_ms = editor.now_ms;
                for address in &mut editor.reach.addresses {
                    address.expiry_ms = address.expiry_ms.min(address.ttl.expiry(now_ms));
                }
                editor.update_addrs(Ttl::CONNECTED, connected);
                editors.push(editor);
            }
            // Nobody else is here yet: no turn is needed.
            self.apply(editors, &mut Vec::new())?;
        }
        Ok(())
    }
}

/// Damage costs the record that it hit; anything else ends the opening.
fn readable(
    entry: Result<(Bytes, Bytes)>,
    damaged: &mut Vec<String>,
) -> Result<Option<(Bytes, Bytes)>> {
    match entry {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if error.kind() == ErrorKind::Corrupted => {
            damaged.push(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What cannot be decoded is not deleted: it goes where nobody writes over it.
fn keep_aside(
    aside: &mut Batch,
    key: &[u8],
    value: &Bytes,
    error: Error,
    damaged: &mut Vec<String>,
) -> Result<()> {
    if error.kind() == ErrorKind::UnsupportedVersion {
        return Err(error);
    }
    aside.put([b"q", key].concat(), value.clone());
    aside.delete(key);
    damaged.push(error.to_string());
    Ok(())
}
