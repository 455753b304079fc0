//! What a step costs when the picture, the channels or the threads grow.

use std::path::Path;

use autochrome_model::InstructionSet;

use crate::contender::{Engine, Entry, Form, Installation};
use crate::measure::{self, Effort, Row};
use crate::network::PlainNet;
use crate::plot::{Line, Panel};
use crate::subject::{Photographs, Subject};

/// Who is drawn, and as what.
const DRAWN: [(Engine, Form, &str); 5] = [
    (Engine::Ours, Form::Int8, "ours, int8"),
    (Engine::OnnxRuntime, Form::AllInt8, "ONNX Runtime, int8, sums too"),
    (Engine::OpenVino, Form::Int8, "OpenVINO, int8"),
    (Engine::Tract, Form::Int8, "stock Tract, int8"),
    (Engine::Peak, Form::Int8, "int8 peak of one thread"),
];

/// Measures three families of plain networks: one panel each.
///
/// # Errors
/// As those of building a network and measuring it.
pub(crate) fn measure(
    engines: &[Engine],
    photographs: &Photographs,
    installation: &Installation,
    folder: &Path,
    effort: Effort,
) -> anyhow::Result<[Panel; 3]> {
    let run = |net: &PlainNet, threads: usize| -> anyhow::Result<(f64, Vec<Option<f64>>)> {
        let entry = |(engine, form, _)| Entry {
            engine,
            form,
            threads: if engine == Engine::Peak { 1 } else { threads },
            set: InstructionSet::detect(),
        };
        let entries: Vec<Entry> = DRAWN.map(entry).into_iter().filter(|entry| engines.contains(&entry.engine)).collect();
        let subject = Subject::plain(net, photographs, folder)?;
        let findings = measure::interleaved(&entries, &subject, installation, folder, effort)?;
        let times: Vec<Option<f64>> = DRAWN
            .map(|(engine, form, _)| {
                findings.rows.iter().find(|row| (row.entry.engine, row.entry.form) == (engine, form)).map(Row::fastest)
            })
            .to_vec();
        print!(
            "{} {}x{} {:?}, {} M multiply-adds, {threads} thread(s):",
            net.name,
            net.width,
            net.height,
            net.widths,
            subject.work / 1_000_000
        );
        for ((_, _, name), time) in DRAWN.iter().zip(&times) {
            print!("  {name} {}", time.map_or("-".into(), |ms| format!("{ms:.2}")));
        }
        let ours = findings.row(Engine::Ours, Form::Int8, threads).map_or("", |row| &row.version);
        println!(" ms  {ours}");
        Ok((subject.work as f64 / 1e6, times))
    };
    let a192 = PlainNet::a192();
    let sizes = [(128, 96), (192, 144), (256, 192), (384, 288), (512, 384)];
    let resolution = sizes.map(|(width, height)| {
        let net = PlainNet { width, height, ..a192.clone() };
        Ok::<_, anyhow::Error>((format!("{width}x{height}"), (width * height) as f64, run(&net, 1)?))
    });
    let channels = [8, 16, 24, 32, 48].map(|first| {
        let net = PlainNet { widths: [1, 2, 4, 8].map(|factor| factor * first), ..a192.clone() };
        Ok((first.to_string(), first as f64, run(&net, 1)?))
    });
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = [1, 2, 3, 4, 6, 8].into_iter().filter(|&n| n <= cores.max(2)).map(|n| Ok((n.to_string(), n as f64, run(&a192, n)?)));
    Ok([
        panel(
            ("Resolution", 2.0),
            "input (multiply-adds) at 16/32/64/128 channels",
            resolution.into_iter().collect::<anyhow::Result<_>>()?,
        ),
        panel(("Channels", 2.0), "channels of the first stage, at 256x192", channels.into_iter().collect::<anyhow::Result<_>>()?),
        panel(("Threads", 1.0), "threads, at 256x192", threads.collect::<anyhow::Result<_>>()?),
    ])
}

/// A tick's label, its place, and what was measured there: millions of multiply-adds, and the ms of each that is drawn.
type Measured = (String, f64, (f64, Vec<Option<f64>>));

fn panel((title, share): (&str, f64), axis: &str, measured: Vec<Measured>) -> Panel {
    let line = |(index, (engine, _, name)): (usize, &(Engine, Form, &str))| {
        let points = measured.iter().filter_map(|(_, x, (_, times))| Some((*x, times[index]?))).collect();
        Line { name: (*name).into(), points, is_limit: *engine == Engine::Peak, is_ours: *engine == Engine::Ours }
    };
    Panel {
        title: title.into(),
        axis: axis.into(),
        ticks: measured.iter().map(|(label, x, (work, _))| (*x, [label.clone(), format!("{work:.0} M")])).collect(),
        share,
        lines: DRAWN.iter().enumerate().map(line).collect(),
    }
}
