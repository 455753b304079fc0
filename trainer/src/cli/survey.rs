//! `survey`.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use autochrome_trainer::evaluate::table::counted;
use autochrome_trainer::survey::{self, Plan, pairs, results::Results, server, votes};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Asks people which of two pictures they prefer, blind, on a page of this machine; then gives the percentage with its interval.
///
/// Pictures of the same name (without its ending) in both folders are a pair. With the truth as one of the folders this is Zhang's
/// real-against-colorized test. Ends with Ctrl-C; started again with the same file, it goes on.
#[derive(clap::Args)]
pub(crate) struct Survey {
    /// A folder of JPEG or PNG files.
    #[arg(long, required_unless_present = "results")]
    left: Option<PathBuf>,
    /// The folder to compare it with.
    #[arg(long, required_unless_present = "results")]
    right: Option<PathBuf>,
    /// What the two are called in the votes, as A,B; the folders' names if not given. Voters never see it.
    #[arg(long, value_name = "A,B", value_parser = two_names)]
    names: Option<[String; 2]>,
    /// The file of votes, one JSON line each; one that is there already is added to.
    #[arg(long, required_unless_present = "results")]
    out: Option<PathBuf>,
    /// What is asked.
    #[arg(long, default_value = "Which picture has the more natural colors?")]
    question: String,
    /// Hide each pair after so many seconds; the answer may come later. 0 leaves it.
    #[arg(long, default_value_t = 0.0)]
    seconds: f64,
    /// For which side is which, and in which order; each voter gets another.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The port of 127.0.0.1 to listen at; 0 takes a free one.
    #[arg(long, default_value_t = 8123)]
    port: u16,
    /// Print what this file of votes says, and end.
    #[arg(long, value_name = "VOTES", conflicts_with_all = ["left", "right", "out", "names"])]
    results: Option<PathBuf>,
}

impl Survey {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(file) = &self.results {
            let (votes, damaged) = votes::read(file)?;
            tell_damaged(damaged);
            ensure!(!votes.is_empty(), "{} holds no votes", file.display());
            println!("{}", Results::of(&votes)?);
            return Ok(());
        }
        let (Some(left), Some(right), Some(out)) = (self.left, self.right, self.out) else { bail!("give --left, --right and --out") };
        ensure!(self.seconds.is_finite() && self.seconds >= 0.0, "--seconds: {} is no time", self.seconds);
        let names = self.names.unwrap_or_else(|| [survey::name_of(&left), survey::name_of(&right)]);
        let (pairs, alone) = pairs::find(&left, &right)?;
        if !alone.is_empty() {
            eprintln!("left out, as only one folder has them: {}", alone.join(", "));
        }
        let sizes = pairs::different_sizes(&pairs)?;
        if !sizes.is_empty() {
            eprintln!("differ in size, which may give away which is which: {}", sizes.join(", "));
        }
        let (log, damaged) = votes::VoteLog::open(&out, &names)?;
        tell_damaged(damaged);
        let (pairs_known, before) = (pairs.len(), log.len());
        let plan = Plan { names, pairs, question: self.question, seconds: self.seconds, seed: self.seed };
        // Before the page is there: a signal between the two would lose nothing, but say nothing either.
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for signals")?;
        let running = server::start(plan, log, self.port)?;
        println!("{}, {} so far in {}", counted(pairs_known, "pair"), counted(before, "vote"), out.display());
        println!("http://{}/   (Ctrl-C ends the survey)", running.address());
        signals.forever().next();
        let (votes, _) = votes::read(&out)?;
        if votes.is_empty() {
            println!("no votes");
        } else {
            println!("{}", Results::of(&votes)?);
        }
        Ok(())
    }
}

fn two_names(text: &str) -> Result<[String; 2], String> {
    let names = text.split_once(',').map(|(first, second)| [first.trim().to_owned(), second.trim().to_owned()]);
    names.filter(|names| names.iter().all(|name| !name.is_empty())).ok_or_else(|| "two names, such as ours,truth".into())
}

fn tell_damaged(lines: usize) {
    if lines > 0 {
        eprintln!("passed over in the votes: {}", counted(lines, "damaged line"));
    }
}
