//! A survey with two alternatives: people see pairs of pictures side by side, blind, and choose one of each.
//!
//! `pairs` finds the pictures, `ballot` shuffles order and sides for each voter, `server` and `http` show a page on this machine and take
//! the votes, `votes` keeps them in a file that survives a kill at any time, and `results` counts. With the truth as one side it is the
//! real-against-colorized test of Zhang et al. 2016.

mod answers;
pub mod ballot;
mod http;
pub mod pairs;
pub mod results;
pub mod server;
pub mod votes;

use std::path::Path;

pub use pairs::Pair;

/// What is asked, of which pictures.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the two kinds of pictures are called in the votes: those of the pairs' first files, and of their second ones. Voters never
    /// see it.
    pub names: [String; 2],
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// The question above each pair.
    pub question: String,
    /// How long a pair is shown, seconds; 0: until it is answered.
    pub seconds: f64,
    /// For order and sides.
    pub seed: u64,
}

/// A folder's own name.
pub fn name_of(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
}
