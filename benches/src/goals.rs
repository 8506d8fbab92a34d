//! The goals of the project in figures, and what the lines at hand say of each. A goal whose lines
//! are not there is not told: it was not measured.

use crate::line::Line;
use crate::table;

/// What one goal asks, what was measured, and whether that is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is asked for.
    pub goal: String,
    /// What was measured.
    pub measured: String,
    /// Whether the goal is reached.
    pub reached: bool,
}

const HASH: &str = "peercask-hash";
const ORDERED: &str = "peercask-ordered";
/// Two segments of the default size.
const TWO_SEGMENTS: u64 = 128 << 20;
const TEN_MILLION: f64 = 1e7;

/// The goals that the lines tell of.
#[must_use]
pub fn verdicts(lines: &[Line]) -> Vec<Verdict> {
    let lines = table::chosen(lines);
    let all = Lines(&lines);
    let mut found = Vec::new();
    all.memory(&mut found);
    all.pauses(&mut found);
    all.reads(&mut found);
    all.puts(&mut found);
    all.device(&mut found);
    all.opens(&mut found);
    all.written(&mut found);
    all.space(&mut found);
    found
}

/// The verdicts as text.
#[must_use]
pub fn lines(lines: &[Line]) -> Vec<String> {
    let verdicts = verdicts(lines);
    if verdicts.is_empty() {
        return Vec::new();
    }
    let told = verdicts.iter().map(|verdict| {
        let word = if verdict.reached {
            "reached"
        } else {
            "MISSED "
        };
        format!("  {word}  {}: {}", verdict.goal, verdict.measured)
    });
    ["Goals:".to_owned()].into_iter().chain(told).collect()
}

struct Lines<'a>(&'a [Line]);

