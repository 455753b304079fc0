//! The thermal ladder: what is done less of when the processor is hot.
//!
//! | rung | what |
//! | --- | --- |
//! | full speed | every frame is colored |
//! | every 2nd | the network runs on every 2nd frame |
//! | smaller model | and it is the one that the configuration calls `thermal.small-model`; left out if there is none |
//! | every 4th | the network runs on every 4th frame |
//! | stopped | the picture is grey, and the network all but rests |
//!
//! One rung at a time, and never two changes within 30 seconds: a board takes that long to show what the last one brought. From `stop-c`
//! on it goes to the last rung at once, which waits for those 30 seconds too. It goes up again after a minute at or below `step-up-c`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::typed::Thermal;
use crate::errors::{Exit, OrFail, Result, say};
use crate::kiosk;
use crate::newest::Awaited;
use crate::remote::{NotTaken, Remote};
use crate::settings::{Choices, Command, STOPPED_NTH, Settings};
use crate::status::Heat;

/// How often the temperature is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How often the thread shows that it lives.
const PULSE_PERIOD: Duration = Duration::from_millis(250);
/// The least time between two changes: at most two a minute.
const CHANGE_PAUSE: Duration = Duration::from_secs(30);
/// How long it has to be cool before a step up.
const COOL_FOR: Duration = Duration::from_secs(60);
/// How many thermal zones and processors are looked at.
const LISTED_MAX: usize = 256;
/// The longest file of the system that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256;
/// What a sensor may say, in degrees Celsius; anything else is a broken sensor.
const CELSIUS: std::ops::RangeInclusive<f32> = -40.0..=200.0;

/// What is done at one height of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Every frame.
    Full,
    /// Every 2nd frame.
    Second,
    /// The smaller model on every 2nd frame.
    Smaller,
    /// Every 4th frame, with the smaller model if there is one.
    Fourth,
    /// No color.
    Stopped,
}

impl Rung {
    fn words(self) -> &'static str {
        match self {
            Self::Full => "every frame is colored",
            Self::Second => "every 2nd frame is colored",
            Self::Smaller => "a smaller model colors every 2nd frame",
            Self::Fourth => "every 4th frame is colored",
            Self::Stopped => "coloring stops, the picture goes on in grey",
        }
    }
}

/// The temperatures at which the ladder moves, in degrees Celsius, each below the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// At or below: a step up, after a while.
    pub step_up: f32,
    /// At or above: a step down.
    pub step_down: f32,
    /// At or above: to the last rung.
    pub stop: f32,
}

/// What the board says of its heat.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Degrees Celsius of the hottest zone; absent if unknown.
    pub celsius: Option<f32>,
    /// Whether the board slows itself down at this moment, which counts as too hot at any temperature.
    pub throttled: bool,
}

/// Where the device stands. It knows no clock and no file.
#[derive(Clone, Debug)]
pub struct Ladder {
    rungs: Vec<Rung>,
    limits: Limits,
    at: usize,
    changed_at: Option<Duration>,
    cool_since: Option<Duration>,
}

impl Ladder {
    /// A ladder that stands at full speed.
    pub fn new(limits: Limits, has_small_model: bool) -> Self {
        let mut rungs = vec![Rung::Full, Rung::Second, Rung::Smaller, Rung::Fourth, Rung::Stopped];
        rungs.retain(|&rung| has_small_model || rung != Rung::Smaller);
        Self { rungs, limits, at: 0, changed_at: None, cool_since: None }
    }

    /// How many steps down it stands, and what that means.
    pub fn rung(&self) -> (usize, Rung) {
        (self.at, self.rungs[self.at])
    }

