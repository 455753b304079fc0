//! Files that were made to harm: a table of known attacks, and seeded mutations of small models. Nothing may panic in our code, hang, or take
//! memory before it is refused; what loads must run.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod cases;
mod mutate;
mod seeds;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use autochrome_model::{Colorizer, InstructionSet, ModelError, Plane, Runtime, contract};
use mutate::Random;
use prost::Message;
use tract_onnx::pb::{ModelProto, type_proto};

/// A load that takes longer hangs: the slowest case takes a thousandth of it.
const LOAD_MAX: Duration = Duration::from_secs(10);
/// The resident memory that the whole run may reach, in KiB.
const RESIDENT_MAX: u64 = 512 << 10;

thread_local! {
    /// Where the panics of the present case began.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes where panics begin instead of printing them. A test's own panics are printed as ever.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
            if place.contains("tests/hostile") {
                print(info);
            }
            PANICS.with_borrow_mut(|panics| panics.push(place));
        }));
    });
}

/// Whether a panic at `place` is one of Tract, or of a crate or the library that Tract called. Our own sources are compiled by relative paths.
fn outside(place: &str) -> bool {
    ["/registry/src/", "/rustc/", "/library/"].iter().any(|part| place.contains(part))
}

/// `place` without the folders above its crate.
fn short(place: &str) -> &str {
    place.rsplit_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')).map_or(place, |(_, rest)| rest)
}

#[derive(Debug, PartialEq)]
enum End {
    Refused(String),
    /// Tract could not prepare it.
    Graph(String),
    Ran,
    /// It loaded, and a step failed.
    Stopped(String),
}

/// What became of a model file, and the panics that were caught on the way.
struct Outcome {
    end: End,
    panics: Vec<String>,
    load: Duration,
}

fn frame(width: usize, height: usize, number: usize) -> Plane<f32> {
    let light = |at: usize| ((at * 37 + at / width * 11 + number * 29) % 101) as f32;
    Plane::from_vec(width, height, (0..width * height).map(light).collect())
}

/// Loads a file and, if that goes well, steps twice.
fn attempt(file: &[u8]) -> Outcome {
    PANICS.with_borrow_mut(Vec::clear);
    let start = Instant::now();
    let loaded = catch_unwind(|| Colorizer::from_bytes("hostile.onnx", file));
    let load = start.elapsed();
    let end = match loaded {
        Err(_) => panic!("a panic came out of the load, from {:?}", PANICS.take()),
        Ok(Err(ModelError::Refused { cause, .. })) => End::Refused(cause.to_string()),
        Ok(Err(error)) => End::Graph(error.to_string()),
        Ok(Ok(mut model)) => {
            let (width, height) = (model.contract().width, model.contract().height);
            let mut end = End::Ran;
            for number in 0..2 {
                let stepped = catch_unwind(AssertUnwindSafe(|| model.step(&frame(width, height, number))));
                match stepped {
                    Err(_) => panic!("a panic came out of a step, from {:?}", PANICS.take()),
                    Ok(Err(error)) => end = End::Stopped(error.to_string()),
                    Ok(Ok(chroma)) => {
                        assert_eq!((chroma.a.width, chroma.a.height), (model.contract().output_width, model.contract().output_height));
                        assert!(chroma.a.data.iter().chain(&chroma.b.data).all(|v| v.is_finite()), "a color that is no number");
                    }
                }
            }
            end
        }
    };
    let panics = PANICS.take();
    if let Some(ours) = panics.iter().find(|place| !outside(place)) {
        panic!("a panic began in our code at {ours}");
    }
    Outcome { end, panics, load }
}

/// The numbers that two frames leave behind in a model that is known to load: its output, then its states.
fn numbers(file: &[u8], runtime: Runtime) -> Vec<f32> {
    let mut model = Colorizer::from_proto_as("hostile.onnx", &contract::parse(file).unwrap(), runtime).unwrap();
    for number in 0..2 {
        model.advance(&frame(model.contract().width, model.contract().height, number)).unwrap();
    }
    let states = model.states();
    model.raw_output().iter().copied().chain(states.into_iter().flatten().copied()).collect()
}

/// Checks that every instruction set computes the same bits, and gives how far the fused operators are from Tract's own, as a share of the
/// largest number; `None` if nothing is fused.
fn distance(file: &[u8]) -> Option<f32> {
    let set = |instruction_set| Runtime { instruction_set, ..Runtime::default() };
    let model = Colorizer::from_bytes("hostile.onnx", file).unwrap();
    if model.fused().convolutions.is_empty() {
        return None;
    }
    let fused = numbers(file, set(None));
    let bits = |values: &[f32]| values.iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect::<Vec<_>>();
    for &other in InstructionSet::ALL.iter().filter(|set| set.is_available()) {
        assert_eq!(bits(&fused), bits(&numbers(file, set(Some(other)))), "{other:?} computes something else");
    }
    let plain = numbers(file, Runtime { fused: false, ..Runtime::default() });
    let largest = plain.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let far = fused
        .iter()
        .zip(&plain)
        .map(|(f, p)| if f.to_bits() == p.to_bits() || f.is_nan() && p.is_nan() { 0.0 } else { (f - p).abs() / largest });
    Some(far.fold(0.0, |far: f32, v| if v.is_nan() { f32::INFINITY } else { far.max(v) }))
}

