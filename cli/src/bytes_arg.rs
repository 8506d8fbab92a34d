//! Keys and values as given on the command line: text, `@file`, or hexadecimal.
//!
//! It must never know which argument it reads; the rule is one for all and stands in docs/cli.md.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::exit::Failure;
use crate::paths;

/// The rule, for the help texts.
pub(crate) const BYTES_HELP: &str = "\
Keys and values are given as text, byte for byte. `@PATH` stands for the content of a file, `@-` \
for standard input, and `@@...` for text that begins with one `@`. With --hex they are hexadecimal \
instead (`@` works as before), and what is printed is hexadecimal too. Put `--` before a key that \
begins with `-`.";

/// The bytes that an argument stands for.
pub(crate) fn parse(arg: &OsStr, hex: bool) -> Result<Vec<u8>, Failure> {
    let bytes = arg.as_encoded_bytes();
    match bytes {
        [b'@', text @ ..] if !hex && text.starts_with(b"@") => Ok(text.to_vec()),
        [b'@', name @ ..] => {
            let path = paths::path_of(name)
                .ok_or_else(|| Failure::usage("the file name after `@` is not valid UTF-8"))?;
            read_file(&path)
        }
        _ if hex => parse_hex(bytes),
        _ => Ok(bytes.to_vec()),
    }
}

/// The whole content of a file, or of standard input for `-`.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut content = Vec::new();
        io::stdin()
            .read_to_end(&mut content)
            .map_err(|error| Failure::io("read standard input", &error))?;
        return Ok(content);
    }
    fs::read(path).map_err(|error| Failure::io(format_args!("read {}", path.display()), &error))
}

fn parse_hex(digits: &[u8]) -> Result<Vec<u8>, Failure> {
    hex::decode(digits).map_err(|error| {
        let text = String::from_utf8_lossy(digits);
        Failure::usage(format!("`{text}` is not hexadecimal: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parsed(arg: &str, hex: bool) -> Vec<u8> {
        parse(OsStr::new(arg), hex).expect("the argument is good")
    }

    #[test]
    fn text_is_taken_byte_for_byte() {
        assert_eq!(parsed("key", false), b"key");
        assert_eq!(parsed("", false), b"");
        assert_eq!(parsed("gr\u{fc}n", false), "gr\u{fc}n".as_bytes());
        assert_eq!(parsed("@@home", false), b"@home");
    }

    #[test]
    fn hexadecimal_takes_both_cases_and_refuses_the_rest() {
        assert_eq!(parsed("00fFa0", true), [0x00, 0xff, 0xa0]);
        assert_eq!(parsed("", true), b"");
        for bad in ["0", "xy", "0x00", "00 11"] {
            let failure = parse(OsStr::new(bad), true).expect_err("the argument is bad");
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn an_at_sign_names_a_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("value");
        fs::write(&path, [0, 1, 255]).expect("a small file");
        let arg = format!("@{}", path.display());
        assert_eq!(parsed(&arg, false), [0, 1, 255]);
        assert_eq!(
            parsed(&arg, true),
            [0, 1, 255],
            "a file is raw also with --hex"
        );
        let missing = parse(OsStr::new("@/nowhere/at/all"), false).expect_err("no such file");
        assert_eq!(missing.exit, Exit::Io);
    }
}
