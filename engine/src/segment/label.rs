//! The label of a checkpoint: the file that says that a directory is a copy of a store and of
//! which one, and not yet a store with a life of its own.
//! Pure bytes; who writes and removes it is written in docs/format.md, "Checkpoint label".

use crate::segment::format::{
    CHECKSUM_LEN, LABEL_LEN, LABEL_MAGIC, PREAMBLE_LEN, PreambleFault, STORE_ID_LEN,
    check_preamble, crc, preamble, put_u32, read_u32,
};

/// The label of a checkpoint of this store.
pub(crate) fn encode(store_id: &[u8; STORE_ID_LEN]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LABEL_LEN);
    out.extend_from_slice(&preamble(LABEL_MAGIC));
    out.extend_from_slice(store_id);
    put_u32(&mut out, crc(store_id));
    out
}

/// The store that a label names.
///
/// # Errors
/// What is wrong with it, in words; the version if a newer release wrote it.
pub(crate) fn decode(bytes: &[u8]) -> Result<[u8; STORE_ID_LEN], LabelFault> {
    check_preamble(bytes, LABEL_MAGIC)?;
    let fields = bytes.get(PREAMBLE_LEN..).unwrap_or_default();
    let (id, checksum) = fields
        .split_first_chunk::<STORE_ID_LEN>()
        .filter(|(_, checksum)| checksum.len() == CHECKSUM_LEN)
        .ok_or(LabelFault::Damaged("it is not as long as a label"))?;
    if read_u32(checksum, 0) != Some(crc(id)) {
        return Err(LabelFault::Damaged("its checksum does not hold"));
    }
    Ok(*id)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LabelFault {
    /// Written by a newer release.
    Version(u32),
    Damaged(&'static str),
}

impl From<PreambleFault> for LabelFault {
    fn from(fault: PreambleFault) -> LabelFault {
        match fault {
            PreambleFault::Version(version) => LabelFault::Version(version),
            _ => LabelFault::Damaged("its preamble does not hold"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::tests::hex;
    use crate::segment::fuzz;

    const ID: [u8; STORE_ID_LEN] = *b"sixteen bytes id";

    #[test]
    fn the_bytes_are_the_ones_of_the_format_page() {
        assert_eq!(
            hex(&encode(&ID)),
            format!(
                "{}{}{:08x}",
                hex(&preamble(LABEL_MAGIC)),
                hex(&ID),
                crc(&ID).swap_bytes()
            )
        );
        assert_eq!(encode(&ID).len(), LABEL_LEN);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let good = encode(&ID);
        assert_eq!(decode(&good), Ok(ID));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "{len} bytes");
        }
        assert!(decode(&[good, vec![0]].concat()).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_label() {
        fuzz::seeded(2_000, 80, fuzz::fuzz_label);
        fuzz::fuzz_label(&ID);
        fuzz::fuzz_label(&encode(&ID));
    }
}
