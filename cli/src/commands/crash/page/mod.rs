//! The page of `--report`: one file of HTML with its style and picture in it, nothing loaded from
//! elsewhere. Every number comes from the run.
//!
//! This file is the order of the page; the picture is in timeline.rs, the tables are in tables.rs.

mod tables;
mod timeline;

use std::fmt::{self, Write as _};

use peercask::crash::{Report, Verdict, Violation};

use super::explore::Plan;
use super::summary;
use crate::units::{self, count};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn of(report: &Report, plan: &Plan) -> String {
    let mut page = String::with_capacity(64 * 1024);
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, report, plan);
    page
}

fn write_page(page: &mut String, report: &Report, plan: &Plan) -> fmt::Result {
    let verdict = report.verdict();
    writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Peercask crash report: {verdict}, seed {}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>",
        report.seed
    )?;
    writeln!(
        page,
        "<header><h1>Crash report</h1><span class=\"badge {}\">{verdict}</span></header>\n<p>{}</p>",
        class_of(verdict),
        sentence_of(verdict)
    )?;
    tiles(page, report)?;
    violations(page, report)?;
    timeline::write(page, report)?;
    tables::losses(page, report)?;
    tables::faults(page, report)?;
    tables::sync_coverage(page, report)?;
    tables::sites(page, report)?;
    again(page, report, plan)?;
    writeln!(
        page,
        "<footer>peercask {}, {} on a simulated disk. Every number on this page comes from this \
         run.</footer>\n</main>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        units::duration(report.elapsed)
    )
}

fn class_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Survived => "survived",
        Verdict::Violated => "violated",
        Verdict::NotMeasured => "not-measured",
    }
}

fn sentence_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Survived => {
            "In every crash state that was judged the store opened, held everything acknowledged and \
             nothing deleted, was a prefix of history, opened again the same, and lived on."
        }
        Verdict::Violated => {
            "At least one crash state did not hold. The first is told below, shrunk to the smallest \
             case found."
        }
        Verdict::NotMeasured => "No crash state was judged, and that proves nothing.",
    }
}

fn tiles(page: &mut String, report: &Report) -> fmt::Result {
    let per_second = units::whole_per_second(report.states, report.elapsed);
    let sites = units::wide(report.sites.len());
    let violations = units::wide(report.violations.len());
    let sites = format!(
        "{} of {}",
        count(summary::sites_crashed(report)),
        count(sites)
    );
    let judged = format!("crash states judged, {} a second", count(per_second));
    let tiles = [
        (count(report.states), judged.as_str()),
        (count(report.distinct), "of them different media"),
        (
            count(report.recovery_states),
            "left by a crash within a recovery",
        ),
        (count(report.points), "calls crashed after"),
        (count(report.points_whole), "of them in every legal state"),
        (count(report.runs), "workloads"),
        (sites, "lines of the engine crashed at"),
    ];
    writeln!(page, "<section class=\"tiles\">")?;
    let alarm = if violations > 0 { " alarm" } else { "" };
    tile(page, alarm, &count(violations), "violations")?;
    for (number, what) in tiles {
        tile(page, "", &number, what)?;
    }
    writeln!(page, "</section>")
}

fn tile(page: &mut String, class: &str, number: &str, what: &str) -> fmt::Result {
    writeln!(
        page,
        "<div class=\"tile{class}\"><b>{number}</b><span>{what}</span></div>"
    )
}

fn violations(page: &mut String, report: &Report) -> fmt::Result {
    if report.violations.is_empty() {
        return Ok(());
    }
    writeln!(page, "<h2>What did not hold</h2>")?;
    for (index, violation) in report.violations.iter().enumerate() {
        one_violation(page, violation, index == 0)?;
    }
    Ok(())
}

fn one_violation(page: &mut String, violation: &Violation, open: bool) -> fmt::Result {
    writeln!(
        page,
        "<div class=\"violation\"><p><b>{}</b></p>\n<details{}><summary>the story</summary>\n\
         <pre>{}</pre>\n</details>\n<p>See it again, and keep the state to look at:</p>\n\
         <pre>peercask crash --replay '{}' --keep state</pre>\n\
         <details><summary>as a test</summary><pre>{}</pre></details></div>",
        escaped(&violation.what),
        if open { " open" } else { "" },
        escaped(&violation.story),
        escaped(&violation.case.to_string()),
        escaped(&violation.test)
    )
}

fn again(page: &mut String, report: &Report, plan: &Plan) -> fmt::Result {
    writeln!(
        page,
        "<h2>The same run again</h2>\n<p>Seed {} decides every choice. A limit in seconds ends \
         wherever the machine has got to; a limit in states ends at the same state everywhere.</p>\n\
         <pre>{}</pre>",
        report.seed,
        escaped(&plan.command())
    )
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

/// "4,096", or "2.4e31" where nobody counts digits.
fn amount(number: u128) -> String {
    match u64::try_from(number) {
        Ok(number) if number < 1_000_000 => count(number),
        _ => {
            let exponent = number.ilog10();
            let lead = number / 10_u128.pow(exponent.saturating_sub(1));
            format!("{}.{}e{exponent}", lead / 10, lead % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn large_amounts_are_told_by_their_size() {
        assert_eq!(amount(0), "0");
        assert_eq!(amount(4_096), "4,096");
        assert_eq!(amount(2_460_000), "2.4e6");
        assert_eq!(amount(u128::MAX), "3.4e38");
    }
}
