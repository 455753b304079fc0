//! The command line: what can be asked for, and how the program ends.

use std::ffi::OsString;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use autochrome_model::LumaRange;
use lexopt::prelude::*;

use crate::errors::{Exit, Failure, OrFail, Result, fail, reader_is_gone};
use crate::input::Source;
use crate::output::Sink;
use crate::output::page::Access;
use crate::panel::port::Port;
use crate::scene::Night;
use crate::settings::Command;
use crate::{bench, calibrate, colorize, config, demo, doctor, list_cameras, model, panel, record, run};

const HELP: &str = include_str!("help.txt");
/// Frames that `bench` measures, unless it is told otherwise.
const BENCH_FRAMES: u64 = 100;

/// What the program was asked to do.
#[derive(Debug, PartialEq)]
enum Task {
    Print(String),
    /// A command that reads its own options has done its work.
    Done,
    Demo(demo::Request),
    Run(Box<run::Request>),
    Colorize(colorize::Request),
    ModelInfo {
        file: PathBuf,
        json: bool,
    },
    Bench {
        model: Option<PathBuf>,
        threads: NonZeroUsize,
        frames: u64,
        json: bool,
    },
}

/// The whole program: reads the command line, does what it says, and turns a failure into one line on standard error and an exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A panic that we catch, in the runtime or in a driver's crate, becomes an error line; one more text would only confuse.
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let done = catch_unwind(AssertUnwindSafe(|| parse(arguments).and_then(perform))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure::new(Exit::Other, format!("a bug in this program: {}", text.unwrap_or("no message"))))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            fail(&failure);
            failure.exit.into()
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Print(text) => print(&text),
        Task::Done => Ok(()),
        Task::Demo(request) => demo::run(&request),
        Task::Run(request) => run::run(*request),
        Task::Colorize(request) => colorize::run(&request),
        Task::ModelInfo { file, json } => print(&model::info(&file, json)?),
        Task::Bench { model, threads, frames, json } => print(&bench::measure(model.as_deref(), threads, frames)?.to_text(json)?),
    }
}

/// Writes a command's result to standard output.
///
/// # Errors
/// [`Exit::Broken`] if that fails; a reader that left has what it wanted.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(format!("{}\n", text.trim_end()).as_bytes()) {
        Err(error) if reader_is_gone(&error) => Ok(()),
        written => written.or_fail(Exit::Broken, || "write to standard output".into()),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Task> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let Some(first) = next(&mut parser)? else {
        return Err(Failure::usage("say what to do, as in `autochrome demo`; `autochrome --help` says what there is"));
    };
    match first {
        Short('h') | Long("help") => Ok(Task::Print(HELP.to_owned())),
        Short('V') | Long("version") => Ok(Task::Print(format!("autochrome {}", env!("CARGO_PKG_VERSION")))),
        Value(word) if word == "demo" => parse_demo(parser),
        Value(word) if word == "run" => parse_run(parser),
        Value(word) if word == "colorize" => parse_colorize(parser),
        Value(word) if word == "model" => parse_model(parser),
        Value(word) if word == "bench" => parse_bench(parser),
        Value(word) if word == "list-cameras" => list_cameras::command(parser).map(|()| Task::Done),
        Value(word) if word == "calibrate" => calibrate::command(parser).map(|()| Task::Done),
        Value(word) if word == "record" => record::command(parser).map(|()| Task::Done),
        Value(word) if word == "serial-sim" => panel::simulator::command(parser).map(|()| Task::Done),
        Value(word) if word == "config" => config::command(parser).map(|()| Task::Done),
        Value(word) if word == "check-config" => config::check_command(parser).map(|()| Task::Done),
        Value(word) if word == "doctor" => doctor::command(parser).map(|()| Task::Done),
        Value(word) if word == "help" => Ok(Task::Print(HELP.to_owned())),
        Value(word) => Err(Failure::usage(format!("there is no command {word:?}; `autochrome --help` says what there is"))),
        other => Err(unexpected(other)),
    }
}

