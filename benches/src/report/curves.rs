//! Curves: latency by percentile, open time against keys, space over what was written.

use std::fmt::Write as _;

use plotters::prelude::*;

use super::escaped;
use crate::line::Line;
use crate::{Error, Outcome, table};

const SIZE: (u32, u32) = (560, 320);
/// Letters and rules; reads on a light and on a dark page.
const INK: RGBColor = RGBColor(128, 136, 148);

/// A curve and whose it is.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// How the axes of a picture are written.
struct Axes {
    title: String,
    x: &'static str,
    y: &'static str,
    x_label: fn(f64) -> String,
    y_label: fn(f64) -> String,
}

/// Workloads whose latencies are worth a picture, most telling first.
const LATENCIES: &[&str] = &[
    "growth",
    "latency-merge",
    "read-hit",
    "put-buffered",
    "put-kernel",
    "device-1",
    "device-64",
    "ycsb-a",
];

/// One picture for each workload: which share of calls took longer than what.
pub(super) fn latency(page: &mut String, lines: &[Line]) -> Outcome<()> {
    let mut pictures = Vec::new();
    let lines = table::chosen(lines);
    for name in LATENCIES {
        let curves: Vec<Curve> = lines
            .iter()
            .filter(|line| line.workload == *name)
            .map(|line| Curve {
                name: line.backend.clone(),
                points: percentiles(line),
            })
            .filter(|curve| curve.points.len() > 1)
            .collect();
        if !curves.is_empty() {
            let axes = Axes {
                title: (*name).to_owned(),
                x: "share of calls that took longer",
                y: "took",
                x_label: |x| share(-x),
                y_label: |y| table::nanos(table::whole(10_f64.powf(y))),
            };
            pictures.push(drawn(&axes, &curves)?);
        }
    }
    section(
        page,
        "Latency",
        "The longest of ten calls, of a hundred, of a thousand: the further right, the rarer. Both \
         axes are logarithmic. <b>floor-idle</b> is a thread that only sleeps: what the machine does \
         to any thread.",
        &pictures,
    )
}

/// Points from the histogram, or from the percentiles of a line without one. The place of a
/// percentile is the logarithm of the share of calls above it.
fn percentiles(line: &Line) -> Vec<(f64, f64)> {
    let height = |ns: u64| (ns.max(1) as f64).log10();
    let all: u64 = line.details.histogram.iter().map(|bucket| bucket.1).sum();
    if all > 0 {
        let mut above = all as f64;
        let mut points = Vec::new();
        for (ns, count) in &line.details.histogram {
            let share = above / all as f64;
            points.push((-share.log10(), height(*ns)));
            above -= *count as f64;
        }
        return points;
    }
    let places = [
        (0.301, line.ns_p50),
        (2.0, line.ns_p99),
        (3.0, line.ns_p999),
    ];
    places
        .into_iter()
        .filter_map(|(x, ns)| Some((x, height(ns?))))
        .collect()
}

/// Ten to the power of `exponent` as a share: "1 %", "1 of 10,000".
fn share(exponent: f64) -> String {
    match exponent {
        // Between the powers of ten stands nothing.
        e if (e - e.round()).abs() > 0.05 => String::new(),
        e if e > -0.5 => "all".to_owned(),
        e if e > -2.5 => format!("{:.0} %", 100.0 * 10_f64.powf(e)),
        e => format!("1 of {}", table::count(table::whole(10_f64.powf(-e)))),
    }
}

/// Open time against keys, for both ways to have ended.
pub(super) fn opens(page: &mut String, lines: &[Line]) -> Outcome<()> {
    let mut pictures = Vec::new();
    for (workload, title) in [
        ("open-clean", "open after a clean close"),
        ("open-kill", "open after a kill"),
    ] {
        let curves = by_backend(lines, workload, |line| Some((line.n as f64, line.open_ms?)));
        let log = |curve: Curve| Curve {
            points: curve
                .points
                .iter()
                .map(|(x, y)| (x.log10(), y.max(0.001).log10()))
                .collect(),
            ..curve
        };
        let curves: Vec<Curve> = curves.into_iter().map(log).collect();
        if !curves.is_empty() {
            let axes = Axes {
                title: title.to_owned(),
                x: "keys",
                y: "open took",
                x_label: |x| table::count(table::whole(10_f64.powf(x))),
                y_label: |y| table::nanos(table::whole(10_f64.powf(y + 6.0))),
            };
            pictures.push(drawn(&axes, &curves)?);
        }
    }
    section(
        page,
        "Open time against keys",
        "The page cache is warm. Both axes are logarithmic.",
        &pictures,
    )
}

