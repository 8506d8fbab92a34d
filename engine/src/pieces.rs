//! A list that grows without moving what it holds. A `Vec` that grows copies itself while it holds
//! the allocator's lock, which may be the lock that a caller's thread waits for: merges and hints
//! gather rows by the hundred thousand, and with glibc each such copy held up every allocation
//! beside it for as long.

/// Bytes of the largest piece; smaller ones double up to it.
const PIECE_BYTES_MAX: usize = 256 << 10;
const FIRST_LEN: usize = 16;

pub(crate) struct Pieces<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Pieces<T> {
    fn default() -> Pieces<T> {
        Pieces {
            pieces: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Pieces<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, item: T) {
        let room = |piece: &&mut Vec<T>| piece.len() < piece.capacity();
        match self.pieces.last_mut().filter(room) {
            Some(piece) => piece.push(item),
            None => {
                let most = (PIECE_BYTES_MAX / size_of::<T>().max(1)).max(FIRST_LEN);
                let mut piece = Vec::with_capacity(self.len.clamp(FIRST_LEN, most));
                piece.push(item);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// All of it in one place, each piece given back as soon as it was taken over.
    pub(crate) fn into_vec(self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len);
        for piece in self.pieces {
            all.extend(piece);
        }
        all
    }
}

impl<T> Extend<T> for Pieces<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_stays_where_it_is_and_in_its_order() {
        let mut pieces = Pieces::default();
        let mut places = Vec::new();
        for number in 0..100_000_u64 {
            pieces.push(number);
            let last = pieces.pieces.last().and_then(|piece| piece.last());
            places.push(std::ptr::from_ref(last.expect("pushed")));
        }
        let now: Vec<*const u64> = pieces.iter().map(std::ptr::from_ref).collect();
        assert!(now == places, "nothing was moved by what came later");
        let largest = pieces.pieces.iter().map(|piece| 8 * piece.capacity()).max();
        assert_eq!(largest, Some(PIECE_BYTES_MAX));
        assert_eq!(pieces.len(), 100_000);
        assert_eq!(pieces.into_vec(), (0..100_000).collect::<Vec<_>>());
        let mut few: Pieces<u8> = Pieces::default();
        assert!(few.is_empty());
        few.extend([1, 2, 3]);
        assert_eq!(few.into_vec(), [1, 2, 3]);
    }
}