fn parse_demo(mut parser: lexopt::Parser) -> Result<Task> {
    let mut request = demo::Request { frames: None, out: None, listen: Some(demo::ADDRESS.to_owned()), access: Access::default() };
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Long("frames") => request.frames = Some(frames(&mut parser)?),
            Long("out") => request.out = Some(path(&mut parser)?),
            Long("listen") => request.listen = Some(text(&mut parser)?).filter(|address| address != "none"),
            Long("token-file") => request.access.token_file = Some(path(&mut parser)?),
            Long("host") => request.access.hosts.push(text(&mut parser)?),
            other => return help_or_unexpected(other),
        }
    }
    Ok(Task::Demo(request))
}

fn parse_run(mut parser: lexopt::Parser) -> Result<Task> {
    let (mut file, mut sets) = (None, Vec::new());
    let (mut input, mut outputs, mut settings, mut range, mut night) = (None, Vec::new(), Vec::new(), None, None);
    let (mut model, mut thread_count) = (None, None);
    let (mut frame_limit, mut fps, mut live, mut wait, mut record) = (None, None, false, false, None);
    let (mut panel, mut access) = (None, Access::default());
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Long("config") => file = Some(path(&mut parser)?),
            Long("set") => sets.push(text(&mut parser)?),
            Short('i') | Long("input") => input = Some(text(&mut parser)?),
            Short('o') | Long("output") => outputs.push(text(&mut parser)?),
            Long("model") => model = Some(path(&mut parser)?),
            Long("threads") => thread_count = Some(threads(&mut parser)?),
            Long(name @ ("temperature" | "saturation" | "hue" | "mix" | "split")) => {
                let name = name.to_owned();
                settings.push(setting(&name, &mut parser)?);
            }
            Long("range") => {
                range = Some(match text(&mut parser)?.as_str() {
                    "full" => LumaRange::Full,
                    "limited" => LumaRange::Limited,
                    other => return Err(Failure::usage(format!("--range {other}: it is full or limited"))),
                });
            }
            Long("night") => {
                night = Some(match text(&mut parser)?.as_str() {
                    "auto" => Night::Auto,
                    "off" => Night::Off,
                    "on" => Night::On,
                    other => return Err(Failure::usage(format!("--night {other}: it is auto, off or on"))),
                });
            }
            Long("frames") => frame_limit = Some(frames(&mut parser)?),
            Long("fps") => {
                fps = match number::<u32>("--fps", &mut parser)? {
                    0 => return Err(Failure::usage("--fps 0: at least one frame a second has to be asked for")),
                    fps => Some(fps),
                };
            }
            Long("live") => live = true,
            Long("wait") => wait = true,
            Long("record") => record = Some(path(&mut parser)?),
            Long("panel") => panel = Some(Port::parse(&text(&mut parser)?)?),
            Long("token-file") => access.token_file = Some(path(&mut parser)?),
            Long("host") => access.hosts.push(text(&mut parser)?),
            other => return help_or_unexpected(other),
        }
    }
    let mut config = config::load(file, sets)?.config;
    // What the command line says comes last, and so wins. A camera keeps the configuration's options but one: who names it wants to know at
    // once that it is missing.
    if let Some(input) = input {
        config.camera.input = input;
        config.camera.wait = false;
    }
    if !outputs.is_empty() {
        config.outputs = outputs;
    }
    let mut request = config.request()?;
    if request.outputs.iter().filter(|&sink| *sink == Sink::Stdout).count() > 1 {
        return Err(Failure::usage("standard output can be written to only once"));
    }
    if let Source::Camera(spec) = &mut request.input {
        spec.wait |= wait;
    }
    request.model = model.or(request.model);
    request.threads = thread_count.or(request.threads);
    request.settings.extend(settings);
    request.range = range.or(request.range);
    request.conditions.scene.night = night.unwrap_or(request.conditions.scene.night);
    request.fps = fps.or(request.fps);
    request.panel = panel.or(request.panel);
    request.access.token_file = access.token_file.or(request.access.token_file);
    request.access.hosts.extend(access.hosts);
    (request.frames, request.live, request.record) = (frame_limit, live, record);
    Ok(Task::Run(Box::new(request)))
}

