//! What needs a kernel of its own: the program in a QEMU guest with the kernel's virtual cameras, a screen and serial ports. See README.md.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod camera;
mod clip;
mod faults;
mod guest;
mod program;
mod qmp;
mod screen;
mod serial;
mod small_model;
mod y4m;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use guest::Guest;

/// One thing that has to hold in the guest.
struct Case {
    name: String,
    run: Run,
}

type Run = Box<dyn Fn(&mut Guest) -> Result<()>>;

impl Case {
    fn new(name: impl Into<String>, run: impl Fn(&mut Guest) -> Result<()> + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// The error of a case that cannot be run here, and why.
#[derive(Debug)]
struct NotRun(&'static str);

impl std::fmt::Display for NotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotRun {}

enum Outcome {
    Passed,
    Failed,
    NotRun(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotRun(_) => "not run",
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("test-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let built = std::env::current_exe()?;
    // target/release/deps/vm-...
    let [release, target] = [2, 3].map(|up| built.ancestors().nth(up).map(Path::to_owned));
    let (release, target) = release.zip(target).context("find the folder that this test was built in")?;
    let program = std::env::var_os("AUTOCHROME_PROGRAM").map_or_else(|| release.join("autochrome"), PathBuf::from);
    let cases: Vec<Case> =
        [camera::cases(), clip::cases(), faults::cases(), screen::cases(), serial::cases()].into_iter().flatten().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen: Vec<&Case> = cases.iter().filter(|case| arguments.is_empty() || arguments.iter().any(|a| case.name.contains(a))).collect();
    if chosen.is_empty() {
        bail!("no case has any of {arguments:?} in its name; --list shows them");
    }

    let files = target.join("vm");
    let made = Command::new("sh").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("vm/guest.sh")).arg(&files).status()?;
    match made.code() {
        Some(0) => {}
        // It said why.
        Some(77) => return Ok(ExitCode::SUCCESS),
        _ => bail!("tests/vm/guest.sh failed: {made}"),
    }

    let mut guest: Option<Guest> = None;
    let mut outcomes: Vec<(&str, Outcome, Duration)> = Vec::new();
    for case in chosen {
        let begun = Instant::now();
        println!("== {}", case.name);
        let result = match guest.take() {
            Some(guest) => Ok(guest),
            None => Guest::boot(&files, &program),
        }
        .context("boot the guest");
        let result = result.and_then(|booted| {
            let guest = guest.insert(booted);
            guest.begin_case();
            catch_unwind(AssertUnwindSafe(|| (case.run)(guest))).unwrap_or_else(|_| Err(anyhow!("the case panicked")))
        });
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error) if error.is::<NotRun>() => Outcome::NotRun(error.to_string()),
            Err(error) => {
                println!("{error:#}");
                // What a failed case leaves behind must not fail the next one.
                if let Some(mut guest) = guest.take() {
                    println!("{}", guest.obituary());
                }
                Outcome::Failed
            }
        };
        println!("   {}, {:.1} s", outcome.word(), begun.elapsed().as_secs_f64());
        outcomes.push((&case.name, outcome, begun.elapsed()));
    }
    drop(guest);

    println!("\n== summary");
    for (name, outcome, took) in &outcomes {
        let why = if let Outcome::NotRun(why) = outcome { format!(": {why}") } else { String::new() };
        println!("{:7}  {:6.1} s  {name}{why}", outcome.word(), took.as_secs_f64());
    }
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome, _)| wanted(outcome)).count();
    let failed = count(|o| matches!(o, Outcome::Failed));
    println!(
        "test-vm: {} passed, {failed} failed, {} not run; {:.0} s",
        count(|o| matches!(o, Outcome::Passed)),
        count(|o| matches!(o, Outcome::NotRun(_))),
        start.elapsed().as_secs_f64()
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
