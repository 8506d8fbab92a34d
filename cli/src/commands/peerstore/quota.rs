//! Quotas as given on the command line: "fs=1000", "fs=1000,1MiB,evict", "500,evict".

use peercask_peerstore::gnunet::{Quota, QuotaRule};

use crate::units;

/// One `--quota`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuotaArg {
    /// `None` for every subsystem without a quota of its own.
    pub(super) subsystem: Option<String>,
    pub(super) quota: Quota,
}

pub(super) fn parse_quota(text: &str) -> Result<QuotaArg, String> {
    let (subsystem, limits) = match text.rsplit_once('=') {
        Some((name, limits)) => (Some(name.to_owned()), limits),
        None => (None, text),
    };
    let mut parts: Vec<&str> = limits.split(',').collect();
    let evict = parts.last() == Some(&"evict");
    if evict {
        parts.pop();
    }
    let number = |text: &str| {
        let parsed = text.parse::<u64>();
        parsed.map_err(|_| format!("`{text}` is no number of records"))
    };
    let (records_max, bytes_max) = match parts[..] {
        [records] => (number(records)?, u64::MAX),
        [records, bytes] => (number(records)?, units::parse_size(bytes)?),
        _ => return Err("a quota is [NAME=]RECORDS[,BYTES][,evict]".into()),
    };
    let rule = match evict {
        true => QuotaRule::EvictOldest,
        false => QuotaRule::Refuse,
    };
    Ok(QuotaArg {
        subsystem,
        quota: Quota {
            records_max,
            bytes_max,
            rule,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_have_a_name_two_limits_and_a_rule() {
        let quota = |text| parse_quota(text).expect("a good quota");
        let fs = quota("fs=1000,64KiB,evict");
        assert_eq!(fs.subsystem.as_deref(), Some("fs"));
        assert_eq!((fs.quota.records_max, fs.quota.bytes_max), (1_000, 65_536));
        assert_eq!(fs.quota.rule, QuotaRule::EvictOldest);
        let all = quota("7");
        assert_eq!((all.subsystem, all.quota.records_max), (None, 7));
        assert_eq!(
            (all.quota.bytes_max, all.quota.rule),
            (u64::MAX, QuotaRule::Refuse)
        );
        assert_eq!(quota("=5").subsystem.as_deref(), Some(""));
        for bad in ["", "fs=", "fs=x", "1,2,3", "evict", "1,parsec"] {
            assert!(parse_quota(bad).is_err(), "{bad}");
        }
    }
}
