//! The picture: the calls of the first run from left to right, what kind each was, how many crash states
//! were legal and judged after it, and which did not hold. Each call tells itself when pointed at.

use std::fmt::{self, Write as _};

use peercask::crash::{Operation, PointReport, Report};

use super::{amount, escaped};
use crate::units::{self, count};

/// More calls than this make a picture that nobody reads.
const POINTS_MAX: usize = 1_200;
const LEFT: f64 = 116.0;
const RIGHT: f64 = 18.0;
/// The picture is at least so wide; a long run makes it wider, and it scrolls.
const WIDTH_MIN: f64 = 1_120.0;
const POINT_MIN: f64 = 7.0;
const HEAD: f64 = 16.0;
const STATES_HEIGHT: f64 = 130.0;
const LEGAL_HEIGHT: f64 = 84.0;
const LANE: f64 = 22.0;
const GAP: f64 = 26.0;

/// The lanes in the order in which a file lives, with the class of their colour.
const LANES: [(Operation, &str); 9] = [
    (Operation::Create, "names"),
    (Operation::Write, "data"),
    (Operation::Resize, "data"),
    (Operation::Reserve, "data"),
    (Operation::Sync, "sync"),
    (Operation::Rename, "names"),
    (Operation::Link, "names"),
    (Operation::Remove, "names"),
    (Operation::SyncDirectory, "sync"),
];

/// Where things are.
struct Layout<'a> {
    points: &'a [PointReport],
    lanes: Vec<(Operation, &'static str)>,
    width: f64,
    states_max: u64,
    digits_max: f64,
}

pub(super) fn write(page: &mut String, report: &Report) -> fmt::Result {
    let shown = report.timeline.len().min(POINTS_MAX);
    let points = report.timeline.get(..shown).unwrap_or_default();
    if points.is_empty() {
        return Ok(());
    }
    let layout = Layout::of(points);
    writeln!(
        page,
        "<h2>Where the crashes lie</h2>\n<p class=\"soft\">The first workload, call by call: every \
         column is one call that changed the disk, and after each the power was cut. Point at a \
         column to see the call, the line of the engine that made it, and what became of it.</p>\n\
         <figure><div class=\"scroll\">"
    )?;
    layout.picture(page)?;
    let total = report.timeline.len();
    let rest = match total - shown {
        0 => String::new(),
        rest => format!(" {} later calls are not drawn.", count(units::wide(rest))),
    };
    let steps = report
        .workload
        .as_ref()
        .map_or_else(String::new, |workload| {
            let steps = workload.to_string().replace(',', ", ");
            format!("<br>The steps: <code>{}</code>", escaped(&steps))
        });
    writeln!(
        page,
        "</div><figcaption><span class=\"key data\"></span>bytes<span class=\"key names\"></span>names\
         <span class=\"key sync\"></span>syncs<span class=\"key bad\"></span>states that did not hold. \
         The shade changes where the workload begins a write or is told that it is done. A sync brings the number of legal states down: what it \
         covered can no longer be lost.{rest}{steps}</figcaption></figure>"
    )
}

