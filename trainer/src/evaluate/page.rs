//! The comparison as one self-contained HTML page: plot, tables, what each figure means, pictures and film strips.

use std::fmt::Write as _;

use super::colorist::Kind;
use super::comparison::{Comparison, Row};
use super::figures::StillFigures;
use super::moving::{NOISE_SIGMA, SCENE_FRAMES, SCENE_SETTLING, SCENE_SIZE};
use super::table::{Better, COLUMNS, Column, Group, counted, left_out};
use super::trade_off::trade_off;
use crate::plot::escaped;

/// More pictures side by side would be too small to judge.
const PICTURES_ACROSS: usize = 8;

/// The page. It refers to nothing outside itself, and holds no date: the same comparison gives the same page.
pub fn html(comparison: &Comparison) -> String {
    let Comparison { conditions, rows, samples, .. } = comparison;
    let title = format!("{}, {} split", escaped(&conditions.set), escaped(&conditions.split));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Colorizers compared on {title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
         <svg class=\"grains\" viewBox=\"0 0 60 18\" aria-hidden=\"true\"><circle cx=\"9\" cy=\"9\" r=\"8\" fill=\"#d9541e\"/>\
         <circle cx=\"28\" cy=\"9\" r=\"8\" fill=\"#3b8f5a\"/><circle cx=\"47\" cy=\"9\" r=\"8\" fill=\"#5a55b8\"/></svg>\n\
         <h1>Colorizers compared on {title}</h1>\n<p class=\"soft\">{}</p>\n",
        include_str!("page.css"),
        measured_on(comparison)
    );
    if let Some(plot) = trade_off(rows) {
        let _ = write!(
            page,
            "<h2>Gain against colorfulness</h2>\n<p>Each curve is one row over the decoding temperature: low temperatures take the likeliest \
             color, high ones the mean. Higher is nearer to the truth, further right is bolder; a row is judged by its whole curve.</p>\n\
             <div class=\"panel plot\">\n{plot}</div>\n"
        );
    }
    for group in Group::ALL {
        page.push_str(&figures(comparison, group));
    }
    page.push_str(&by_source(comparison));
    if !samples.pictures.is_empty() {
        page.push_str("<h2>Pictures</h2>\n<p>Evenly spread over the sources, chosen by no one. Each has the truth's lightness and the colors of its row at its own temperature.</p>\n");
        for picture in &samples.pictures {
            page.push_str(&pictures(comparison, picture));
        }
    }
    if !samples.strips.is_empty() {
        page.push_str("<h2>Clips</h2>\n");
        for strip in &samples.strips {
            page.push_str(&film_strip(comparison, strip));
        }
    }
    page.push_str(&how(comparison));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn measured_on(comparison: &Comparison) -> String {
    let conditions = &comparison.conditions;
    let mut parts = vec![counted(conditions.stills, "still")];
    if let Some(moving) = &comparison.truth.moving {
        parts.push(counted(conditions.clips, "clip"));
        parts.push(format!("{} of the stills filmed by a synthetic camera", moving.films.films));
    }
    format!("{}; shorter side {} pixels{}", parts.join(", "), conditions.short_side, left_out(conditions))
}

/// The names of the rows in their order, then the truth's, as captions.
fn captions(comparison: &Comparison) -> Vec<String> {
    comparison.rows.iter().chain([&comparison.truth]).map(|row| escaped(&row.name)).collect()
}

fn class(row: &Row) -> &'static str {
    match row.kind {
        Kind::Truth => " class=\"truth\"",
        Kind::Grey => " class=\"grey\"",
        _ => "",
    }
}

