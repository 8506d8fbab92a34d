//! Numbers and byte strings in the stored forms: how they are written, and how they are read from bytes that
//! may be anything. A number is seven bits a byte, low ones first; a string is its length and its bytes.

use super::error::{Error, Result};

/// Writes fields one behind the other.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(version: u8) -> Writer {
        Writer {
            bytes: vec![version],
        }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).expect("seven bits");
            number >>= 7;
            if number == 0 {
                return self.bytes.push(low);
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// The distance to `base`, small in both directions.
    pub(crate) fn near(&mut self, number: u64, base: u64) {
        let distance = number.wrapping_sub(base).cast_signed();
        self.number(((distance << 1) ^ (distance >> 63)).cast_unsigned());
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }
}

/// Reads fields; every answer is bounded by the bytes that are there.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads what `version` wrote: a newer version is refused by its number.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8], version: u8) -> Result<Reader<'a>> {
        let mut reader = Reader { what, rest: bytes };
        let found = reader.byte()?;
        if found != version {
            let kind = super::error::ErrorKind::UnsupportedVersion;
            let what =
                format!("{what} is of version {found}; this program reads version {version}");
            return Err(Error::new(kind, what));
        }
        Ok(reader)
    }

    pub(crate) fn fault(&self, why: &str) -> Error {
        Error::corrupted(format!("{} {why}", self.what))
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or_else(|| self.fault("ends too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.fault("holds a number of more than 64 bits"))
    }

    pub(crate) fn near(&mut self, base: u64) -> Result<u64> {
        let coded = self.number()?;
        let distance = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
        Ok(base.wrapping_add(distance.cast_unsigned()))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (string, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.fault("is shorter than it says"))?;
        self.rest = rest;
        Ok(string)
    }

    /// How many things follow, each of at least `len_min` bytes: no more than fit.
    pub(crate) fn count(&mut self, len_min: usize) -> Result<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        match count.checked_mul(len_min) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(self.fault("counts more than it holds")),
        }
    }

    pub(crate) fn end(&self) -> Result<()> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(self.fault("is longer than what it says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_too_long_ones_are_refused() {
        let edges = [0, 1, 127, 128, 16_383, 16_384, u64::MAX - 1, u64::MAX];
        for number in edges {
            for base in edges {
                let mut writer = Writer::new(1);
                writer.number(number);
                writer.near(number, base);
                let mut reader = Reader::new("a test", &writer.bytes, 1).expect("version 1");
                assert_eq!(reader.number().expect("there"), number);
                assert_eq!(reader.near(base).expect("there"), number);
                reader.end().expect("nothing is left");
            }
        }
        let long = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        let mut reader = Reader::new("a test", &long, 1).expect("version 1");
        assert!(reader.number().is_err());
    }
}
