//! Paths of files as keys, and keys as paths that stay inside the directory they are written to.
//!
//! A key comes from a store, so from strangers: only a plain relative path passes. Path separators in
//! keys are `/` on every system. This file must never touch a disk.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The key of a file below a root: its components joined by `/`. None when a component is not a plain
/// name, or has no portable form as bytes.
pub(crate) fn key_of(relative: &Path) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for component in relative.components() {
        let Component::Normal(name) = component else {
            return None;
        };
        if !key.is_empty() {
            key.push(b'/');
        }
        key.extend_from_slice(name_bytes(name)?);
    }
    (!key.is_empty()).then_some(key)
}

/// The bytes of a whole path, for a list of files that only this machine reads.
pub(crate) fn bytes_of(path: &Path) -> Option<&[u8]> {
    name_bytes(path.as_os_str())
}

/// The path with these bytes, as `bytes_of` gave them.
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    name_of(bytes).map(PathBuf::from)
}

/// Why a key must not become a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsafe {
    Empty,
    Nul,
    Absolute,
    EmptyComponent,
    DotComponent,
    NotAName,
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsafe::Empty => "the key is empty",
            Unsafe::Nul => "the key holds a NUL byte",
            Unsafe::Absolute => "the key is an absolute path",
            Unsafe::EmptyComponent => "the key holds an empty path component",
            Unsafe::DotComponent => "the key holds a `.` or `..` component",
            Unsafe::NotAName => "the key holds bytes that this system does not take in a file name",
        })
    }
}

/// The relative path that a key names, if it surely stays below the directory it is joined to.
/// Links on the way there are the caller's to refuse.
pub(crate) fn safe_relative_path(key: &[u8]) -> Result<PathBuf, Unsafe> {
    if key.is_empty() {
        return Err(Unsafe::Empty);
    }
    if key.contains(&0) {
        return Err(Unsafe::Nul);
    }
    if key.starts_with(b"/") {
        return Err(Unsafe::Absolute);
    }
    let mut path = PathBuf::new();
    for component in key.split(|&byte| byte == b'/') {
        match component {
            b"" => return Err(Unsafe::EmptyComponent),
            b"." | b".." => return Err(Unsafe::DotComponent),
            _ => {}
        }
        let name = name_of(component).ok_or(Unsafe::NotAName)?;
        // Elsewhere than on Unix, names hide drives, streams and other separators; whatever the
        // system itself does not see as one plain name is refused.
        let mut parts = Path::new(&name).components();
        let plain = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
        if !plain || parts.next().is_some() || (!cfg!(unix) && component.contains(&b':')) {
            return Err(Unsafe::NotAName);
        }
        path.push(name);
    }
    Ok(path)
}

#[cfg(unix)]
fn name_bytes(name: &std::ffi::OsStr) -> Option<&[u8]> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

#[cfg(not(unix))]
fn name_bytes(name: &std::ffi::OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

#[cfg(unix)]
fn name_of(bytes: &[u8]) -> Option<std::ffi::OsString> {
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
    Some(name.to_owned())
}

#[cfg(not(unix))]
fn name_of(bytes: &[u8]) -> Option<std::ffi::OsString> {
    std::str::from_utf8(bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_pass_and_come_back_as_the_same_key() {
        for key in [
            "a",
            "src/lib.rs",
            "a b/c",
            "..hidden",
            "...",
            "a/.git/config",
            "gr\u{fc}n",
        ] {
            let path = safe_relative_path(key.as_bytes()).expect("a plain path");
            assert_eq!(key_of(&path).as_deref(), Some(key.as_bytes()));
        }
    }

    #[test]
    fn keys_that_could_leave_the_directory_are_refused() {
        for (key, why) in [
            (&b""[..], Unsafe::Empty),
            (b"a\0b", Unsafe::Nul),
            (b"/etc/passwd", Unsafe::Absolute),
            (b"//x", Unsafe::Absolute),
            (b"..", Unsafe::DotComponent),
            (b"../x", Unsafe::DotComponent),
            (b"a/../../x", Unsafe::DotComponent),
            (b"a/..", Unsafe::DotComponent),
            (b"./a", Unsafe::DotComponent),
            (b"a/./b", Unsafe::DotComponent),
            (b"a//b", Unsafe::EmptyComponent),
            (b"a/", Unsafe::EmptyComponent),
        ] {
            assert_eq!(safe_relative_path(key), Err(why), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn no_short_key_of_dangerous_bytes_ever_climbs_out() {
        // Every key of up to six bytes over the alphabet that paths are made of.
        let alphabet = *b"./a\0\\";
        let mut keys = vec![Vec::new()];
        for _ in 0..6 {
            keys = keys
                .iter()
                .flat_map(|key: &Vec<u8>| {
                    alphabet
                        .iter()
                        .map(move |&byte| [key.as_slice(), &[byte]].concat())
                })
                .collect();
            for key in &keys {
                if let Ok(path) = safe_relative_path(key) {
                    assert!(
                        path.components()
                            .all(|part| matches!(part, Component::Normal(_)))
                    );
                    assert!(path.is_relative());
                }
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn on_unix_a_name_may_be_any_bytes() {
        let path = safe_relative_path(b"dir/\xff\xfe").expect("bytes are fine in names");
        assert_eq!(key_of(&path).as_deref(), Some(&b"dir/\xff\xfe"[..]));
        assert_eq!(
            path_of(bytes_of(&path).expect("bytes")).as_deref(),
            Some(path.as_path())
        );
    }
}