impl<'a> Layout<'a> {
    fn of(points: &'a [PointReport]) -> Layout<'a> {
        let used = |lane: &(Operation, &'static str)| {
            let is = |point: &PointReport| {
                point
                    .call
                    .as_ref()
                    .is_some_and(|call| call.operation == lane.0)
            };
            points.iter().any(is)
        };
        let digits = |point: &PointReport| log10(point.legal);
        let columns = number(units::wide(points.len()));
        Layout {
            points,
            lanes: LANES.iter().copied().filter(used).collect(),
            width: WIDTH_MIN.max(LEFT + RIGHT + POINT_MIN * columns),
            states_max: points
                .iter()
                .map(|point| point.states)
                .max()
                .unwrap_or(1)
                .max(1),
            digits_max: points.iter().map(digits).fold(1.0, f64::max).ceil(),
        }
    }

    fn column(&self) -> f64 {
        (self.width - LEFT - RIGHT) / number(units::wide(self.points.len()).max(1))
    }

    fn x(&self, index: usize) -> f64 {
        LEFT + self.column() * number(units::wide(index))
    }

    fn states_bottom(&self) -> f64 {
        HEAD + STATES_HEIGHT
    }

    fn legal_bottom(&self) -> f64 {
        self.states_bottom() + GAP + LEGAL_HEIGHT
    }

    fn lanes_top(&self) -> f64 {
        self.legal_bottom() + GAP
    }

    fn lanes_bottom(&self) -> f64 {
        self.lanes_top() + LANE * number(units::wide(self.lanes.len()))
    }

    fn states_height(&self, states: u64) -> f64 {
        STATES_HEIGHT * number(states) / number(self.states_max)
    }

    fn legal_y(&self, point: &PointReport) -> f64 {
        self.legal_bottom() - LEGAL_HEIGHT * log10(point.legal) / self.digits_max
    }

    fn picture(&self, page: &mut String) -> fmt::Result {
        let height = self.lanes_bottom() + 30.0;
        let width = self.width;
        writeln!(
            page,
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             role=\"img\" aria-label=\"Crash points on the timeline of the first workload\">"
        )?;
        self.bands(page)?;
        self.frame(page)?;
        self.legal_line(page)?;
        for (index, point) in self.points.iter().enumerate() {
            self.point(page, index, point)?;
        }
        writeln!(page, "</svg>")
    }

    /// On grey, every other stretch between two things that the check is told of.
    fn bands(&self, page: &mut String) -> fmt::Result {
        let mut from = 0;
        for (nth, stretch) in self.points.chunk_by(|a, b| a.step == b.step).enumerate() {
            let until = from + stretch.len();
            let (left, right) = (self.x(from), self.x(until));
            if nth % 2 == 1 {
                let height = self.lanes_bottom() - HEAD + 8.0;
                writeln!(
                    page,
                    "<rect class=\"band\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                    HEAD - 8.0,
                    right - left
                )?;
            }
            from = until;
        }
        Ok(())
    }

    /// Names, rules and scales.
    fn frame(&self, page: &mut String) -> fmt::Result {
        let right = self.width - RIGHT;
        let mut rule = |y: f64, label: &str| {
            writeln!(
                page,
                "<line class=\"rule\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            )
        };
        for part in [0, 1, 2] {
            let states = self.states_max * part / 2;
            rule(
                self.states_bottom() - self.states_height(states),
                &count(states),
            )?;
        }
        for digits in [
            0.0,
            (self.digits_max / 2.0).floor().max(1.0),
            self.digits_max,
        ] {
            let y = self.legal_bottom() - LEGAL_HEIGHT * digits / self.digits_max;
            let label = match digits {
                0.0 => "1".to_owned(),
                digits => format!("1e{digits:.0}"),
            };
            rule(y, &label)?;
        }
        let mut y = self.lanes_top();
        for (operation, _) in &self.lanes {
            rule(y + LANE / 2.0, operation.word())?;
            y += LANE;
        }
        for (name, y) in [
            ("states judged", HEAD + 14.0),
            ("legal states", self.states_bottom() + GAP + 14.0),
        ] {
            writeln!(
                page,
                "<text class=\"name\" x=\"4\" y=\"{y:.1}\">{name}</text>"
            )?;
        }
        self.numbers(page)
    }

    /// The number of every so many calls.
    fn numbers(&self, page: &mut String) -> fmt::Result {
        let every = [1, 2, 5, 10, 20, 50, 100, 200]
            .into_iter()
            .find(|every| self.column() * number(*every) > 44.0)
            .unwrap_or(500);
        for (index, point) in self.points.iter().enumerate() {
            if point.number.is_multiple_of(every) {
                writeln!(
                    page,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    self.x(index) + self.column() / 2.0,
                    self.lanes_bottom() + 20.0,
                    count(point.number)
                )?;
            }
        }
        writeln!(
            page,
            "<text class=\"name\" x=\"4\" y=\"{:.1}\">call</text>",
            self.lanes_bottom() + 20.0
        )
    }

    fn legal_line(&self, page: &mut String) -> fmt::Result {
        let mut line = String::new();
        for (index, point) in self.points.iter().enumerate() {
            let y = self.legal_y(point);
            write!(
                line,
                "{:.1},{y:.1} {:.1},{y:.1} ",
                self.x(index),
                self.x(index + 1)
            )?;
        }
        let (first, last, bottom) = (self.x(0), self.x(self.points.len()), self.legal_bottom());
        writeln!(
            page,
            "<polygon class=\"legal-area\" points=\"{first:.1},{bottom:.1} {line}{last:.1},{bottom:.1}\"/>\
             <polyline class=\"legal\" points=\"{line}\"/>"
        )
    }

    fn point(&self, page: &mut String, index: usize, point: &PointReport) -> fmt::Result {
        let (x, column) = (self.x(index), self.column());
        let bar = (column * 0.72).min(16.0);
        let left = x + (column - bar) / 2.0;
        write!(
            page,
            "<g class=\"point\"><title>{}</title>",
            escaped(&self.told(point))
        )?;
        write!(
            page,
            "<rect class=\"hit\" x=\"{x:.1}\" y=\"{HEAD:.1}\" width=\"{column:.1}\" height=\"{:.1}\"/>",
            self.lanes_bottom() - HEAD
        )?;
        let (all, bad) = (
            self.states_height(point.states),
            self.states_height(point.bad),
        );
        let bottom = self.states_bottom();
        for (class, height, bottom) in [
            ("states", all - bad, bottom),
            ("bad", bad, bottom - all + bad),
        ] {
            if height > 0.0 {
                write!(
                    page,
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{height:.1}\" rx=\"1\"/>",
                    bottom - height
                )?;
            }
        }
        if let Some(call) = &point.call
            && let Some(lane) = self.lanes.iter().position(|lane| lane.0 == call.operation)
        {
            let class = match point.bad {
                0 => self.lanes.get(lane).map_or("data", |lane| lane.1),
                _ => "bad",
            };
            let y = self.lanes_top() + LANE * (number(units::wide(lane)) + 0.5);
            let size = bar.min(11.0);
            write!(
                page,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{size:.1}\" height=\"11\" rx=\"2.5\"/>",
                x + (column - size) / 2.0,
                y - 5.5
            )?;
        }
        writeln!(page, "</g>")
    }

    /// What a call tells of itself.
    fn told(&self, point: &PointReport) -> String {
        let call = point
            .call
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let verdict = match point.bad {
            0 => "all held".to_owned(),
            bad => format!("{} did not hold", count(bad)),
        };
        format!(
            "call {}: {call}\n{} legal states, {} judged, {verdict}",
            point.number,
            amount(point.legal),
            count(point.states)
        )
    }
}

/// The exponent to the base ten; 0 for none.
fn log10(legal: u128) -> f64 {
    // 38 digits fit, and the picture shows three.
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    let legal = legal.max(1) as f64;
    legal.log10()
}

fn number(number: u64) -> f64 {
    units::ratio(number, 1)
}