impl Lines<'_> {
    fn of<'a>(&'a self, workload: &'a str, backend: &'a str) -> impl Iterator<Item = &'a Line> {
        let fits = move |line: &&Line| line.workload == workload && line.backend == backend;
        self.0.iter().filter(fits)
    }

    /// Lines of the same workload and sizes as `line` by others of whom `who` holds.
    fn beside<'a>(
        &'a self,
        line: &'a Line,
        who: fn(&str) -> bool,
    ) -> impl Iterator<Item = &'a Line> {
        self.0.iter().filter(move |other| {
            let same = other.workload == line.workload
                && other.n == line.n
                && other.threads == line.threads;
            let sizes = (other.key_len, other.value_len) == (line.key_len, line.value_len);
            same && sizes && who(&other.backend)
        })
    }

    fn memory(&self, found: &mut Vec<Verdict>) {
        for (backend, beyond, name) in [(HASH, false, "hash"), (ORDERED, true, "ordered")] {
            for line in self.of("index", backend) {
                let key = if beyond { line.key_len as f64 } else { 0.0 };
                let (most, end) = if beyond { (16.0, 16.0) } else { (12.0, 10.0) };
                let (Some(highest), Some(steady)) =
                    (line.index_bytes_per_key, line.details.steady_bytes_per_key)
                else {
                    continue;
                };
                let details = &line.details;
                let fixed = details.fixed_bytes;
                let each = details.each_key_bytes.unwrap_or(steady);
                let each_most = details.each_key_bytes_most.unwrap_or(highest);
                found.push(Verdict {
                    goal: match beyond {
                        true => format!("index memory, {name}: at most the key and {most} B"),
                        false => format!(
                            "index memory, {name}: at most {end} B a key, {most} B at any moment"
                        ),
                    },
                    measured: format!(
                        "{steady:.2} B a key, {highest:.2} B at most, at {} keys{}",
                        table::count(line.n),
                        fixed.map_or_else(String::new, |bytes| format!(
                            "; without the {bytes:.0} B that are always there {each:.2} B and \
                             {each_most:.2} B"
                        ))
                    ),
                    reached: each - key <= end && each_most - key <= most,
                });
            }
        }
    }

    fn pauses(&self, found: &mut Vec<Verdict>) {
        for workload in ["growth", "latency-merge"] {
            for backend in [HASH, ORDERED] {
                for line in self.of(workload, backend) {
                    let idle = self
                        .beside(line, |name| name == "floor-idle")
                        .filter_map(|idle| idle.ns_max)
                        .max();
                    let (Some(longest), Some(idle), Some(over)) =
                        (line.ns_max, idle, line.details.over_1_ms)
                    else {
                        continue;
                    };
                    found.push(Verdict {
                        goal: format!("{backend}, {workload}: no call over 1 ms but the machine's"),
                        measured: format!(
                            "{over} over 1 ms, longest {}; an idle thread's longest nap {}",
                            table::nanos(longest),
                            table::nanos(idle)
                        ),
                        reached: over == 0 || longest <= idle,
                    });
                }
            }
        }
    }

    fn reads(&self, found: &mut Vec<Verdict>) {
        for backend in [HASH, ORDERED] {
            for line in self.of("read-hit", backend) {
                let map = self.beside(line, |name| name == "floor-map").next();
                let floor = map.and_then(|map| map.ops_per_s);
                if let (Some(rate), Some(floor), Some(map)) = (line.ops_per_s, floor, map) {
                    found.push(Verdict {
                        goal: format!(
                            "{backend}, warm read, {} threads: at most 2 times a hash map's",
                            line.threads
                        ),
                        measured: format!("{:.2} times{}", floor / rate, by_cpu(map, line)),
                        reached: floor / rate <= 2.0,
                    });
                }
                self.rivals(line, found);
            }
        }
    }

    fn rivals(&self, line: &Line, found: &mut Vec<Verdict>) {
        let others = self.0.iter().filter(|other| {
            let rival =
                !other.backend.starts_with("floor") && !other.backend.starts_with("peercask");
            // A slow rival may have got less far within the time limit; its rate stands.
            let sizes = (other.key_len, other.value_len) == (line.key_len, line.value_len);
            rival && sizes && other.workload == line.workload && other.threads == line.threads
        });
        let best = others
            .filter_map(|other| Some((other.ops_per_s?, other)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some(rate), Some((best, other))) = (line.ops_per_s, best) {
            found.push(Verdict {
                goal: format!(
                    "{}, {}, {} threads: faster than every rival",
                    line.backend, line.workload, line.threads
                ),
                measured: format!(
                    "{:.2} times the best, {}{}",
                    rate / best,
                    other.backend,
                    by_cpu(line, other)
                ),
                reached: rate > best,
            });
        }
    }

    fn puts(&self, found: &mut Vec<Verdict>) {
        for backend in [HASH, ORDERED] {
            for line in self
                .of("put-buffered", backend)
                .filter(|line| line.threads == 1)
            {
                if let Some(rate) = line.ops_per_s {
                    found.push(Verdict {
                        goal: format!(
                            "{backend}, Buffered puts of one thread: at least 1,000,000/s"
                        ),
                        measured: match line.details.ops_per_cpu_s {
                            Some(cpu) => format!(
                                "{}/s, {} for each second of CPU time",
                                table::count(table::whole(rate)),
                                table::count(table::whole(cpu))
                            ),
                            None => format!("{}/s", table::count(table::whole(rate))),
                        },
                        reached: rate >= 1e6,
                    });
                }
            }
            for workload in ["put-buffered", "put-kernel"] {
                self.of(workload, backend)
                    .for_each(|line| self.rivals(line, found));
            }
        }
    }

    fn device(&self, found: &mut Vec<Verdict>) {
        for backend in [HASH, ORDERED] {
            for line in self.of("device-1", backend) {
                if let Some(share) = line.details.of_best_raw {
                    found.push(Verdict {
                        goal: format!("{backend}, Device puts of one writer: at least 0.95 of the best raw loop"),
                        measured: format!("{share:.3}"),
                        reached: share >= 0.95,
                    });
                }
            }
            for workload in ["device-8", "device-64"] {
                for line in self.of(workload, backend) {
                    let Some(syncs) = line.syncs.filter(|syncs| *syncs > 0) else {
                        continue;
                    };
                    let (per_sync, wanted) =
                        (line.n as f64 / syncs as f64, 0.65 * line.threads as f64);
                    found.push(Verdict {
                        goal: format!("{backend}, Device puts of {} writers: at least {wanted:.1} records a sync", line.threads),
                        measured: format!("{per_sync:.2}"),
                        reached: per_sync >= wanted,
                    });
                }
            }
        }
    }

    fn opens(&self, found: &mut Vec<Verdict>) {
        for (workload, backend, most_ms) in [
            ("open-clean", HASH, 100.0),
            ("open-kill", HASH, 1_000.0),
            ("open-clean", ORDERED, 2_000.0),
            ("open-kill", ORDERED, 2_000.0),
        ] {
            for line in self.of(workload, backend) {
                if let Some(ms) = line.open_ms {
                    let scaled = ms * TEN_MILLION / line.n as f64;
                    found.push(Verdict {
                        goal: format!("{backend}, {workload}: at most {most_ms} ms for 10 M keys"),
                        measured: format!(
                            "{ms:.1} ms at {} keys, {scaled:.0} ms for each 10 M",
                            table::count(line.n)
                        ),
                        reached: scaled <= most_ms,
                    });
                }
            }
        }
    }

    fn written(&self, found: &mut Vec<Verdict>) {
        for line in self.of("framing", HASH).chain(self.of("framing", ORDERED)) {
            let len = line.key_len + line.value_len;
            let most = if len >= 1_024 { 1.15 } else { 1.35 };
            if let Some(all) = line.write_amplification() {
                let log = line.details.without_images_bytes.zip(line.user_bytes);
                let log = log.map(|(log, user)| log as f64 / user.max(1) as f64);
                found.push(Verdict {
                    goal: format!(
                        "{}, bytes of log and hints, {len} B: at most {most}",
                        line.backend
                    ),
                    measured: match log {
                        Some(log) => format!("{log:.3}; {all:.3} with the keydir images"),
                        None => format!("{all:.3} with the keydir images"),
                    },
                    reached: log.unwrap_or(all) <= most,
                });
            }
        }
        for (kind, share, most) in [
            ("uniform", 0.72, 2.0),
            ("90-10", 0.70, 1.5),
            ("expiring", 0.70, 1.3),
        ] {
            let start = format!("merging-{kind}-");
            let of_kind = self
                .0
                .iter()
                .filter(|line| line.workload.starts_with(&start) && line.backend == HASH);
            let points = of_kind.filter_map(|line| {
                Some((line.details.live_share?, line.details.merge_amplification?))
            });
            if let Some(amplification) = at(points.collect(), share) {
                found.push(Verdict {
                    goal: format!(
                        "bytes that merging adds, {kind}: at most {most} at {share} live"
                    ),
                    measured: format!("{amplification:.2}"),
                    reached: amplification <= most,
                });
            }
        }
    }

    fn space(&self, found: &mut Vec<Verdict>) {
        for line in self
            .of("space-settled", HASH)
            .chain(self.of("space-settled", ORDERED))
        {
            if let (Some(disk), Some(live)) = (line.disk_bytes, line.details.live_records_bytes) {
                let ratio = disk.saturating_sub(TWO_SEGMENTS) as f64 / live.max(1) as f64;
                found.push(Verdict {
                    goal: format!("{}, files after five overwrites: at most 1.4 of what lives, and two segments", line.backend),
                    measured: format!(
                        "{} for {} live: {ratio:.2} and two segments",
                        table::bytes(disk),
                        table::bytes(live)
                    ),
                    reached: ratio <= 1.4,
                });
            }
        }
    }
}

