//! The trade-off of gain against colorfulness over temperature, as an SVG picture.

use std::fmt::Write as _;

use super::colorist::Kind;
use super::comparison::Row;
use crate::plot::{escaped, number, ticks};

/// The picture's size, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 46.0;

/// Distinct on light and on dark paper.
const COLORS: [&str; 8] = ["#d9541e", "#2f86d6", "#1f9a6c", "#a06cc4", "#b8860b", "#c2457a", "#5b8f95", "#8a8a3a"];

/// What stands at a curve's points, around (0, 0): each shape goes through all colors before the next begins.
const MARKS: [&str; 6] = [
    "M-5 0A5 5 0 1 1 5 0A5 5 0 1 1-5 0Z",
    "M-4.5-4.5H4.5V4.5H-4.5Z",
    "M0-6L5.5 4.5H-5.5Z",
    "M0-6.5L6.5 0L0 6.5L-6.5 0Z",
    "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "M0 6L5.5-4.5H-5.5Z",
];

/// One row's way over the temperatures, or its single point.
struct Curve<'a> {
    row: &'a Row,
    /// Temperature, colorfulness in percent of the truth's, gain in dB.
    points: Vec<(Option<f32>, f64, f64)>,
    color: &'static str,
    mark: &'static str,
}

impl Curve<'_> {
    /// The mark at a place of the picture, with what stands in it.
    fn mark(&self, x: f64, y: f64, within: &str) -> String {
        format!("<path transform=\"translate({x:.1} {y:.1})\" d=\"{}\" fill=\"{}\">{within}</path>", self.mark, self.color)
    }

    fn dashes(&self) -> &'static str {
        if self.row.kind == Kind::Int8 { " stroke-dasharray=\"6 4\"" } else { "" }
    }
}

/// A file's name without what tells float from int8, so that both have one color.
fn family(name: &str) -> &str {
    ["-float", "-int8"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The color and the mark of the family `index`.
fn look(index: usize) -> (&'static str, &'static str) {
    (COLORS[index % COLORS.len()], MARKS[index / COLORS.len() % MARKS.len()])
}

fn curves(rows: &[Row]) -> Vec<Curve<'_>> {
    let mut families: Vec<&str> = Vec::new();
    let mut curves = Vec::new();
    for row in rows.iter().filter(|row| row.kind != Kind::Grey) {
        let known = families.iter().position(|name| *name == family(&row.name));
        let index = known.unwrap_or_else(|| {
            families.push(family(&row.name));
            families.len() - 1
        });
        let mut points = row.trade_off();
        points.retain(|(_, x, y)| x.is_finite() && y.is_finite());
        if !points.is_empty() {
            let (color, mark) = look(index);
            curves.push(Curve { row, points, color, mark });
        }
    }
    curves
}

/// The SVG and its legend as HTML, colored by the page's style; `None` if no row has a point.
pub(super) fn trade_off(rows: &[Row]) -> Option<String> {
    let curves = curves(rows);
    if curves.is_empty() {
        return None;
    }
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (low_x, high_x) = all().fold((75.0_f64, 102.0_f64), |(low, high), p| (low.min(p.1), high.max(p.1)));
    let (low_y, high_y) = all().fold((0.0_f64, 1.0_f64), |(low, high), p| (low.min(p.2), high.max(p.2)));
    let (low_x, high_x) = (low_x - 0.08 * (high_x - low_x), high_x + 0.04 * (high_x - low_x));
    let (low_y, high_y) = (low_y - 0.06 * (high_y - low_y), high_y + 0.12 * (high_y - low_y));
    let x = |share: f64| LEFT + (share - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT);
    let y = |gain: f64| TOP + (high_y - gain) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM);
    let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Gain in PSNR against colorfulness, over temperature\">\n\
         <rect class=\"band\" x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">within 20 % of the truth's</text>\n",
        x(80.0_f64.max(low_x)),
        x(120.0_f64.min(high_x)) - x(80.0_f64.max(low_x)),
        floor - TOP,
        x(0.5 * (80.0_f64.max(low_x) + 120.0_f64.min(high_x))),
        TOP + 22.0
    );
    for value in ticks(low_y, high_y) {
        let class = if value.abs() < 1e-9 { "zero" } else { "axis" };
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{LEFT} {:.1}H{right}\"/>", y(value));
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, y(value) + 4.5, signed(value));
    }
    for value in ticks(low_x, high_x) {
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.0} %</text>", x(value), floor + 18.0);
    }
    let _ = writeln!(svg, "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">colorfulness, of the truth's</text>", floor + 38.0);
    let _ = writeln!(svg, "<text x=\"0\" y=\"{:.1}\">gain over grey, dB</text>", TOP - 14.0);
    for curve in &curves {
        let path: Vec<String> = curve.points.iter().map(|p| format!("{:.1} {:.1}", x(p.1), y(p.2))).collect();
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>",
            path.join("L"),
            curve.color,
            curve.dashes()
        );
        for (temperature, share, gain) in &curve.points {
            let at = temperature.map_or(String::new(), |t| format!(", T {t}"));
            let title = format!("<title>{}{at}: {gain:+.2} dB, {share:.0} %</title>", escaped(&curve.row.name));
            let _ = writeln!(svg, "{}", curve.mark(x(*share), y(*gain), &title));
        }
    }
    // The temperatures at the ends of one curve tell those of the others, which bend alike.
    if let Some(curve) = curves.iter().find(|curve| curve.points.len() > 1) {
        let ends = [&curve.points[0], &curve.points[curve.points.len() - 1]];
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let Some(temperature) = end.0 else { continue };
            let (anchor, aside) = if end.1 < other.1 { ("end", -11.0) } else { ("start", 11.0) };
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">T {temperature}</text>",
                x(end.1) + aside,
                y(end.2) + 4.5
            );
        }
    }
    svg.push_str("</svg>\n<ul class=\"legend\">\n");
    for curve in &curves {
        let _ = writeln!(
            svg,
            "<li><svg viewBox=\"0 0 28 14\" aria-hidden=\"true\"><path d=\"M0 7H28\" stroke=\"{}\" stroke-width=\"2\"{}/>{}</svg>{}</li>",
            curve.color,
            curve.dashes(),
            curve.mark(14.0, 7.0, ""),
            escaped(&curve.row.name)
        );
    }
    svg.push_str("</ul>\n");
    Some(svg)
}

/// With its sign, as gains are written.
fn signed(value: f64) -> String {
    let text = number(value);
    if value > 0.0 { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_and_int8_of_one_network_share_a_color() {
        assert_eq!(family("small-48x32-int8"), family("small-48x32-float"));
        assert_ne!(family("welsh"), family("mean-std"));
    }

    #[test]
    fn as_many_rows_as_the_workshop_has_methods_are_told_apart() {
        let looks: std::collections::BTreeSet<_> = (0..48).map(look).collect();
        assert_eq!(looks.len(), 48);
    }
}