fn parse_colorize(mut parser: lexopt::Parser) -> Result<Task> {
    let (mut paths, mut clip, mut model, mut thread_count, mut settings) = (Vec::new(), false, None, None, Vec::new());
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Long("clip") => clip = true,
            Long("model") => model = Some(path(&mut parser)?),
            Long("threads") => thread_count = Some(threads(&mut parser)?),
            Long(name @ ("temperature" | "saturation")) => {
                let name = name.to_owned();
                settings.push(setting(&name, &mut parser)?);
            }
            Value(path) => paths.push(PathBuf::from(path)),
            other => return help_or_unexpected(other),
        }
    }
    match <[PathBuf; 2]>::try_from(paths) {
        Ok([input, output]) => Ok(Task::Colorize(colorize::Request { input, output, clip, model, threads: thread_count, settings })),
        Err(paths) => Err(Failure::usage(format!("colorize wants IN and OUT; {} paths were given", paths.len()))),
    }
}

fn parse_model(mut parser: lexopt::Parser) -> Result<Task> {
    let (mut words, mut json) = (Vec::new(), false);
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Long("json") => json = true,
            Value(word) => words.push(word),
            other => return help_or_unexpected(other),
        }
    }
    match words.as_slice() {
        [info, file] if info == "info" => Ok(Task::ModelInfo { file: file.into(), json }),
        _ => Err(Failure::usage("it is `autochrome model info FILE [--json]`")),
    }
}

fn parse_bench(mut parser: lexopt::Parser) -> Result<Task> {
    let (mut model, mut thread_count, mut frame_count, mut json) = (None, NonZeroUsize::MIN, BENCH_FRAMES, false);
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Long("model") => model = Some(path(&mut parser)?),
            Long("threads") => thread_count = threads(&mut parser)?,
            Long("frames") => frame_count = frames(&mut parser)?,
            Long("json") => json = true,
            other => return help_or_unexpected(other),
        }
    }
    Ok(Task::Bench { model, threads: thread_count, frames: frame_count, json })
}

pub(crate) fn next(parser: &mut lexopt::Parser) -> Result<Option<lexopt::Arg<'_>>> {
    parser.next().map_err(Failure::usage)
}

/// `--help` behind a command that reads its own options.
pub(crate) fn help() -> Result<()> {
    print(HELP)
}

/// `--help` is understood behind a command too.
fn help_or_unexpected(argument: lexopt::Arg<'_>) -> Result<Task> {
    match argument {
        Short('h') | Long("help") => Ok(Task::Print(HELP.to_owned())),
        other => Err(unexpected(other)),
    }
}

pub(crate) fn unexpected(argument: lexopt::Arg<'_>) -> Failure {
    Failure::usage(format!("{}; `autochrome --help` says what there is", argument.unexpected()))
}

pub(crate) fn text(parser: &mut lexopt::Parser) -> Result<String> {
    parser.value().and_then(|value| value.string()).map_err(Failure::usage)
}

pub(crate) fn path(parser: &mut lexopt::Parser) -> Result<PathBuf> {
    parser.value().map(PathBuf::from).map_err(Failure::usage)
}

pub(crate) fn number<T: FromStr>(option: &str, parser: &mut lexopt::Parser) -> Result<T> {
    let text = text(parser)?;
    text.parse().map_err(|_| Failure::usage(format!("{option} {text}: not a number that fits here")))
}

pub(crate) fn frames(parser: &mut lexopt::Parser) -> Result<u64> {
    match number("--frames", parser)? {
        0 => Err(Failure::usage("--frames 0: at least one frame has to be asked for")),
        frames => Ok(frames),
    }
}