    /// Takes a reading made at `now`, a time that only grows. Returns the new rung if it changed. Where the temperature is unknown and
    /// nothing is throttled, it stays where it is.
    pub fn step(&mut self, reading: Reading, now: Duration) -> Option<Rung> {
        let is = |compare: fn(&f32, &f32) -> bool, limit: f32| reading.celsius.is_some_and(|celsius| compare(&celsius, &limit));
        let hot = reading.throttled || is(f32::ge, self.limits.step_down);
        if !reading.throttled && is(f32::le, self.limits.step_up) {
            self.cool_since.get_or_insert(now);
        } else {
            self.cool_since = None;
        }
        let last = self.rungs.len() - 1;
        let cool = self.cool_since.is_some_and(|since| now.saturating_sub(since) >= COOL_FOR);
        let to = if is(f32::ge, self.limits.stop) {
            last
        } else if hot {
            (self.at + 1).min(last)
        } else if cool {
            self.at.saturating_sub(1)
        } else {
            self.at
        };
        if to == self.at || self.changed_at.is_some_and(|at| now.saturating_sub(at) < CHANGE_PAUSE) {
            return None;
        }
        (self.at, self.changed_at, self.cool_since) = (to, Some(now), None);
        Some(self.rungs[to])
    }
}

/// Reads a short file of the system.
fn read_short(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// A folder's entries whose names begin so, in name order.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let mut paths: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).filter(named).take(LISTED_MAX).collect();
    paths.sort();
    paths
}

/// The thermal zones below `root`: type and degrees Celsius. One without a sensible temperature is left out.
pub fn zones(root: &Path) -> Vec<(String, f32)> {
    let zone = |path: PathBuf| {
        let millicelsius: i64 = read_short(&path.join("temp"))?.parse().ok()?;
        let celsius = millicelsius as f32 / 1000.0;
        CELSIUS.contains(&celsius).then_some((read_short(&path.join("type"))?, celsius))
    };
    entries(&root.join("sys/class/thermal"), "thermal_zone").into_iter().filter_map(zone).collect()
}

/// The hottest of the zones of these types, or of all if none are named or none of them is there, in degrees Celsius.
pub fn celsius(root: &Path, types: &[String]) -> Option<f32> {
    let zones = zones(root);
    let named = |(kind, _): &&(String, f32)| types.contains(kind);
    let any_named = zones.iter().any(|zone| named(&zone));
    zones.iter().filter(|zone| !any_named || named(zone)).map(|&(_, celsius)| celsius).reduce(f32::max)
}

/// What a Raspberry Pi's firmware says of its power and heat: the bits of `vcgencmd get_throttled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled(pub u32);

impl Throttled {
    /// Too little voltage; in the upper half: at some time since the start.
    pub const UNDER_VOLTAGE: u32 = 1 << 0;
    /// The clock is limited.
    pub const CAPPED: u32 = 1 << 1;
    /// The clock is lowered.
    pub const THROTTLED: u32 = 1 << 2;
    /// The soft temperature limit of a 3 B+.
    pub const SOFT_LIMIT: u32 = 1 << 3;

    /// Reads it; absent on other boards.
    pub fn read(root: &Path) -> Option<Self> {
        let text = read_short(&root.join("sys/devices/platform/soc/soc:firmware/get_throttled"))?;
        // The kernel writes it without the 0x.
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok().map(Self)
    }

    /// Whether one of these is so now.
    pub fn is(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether one of these was so since the start.
    pub fn was(self, bits: u32) -> bool {
        (self.0 >> 16) & bits != 0
    }

    /// The bits that are set, in words.
    pub fn words(self) -> Vec<&'static str> {
        let all = [
            (Self::UNDER_VOLTAGE, "too little voltage now", "too little voltage since the start"),
            (Self::CAPPED, "clock limited now", "clock limited since the start"),
            (Self::THROTTLED, "throttled now", "throttled since the start"),
            (Self::SOFT_LIMIT, "soft temperature limit now", "soft temperature limit since the start"),
        ];
        let words = |&(bit, now, before): &(u32, &'static str, &'static str)| match (self.is(bit), self.was(bit)) {
            (true, _) => Some(now),
            (false, true) => Some(before),
            (false, false) => None,
        };
        all.iter().filter_map(words).collect()
    }
}

/// Processors whose clock is held below what they can: name, the limit and the most they can, in MHz.
pub fn clock_limits(root: &Path) -> Vec<(String, u32, u32)> {
    let limit = |path: PathBuf| {
        let mhz = |name: &str| read_short(&path.join(name))?.parse::<u32>().ok().map(|khz| khz / 1000);
        let (limit, most) = (mhz("scaling_max_freq")?, mhz("cpuinfo_max_freq")?);
        (limit < most).then(|| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), limit, most))
    };
    entries(&root.join("sys/devices/system/cpu/cpufreq"), "policy").into_iter().filter_map(limit).collect()
}

