//! The lines as tables for people: one for each workload and size, a row for each backend, and only
//! the columns in which somebody has a figure.

use crate::line::Line;
use crate::workload;

/// A column: its head and a line's cell.
type Column = (&'static str, fn(&Line) -> Option<String>);

const COLUMNS: &[Column] = &[
    ("ops/CPU s", |line| {
        line.details.ops_per_cpu_s.map(|rate| count(whole(rate)))
    }),
    ("p50", |line| line.ns_p50.map(nanos)),
    ("p99", |line| line.ns_p99.map(nanos)),
    ("p99.9", |line| line.ns_p999.map(nanos)),
    ("longest", |line| line.ns_max.map(nanos)),
    (">1 ms", |line| line.details.over_1_ms.map(count)),
    ("index B/key", |line| {
        line.index_bytes_per_key.map(|b| format!("{b:.2}"))
    }),
    ("at the end", |line| {
        line.details.steady_bytes_per_key.map(|b| format!("{b:.2}"))
    }),
    ("RSS B/key", |line| {
        line.rss_bytes_per_key.map(|b| format!("{b:.0}"))
    }),
    ("no file's", |line| {
        line.details
            .rss_anon_bytes_per_key
            .map(|b| format!("{b:.0}"))
    }),
    ("files", |line| line.disk_bytes.map(bytes)),
    ("of live", |line| {
        line.space_amplification().map(|a| format!("{a:.2}"))
    }),
    ("written", |line| line.write_bytes.map(bytes)),
    ("of user's", |line| {
        line.write_amplification().map(|a| format!("{a:.2}"))
    }),
    ("merging", |line| {
        line.details.merge_amplification.map(|a| format!("{a:.2}"))
    }),
    ("live share", |line| {
        line.details.live_share.map(|a| format!("{a:.2}"))
    }),
    ("syncs", |line| line.syncs.map(count)),
    ("ops/sync", ops_per_sync),
    ("open", |line| line.open_ms.map(|ms| format!("{ms:.1} ms"))),
    ("prepared", |line| {
        line.details.prepare_ms.map(|ms| format!("{ms:.0} ms"))
    }),
    ("rounds", |line| line.details.rounds.map(count)),
];

fn ops_per_sync(line: &Line) -> Option<String> {
    let synced = line.workload.starts_with("device");
    let syncs = line.syncs.filter(|syncs| synced && *syncs > 0)?;
    Some(format!("{:.2}", line.n as f64 / syncs as f64))
}

/// All tables, in the order in which workloads first come.
#[must_use]
pub fn lines(lines: &[Line]) -> Vec<String> {
    let mut printed = Vec::new();
    for group in groups(lines) {
        if let Some(first) = group.first() {
            printed.push(head(first));
            printed.extend(rows(&group));
            printed.push(String::new());
        }
    }
    let versions = versions(lines);
    if !versions.is_empty() {
        printed.extend([format!("Versions: {}", versions.join(", ")), String::new()]);
    }
    printed
}

/// Whose figures these are, with the version of each; floors have none.
#[must_use]
pub fn versions(lines: &[Line]) -> Vec<String> {
    let version = |line: &Line| {
        let floor = line.backend.starts_with("floor");
        let version = line.details.version.as_ref().filter(|_| !floor)?;
        Some(format!("{} {version}", line.backend))
    };
    let mut versions: Vec<String> = lines.iter().filter_map(version).collect();
    versions.sort();
    versions.dedup();
    versions
}

/// Lines of one workload and size, in the order of the first.
#[must_use]
pub fn groups(lines: &[Line]) -> Vec<Vec<&Line>> {
    let mut groups: Vec<Vec<&Line>> = Vec::new();
    let same = |a: &Line, b: &Line| {
        a.workload == b.workload && (a.key_len, a.value_len) == (b.key_len, b.value_len)
    };
    for line in lines {
        match groups
            .iter_mut()
            .find(|group| group.first().is_some_and(|first| same(first, line)))
        {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    groups
}

/// Of each workload, backend and size of records the line with the most keys, of several such the
/// one with the best rate: floors are measured anew beside each backend.
#[must_use]
pub fn chosen(lines: &[Line]) -> Vec<Line> {
    let mut chosen: Vec<Line> = Vec::new();
    let place = |line: &Line| {
        let who = (line.workload.clone(), line.backend.clone());
        (who, line.threads, line.key_len, line.value_len)
    };
    for line in lines {
        match chosen.iter_mut().find(|other| place(other) == place(line)) {
            Some(other) => {
                let better = (line.n, line.ops_per_s) > (other.n, other.ops_per_s);
                if better {
                    *other = line.clone();
                }
            }
            None => chosen.push(line.clone()),
        }
    }
    chosen
}

fn head(first: &Line) -> String {
    let about = workload::named(&first.workload).map_or("", |workload| workload.about);
    let (key_len, value_len) = (first.key_len, first.value_len);
    let colon = if about.is_empty() { "" } else { ": " };
    format!(
        "{}{colon}{about} [key {key_len} B, value {value_len} B]",
        first.workload
    )
}

fn rows(group: &[&Line]) -> Vec<String> {
    let best = best_floor(group);
    let rate = |line: &Line| line.ops_per_s.map(|rate| count(whole(rate)));
    let of_floor = |line: &Line| {
        let share = line.details.of_best_raw.or(Some(line.ops_per_s? / best?))?;
        (!line.backend.starts_with("floor")).then(|| format!("{share:.3}"))
    };
    let mut table: Vec<Vec<String>> = vec![vec!["".into(), "keys".into(), "threads".into()]];
    let rated = group.iter().any(|line| line.ops_per_s.is_some());
    let floored = group.iter().any(|line| of_floor(line).is_some());
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| group.iter().any(|line| column.1(line).is_some()))
        .collect();
    if let Some(heads) = table.first_mut() {
        heads.extend(rated.then(|| "ops/s".to_owned()));
        heads.extend(floored.then(|| "of floor".to_owned()));
        heads.extend(shown.iter().map(|column| column.0.to_owned()));
    }
    for line in group {
        let mut row = vec![line.backend.clone(), count(line.n), count(line.threads)];
        row.extend(rated.then(|| rate(line).unwrap_or_default()));
        row.extend(floored.then(|| of_floor(line).unwrap_or_default()));
        row.extend(
            shown
                .iter()
                .map(|column| column.1(line).unwrap_or_default()),
        );
        table.push(row);
    }
    aligned(&table)
}

/// The best rate of the group's floors.
#[must_use]
pub fn best_floor(group: &[&Line]) -> Option<f64> {
    let floors = group
        .iter()
        .filter(|line| line.backend.starts_with("floor"));
    let best = floors.filter_map(|line| line.ops_per_s).fold(0.0, f64::max);
    (best > 0.0).then_some(best)
}

fn aligned(table: &[Vec<String>]) -> Vec<String> {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("  {cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

/// "1,234,567".
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "870 ns", "1.4 us", "12.0 ms", "1.50 s".
#[must_use]
pub fn nanos(ns: u64) -> String {
    let number = ns as f64;
    match ns {
        ..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", number / 1e6),
        _ => format!("{:.2} s", number / 1e9),
    }
}

/// "1.5 MiB".
#[must_use]
pub fn bytes(number: u64) -> String {
    let wide = number as f64;
    match number {
        ..1_024 => format!("{number} B"),
        1_024..0x10_0000 => format!("{:.1} KiB", wide / 1_024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", wide / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", wide / f64::from(1 << 30)),
    }
}

/// A rate without its fraction.
#[must_use]
pub fn whole(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "casts from floats saturate"
    )]
    #[expect(clippy::cast_sign_loss, reason = "rates are not below zero")]
    let whole = rate.round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(backend: &str, rate: f64) -> Line {
        Line {
            backend: backend.to_owned(),
            workload: "read-hit".to_owned(),
            n: 1_000,
            threads: 1,
            ops_per_s: Some(rate),
            ..Line::default()
        }
    }

    #[test]
    fn a_table_has_the_columns_that_somebody_fills() {
        let lines = lines(&[
            line("floor-map", 2_000_000.0),
            line("peercask-hash", 1_500_000.4),
        ]);
        let text = lines.join("\n");
        assert!(text.contains("read-hit: every key once"), "{text}");
        assert!(text.contains("1,500,000     0.750"), "{text}");
        assert!(!text.contains("open"), "{text}");
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(nanos(870), "870 ns");
        assert_eq!(nanos(1_400), "1.4 us");
        assert_eq!(nanos(1_500_000_000), "1.50 s");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.00 GiB");
        assert_eq!(whole(2.6), 3);
    }
}