/// The peak of this process's resident memory, in KiB; 0 where the system does not say.
fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The mutated file that has `number`.
fn mutated(number: u64, models: &[ModelProto], files: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random::new(number);
    let seed = random.of(&[0, 1, 1, 2, 2, 3, 3]);
    if random.below(4) == 0 {
        let mut file = files[seed].clone();
        mutate::bytes(&mut random, &mut file);
        return file;
    }
    let mut model = models[seed].clone();
    mutate::structure(&mut random, &mut model);
    model.encode_to_vec()
}

/// If `file` was refused because it declares another shape than it computes: the file with the computed one, so that Tract gets to see it.
fn mended(file: &[u8], why: &str) -> Option<Vec<u8>> {
    let (_, rest) = why.split_once("is declared as ")?;
    let list = rest.split_once("computed as [")?.1.split_once(']')?.0;
    let dims: Vec<i64> = list.split(", ").map(|dim| dim.parse().ok()).collect::<Option<_>>()?;
    let name = why.split('"').nth(1)?;
    let mut model = ModelProto::decode(file).ok()?;
    let graph = model.graph.as_mut()?;
    let entering = name.replace("_out", "_in");
    for value in graph.output.iter_mut().chain(&mut graph.input).filter(|value| value.name == name || value.name == entering) {
        let type_proto::Value::TensorType(tensor) = value.r#type.as_mut()?.value.as_mut()?;
        tensor.shape = seeds::value("", &dims).r#type.and_then(|t| t.value).map(|type_proto::Value::TensorType(t)| t.shape)?;
    }
    Some(model.encode_to_vec())
}

#[test]
fn every_known_attack_is_refused_with_its_reason() {
    note_panics();
    assert_eq!(attempt(&seeds::chain().encode_to_vec()).end, End::Ran, "what the attacks start from");
    let mut failed = Vec::new();
    for (number, case) in cases::refused().into_iter().enumerate() {
        let says = case.says;
        let Outcome { end, panics, load } = attempt(&(case.file)());
        match end {
            End::Refused(why) if why.contains(says) && !why.contains('\n') && why.len() < 1000 => {}
            end => failed.push(format!("case {number}: {says:?} is not in {end:?}")),
        }
        assert!(panics.is_empty() && load < LOAD_MAX, "case {number}, {says:?}: {load:?}, panics {panics:?}");
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_is_cut() {
    note_panics();
    let file = seeds::recurrent().encode_to_vec();
    for length in 0..file.len() {
        let end = attempt(&file[..length]).end;
        assert!(matches!(end, End::Refused(_)), "{length} of {} bytes: {end:?}", file.len());
    }
}

/// In a process of its own that may take 384 MiB of address space, of which a file can be 64.
#[test]
fn a_bomb_is_refused_before_it_takes_memory() {
    const CHILD: &str = "AUTOCHROME_HOSTILE_CHILD";
    if std::env::var_os(CHILD).is_some() {
        for case in cases::bombs() {
            let file = (case.file)();
            let before = peak_resident();
            let end = attempt(&file).end;
            assert!(matches!(&end, End::Refused(why) if why.contains(case.says)), "{:?}: {end:?}", case.says);
            println!("grew by {} KiB: {}", peak_resident() - before, case.says);
        }
        return;
    }
    let program = std::env::current_exe().unwrap();
    let run = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 393216 && exec \"$0\" --exact a_bomb_is_refused_before_it_takes_memory --nocapture --test-threads 1"])
        .arg(program)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{}: {said}{}", run.status, String::from_utf8_lossy(&run.stderr));
    let grew: Vec<u64> = said.lines().filter_map(|line| line.split_once("grew by ")?.1.split_once(' ')?.0.parse().ok()).collect();
    assert!(grew.len() == cases::bombs().len() && grew.iter().all(|&kib| kib < 16 << 10), "{said}");
}

/// The number of the case that runs, and when it began in milliseconds since the run did; for the watch that ends a hang.
static CASE: AtomicU64 = AtomicU64::new(0);
static BEGAN: AtomicU64 = AtomicU64::new(u64::MAX);

fn watch(start: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = start.elapsed().as_millis() as u64;
            if now.saturating_sub(BEGAN.load(Ordering::Relaxed)) > 2 * LOAD_MAX.as_millis() as u64 {
                eprintln!("case {} hangs", CASE.load(Ordering::Relaxed));
                std::process::exit(1);
            }
        }
    });
}

