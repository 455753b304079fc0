//! The last stage: every picture to every output, and an honest placeholder where there is none.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autochrome_model::Plane;

use crate::coloring::Colored;
use crate::errors::{Result, say, warn};
use crate::kiosk::{self, Heart};
use crate::output::Output;
use crate::pipeline::{Absence, Arrival, Event, Flow, Inlet};
use crate::placard;
use crate::settings::Settings;
use crate::statistics::{Snapshot, Statistics};
use crate::status::Status;

/// A live picture older than this no longer passes for live, unless pictures came so slowly before.
const STALE: Duration = Duration::from_millis(800);
/// However slowly: a service manager would wait little longer.
const STALE_MAX: Duration = Duration::from_secs(4);
/// How many gaps between pictures are remembered.
const GAPS_KEPT: usize = 5;
/// How often a placard that no longer changes is shown again.
const PLACARD_PERIOD: Duration = Duration::from_secs(1);
const STANDS_STILL: &str = "the picture stands still";
/// What a picture that is kept says of itself.
const FROZEN: &str = "frozen";

/// The outputs thread's work.
pub struct Showing {
    outputs: Vec<Output>,
    flow: Flow,
    statistics: Statistics,
    status: Arc<Status>,
    heart: Heart,
    /// The last picture, shown at that time.
    last: Option<(Arc<Colored>, Instant)>,
    /// The picture that is kept while [`Settings::freeze`](crate::settings::Settings::freeze) is on.
    frozen: Option<Arc<Colored>>,
    /// The sequence number of the last picture.
    newest_sequence: Option<u64>,
    /// Why there is no picture, since when.
    absence: Option<(Absence, Instant)>,
    placard_at: Option<Instant>,
    /// The last gaps between pictures.
    gaps: [Duration; GAPS_KEPT],
    pictures: usize,
    /// Numbers that nobody reads any more, for their memory.
    spare: Option<Arc<Snapshot>>,
}

impl Showing {
    /// Shows to `outputs`, and tells `status` and `heart`. `settings` are those that the first picture will have.
    pub fn new(outputs: Vec<Output>, flow: Flow, status: Arc<Status>, heart: Heart, settings: Settings) -> Self {
        let statistics = Statistics::new(settings);
        Self {
            outputs,
            flow,
            statistics,
            status,
            heart,
            last: None,
            frozen: None,
            newest_sequence: None,
            absence: None,
            placard_at: None,
            gaps: [Duration::ZERO; GAPS_KEPT],
            pictures: 0,
            spare: None,
        }
    }

    /// Shows what arrives until there is no more, an output's reader leaves, or `frames` pictures were shown. Says in one line on standard
    /// error how it was.
    ///
    /// # Errors
    /// Those of the outputs.
    pub fn run(mut self, inlet: Inlet, frames: u64) -> Result<()> {
        for event in inlet {
            kiosk::inject("outputs", self.statistics.now().frames);
            let now = Instant::now();
            let going = match event {
                Event::Picture(arrival) => self.picture(&arrival, now)?,
                // Older than the last picture: the source is back already.
                Event::Absent(absence) if self.newest_sequence.is_some_and(|newest| newest >= absence.after) => ControlFlow::Continue(()),
                Event::Absent(absence) => {
                    // A picture that stood still began to fade before.
                    let still_since = self.last.as_ref().map_or(now, |&(_, at)| now.min(at + self.stale()));
                    let since = self.absence.take().map_or(still_since, |(_, since)| since);
                    self.statistics.absent(&absence, now);
                    self.absence = Some((absence, since));
                    let going = self.placard(now)?;
                    self.heart.beat(now);
                    going
                }
                Event::Quiet => self.placard(now)?,
            };
            if going.is_break() || self.statistics.now().frames >= frames {
                break;
            }
        }
        self.outputs.iter_mut().try_for_each(Output::finish)?;
        let Snapshot { frames, cuts, dropped, skipped, fps, .. } = self.statistics.now();
        if *frames > 0 {
            say(&format!("{frames} frames shown, {cuts} cuts, {dropped} dropped, {skipped} skipped, {fps:.1} frames/s at the end"));
        }
        Ok(())
    }

    fn picture(&mut self, arrival: &Arrival, now: Instant) -> Result<ControlFlow<()>> {
        let colored = &arrival.colored;
        // What was on its way when the source was lost does not mean that it is back.
        if self.absence.as_ref().is_some_and(|(absence, _)| colored.sequence >= absence.after) {
            self.absence = None;
        }
        self.newest_sequence = Some(colored.sequence);
        if let Some((_, at)) = self.last.as_ref().filter(|_| self.absence.is_none()) {
            self.gaps[self.pictures % GAPS_KEPT] = now.duration_since(*at);
            self.pictures += 1;
        }
        self.statistics.count(arrival, now);
        if let Some((absence, _)) = &self.absence {
            self.statistics.absent(absence, now);
        }
        let shown = if colored.settings.freeze {
            Arc::clone(self.frozen.get_or_insert_with(|| Arc::new(frozen(colored))))
        } else {
            self.frozen = None;
            Arc::clone(colored)
        };
        self.tell();
        self.placard_at = None;
        if self.show(&shown)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.last = Some((shown, now));
        self.heart.beat(now);
        Ok(ControlFlow::Continue(()))
    }

