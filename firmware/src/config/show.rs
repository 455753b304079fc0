//! The merged configuration as text: TOML that can be read again, or JSON.

use serde_json::{Map, json};

use super::keys::{KEYS, Key};
use super::layers::{Loaded, Placed, built_in_values};
use super::typed::nested;
use crate::errors::{Exit, OrFail, Result};

/// The widest value in front of which origins are lined up, in characters.
const ALIGNED_MAX: usize = 48;

/// What to show, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Showing {
    /// With where each value came from.
    pub origin: bool,
    /// Only what differs from what is built in.
    pub diff: bool,
    /// As JSON.
    pub json: bool,
}

/// The merged configuration.
///
/// # Errors
/// None that can happen.
pub fn show(loaded: &Loaded, showing: Showing) -> Result<String> {
    let rows = rows(loaded, showing.diff);
    if showing.json { to_json(&rows, showing.origin) } else { Ok(to_toml(loaded, &rows, showing)) }
}

/// The values in the order of the keys; those under chosen names in the names' order.
fn rows(loaded: &Loaded, only_differing: bool) -> Vec<(&str, &Placed)> {
    let built_in = built_in_values();
    let differs = |path: &str, placed: &Placed| built_in.get(path).map(|before| &before.value) != Some(&placed.value);
    let at = |path: &str| KEYS.iter().position(|key: &Key| key.fits(path));
    let mut rows: Vec<(&str, &Placed)> = loaded.values.iter().map(|(path, placed)| (path.as_str(), placed)).collect();
    rows.retain(|(path, placed)| !only_differing || differs(path, placed));
    // Tables stay together: those of one preset before those of the next.
    rows.sort_by_key(|&(path, _)| {
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        let first_of_table = KEYS.iter().position(|key| {
            table.is_empty() && !key.path.contains('.') || key.path.matches('.').count() == path.matches('.').count() && key.is_below(table)
        });
        (first_of_table, table.to_owned(), at(path), path.to_owned())
    });
    rows
}

fn to_json(rows: &[(&str, &Placed)], with_origin: bool) -> Result<String> {
    let rows = rows.iter().map(|(path, placed)| ((*path).to_owned(), *placed));
    let json = if with_origin {
        rows.map(|(path, Placed { value, origin })| (path, json!({ "value": value, "from": origin }))).collect::<Map<_, _>>().into()
    } else {
        serde_json::to_value(nested(rows.map(|(path, placed)| (path, placed.value.clone()))))
            .or_fail(Exit::Other, || "write JSON".into())?
    };
    serde_json::to_string_pretty::<serde_json::Value>(&json).or_fail(Exit::Other, || "write JSON".into())
}

fn to_toml(loaded: &Loaded, rows: &[(&str, &Placed)], showing: Showing) -> String {
    let mut text = String::new();
    if showing.origin {
        if let Some(board) = &loaded.board {
            text += &format!("# {} ({})\n", board.name, board.place);
        }
        for warning in &loaded.warnings {
            text += &format!("# warning: {warning}\n");
        }
        if !text.is_empty() {
            text.push('\n');
        }
    }
    let lines: Vec<(&str, String, &Placed)> = rows
        .iter()
        .map(|&(path, placed)| {
            let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
            (table, format!("{name} = {}", placed.value), placed)
        })
        .collect();
    let widths = lines.iter().map(|(_, line, _)| line.chars().count());
    let width = widths.filter(|&width| width <= ALIGNED_MAX).max().unwrap_or_default();
    let mut open = "";
    for (table, line, placed) in &lines {
        if *table != open {
            text += &format!("{}[{table}]\n", if text.is_empty() { "" } else { "\n" });
            open = table;
        }
        if showing.origin {
            text += &format!("{line:<width$}  # {}\n", placed.origin);
        } else {
            text += &format!("{line}\n");
        }
    }
    if lines.is_empty() {
        text += "# nothing differs from what is built in\n";
    }
    text
}