/// Runs the mutations of these numbers and prints what became of them.
fn mutations(numbers: impl Iterator<Item = u64>, long: bool) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    note_panics();
    let models = [ModelProto::decode(cases::small()).unwrap(), seeds::chain(), seeds::recurrent(), seeds::mobile()];
    let files = models.each_ref().map(ModelProto::encode_to_vec);
    for (seed, file) in files.iter().enumerate() {
        assert_eq!(attempt(file).end, End::Ran, "seed {seed}");
    }
    let start = Instant::now();
    watch(start);
    let (mut ends, mut places, mut whys) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut distances = Vec::new();
    let (mut slowest, mut cases) = (Duration::ZERO, 0);
    for number in numbers {
        CASE.store(number, Ordering::Relaxed);
        BEGAN.store(start.elapsed().as_millis() as u64, Ordering::Relaxed);
        let mut file = mutated(number, &models, &files);
        let run = |file: &[u8]| {
            catch_unwind(|| attempt(file)).unwrap_or_else(|_| {
                let path = std::env::temp_dir().join(format!("hostile-{number}.onnx"));
                std::fs::write(&path, file).unwrap();
                panic!("case {number}, written to {}: see above; AUTOCHROME_HOSTILE_CASE={number} runs it alone", path.display())
            })
        };
        let mut outcome = run(&file);
        for _ in 0..3 {
            let End::Refused(why) = &outcome.end else { break };
            let Some(again) = mended(&file, why) else { break };
            (outcome, file) = (run(&again), again);
        }
        cases += 1;
        assert!(outcome.load <= LOAD_MAX, "case {number} took {:?} to load", outcome.load);
        slowest = slowest.max(outcome.load);
        for place in &outcome.panics {
            let (count, first) = places.entry(short(place).to_owned()).or_insert((0, number));
            (*count, *first) = (*count + 1, number.min(*first));
        }
        // Four more loads: in the short run only for some.
        if outcome.end == End::Ran && (long || number % 8 == 0) {
            let far = catch_unwind(|| distance(&file)).unwrap_or_else(|_| panic!("case {number}: see above"));
            if let Some(far) = far {
                distances.push((far, number));
            }
        }
        let (end, why) = match outcome.end {
            End::Refused(_) => ("refused by the contract", None),
            End::Graph(why) => ("refused by the runtime", Some(why)),
            End::Ran => ("ran", None),
            End::Stopped(why) => ("loaded and failed to step", Some(why)),
        };
        *ends.entry(end).or_insert(0) += 1;
        if let Some(why) = why {
            // Names and numbers left out, the same reason is one entry.
            let key: String = why.chars().filter(|c| !c.is_ascii_digit()).take(160).collect();
            let (count, first) = whys.entry(key).or_insert((0, number));
            (*count, *first) = (*count + 1, number.min(*first));
        }
    }
    BEGAN.store(u64::MAX, Ordering::Relaxed);
    let resident = peak_resident();
    println!(
        "{cases} mutated models in {:.1?}: {ends:?}; slowest load {slowest:.1?}; peak resident memory {} MiB",
        start.elapsed(),
        resident >> 10
    );
    distances.sort_by(|a, b| b.0.total_cmp(&a.0));
    let beyond = [1.0, 0.1, 0.01, 0.001].map(|bar| (bar, distances.iter().filter(|d| d.0 > bar).count()));
    let worst = &distances[..distances.len().min(12)];
    println!(
        "  {} compared, with fused operators; how many are further from Tract than a share of the largest number: {beyond:?}; {worst:?}",
        distances.len()
    );
    let by_count = |entries: BTreeMap<String, (u32, u64)>| {
        let mut list: Vec<_> = entries.into_iter().collect();
        list.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        list
    };
    for (place, (count, first)) in by_count(places) {
        println!("  {count} caught panics at {place}, first in case {first}");
    }
    if long {
        for (why, (count, first)) in by_count(whys).into_iter().take(40) {
            println!("  {count} times, first in case {first}: {why}");
        }
    }
    // What is fused computes what Tract would, to the last bits; in about one of two thousand mutations a rounding falls the other way, which is a small
    // part of the largest number.
    assert!(distances.iter().all(|d| d.0 <= 0.1), "fused, {worst:?} compute something else than Tract");
    let far = distances.iter().filter(|d| d.0 > 0.001).count();
    assert_eq!(ends.get("loaded and failed to step"), None, "what loads must run");
    // About one in five is harmless enough to run, one in fifty has fused operators and is compared.
    let ran = ends.get("ran").copied().unwrap_or(0);
    assert!(
        ran * 50 >= cases && !distances.is_empty(),
        "of {cases} mutations {ran} ran and {} were compared: the mutations ask nothing",
        distances.len()
    );
    assert!(far * 500 <= distances.len() + 500, "{far} of {} fused models compute something else than Tract", distances.len());
    assert!(resident <= RESIDENT_MAX, "{resident} KiB of resident memory");
}

#[test]
fn two_thousand_mutated_models_do_no_harm() {
    match std::env::var("AUTOCHROME_HOSTILE_CASE") {
        Ok(number) => mutations(std::iter::once(number.parse().expect("a case's number")), true),
        Err(_) => mutations(0..2_000, false),
    }
}

#[test]
#[ignore = "minutes: run by `just test-long`"]
fn a_hundred_thousand_mutated_models_do_no_harm() {
    mutations(0..100_000, true);
}