    /// Hands a picture to every output. Of a live feed that somebody watches, an output that fails ends alone, a full disk or frames of
    /// another size in a film say; the screen goes on.
    fn show(&mut self, shown: &Arc<Colored>) -> Result<ControlFlow<()>> {
        let is_watched = self.flow == Flow::Live && self.outputs.iter().any(Output::is_live);
        let mut at = 0;
        while let Some(output) = self.outputs.get_mut(at) {
            match output.show(shown, self.statistics.now()) {
                Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                Ok(ControlFlow::Continue(())) => at += 1,
                Err(failure) if is_watched && !output.is_live() => {
                    warn(&format!("{failure}; this output ends, the others go on"));
                    self.outputs.remove(at);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// After how long without a picture the last one stands still.
    fn stale(&self) -> Duration {
        let mut gaps = self.gaps;
        gaps.sort_unstable();
        (3 * gaps[GAPS_KEPT / 2]).clamp(STALE, STALE_MAX)
    }

    /// Shows a placard on the live outputs if there is a reason to, and if it is time for the next one.
    fn placard(&mut self, now: Instant) -> Result<ControlFlow<()>> {
        let last_at = self.last.as_ref().map(|&(_, at)| at);
        let (words, since) = match (&self.absence, last_at) {
            (Some((absence, since)), _) => (Arc::clone(&absence.why), *since),
            (None, Some(at)) if self.flow == Flow::Live && now.duration_since(at) > self.stale() => {
                (Arc::from(STANDS_STILL), at + self.stale())
            }
            _ => return Ok(ControlFlow::Continue(())),
        };
        let seconds = now.duration_since(since).as_secs_f32();
        let settled = seconds > placard::FADE_SECONDS + 0.2;
        if settled && self.placard_at.is_some_and(|at| now.duration_since(at) < PLACARD_PERIOD) {
            return Ok(ControlFlow::Continue(()));
        }
        self.placard_at = Some(now);
        let mut snapshot = self.statistics.now().clone();
        snapshot.absent = Some(Arc::clone(&words));
        snapshot.fps = 0.0;
        self.status.snapshot.put(Arc::new(snapshot.clone()));
        let placard = Arc::new(placard::draw(self.last.as_ref().map(|(last, _)| &**last), &words, seconds));
        for output in self.outputs.iter_mut().filter(|output| output.is_live()) {
            if output.show(&placard, &snapshot)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Puts the numbers where everybody finds them.
    fn tell(&mut self) {
        let now = self.statistics.now();
        let mut sheet = self.spare.take().unwrap_or_else(|| Arc::new(now.clone()));
        match Arc::get_mut(&mut sheet) {
            Some(own) => own.clone_from(now),
            None => sheet = Arc::new(now.clone()),
        }
        self.spare = self.status.snapshot.put(sheet);
    }
}

/// A copy that says what it is.
fn frozen(colored: &Colored) -> Colored {
    let mut picture = colored.picture.clone();
    placard::mark(&mut picture, colored.range, FROZEN);
    Colored { picture, before: Plane::default(), model: Arc::clone(&colored.model), ..*colored }
}

#[cfg(test)]
mod tests {
    use autochrome_model::Picture;

    use super::*;
    use crate::output::Pngs;

    #[test]
    fn a_frozen_picture_is_kept_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = vec![Output::Pngs(Pngs::create(folder.path()).unwrap())];
        let status = Arc::new(Status::default());
        let mut showing = Showing::new(outputs, Flow::Live, Arc::clone(&status), Heart::new(status), Settings::neutral());
        for (luma, freeze) in [(50, false), (100, true), (150, true), (200, false)] {
            let plane = |value| Plane::filled(160, 120, value);
            let picture = Picture { luma: plane(luma), cb: plane(128), cr: plane(128) };
            let mut colored = Colored { picture, ..Colored::blank() };
            colored.settings.freeze = freeze;
            let arrival = Arrival { colored: Arc::new(colored), dropped: 0, skipped: 0 };
            assert!(showing.picture(&arrival, Instant::now()).unwrap().is_continue());
        }
        let shown: Vec<_> = (0..4).map(|i| image::open(folder.path().join(format!("{i:06}.png"))).unwrap().to_luma8()).collect();
        assert_eq!(shown[1], shown[2]);
        assert_eq!([0, 1, 3].map(|i| shown[i].get_pixel(80, 10).0[0]), [50, 100, 200]);
        let is_labelled = [0, 1, 3].map(|i| shown[i].pixels().any(|pixel| pixel != shown[i].get_pixel(80, 10)));
        assert_eq!(is_labelled, [false, true, false]);
    }
}
