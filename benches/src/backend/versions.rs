//! Which version of a crate is built in, from the lock file that decided it.

const LOCK: &str = include_str!("../../../Cargo.lock");

/// The version of `package`, if the lock file names it.
pub(super) fn of(package: &str) -> Option<&'static str> {
    let mut lines = LOCK.lines();
    let name = format!("name = \"{package}\"");
    lines.find(|line| *line == name)?;
    let line = lines.next()?;
    line.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        assert_eq!(of("peercask"), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(of("no-such-crate"), None);
    }
}