fn threads(parser: &mut lexopt::Parser) -> Result<NonZeroUsize> {
    let threads: usize = number("--threads", parser)?;
    NonZeroUsize::new(threads)
        .filter(|_| threads <= model::THREADS_MAX)
        .ok_or_else(|| Failure::usage(format!("--threads {threads}: it is a number from 1 to {}", model::THREADS_MAX)))
}

fn setting(name: &str, parser: &mut lexopt::Parser) -> Result<Command> {
    Command::parse(name, &text(parser)?).map_err(|why| Failure::usage(format!("--{why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn commands_are_understood() {
        let access = Access { token_file: Some("t".into()), hosts: vec!["kiosk.example".into()] };
        let demo = demo::Request { frames: Some(250), out: Some("d".into()), listen: None, access };
        assert_eq!(parsed("demo --frames 250 --out d --listen none --host kiosk.example --token-file t").unwrap(), Task::Demo(demo));
        let bench = Task::Bench { model: Some("m.onnx".into()), threads: NonZeroUsize::new(2).unwrap(), frames: 100, json: true };
        assert_eq!(parsed("bench --json --model m.onnx --threads=2").unwrap(), bench);
        let settings = vec![Command::Temperature(0.5)];
        let (input, output) = ("-".into(), "a.y4m".into());
        let colorize = colorize::Request { input, output, clip: true, model: None, threads: NonZeroUsize::new(16), settings };
        assert_eq!(parsed("colorize - a.y4m --clip --threads 16 --temperature 0.5").unwrap(), Task::Colorize(colorize));
        let Task::Run(run) = parsed("run --input test-pattern --output null -o - --fps 10 --range limited --threads 3").unwrap() else {
            panic!()
        };
        assert_eq!((run.outputs, run.fps, run.range), (vec![Sink::Null, Sink::Stdout], Some(10), Some(LumaRange::Limited)));
        assert_eq!(run.threads, NonZeroUsize::new(3));
        let Task::Run(run) = parsed("run --set model.threads=4").unwrap() else { panic!() };
        assert_eq!(run.threads, NonZeroUsize::new(4));
        let Task::Run(run) = parsed("run --set model.threads=4 --threads 1").unwrap() else { panic!() };
        assert_eq!(run.threads, NonZeroUsize::new(1), "the command line wins");
        let Task::Run(run) = parsed("run").unwrap() else { panic!() };
        assert_eq!(run.threads, None);
        assert_eq!(parsed("run --help").unwrap(), Task::Print(HELP.into()));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "say what to do"),
            ("fly", "no command \"fly\""),
            ("--fast", "--fast"),
            ("demo --frames", "--frames"),
            ("demo --frames many", "--frames many"),
            ("demo --frames 0", "at least one frame"),
            ("demo --frames -5", "--frames -5"),
            ("demo extra", "extra"),
            ("run --night maybe", "--night maybe"),
            ("run --input test-pattern --output a.mp4", "a.mp4"),
            ("run --input - --output - --output -", "only once"),
            ("run --range half", "--range half"),
            ("colorize a.png", "1 paths were given"),
            ("colorize a b c", "3 paths were given"),
            ("colorize a b --temperature hot", "--temperature=hot is not a number"),
            ("model", "model info FILE"),
            ("model show a.onnx", "model info FILE"),
            ("bench --threads x", "--threads x"),
            ("bench --threads 0", "--threads 0: it is a number from 1 to 16"),
            ("run --threads 17", "--threads 17: it is a number from 1 to 16"),
            ("colorize a b --threads -1", "--threads -1"),
        ];
        for (line, part) in cases {
            let failure = parsed(line).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{line}");
            assert!(failure.to_string().contains(part), "{line}: {failure}");
        }
        let misspelled = parsed("run --set camera.fsp=3").unwrap_err();
        assert!(misspelled.exit == Exit::Config && misspelled.to_string().contains("camera.fps"), "{misspelled}");
    }
}
