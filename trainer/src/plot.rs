//! Line charts as SVG text: what curves, sweeps and trade-offs are drawn with.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
/// Colors that can be told apart by most eyes (after Okabe and Ito), in the order of the series.
const COLORS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#8a6d00"];

/// A named line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// (x, y); points that are no finite numbers are left out.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A line called `name`.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }
}

/// A chart of lines.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Above the lines.
    pub title: String,
    /// Under the x axis, with its unit.
    pub x: String,
    /// Over the y axis, with its unit.
    pub y: String,
    /// Whether equal steps of x are equal factors; x is then above 0.
    pub logarithmic_x: bool,
    /// Whether points get a dot each: for few points, as of a sweep.
    pub dots: bool,
    /// The lines, in the legend's order.
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG document, 1000 x 540 units, with a white ground of its own.
    pub fn to_svg(&self) -> String {
        let x_of = |x: f64| if self.logarithmic_x { x.log10() } else { x };
        let series: Vec<(&str, Vec<(f64, f64)>)> = self
            .series
            .iter()
            .map(|s| {
                (s.name.as_str(), s.points.iter().map(|&(x, y)| (x_of(x), y)).filter(|(x, y)| x.is_finite() && y.is_finite()).collect())
            })
            .collect();
        let points = || series.iter().flat_map(|(_, points)| points.iter().copied());
        let (x_low, x_high) = span(points().map(|p| p.0));
        let (y_low, y_high) = span(points().map(|p| p.1));
        let across = |x: f64| LEFT + WIDTH * (x - x_low) / (x_high - x_low);
        let down = |y: f64| TOP + HEIGHT * (y_high - y) / (y_high - y_low);
        let bottom = TOP + HEIGHT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 540\" font-family=\"sans-serif\" font-size=\"14\">\n\
             <rect width=\"1000\" height=\"540\" fill=\"white\"/>\n\
             <text x=\"{}\" y=\"24\" text-anchor=\"middle\" font-size=\"17\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n<text x=\"8\" y=\"24\">{}</text>\n",
            LEFT + WIDTH / 2.0,
            escaped(&self.title),
            LEFT + WIDTH / 2.0,
            bottom + 48.0,
            escaped(&self.x),
            escaped(&self.y)
        );
        for y in ticks(y_low, y_high) {
            let at = down(y);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#dddddd\"/>", LEFT + WIDTH);
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, at + 5.0, number(y));
        }
        for x in ticks(x_low, x_high) {
            let said = if self.logarithmic_x { number(10_f64.powf(x)) } else { number(x) };
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{said}</text>", across(x), bottom + 22.0);
        }
        let _ = writeln!(svg, "<path d=\"M{LEFT} {TOP}V{bottom}H{}\" fill=\"none\" stroke=\"black\"/>", LEFT + WIDTH);
        for (index, (name, points)) in series.iter().enumerate().filter(|(_, (_, points))| !points.is_empty()) {
            let color = COLORS[index % COLORS.len()];
            // Behind the last color the lines are dashed.
            let dashes = if index < COLORS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
            let path: String = points
                .iter()
                .enumerate()
                .map(|(i, &(x, y))| format!("{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, across(x), down(y)))
                .collect();
            let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>");
            if self.dots {
                for &(x, y) in points {
                    let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{color}\"/>", across(x), down(y));
                }
            }
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" fill=\"{color}\" text-anchor=\"end\">{}</text>",
                LEFT + WIDTH,
                TOP + 18.0 * (index + 1) as f64,
                escaped(name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Text inside of XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The least and greatest value, apart from each other.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = if high > low { 0.0 } else { low.abs().max(1.0) * 0.5 };
    (low - room, high + room)
}

/// Round numbers between `low` and `high`, about five.
pub(crate) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|step| *step >= rough).unwrap_or(10.0 * magnitude);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's number, with no more digits than say something.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if value.abs() >= 1e5 || value.abs() < 1e-3 {
        // Three digits, those that are 0 left out: 1.5e5, and 2e-4 for what a tick's multiplication made of it.
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
    } else {
        format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.013, 0.058), [0.02, 0.03, 0.04, 0.05]);
        assert_eq!(ticks(0.0, 240_000.0).iter().map(|&t| number(t)).collect::<Vec<_>>(), ["0", "50000", "1e5", "1.5e5", "2e5"]);
        assert_eq!([0.000_12, -2.0e-4, 3.0 * 1e-4].map(number), ["1.2e-4", "-2e-4", "3e-4"]);
        assert_eq!(ticks(-1.2, 1.3).iter().map(|&t| number(t)).collect::<Vec<_>>(), ["-1", "-0.5", "0", "0.5", "1"]);
    }

    #[test]
    fn the_highest_point_is_drawn_at_the_top_and_what_is_no_number_is_left_out() {
        let chart = Chart {
            title: "a < b".into(),
            logarithmic_x: true,
            series: vec![Series::new("one", vec![(1e-3, 2.0), (1e-1, 4.0), (1.0, f64::NAN)])],
            ..Chart::default()
        };
        let svg = chart.to_svg();
        // From the left lower corner of the chart to its right upper one.
        assert!(svg.contains(&format!("M{LEFT:.1} {:.1}L{:.1} {TOP:.1}\"", TOP + HEIGHT, LEFT + WIDTH)), "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"));
        assert!(Chart::default().to_svg().ends_with("</svg>\n"));
    }
}
