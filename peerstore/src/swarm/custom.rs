//! What a program keeps beside a peer's addresses, and how it becomes bytes.

/// Data of the program's own about a peer, as it is stored.
///
/// ```
/// use peercask_peerstore::swarm::CustomData;
///
/// struct Score(u32);
///
/// impl CustomData for Score {
///     fn encode(&self) -> Vec<u8> {
///         self.0.to_le_bytes().to_vec()
///     }
///     fn decode(bytes: &[u8]) -> Option<Score> {
///         Some(Score(u32::from_le_bytes(bytes.try_into().ok()?)))
///     }
/// }
/// assert_eq!(Score::decode(&Score(7).encode()).map(|score| score.0), Some(7));
/// ```
pub trait CustomData: Sized {
    /// Its bytes; at most the books' `metadata_bytes_max`, 64 KiB by default.
    fn encode(&self) -> Vec<u8>;

    /// What such bytes say; `None` if they say nothing to this version of the program. They are
    /// then dropped and counted, and the peer stays.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl CustomData for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_bytes: &[u8]) -> Option<()> {
        Some(())
    }
}

impl CustomData for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
}

impl CustomData for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}