/// What the board says now.
pub fn read(root: &Path, types: &[String]) -> Reading {
    let throttled = Throttled::read(root).is_some_and(|bits| bits.is(Throttled::THROTTLED));
    Reading { celsius: celsius(root, types), throttled }
}

/// Starts a thread that looks at the temperature below `root` every 2 seconds and steps on the ladder. It ends with the run:
/// when nobody takes commands any more, or when `remote.status.heat` was ended.
///
/// # Errors
/// [`Exit::Other`] if the thread cannot be started.
pub fn serve(root: &Path, config: &Thermal, remote: Remote) -> Result<()> {
    if !config.enabled {
        return Ok(());
    }
    let (root, types) = (root.to_owned(), config.zones.clone());
    let pulse = remote.status.pulses.begin("thermal");
    let mut steps = Steps::new(config, remote);
    let started = std::thread::Builder::new().name("thermal".into()).spawn(move || {
        let began = Instant::now();
        loop {
            let settings = steps.remote.status.snapshot.get().map(|snapshot| snapshot.settings);
            if steps.look(read(&root, &types), settings, began.elapsed()).is_err() {
                return;
            }
            let looked = Instant::now();
            while looked.elapsed() < PERIOD {
                pulse.beat();
                kiosk::inject("thermal", began.elapsed().as_secs());
                let heat = steps.remote.status.heat.get();
                if let Awaited::Ended = steps.remote.status.heat.wait_for_newer(heat.as_ref(), PULSE_PERIOD) {
                    return;
                }
            }
        }
    });
    started.map(drop).or_fail(Exit::Other, || "start thread thermal".into())
}

/// The ladder, and what it takes to tell others.
struct Steps {
    ladder: Ladder,
    small_model: Option<usize>,
    remote: Remote,
    /// The model before the smaller one, to be put back on the way up.
    before: Option<usize>,
    /// What found no room in the channel yet.
    unsent: Vec<Command>,
}

impl Steps {
    fn new(config: &Thermal, remote: Remote) -> Self {
        let limits = Limits { step_up: config.step_up_c, step_down: config.step_down_c, stop: config.stop_c };
        let small_model = config.small_model.as_deref().and_then(|name| place(&remote.choices, name));
        Self { ladder: Ladder::new(limits, small_model.is_some()), small_model, remote, before: None, unsent: Vec::new() }
    }

    /// Takes one reading, with what the settings stand at if that is known.
    fn look(&mut self, reading: Reading, settings: Option<Settings>, now: Duration) -> std::result::Result<(), NotTaken> {
        if let Some(rung) = self.ladder.step(reading, now) {
            let (steps, _) = self.ladder.rung();
            let celsius = reading.celsius.map_or_else(|| "the board throttles".into(), |celsius| format!("{celsius:.0} C"));
            say(&format!("{celsius}: {} (step {steps} of {})", rung.words(), self.ladder.rungs.len() - 1));
            // What an earlier step could not say is overtaken by this one.
            self.unsent = self.commands(rung, settings);
        }
        self.remote.status.heat.put(Arc::new(Heat { celsius: reading.celsius, rung: self.ladder.rung().0 as u32 }));
        while let Some(&command) = self.unsent.first() {
            match self.remote.send(command) {
                Ok(()) => drop(self.unsent.remove(0)),
                // Two seconds later there will be room.
                Err(NotTaken::Busy) => break,
                Err(ended) => return Err(ended),
            }
        }
        Ok(())
    }

    /// Everything that makes a rung, whichever rung was before. A model that somebody chose meanwhile is left alone.
    fn commands(&mut self, rung: Rung, settings: Option<Settings>) -> Vec<Command> {
        // Before there is a picture, the model is the one that the run begins with.
        let model = settings.map_or(0, |settings| settings.model);
        let every_nth = match rung {
            Rung::Full => 1,
            Rung::Second | Rung::Smaller => 2,
            Rung::Fourth => 4,
            Rung::Stopped => STOPPED_NTH,
        };
        let mut commands = vec![Command::EveryNth(every_nth)];
        match (self.small_model, rung) {
            (Some(small), Rung::Smaller | Rung::Fourth | Rung::Stopped) if self.before.is_none() && model != small => {
                self.before = Some(model);
                commands.push(Command::Model(small));
            }
            (Some(small), Rung::Full | Rung::Second) => {
                let before = self.before.take().filter(|_| model == small);
                commands.extend(before.map(Command::Model));
            }
            _ => {}
        }
        commands
    }
}