/// The same quotient of rates, by the time that the calling threads had a processor.
fn by_cpu(above: &Line, below: &Line) -> String {
    let rates = above.details.ops_per_cpu_s.zip(below.details.ops_per_cpu_s);
    rates.map_or_else(String::new, |(above, below)| {
        format!(" ({:.2} by CPU time)", above / below)
    })
}

/// The height at `x` on the line through the two points around it; none if no point is far enough.
fn at(mut points: Vec<(f64, f64)>, x: f64) -> Option<f64> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let above = points.iter().position(|point| point.0 >= x)?;
    let (right, left) = (
        points.get(above)?,
        points.get(above.checked_sub(1).unwrap_or(above))?,
    );
    let width = right.0 - left.0;
    if width <= 0.0 {
        return Some(right.1);
    }
    Some(left.1 + (right.1 - left.1) * (x - left.0) / width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(backend: &str, workload: &str, rate: f64) -> Line {
        Line {
            backend: backend.to_owned(),
            workload: workload.to_owned(),
            n: 1_000,
            threads: 1,
            ops_per_s: Some(rate),
            ..Line::default()
        }
    }

    #[test]
    fn a_goal_is_judged_by_the_lines_of_the_same_sizes() {
        let mut all = vec![
            line(HASH, "read-hit", 4.0),
            line("floor-map", "read-hit", 7.0),
        ];
        let judged = verdicts(&all);
        assert_eq!(judged.len(), 1, "{judged:?}");
        assert!(
            judged
                .iter()
                .all(|verdict| verdict.reached && verdict.measured == "1.75 times")
        );
        all.iter_mut()
            .for_each(|line| line.ops_per_s = line.ops_per_s.map(|rate| rate * rate));
        assert!(
            verdicts(&all).iter().all(|verdict| !verdict.reached),
            "3.06 times"
        );
        all.iter_mut().take(1).for_each(|line| line.n = 999);
        assert_eq!(verdicts(&all), []);
    }

    #[test]
    fn the_best_rival_counts() {
        let all = [
            line(HASH, "put-kernel", 4.0),
            line("redb", "put-kernel", 2.0),
            line("sled", "put-kernel", 5.0),
        ];
        let judged = verdicts(&all);
        assert!(
            judged
                .iter()
                .any(|verdict| !verdict.reached && verdict.measured.contains("sled")),
            "{judged:?}"
        );
    }

    #[test]
    fn a_share_between_two_is_drawn_between_them() {
        let between = at(vec![(0.8, 3.0), (0.6, 1.0)], 0.7);
        assert!(between.is_some_and(|height| (height - 2.0).abs() < 1e-9));
        assert_eq!(at(vec![(0.8, 3.0)], 0.7), Some(3.0));
        assert_eq!(at(vec![(0.6, 3.0)], 0.7), None);
    }
}