fn figures(comparison: &Comparison, group: Group) -> String {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| column.group == group).collect();
    let anything = columns.iter().any(|column| column.measured(comparison));
    if !anything {
        return String::new();
    }
    let mut out = format!("<h2>{}</h2>\n<div class=\"panel scroll\">\n<table>\n<thead><tr><th></th>", group.heading());
    for column in &columns {
        let direction = match column.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::NearerTheTruth => "as the truth",
        };
        let unit = if column.unit.is_empty() { direction.to_owned() } else { format!("{}, {direction}", column.unit) };
        let _ = write!(out, "<th>{}<span class=\"unit\">{unit}</span></th>", column.heading);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let best: Vec<Vec<bool>> = columns.iter().map(|column| column.best(comparison)).collect();
    for (index, row) in comparison.rows.iter().chain([&comparison.truth]).enumerate() {
        let _ = write!(out, "<tr{}><th scope=\"row\">{}</th>", class(row), escaped(&row.name));
        for (column, best) in columns.iter().zip(&best) {
            let mark = if best.get(index) == Some(&true) { " class=\"best\"" } else { "" };
            let text = column.text(row, &comparison.truth);
            match text.split_once(' ') {
                Some((value, beside)) => {
                    let _ = write!(out, "<td{mark}>{value}<small>{beside}</small></td>");
                }
                None => {
                    let _ = write!(out, "<td{mark}>{text}</td>");
                }
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n<dl>\n");
    for column in &columns {
        let absent = if column.measured(comparison) { "" } else { " Not measured here." };
        let _ = writeln!(out, "<dt>{}</dt><dd>{}{absent}</dd>", column.heading, column.meaning);
    }
    out.push_str("</dl>\n");
    out
}

/// Gain and colorfulness of each source, where there are several.
fn by_source(comparison: &Comparison) -> String {
    let sources = &comparison.truth.stills;
    if sources.len() < 2 {
        return String::new();
    }
    let mut out =
        "<h2>By source</h2>\n<p>Gain over grey in dB, and colorfulness as a share of the truth's, at each row's own temperature.</p>\n\
         <div class=\"panel scroll\">\n<table>\n<thead><tr><th></th>"
            .to_owned();
    for source in sources {
        let _ = write!(out, "<th>{}<span class=\"unit\">{}</span></th>", escaped(&source.source), counted(source.pictures, "still"));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in comparison.rows.iter().filter(|row| row.kind != Kind::Grey) {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escaped(&row.name));
        for figures in &row.stills {
            let StillFigures { against_truth: Some(against), .. } = figures else { continue };
            let _ = write!(out, "<td>{:+.2}<small>{:.0} %</small></td>", against.gain, 100.0 * against.colorfulness_share);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out
}

fn pictures(comparison: &Comparison, picture: &super::SamplePicture) -> String {
    let names = captions(comparison);
    let mut out = format!("<div class=\"pictures\" style=\"--columns:{}\">\n", names.len().min(PICTURES_ACROSS));
    for (name, look) in names.iter().zip(&picture.versions) {
        let data = look.data_url();
        let _ = writeln!(
            out,
            "<figure><img src=\"{data}\" width=\"{}\" height=\"{}\" loading=\"lazy\" alt=\"{}, {name}\"><figcaption>{name}</figcaption></figure>",
            picture.width,
            picture.height,
            escaped(&picture.name)
        );
    }
    out.push_str("</div>\n");
    out
}

fn film_strip(comparison: &Comparison, strip: &super::FilmStrip) -> String {
    let frames: Vec<String> = strip.frames.iter().map(ToString::to_string).collect();
    let mut out = format!(
        "<p class=\"soft\">{}: frames {}, colored one after the other with all between them.</p>\n",
        escaped(&strip.name),
        frames.join(", ")
    );
    out.push_str("<div class=\"scroll\"><div class=\"strip\">\n");
    for (name, look) in captions(comparison).iter().zip(&strip.versions) {
        let data = look.data_url();
        let _ = writeln!(
            out,
            "<span>{name}</span><img src=\"{data}\" width=\"{}\" height=\"{}\" loading=\"lazy\" alt=\"{}, {name}\">",
            strip.width,
            strip.height,
            escaped(&strip.name)
        );
    }
    out.push_str("</div></div>\n");
    out
}

/// The conditions.
fn how(comparison: &Comparison) -> String {
    let Comparison { conditions, truth, rows, .. } = comparison;
    let mut out = "<h2>How it was measured</h2>\n<dl>\n".to_owned();
    let mut say = |what: &str, text: String| {
        let _ = writeln!(out, "<dt>{what}</dt><dd>{text}</dd>");
    };
    say("pictures", format!("{}, {} split: {}", escaped(&conditions.set), escaped(&conditions.split), measured_on(comparison)));
    say("stills", "each from a zero state; the input is Rec. 601 luma, as a camera without color gives it".into());
    let own: Vec<String> = rows.iter().filter_map(|row| Some(format!("{} {}", escaped(&row.name), row.temperature?))).collect();
    if !own.is_empty() {
        say("temperatures", format!("of the tables and pictures: {}; of the curves: {}", own.join(", "), list(&conditions.temperatures)));
    }
    if let Some(moving) = &truth.moving {
        say(
            "films",
            format!(
                "{}, a synthetic camera pans, zooms and turns over each; how every pixel moves is known exactly",
                counted(moving.films.films, "still")
            ),
        );
        let scenes = rows.iter().find_map(|row| row.moving.as_ref()?.scene).map_or(0, |scene| scene.scenes);
        let (scenes, [width, height]) = (counted(scenes, "still"), <[usize; 2]>::from(SCENE_SIZE));
        let frames = format!("{SCENE_FRAMES} frames, noise of {NOISE_SIGMA} codes anew in each");
        let from = SCENE_SETTLING + 1;
        say("scenes", format!("{scenes} at {width}x{height}, {frames}; flicker from the {from}th frame on"));
    }
    say("program", format!("autochrome-trainer {}", env!("CARGO_PKG_VERSION")));
    out.push_str("</dl>\n");
    out
}

fn list(values: &[f32]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
