//! Curves as SVG, without a background and in colors that can be read on white and on black.

use std::fmt::Write as _;

/// One diagram; both axes are logarithmic.
pub(crate) struct Panel {
    /// Above it.
    pub(crate) title: String,
    /// Below it.
    pub(crate) axis: String,
    /// Place and labels of each tick; ours is written below them.
    pub(crate) ticks: Vec<(f64, [String; 2])>,
    /// Its part of the picture's width.
    pub(crate) share: f64,
    /// In the order of the legend, the same in every panel.
    pub(crate) lines: Vec<Line>,
}

/// One curve.
pub(crate) struct Line {
    /// In the legend.
    pub(crate) name: String,
    /// (x, ms), both above zero.
    pub(crate) points: Vec<(f64, f64)>,
    /// Drawn dashed and without marks.
    pub(crate) is_limit: bool,
    /// Drawn heavier, and its values are written below the ticks.
    pub(crate) is_ours: bool,
}

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 420.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 330.0;
const LEFT: f64 = 56.0;
const GAP: f64 = 30.0;
/// Middling tones: each has a contrast of at least 3 to white and to black.
const COLORS: [&str; 5] = ["#d9541e", "#2f86d6", "#1f9a6c", "#a06cc4", "#808080"];
const INK: &str = "#808080";

/// A picture of the panels side by side, over one scale of milliseconds.
pub(crate) fn svg(title: &str, subtitle: &str, panels: &[Panel]) -> String {
    let times = || panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points).map(|&(_, ms)| ms).filter(|ms| *ms > 0.0);
    let (low, high) = (times().fold(f64::MAX, f64::min).min(1.0) * 0.8, times().fold(0.0, f64::max).max(1.0) * 1.3);
    let y = |ms: f64| BOTTOM - (ms / low).ln() / (high / low).ln() * (BOTTOM - TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{INK}\" role=\"img\">\n\
         <title>{title}</title>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"600\">{title}</text>\n"
    );
    legend(&mut out, panels.first().map_or(&[][..], |panel| &panel.lines));
    let room = WIDTH - LEFT - 16.0 - GAP * panels.len().saturating_sub(1) as f64;
    let shares: f64 = panels.iter().map(|panel| panel.share).sum();
    let mut left = LEFT;
    for (index, panel) in panels.iter().enumerate() {
        let width = room * panel.share / shares;
        grid(&mut out, (low, high), &y, left, width, index == 0);
        draw(&mut out, panel, &y, left, width);
        left += width + GAP;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-size=\"11\">{subtitle}</text>\n</svg>", HEIGHT - 8.0);
    out
}

fn legend(out: &mut String, lines: &[Line]) {
    let mut x = LEFT;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        stroke(out, line, index, &[(x, 40.0), (x + 26.0, 40.0)]);
        mark(out, line, index, (x + 13.0, 40.0));
        let _ = writeln!(out, "<text x=\"{:.0}\" y=\"44\">{}</text>", x + 32.0, line.name);
        x += 52.0 + 6.4 * line.name.len() as f64;
    }
}

/// Lines at 1, 2, 5, 10 ... ms.
fn grid(out: &mut String, (low, high): (f64, f64), y: &dyn Fn(f64) -> f64, left: f64, width: f64, labeled: bool) {
    let decades = (-3..6).flat_map(|power| [1.0, 2.0, 5.0].map(|first| first * 10_f64.powi(power)));
    for ms in decades.filter(|ms| (low..=high).contains(ms)) {
        let at = y(ms);
        let _ = writeln!(out, "<path d=\"M{left:.1} {at:.1}H{:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.25\"/>", left + width);
        if labeled {
            let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ms}</text>", left - 6.0, at + 4.0);
        }
    }
    if labeled {
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">ms</text>", left - 6.0, TOP - 6.0);
    }
}

fn draw(out: &mut String, panel: &Panel, y: &dyn Fn(f64) -> f64, left: f64, width: f64) {
    let (first, last) = (panel.ticks.first().map_or(1.0, |t| t.0), panel.ticks.last().map_or(2.0, |t| t.0));
    let inset = 24.0;
    let x = |at: f64| left + inset + (at / first).ln() / (last / first).ln().max(1e-9) * (width - 2.0 * inset);
    let middle = left + width / 2.0;
    let _ =
        writeln!(out, "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"600\">{}</text>", TOP - 6.0, panel.title);
    let _ = writeln!(out, "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", BOTTOM + 60.0, panel.axis);
    for (at, labels) in &panel.ticks {
        for (row, label) in labels.iter().enumerate() {
            let y = BOTTOM + 16.0 + 13.0 * row as f64;
            let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" font-size=\"11\">{label}</text>", x(*at));
        }
    }
    for (index, line) in panel.lines.iter().enumerate().filter(|(_, line)| line.is_ours) {
        for &(at, ms) in &line.points {
            let digits = if ms < 9.95 { 2 } else { 1 };
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" font-weight=\"600\" fill=\"{}\">{ms:.digits$}</text>",
                x(at),
                BOTTOM + 42.0,
                COLORS[index % COLORS.len()]
            );
        }
    }
    // Ours last, so that nothing lies over it.
    let mut order: Vec<usize> = (0..panel.lines.len()).collect();
    order.sort_by_key(|&index| panel.lines[index].is_ours);
    for index in order {
        let line = &panel.lines[index];
        let points: Vec<(f64, f64)> = line.points.iter().map(|&(at, ms)| (x(at), y(ms))).collect();
        stroke(out, line, index, &points);
        points.iter().for_each(|&point| mark(out, line, index, point));
    }
}

fn stroke(out: &mut String, line: &Line, index: usize, points: &[(f64, f64)]) {
    let path: String = points.iter().enumerate().map(|(at, (x, y))| format!("{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" })).collect();
    if path.is_empty() {
        return;
    }
    let width = if line.is_ours { 3.0 } else { 1.8 };
    let dash = if line.is_limit { " stroke-dasharray=\"5 4\"" } else { "" };
    let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"{dash}/>", COLORS[index % COLORS.len()]);
}

/// Another shape for each line, for who does not see the colors.
fn mark(out: &mut String, line: &Line, index: usize, (x, y): (f64, f64)) {
    if line.is_limit {
        return;
    }
    let shape = match index % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"",),
        1 => format!("<path d=\"M{:.1} {:.1}h7v7h-7z\"", x - 3.5, y - 3.5),
        2 => format!("<path d=\"M{x:.1} {:.1}l4.5 8h-9z\"", y - 5.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l4.5 4.5l-4.5 4.5l-4.5 -4.5z\"", y - 4.5),
    };
    let _ = writeln!(out, "{shape} fill=\"{}\"/>", COLORS[index % COLORS.len()]);
}
