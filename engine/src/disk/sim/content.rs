//! The bytes of a simulated file: pages that copies of the file share until one of them changes,
//! so that a snapshot of a whole disk costs pointers.

use std::sync::Arc;

use super::dice::Mixer;
use crate::sync::OnceLock;

/// What is shared or copied at once.
const PAGE_LEN: usize = 4_096;

type Page = [u8; PAGE_LEN];

fn zero_page() -> &'static Arc<Page> {
    static ZEROS: OnceLock<Arc<Page>> = OnceLock::new();
    ZEROS.get_or_init(|| Arc::new([0; PAGE_LEN]))
}

/// Bytes with a length; what was never written is zero.
#[derive(Clone, Default)]
pub(crate) struct Content {
    /// Behind `len` the last page is zero.
    pages: Vec<Arc<Page>>,
    len: usize,
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, bytes);
        content
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Cuts, or grows by zeros.
    pub(crate) fn resize(&mut self, len: usize) {
        if len < self.len {
            let inside = len % PAGE_LEN;
            self.pages.truncate(len.div_ceil(PAGE_LEN));
            if inside > 0
                && let Some(page) = self.pages.last_mut()
                && let Some(rest) = Arc::make_mut(page).get_mut(inside..)
            {
                rest.fill(0);
            }
        }
        self.pages
            .resize_with(len.div_ceil(PAGE_LEN), || zero_page().clone());
        self.len = len;
    }

    /// Writes, growing if needed.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        if at + bytes.len() > self.len {
            self.resize(at + bytes.len());
        }
        let (mut at, mut bytes) = (at, bytes);
        while !bytes.is_empty() {
            let (index, inside) = (at / PAGE_LEN, at % PAGE_LEN);
            let n = bytes.len().min(PAGE_LEN - inside);
            let (now, rest) = bytes.split_at(n);
            if let Some(page) = self.pages.get_mut(index)
                && page.get(inside..inside + n) != Some(now)
                && let Some(place) = Arc::make_mut(page).get_mut(inside..inside + n)
            {
                place.copy_from_slice(now);
            }
            at += n;
            bytes = rest;
        }
    }

    /// Reads up to the end of the file; returns how many bytes.
    pub(crate) fn read(&self, at: usize, buffer: &mut [u8]) -> usize {
        let total = buffer.len().min(self.len.saturating_sub(at));
        let mut done = 0;
        while done < total {
            let (index, inside) = ((at + done) / PAGE_LEN, (at + done) % PAGE_LEN);
            let n = (total - done).min(PAGE_LEN - inside);
            let from = self
                .pages
                .get(index)
                .and_then(|p| p.get(inside..inside + n));
            if let (Some(from), Some(to)) = (from, buffer.get_mut(done..done + n)) {
                to.copy_from_slice(from);
            }
            done += n;
        }
        total
    }

    /// The bytes from `start` to `end`, fewer if the file ends before.
    pub(crate) fn range(&self, start: usize, end: usize) -> Vec<u8> {
        let mut bytes = vec![0; end.min(self.len).saturating_sub(start)];
        self.read(start, &mut bytes);
        bytes
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.range(0, self.len)
    }

    pub(crate) fn digest(&self, mixer: &mut Mixer) {
        mixer.add(self.len as u64);
        for page in &self.pages {
            if Arc::ptr_eq(page, zero_page()) || **page == **zero_page() {
                mixer.add(0);
            } else {
                mixer.add_bytes(&**page);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_reads_what_was_written_and_zeros_between_and_behind() {
        let mut content = Content::of(b"head");
        content.write(5_000, b"tail");
        assert_eq!(content.len(), 5_004);
        assert_eq!(content.range(0, 6), b"head\0\0");
        assert_eq!(content.range(4_999, 9_000), b"\0tail");
        content.resize(5_002);
        content.resize(5_004);
        assert_eq!(content.range(5_000, 5_004), b"ta\0\0");
        content.resize(2);
        assert_eq!(content.to_vec(), b"he");
        assert_eq!(content.range(7, 3), b"");
    }
}