/// The place of a model among the choices.
fn place(choices: &Choices, name: &str) -> Option<usize> {
    choices.models.iter().position(|model| model.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ModelChoice;

    const LIMITS: Limits = Limits { step_up: 64.0, step_down: 72.0, stop: 82.0 };

    fn at(celsius: f32) -> Reading {
        Reading { celsius: Some(celsius), throttled: false }
    }

    /// The rungs that a ladder goes through while `celsius` runs, one reading every 2 s, and when.
    fn run(ladder: &mut Ladder, celsius: impl IntoIterator<Item = f32>) -> Vec<(u64, usize)> {
        let readings = celsius.into_iter().enumerate();
        let changes = readings.filter_map(|(i, celsius)| {
            let now = Duration::from_secs(2 * i as u64);
            ladder.step(at(celsius), now).map(|_| (now.as_secs(), ladder.rung().0))
        });
        changes.collect()
    }

    /// From one temperature to another over so many seconds.
    fn ramp(from: f32, to: f32, seconds: usize) -> impl Iterator<Item = f32> {
        (0..seconds / 2).map(move |i| from + (to - from) * (2 * i) as f32 / seconds as f32)
    }

    #[test]
    fn a_ramp_steps_down_before_the_board_throttles() {
        let mut ladder = Ladder::new(LIMITS, true);
        // 50 to 90 C in ten minutes.
        let changes = run(&mut ladder, ramp(50.0, 90.0, 600));
        let first = 50.0 + 40.0 * changes[0].0 as f32 / 600.0;
        assert!((72.0..73.0).contains(&first), "{changes:?}");
        let before_80: Vec<_> = changes.iter().filter(|(seconds, _)| 50.0 + 40.0 * *seconds as f32 / 600.0 < 80.0).collect();
        assert_eq!(before_80.last().unwrap().1, 4, "{changes:?}");
        assert_eq!(changes.iter().map(|&(_, rung)| rung).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn there_are_at_most_two_changes_a_minute_whatever_comes() {
        // A pseudo-random walk over everything, and the worst case of jumps between freezing and burning.
        let mut state = 1_u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65_535.0 * 100.0
        };
        let walks: [Vec<f32>; 3] = [
            (0..5000).map(|_| noise()).collect(),
            (0..5000).map(|i| if (i / 40) % 2 == 0 { 95.0 } else { 20.0 }).collect(),
            (0..5000).map(|i| if i % 2 == 0 { 95.0 } else { 20.0 }).collect(),
        ];
        for walk in walks {
            let changes = run(&mut Ladder::new(LIMITS, true), walk);
            assert!(changes.windows(3).all(|window| window[2].0 - window[0].0 >= 60), "{changes:?}");
        }
    }

    #[test]
    fn around_a_threshold_it_does_not_go_back_and_forth() {
        for threshold in [LIMITS.step_down, LIMITS.step_up, LIMITS.stop] {
            let mut ladder = Ladder::new(LIMITS, false);
            let changes = run(&mut ladder, (0..1800).map(|i| threshold + if i % 2 == 0 { 1.0 } else { -1.0 }));
            // Down it may go, until what it does is enough; up and down again it may not.
            assert!(changes.windows(2).all(|pair| pair[1].1 > pair[0].1), "around {threshold}: {changes:?}");
        }
    }

    #[test]
    fn it_steps_up_when_it_has_been_cool_for_a_while() {
        let mut ladder = Ladder::new(LIMITS, false);
        let changes = run(&mut ladder, ramp(83.0, 83.0, 10).chain(ramp(60.0, 60.0, 400)));
        // Straight to the last rung; then one up a minute, as often as there are rungs.
        assert_eq!(changes, [(0, 3), (70, 2), (132, 1), (194, 0)]);
        // A minute that is interrupted begins anew.
        let mut ladder = Ladder::new(LIMITS, false);
        let changes = run(&mut ladder, ramp(73.0, 73.0, 4).chain(ramp(60.0, 60.0, 50)).chain([65.0]).chain(ramp(60.0, 60.0, 80)));
        assert_eq!(changes, [(0, 1), (56 + 60, 0)]);
    }

    #[test]
    fn what_is_unknown_changes_nothing_and_what_throttles_is_hot() {
        let mut ladder = Ladder::new(LIMITS, false);
        for i in 0..1000 {
            assert_eq!(ladder.step(Reading::default(), Duration::from_secs(2 * i)), None);
        }
        let throttled = Reading { celsius: None, throttled: true };
        assert_eq!(ladder.step(throttled, Duration::from_secs(3000)), Some(Rung::Second));
        let cool_but_throttled = Reading { celsius: Some(40.0), throttled: true };
        assert_eq!(ladder.step(cool_but_throttled, Duration::from_secs(3100)), Some(Rung::Fourth));
        assert_eq!(ladder.step(Reading::default(), Duration::from_secs(9000)), None);
    }

    fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        root
    }

    #[test]
    fn the_hottest_of_the_named_zones_counts() {
        let files: [(&str, &[u8]); 6] = [
            ("sys/class/thermal/thermal_zone0/type", b"soc-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", b"51200\n"),
            ("sys/class/thermal/thermal_zone1/type", b"bigcore0-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", b"63900\n"),
            ("sys/class/thermal/thermal_zone2/type", b"nvme\n"),
            ("sys/class/thermal/thermal_zone2/temp", b"85000\n"),
        ];
        let root = root(&files);
        let cases: [(&[&str], f32); 4] =
            [(&["soc-thermal"], 51.2), (&["soc-thermal", "bigcore0-thermal"], 63.9), (&["no-such-zone"], 85.0), (&[], 85.0)];
        for (types, expected) in cases {
            let types: Vec<String> = types.iter().map(|&kind| kind.to_owned()).collect();
            assert_eq!(celsius(root.path(), &types), Some(expected), "{types:?}");
        }
    }

    #[test]
    fn what_is_missing_or_garbage_is_unknown() {
        let long = vec![b'9'; 5000];
        let temps: [&[u8]; 9] =
            [b"", b"\n", b"hot\n", b"\xff\xfe\n", b"-300000\n", b"9999999999\n", b"99999999999999999999999\n", b"nan", &long];
        for temp in temps {
            let root = root(&[("sys/class/thermal/thermal_zone0/type", b"cpu-thermal\n"), ("sys/class/thermal/thermal_zone0/temp", temp)]);
            assert_eq!(read(root.path(), &[]), Reading::default(), "{temp:?}");
        }
        // A zone without a type, one that is a file, a temperature that is a folder, and nothing at all.
        let odd = root(&[("sys/class/thermal/thermal_zone0/temp", b"50000"), ("sys/class/thermal/thermal_zone1", b"")]);
        std::fs::create_dir_all(odd.path().join("sys/class/thermal/thermal_zone2/temp")).unwrap();
        assert_eq!(read(odd.path(), &[]), Reading::default());
        assert_eq!(read(Path::new("/no/such/root"), &[]), Reading::default());
    }

    #[test]
    fn the_firmwares_bits_are_understood() {
        let cases: [(&[u8], Option<u32>, &[&str]); 6] = [
            (b"0\n", Some(0), &[]),
            (b"50005\n", Some(0x50005), &["too little voltage now", "throttled now"]),
            (b"50000\n", Some(0x50000), &["too little voltage since the start", "throttled since the start"]),
            (b"0xe0008\n", Some(0xe0008), &["clock limited since the start", "throttled since the start", "soft temperature limit now"]),
            (b"lots\n", None, &[]),
            (b"123456789\n", None, &[]),
        ];
        for (text, bits, words) in cases {
            let root = root(&[("sys/devices/platform/soc/soc:firmware/get_throttled", text)]);
            assert_eq!(Throttled::read(root.path()).map(|found| found.0), bits);
            assert_eq!(Throttled::read(root.path()).map(Throttled::words).unwrap_or_default(), words);
            assert_eq!(read(root.path(), &[]).throttled, bits.is_some_and(|bits| bits & 4 != 0));
        }
    }

    #[test]
    fn a_clock_that_is_held_down_is_seen() {
        let policy = "sys/devices/system/cpu/cpufreq/policy";
        let path = |number: u32, name: &str| format!("{policy}{number}/{name}");
        let (a, b, c, d) =
            (path(0, "scaling_max_freq"), path(0, "cpuinfo_max_freq"), path(4, "scaling_max_freq"), path(4, "cpuinfo_max_freq"));
        let root = root(&[(a.as_str(), b"1200000"), (&b, b"1400000"), (&c, b"2400000"), (&d, b"2400000")]);
        assert_eq!(clock_limits(root.path()), [("policy0".to_owned(), 1200, 1400)]);
    }

    fn remote() -> (Remote, crossbeam_channel::Receiver<Command>) {
        let model = |name: &str| ModelChoice { name: name.into(), file: None };
        Remote::new(Choices { presets: Vec::new(), models: vec![model("large"), model("small")] })
    }

    fn config() -> Thermal {
        Thermal { small_model: Some("small".into()), ..crate::config::Config::default().thermal }
    }

    #[test]
    fn what_was_changed_on_the_way_down_is_put_back_on_the_way_up() {
        let (remote, commands) = remote();
        let mut steps = Steps::new(&config(), remote.clone());
        let mut settings = Settings { mix: 0.7, ..Settings::neutral() };
        let mut log = Vec::new();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        // Hot for four minutes, then cool.
        for minute in 0..20 {
            steps.look(at(if minute < 4 { 75.0 } else { 50.0 }), Some(settings), minutes(minute)).unwrap();
            for command in commands.try_iter() {
                settings.apply(command, &remote.choices);
                log.push(command);
            }
            assert_eq!(remote.status.heat.get().unwrap().rung as usize, steps.ladder.rung().0);
            if minute == 3 {
                assert_eq!((settings.is_stopped(), settings.model, settings.mix), (true, 1, 0.7));
            }
        }
        assert_eq!(settings, Settings { mix: 0.7, ..Settings::neutral() });
        let expected = [
            Command::EveryNth(2),
            Command::EveryNth(2),
            Command::Model(1),
            Command::EveryNth(4),
            Command::EveryNth(STOPPED_NTH),
            Command::EveryNth(4),
            Command::EveryNth(2),
            Command::EveryNth(2),
            Command::Model(0),
            Command::EveryNth(1),
        ];
        assert_eq!(log, expected);
    }

    #[test]
    fn a_flooded_channel_gets_the_step_later_and_a_closed_one_ends_it() {
        let (remote, commands) = remote();
        while remote.send(Command::Split(0.0)).is_ok() {}
        let settings = Settings::neutral();
        let mut steps = Steps::new(&config(), remote);
        steps.look(at(75.0), Some(settings), Duration::ZERO).unwrap();
        commands.try_iter().for_each(|command| assert_eq!(command, Command::Split(0.0)));
        steps.look(at(75.0), Some(settings), Duration::from_secs(2)).unwrap();
        assert_eq!(commands.try_iter().collect::<Vec<_>>(), [Command::EveryNth(2)]);
        drop(commands);
        assert_eq!(steps.look(at(75.0), Some(settings), Duration::from_secs(60)), Err(NotTaken::Ended));
    }

    #[test]
    fn the_thread_tells_and_ends() {
        let (remote, commands) = remote();
        let root = root(&[("sys/class/thermal/thermal_zone0/type", b"cpu-thermal"), ("sys/class/thermal/thermal_zone0/temp", b"75000")]);
        serve(root.path(), &config(), remote.clone()).unwrap();
        assert_eq!(commands.recv_timeout(Duration::from_secs(10)).unwrap(), Command::EveryNth(2));
        assert_eq!(*remote.status.heat.get().unwrap(), Heat { celsius: Some(75.0), rung: 1 });
        remote.status.heat.end();
        let disabled = Thermal { enabled: false, ..config() };
        serve(Path::new("/"), &disabled, remote).unwrap();
    }
}