/// Files over what was written, for each byte that lives.
pub(super) fn space(page: &mut String, lines: &[Line]) -> Outcome<()> {
    let over = |line: &Line| {
        let live = line.details.live_bytes? as f64;
        Some((
            line.user_bytes? as f64 / live,
            line.disk_bytes? as f64 / live,
        ))
    };
    let mut curves = by_backend(lines, "space", over);
    for curve in &mut curves {
        // When the store has gone quiet: drawn a little further right.
        let settled = lines
            .iter()
            .find(|l| l.workload == "space-settled" && l.backend == curve.name);
        if let Some((x, y)) = settled.and_then(over) {
            curve.points.push((x + 0.5, y));
        }
    }
    if curves.is_empty() {
        return Ok(());
    }
    let axes = Axes {
        title: "overwriting every key, again and again".to_owned(),
        x: "bytes written, for each that lives",
        y: "bytes of files, for each that lives",
        x_label: |x| format!("{x:.0}"),
        y_label: |y| format!("{y:.1}"),
    };
    let pictures = [drawn(&axes, &curves)?];
    section(
        page,
        "Space over time",
        "The last point is half a round later in the picture: when the store has gone quiet.",
        &pictures,
    )
}

fn by_backend(
    lines: &[Line],
    workload: &str,
    point: impl Fn(&Line) -> Option<(f64, f64)>,
) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for line in lines.iter().filter(|line| line.workload == workload) {
        let Some(point) = point(line) else { continue };
        match curves.iter_mut().find(|curve| curve.name == line.backend) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve {
                name: line.backend.clone(),
                points: vec![point],
            }),
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    curves
}

fn section(page: &mut String, title: &str, about: &str, pictures: &[String]) -> Outcome<()> {
    if pictures.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<h2>{title}</h2>\n<p>{about}</p>\n<div class=\"grid\">"
    )?;
    for picture in pictures {
        writeln!(page, "<figure>{picture}</figure>")?;
    }
    writeln!(page, "</div>")?;
    Ok(())
}

/// Ours are blue and green, floors grey, rivals warm.
fn colour(name: &str, rival: usize) -> RGBColor {
    const RIVALS: [RGBColor; 9] = [
        RGBColor(200, 80, 43),
        RGBColor(183, 121, 31),
        RGBColor(150, 84, 170),
        RGBColor(190, 60, 110),
        RGBColor(120, 94, 60),
        RGBColor(214, 132, 92),
        RGBColor(106, 112, 200),
        RGBColor(158, 157, 36),
        RGBColor(233, 30, 99),
    ];
    match name {
        "peercask-hash" => RGBColor(59, 111, 182),
        "peercask-ordered" => RGBColor(47, 143, 107),
        "floor-idle" => RGBColor(196, 196, 196),
        "floor-map" => RGBColor(120, 120, 120),
        name if name.starts_with("floor") => RGBColor(158, 158, 158),
        _ => RIVALS.get(rival % RIVALS.len()).copied().unwrap_or(BLACK),
    }
}

/// A picture as SVG, and whose curves are whose.
fn drawn(axes: &Axes, curves: &[Curve]) -> Outcome<String> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let span = |pick: fn(&(f64, f64)) -> f64| {
        let (low, high) = points()
            .map(pick)
            .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let room = ((high - low) * 0.06).max(0.1);
        (low - room)..(high + room)
    };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(span(|p| p.0), span(|p| p.1))
            .map_err(undrawn)?;
        let label = ("sans-serif", 11).into_font().color(&INK);
        let (x_label, y_label) = (|x: &f64| (axes.x_label)(*x), |y: &f64| (axes.y_label)(*y));
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.2))
            .axis_style(INK.mix(0.6))
            .x_labels(6)
            .y_labels(6)
            .label_style(label.clone())
            .axis_desc_style(label)
            .x_desc(axes.x)
            .y_desc(axes.y)
            .x_label_formatter(&x_label)
            .y_label_formatter(&y_label)
            .draw()
            .map_err(undrawn)?;
        for (colour, curve) in coloured(curves) {
            let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2));
            chart.draw_series(line).map_err(undrawn)?;
            if curve.points.len() < 12 {
                let dots = curve
                    .points
                    .iter()
                    .map(|point| Circle::new(*point, 3, colour.filled()));
                chart.draw_series(dots).map_err(undrawn)?;
            }
        }
        root.present().map_err(undrawn)?;
    }
    let mut legend = format!("<b>{}</b>", escaped(&axes.title));
    for (colour, curve) in coloured(curves) {
        let RGBColor(r, g, b) = colour;
        write!(
            legend,
            "<span class=\"key\"><i style=\"background:rgb({r},{g},{b})\"></i>{}</span>",
            escaped(&curve.name)
        )?;
    }
    Ok(format!("<figcaption>{legend}</figcaption>{svg}"))
}

fn coloured(curves: &[Curve]) -> Vec<(RGBColor, &Curve)> {
    let mut rivals = 0;
    let mut pairs = Vec::new();
    for curve in curves {
        pairs.push((colour(&curve.name, rivals), curve));
        rivals += usize::from(super::class(&curve.name) == "rival");
    }
    pairs
}

fn undrawn(error: impl std::fmt::Display) -> Error {
    format!("a picture cannot be drawn: {error}").into()
}
