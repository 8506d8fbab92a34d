//! A case: exactly one crash, or one within the recovery of another, as a word that can be stored
//! and replayed.

use std::fmt;
use std::str::FromStr;

use super::steps::Workload;
use crate::disk::sim::{Cut, Fault};

/// The first word of every case that this release writes.
const VERSION: &str = "v1";

/// One crash of a path: after which call, and what it left.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Crash {
    /// How many calls had changed the disk.
    pub point: u64,
    /// What was lost.
    pub cut: Cut,
}

/// Exactly one crash of one run: what is needed to see it again. Its text has no blanks and
/// needs no quotes on a command line.
///
/// ```
/// use peercask::crash::Case;
///
/// let case: Case = "v1:7:p0.1.700d,d0.1d:none:12.p01".parse()?;
/// assert_eq!(case.seed, 7);
/// assert_eq!(case.path[0].point, 12);
/// assert_eq!(case.to_string(), "v1:7:p0.1.700d,d0.1d:none:12.p01");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Case {
    /// The seed of the run's disk.
    pub seed: u64,
    /// The steps, if the run was of a built-in workload and not of a program.
    pub workload: Option<Workload>,
    /// What the disk failed in the run.
    pub faults: Vec<Fault>,
    /// What the medium wrote whole, in bytes.
    pub sector_len: usize,
    /// The crash of the run, then that of the recovery after it, and so on.
    pub path: Vec<Crash>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}:{}", self.seed)?;
        if self.sector_len != 512 {
            write!(f, "/{}", self.sector_len)?;
        }
        match &self.workload {
            Some(workload) => write!(f, ":{workload}:")?,
            None => f.write_str(":program:")?,
        }
        for (index, fault) in self.faults.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{fault}")?;
        }
        if self.faults.is_empty() {
            f.write_str("none")?;
        }
        f.write_str(":")?;
        for (index, crash) in self.path.iter().enumerate() {
            let dash = if index > 0 { "-" } else { "" };
            write!(f, "{dash}{}.{}", crash.point, crash.cut)?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let wrong = |what: &str| format!("'{text}' is no case: {what}");
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [version, seed, workload, faults, path] = parts.as_slice() else {
            return Err(wrong(
                "it has five parts, version:seed:steps:faults:crashes",
            ));
        };
        if *version != VERSION {
            return Err(wrong("this release reads version v1"));
        }
        let (seed, sector_len) = seed.split_once('/').unwrap_or((seed, "512"));
        let number = |_| wrong("the seed is a number");
        let workload = match *workload {
            "program" => None,
            steps => Some(steps.parse().map_err(|e: String| wrong(&e))?),
        };
        let faults = faults.split(',').filter(|fault| *fault != "none");
        let faults = faults.map(str::parse).collect::<Result<_, String>>();
        let crash = |part: &str| {
            let (point, cut) = part.split_once('.').ok_or("a crash is point.cut")?;
            Ok(Crash {
                point: point.parse().map_err(|_| "a point is a number")?,
                cut: cut.parse()?,
            })
        };
        let path = path.split('-').map(crash).collect::<Result<_, String>>();
        Ok(Case {
            seed: seed.parse().map_err(number)?,
            workload,
            faults: faults.map_err(|e| wrong(&e))?,
            sector_len: sector_len.parse().map_err(number)?,
            path: path.map_err(|e| wrong(&e))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_written_and_read_back() {
        for text in [
            "v1:7:p0.1.700d,d0.1d:none:12.p01-3.k",
            "v1:7/1:program:write.3+.enospc,sync.0.eio!:0.p",
            "v1:0:b+0.1-1.1d:none:5.p0Z77Z1",
        ] {
            let case: Case = text.parse().expect("a case");
            assert_eq!(case.to_string(), text);
        }
        for wrong in [
            "",
            "v2:7:s:none:1.p",
            "v1:x:s:none:1.p",
            "v1:7:q:none:1.p",
            "v1:7:s:none:1",
        ] {
            assert!(wrong.parse::<Case>().is_err(), "{wrong}");
        }
    }
}
