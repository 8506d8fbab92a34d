//! Bars: throughput of each workload, and memory a key.

use std::fmt::Write as _;

use super::{class, escaped};
use crate::Outcome;
use crate::line::Line;
use crate::{table, workload};

/// A bar: whose, how long, and what is written beside it.
struct Bar<'a> {
    line: &'a Line,
    length: f64,
    told: String,
}

/// Operations a second: one picture for each workload and size that has rates.
pub(super) fn throughput(page: &mut String, lines: &[Line]) -> Outcome<()> {
    let rated = |line: &Line| line.ops_per_s.is_some() && !line.workload.starts_with("space");
    let lines: Vec<Line> = table::chosen(lines)
        .into_iter()
        .filter(|line| rated(line))
        .collect();
    let groups = table::groups(&lines);
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>Throughput</h2>\n<p>Operations a second, the longer the better. Floors are grey: a bare \
         hash map, which forgets everything; a hash map with a raw log, without checksums or merge; \
         raw loops of append and fdatasync.</p>\n<div class=\"grid\">"
    )?;
    for group in groups {
        let best = table::best_floor(&group);
        let bars = group.iter().filter_map(|line| {
            let rate = line.ops_per_s?;
            let of = best.filter(|_| !line.backend.starts_with("floor"));
            let of = of.map_or_else(String::new, |best| {
                format!(", {:.2} of the floor", rate / best)
            });
            Some(Bar {
                line,
                length: rate,
                told: format!("{}{of}", table::count(table::whole(rate))),
            })
        });
        let Some(first) = group.first() else { continue };
        let about = workload::named(&first.workload).map_or("", |known| known.about);
        let threads = match first.threads {
            1 => String::new(),
            threads => format!(", {threads} threads"),
        };
        let title = format!(
            "{}{threads}, {} + {} B",
            first.workload, first.key_len, first.value_len
        );
        picture(page, &title, about, bars.collect())?;
    }
    writeln!(page, "</div>")?;
    Ok(())
}

/// Bytes a key: what the counting allocator saw, and what the system says of the process.
pub(super) fn memory(page: &mut String, lines: &[Line]) -> Outcome<()> {
    let lines = table::chosen(lines);
    // Of Peercask the index alone is counted, of floors all that they hold.
    let counted = |line: &&Line| {
        let floor = line.backend.starts_with("floor");
        line.workload == "index" || (line.workload == "growth" && floor)
    };
    let growing: Vec<&Line> = lines.iter().filter(|l| l.workload == "growth").collect();
    let index = per_key(lines.iter().filter(counted), |line| {
        line.index_bytes_per_key
    });
    let resident = per_key(growing, |line| {
        line.details
            .rss_anon_bytes_per_key
            .or(line.rss_bytes_per_key)
    });
    if index.is_empty() && resident.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>Memory a key</h2>\n<p>The shorter the better. Of the floors the values are in it, of \
         rivals their caches.</p>\n<div class=\"grid\">"
    )?;
    picture(
        page,
        "allocated, at the highest",
        "what a counting allocator saw at any moment from the 20,000th key on, for each key there was",
        index,
    )?;
    picture(
        page,
        "resident at the end",
        "memory of the process that is no file's",
        resident,
    )?;
    writeln!(page, "</div>")?;
    Ok(())
}

/// Bars of those lines that have the figure.
fn per_key<'a>(
    lines: impl IntoIterator<Item = &'a Line>,
    figure: fn(&Line) -> Option<f64>,
) -> Vec<Bar<'a>> {
    let bar = |line: &'a Line| {
        let length = figure(line)?;
        Some(Bar {
            line,
            length,
            told: format!("{length:.1} B at {} keys", table::count(line.n)),
        })
    };
    lines.into_iter().filter_map(bar).collect()
}

fn picture(page: &mut String, title: &str, about: &str, bars: Vec<Bar<'_>>) -> Outcome<()> {
    let longest = bars.iter().map(|bar| bar.length).fold(0.0, f64::max);
    if longest <= 0.0 {
        return Ok(());
    }
    writeln!(
        page,
        "<figure><b>{}</b><figcaption>{}</figcaption>\n<table class=\"bars\">",
        escaped(title),
        escaped(about)
    )?;
    for bar in bars {
        let width = 100.0 * bar.length / longest;
        writeln!(
            page,
            "<tr><th>{}</th><td><i class=\"{}\" style=\"width:{width:.1}%\"></i></td><td class=\"number\">{}</td></tr>",
            escaped(&bar.line.backend),
            class(&bar.line.backend),
            escaped(&bar.told)
        )?;
    }
    writeln!(page, "</table></figure>")?;
    Ok(())
}
