//! The page of `--report`: one file of HTML with its style and pictures in it, nothing loaded from
//! elsewhere. Every number comes from the lines. This file is the order of the page; bars are in
//! `bars.rs`, curves in `curves.rs`.

mod bars;
mod curves;

use std::fmt::Write as _;

use crate::Outcome;
use crate::goals;
use crate::line::Line;
use crate::runner::Failed;
use crate::table;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn page(lines: &[Line], failed: &[Failed]) -> Outcome<String> {
    let mut page = String::with_capacity(256 << 10);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Peercask measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Peercask measured</h1>\n{}",
        opening(lines)
    )?;
    verdicts(&mut page, lines)?;
    bars::throughput(&mut page, lines)?;
    curves::latency(&mut page, lines)?;
    bars::memory(&mut page, lines)?;
    curves::opens(&mut page, lines)?;
    curves::space(&mut page, lines)?;
    tables(&mut page, lines)?;
    missing(&mut page, failed)?;
    write!(
        page,
        "<footer>peercask-bench {}. Every number on this page comes from the lines it was made \
         of.</footer>\n</main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )?;
    Ok(page)
}

/// What was measured, of what size, on how busy a machine.
fn opening(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "<p>No line was given: nothing was measured.</p>\n".to_owned();
    }
    let mut sizes: Vec<(u64, u64)> = lines.iter().map(|l| (l.key_len, l.value_len)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(key, value)| format!("{key} + {value}"))
        .collect();
    let versions = table::versions(lines);
    let loads = lines.iter().filter_map(|line| line.details.load_average);
    let busiest = loads.fold(f64::NAN, f64::max);
    let mut text = format!(
        "<p>Each pair of workload and store ran in a process of its own. Bytes of key + value: {}. \
         Rates are of one run of one machine and mean something beside each other, not alone.</p>\n",
        sizes.join(", ")
    );
    if !versions.is_empty() {
        text += &format!("<p class=\"soft\">{}</p>\n", escaped(&versions.join(", ")));
    }
    if busiest.is_finite() {
        text += &format!(
            "<p class=\"soft\">Highest load average when a measurement began: {busiest:.2}.</p>\n"
        );
    }
    text
}

fn verdicts(page: &mut String, lines: &[Line]) -> Outcome<()> {
    let verdicts = goals::verdicts(lines);
    if verdicts.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>Goals</h2>\n<table><thead><tr><th></th><th>goal</th><th>measured</th></tr></thead>"
    )?;
    for verdict in verdicts {
        let (class, word) = if verdict.reached {
            ("reached", "reached")
        } else {
            ("missed", "missed")
        };
        writeln!(
            page,
            "<tr><td><span class=\"badge {class}\">{word}</span></td><td>{}</td><td>{}</td></tr>",
            escaped(&verdict.goal),
            escaped(&verdict.measured)
        )?;
    }
    writeln!(page, "</table>")?;
    Ok(())
}

fn tables(page: &mut String, lines: &[Line]) -> Outcome<()> {
    writeln!(
        page,
        "<h2>All figures</h2>\n<details><summary>as tables</summary>\n<pre>{}</pre>\n</details>",
        escaped(&table::lines(lines).join("\n"))
    )?;
    Ok(())
}

fn missing(page: &mut String, failed: &[Failed]) -> Outcome<()> {
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(page, "<h2>What could not be measured</h2>\n<ul>")?;
    for failed in failed {
        writeln!(
            page,
            "<li>{}, {}: {}</li>",
            failed.backend,
            failed.workload,
            escaped(&failed.why)
        )?;
    }
    writeln!(page, "</ul>")?;
    Ok(())
}

/// Text that stays text in HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(character),
        }
    }
    safe
}

/// The class of a backend's colour: ours, floors, and the rivals in their order.
fn class(backend: &str) -> &'static str {
    match backend {
        "peercask-hash" => "hash",
        "peercask-ordered" => "ordered",
        name if name.starts_with("floor") => "floor",
        _ => "rival",
    }
}

#[cfg(test)]
mod tests;
