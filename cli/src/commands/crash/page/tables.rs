//! The tables of the page: what was lost, which calls failed, what each sync is good for, and which lines
//! of the engine were crashed at.

use std::fmt::{self, Write as _};

use peercask::crash::Report;

use super::escaped;
use crate::units::{self, count, ratio};

pub(super) fn losses(page: &mut String, report: &Report) -> fmt::Result {
    if report.losses.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>What the crashes did</h2>\n<p class=\"soft\">In how many states, each counted once, by \
         the worst that happened to it.</p>\n<table><thead><tr><th>kind</th><th></th><th class=\"number\">states</th></tr>\
         </thead><tbody>"
    )?;
    let mut losses: Vec<(&&str, &u64)> = report.losses.iter().collect();
    losses.sort_by_key(|(_, states)| std::cmp::Reverse(**states));
    let most = losses.first().map_or(1, |(_, states)| **states);
    for (kind, states) in losses {
        row_with_bar(page, kind, *states, most)?;
    }
    writeln!(page, "</tbody></table>")
}

fn row_with_bar(page: &mut String, name: &str, number: u64, most: u64) -> fmt::Result {
    writeln!(
        page,
        "<tr><td>{}</td><td class=\"wide\">{}</td><td class=\"number\">{}</td></tr>",
        escaped(name),
        bar("", number, most),
        count(number)
    )
}

fn bar(class: &str, part: u64, whole: u64) -> String {
    let width = 100.0 * ratio(part, whole.max(1));
    format!("<div class=\"bar\"><i class=\"{class}\" style=\"width:{width:.1}%\"></i></div>")
}

pub(super) fn faults(page: &mut String, report: &Report) -> fmt::Result {
    if report.faults.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>Calls that failed</h2>\n<p class=\"soft\">Faults that the simulated disk was told to \
         have, and how often the engine met them.</p>\n<table><thead><tr><th>call and error</th>\
         <th></th><th class=\"number\">times</th></tr></thead><tbody>"
    )?;
    let most = report.faults.values().copied().max().unwrap_or(1);
    for ((operation, failure), met) in &report.faults {
        row_with_bar(page, &format!("{operation}: {failure}"), *met, most)?;
    }
    writeln!(page, "</tbody></table>")
}

pub(super) fn sync_coverage(page: &mut String, report: &Report) -> fmt::Result {
    let tried = report.sites.values().any(|site| site.without.is_some());
    if !tried {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>What each sync is good for</h2>\n<p class=\"soft\">The same workloads with one line of \
         the engine that syncs made to do nothing: so many states no longer held. A line without \
         which nothing turns bad is not tried enough here, or another sync does its work.</p>\n\
         <table><thead><tr><th>line of the engine</th><th>call</th><th class=\"number\">calls</th>\
         <th class=\"number\">states without it</th><th class=\"number\">bad</th><th></th>\
         <th class=\"number\">noticed after</th></tr></thead><tbody>"
    )?;
    for ((site, call), found) in &report.sites {
        let Some(without) = &found.without else {
            continue;
        };
        let noticed = match without.first {
            Some(states) => format!("{} states", count(states)),
            None => "<span class=\"warn\">not noticed</span>".to_owned(),
        };
        writeln!(
            page,
            "<tr><td><code>{site}</code></td><td>{call}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td style=\"width:18%\">{}</td>\
             <td class=\"number\">{noticed}</td></tr>",
            count(found.calls),
            count(without.states),
            count(without.bad),
            bar("sync", without.bad, without.states)
        )?;
    }
    writeln!(page, "</tbody></table>")
}

pub(super) fn sites(page: &mut String, report: &Report) -> fmt::Result {
    if report.sites.is_empty() {
        return Ok(());
    }
    let missed = report.sites.values().filter(|site| site.crashed == 0);
    let missed = match units::wide(missed.count()) {
        0 => "all of them crashed at".to_owned(),
        number => format!("{} never crashed at in this run", count(number)),
    };
    writeln!(
        page,
        "<h2>Lines of the engine that change the disk</h2>\n<details><summary>{}, {missed}</summary>\n\
         <table><thead><tr><th>line</th><th>call</th><th class=\"number\">calls</th>\
         <th class=\"number\">crashed after</th></tr></thead><tbody>",
        units::counted(units::wide(report.sites.len()), "line")
    )?;
    for ((site, call), found) in &report.sites {
        writeln!(
            page,
            "<tr><td><code>{site}</code></td><td>{call}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            count(found.calls),
            count(found.crashed)
        )?;
    }
    writeln!(page, "</tbody></table></details>")
}
