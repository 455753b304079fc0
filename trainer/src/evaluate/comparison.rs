//! Everyone on the same pictures.

use anyhow::{Context, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::colorist::{Contestant, Kind};
use super::exhibits::Exhibits;
use super::figures::{StillFigures, Tally};
use super::moving::{self, MovingFigures};
use super::perceptual::{FeatureNetwork, PerceptualDistance};
use super::pictures::TruePicture;
use super::quick::{StillQuality, quality_values};
use super::samples::{Jpeg, Samples};
use super::table;
use crate::metrics::{RarityWeights, frechet_distance, psnr};

/// What is measured.
#[derive(Default)]
pub struct Plan {
    /// Temperatures of the trade-off curve.
    pub temperatures: Vec<f32>,
    /// Whether clips, films and scenes are measured, too.
    pub moving: bool,
    /// How many pictures are kept to be looked at.
    pub samples: usize,
    /// For FID.
    pub features: Option<FeatureNetwork>,
    /// For LPIPS.
    pub perceptual: Option<PerceptualDistance>,
}

/// What everyone was measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The packed set's folder, or what was packed for this once, by its name.
    pub set: String,
    /// The split, or "all".
    pub split: String,
    /// How many stills.
    pub stills: usize,
    /// How many clips.
    pub clips: usize,
    /// How many of either were left out, as they have a side below 11 pixels, the window of SSIM.
    pub too_small: usize,
    /// How many stills were left out besides, as they have no color.
    #[serde(default)]
    pub colorless: usize,
    /// The packed pictures' shorter side, pixels.
    pub short_side: u32,
    /// Temperatures of the trade-off curve.
    pub temperatures: Vec<f32>,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// What.
    pub kind: Kind,
    /// The default temperature, at which all but the curve is measured.
    pub temperature: Option<f32>,
    /// Over all stills, then source by source where there are several.
    pub stills: Vec<StillFigures>,
    /// Gain and colorfulness at each temperature, over all stills, then source by source.
    pub curve: Vec<StillQuality>,
    /// On moving pictures, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving: Option<MovingFigures>,
}

impl Row {
    /// Over all stills.
    pub fn all(&self) -> &StillFigures {
        &self.stills[0]
    }

    /// What the row trades over the temperature, over all stills: the temperature, the colorfulness in percent of the truth's, and the gain over grey, dB.
    /// One point where there is no temperature to set, none of the truth.
    pub fn trade_off(&self) -> Vec<(Option<f32>, f64, f64)> {
        let of_all = self.curve.iter().filter(|point| point.source == self.all().source);
        let mut points: Vec<_> = of_all.map(|point| (Some(point.temperature), 100.0 * point.colorfulness_share(), point.gain())).collect();
        if let (true, Some(against)) = (points.is_empty(), &self.all().against_truth) {
            points.push((self.temperature, 100.0 * against.colorfulness_share, against.gain));
        }
        points
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// On what.
    pub conditions: Conditions,
    /// The pictures themselves.
    pub truth: Row,
    /// Everyone, in the order given.
    pub rows: Vec<Row>,
    /// Pictures to look at.
    pub samples: Samples,
}

impl Comparison {
    /// Adds a row that was measured on the same pictures at another time, with its pictures to look at in the order of the samples.
    ///
    /// # Errors
    /// If it was measured on other stills, or has more or fewer pictures than there are samples.
    pub fn add(&mut self, row: Row, looks: Vec<Jpeg>) -> anyhow::Result<()> {
        let what = || format!("add the row {} to a table", row.name);
        let pictures = |row: &Row| row.stills.first().map_or(0, |all| all.pictures);
        ensure!(
            pictures(&row) == pictures(&self.truth),
            "{}: it was measured on {} stills, the table on {}; remove its file to have it made anew",
            what(),
            pictures(&row),
            pictures(&self.truth)
        );
        // As many may still be others. What grey comes to tells them apart, up to a bit that files may round.
        let grey = |row: &Row| row.stills.first()?.against_truth.as_ref().map(|found| found.psnr - found.gain);
        if let Some((found, known)) = grey(&row).zip(self.rows.iter().find_map(grey)) {
            ensure!(
                (found - known).abs() < 1e-6,
                "{}: it was measured on other stills than the table, of which grey has {found:.4} dB and not {known:.4}; remove its file to have it made anew",
                what()
            );
        }
        self.samples.add(looks).with_context(what)?;
        self.rows.push(row);
        Ok(())
    }

    /// The last row alone, with its pictures to look at: what [`add`](Self::add) takes.
    pub fn last_row(mut self) -> Option<(Row, Vec<Jpeg>)> {
        let row = self.rows.pop()?;
        Some((row, self.samples.of_row(self.rows.len())))
    }
}

/// Measures everyone on `exhibits` and keeps samples of `shown` (of the same, if `None`); `progress` hears (done, total).
///
/// # Errors
/// If there is no one, a colorist fails, or a network for FID or LPIPS does.
pub fn evaluate(
    mut contestants: Vec<Contestant>,
    exhibits: &Exhibits,
    shown: Option<&Exhibits>,
    plan: &Plan,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<Comparison> {
    let shown = shown.unwrap_or(exhibits);
    ensure!(!contestants.is_empty(), "no one to evaluate: name a model file");
    // Before everything is measured, and not after.
    ensure!(
        plan.features.is_none() || exhibits.stills().len() >= 2,
        "FID compares the spread of two pictures or more, and {} has {}; leave FID out, or measure more pictures",
        exhibits.name(),
        table::counted(exhibits.stills().len(), "still")
    );
    let moving_steps = if plan.moving { moving::steps(exhibits) } else { 0 };
    let total = exhibits.stills().len() + moving_steps + Samples::steps(shown, plan.samples);
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done.min(total), total);
    };
    let sources = exhibits.sources();
    let (mut truth, mut rows) = stills(&mut contestants, exhibits, &sources, plan, &mut step)?;
    if plan.moving {
        let (true_tally, tallies) = moving::measure(&mut contestants, exhibits, &mut step)?;
        truth.moving = Some(true_tally.figures());
        rows.iter_mut().zip(tallies).for_each(|(row, tally)| row.moving = Some(tally.figures()));
    }
    let samples = Samples::take(&mut contestants, shown, plan.samples, &mut step)?;
    let conditions = Conditions {
        set: exhibits.name(),
        split: exhibits.share().name().to_owned(),
        stills: exhibits.stills().len(),
        clips: if plan.moving { exhibits.clips().len() } else { 0 },
        too_small: exhibits.too_small(),
        colorless: exhibits.colorless(),
        short_side: exhibits.set().manifest().short_side,
        temperatures: plan.temperatures.clone(),
    };
    Ok(Comparison { conditions, truth, rows, samples })
}

/// What one colorist's stills add up to: over all, and of each source.
struct Sums {
    tallies: Vec<Tally>,
    /// Of each temperature, of all and of each source.
    curve: Vec<Vec<CurveSums>>,
    features: Vec<Vec<f32>>,
}

#[derive(Clone, Copy, Default)]
struct CurveSums {
    pictures: usize,
    values: [f64; 6],
}

fn stills(
    contestants: &mut [Contestant],
    exhibits: &Exhibits,
    sources: &[&str],
    plan: &Plan,
    step: &mut impl FnMut(),
) -> anyhow::Result<(Row, Vec<Row>)> {
    let groups = sources.len() + 1;
    let rarity = RarityWeights::published();
    let new = |temperatures: usize| Sums {
        tallies: vec![Tally::default(); groups],
        curve: vec![vec![CurveSums::default(); groups]; temperatures],
        features: Vec::new(),
    };
    let mut of_truth = new(0);
    let mut sums: Vec<Sums> = contestants
        .iter()
        .map(|contestant| new(if contestant.colorist.temperature().is_some() { plan.temperatures.len() } else { 0 }))
        .collect();
    for item in exhibits.stills() {
        let picture = exhibits.still(item);
        let group = 1 + sources.iter().position(|source| *source == item.source).unwrap_or(0);
        for at in [0, group] {
            of_truth.tallies[at].add_colors(&picture, &picture.chroma, &picture.rgb);
        }
        if let Some(network) = &plan.features {
            of_truth.features.push(network.features(&picture.rgb, picture.size())?);
        }
        let psnr_grey = psnr(&picture.without_color(), &picture.rgb);
        contestants.par_iter_mut().zip(&mut sums).try_for_each(|(contestant, sums)| {
            still(contestant, sums, &picture, group, psnr_grey, &rarity, plan)
                .with_context(|| format!("color {} with {}", item.name, contestant.name))
        })?;
        step();
    }
    let names: Vec<&str> = std::iter::once("all").chain(sources.iter().copied()).collect();
    // One source alone is all.
    let shown = if sources.len() == 1 { 1 } else { groups };
    let true_figures: Vec<StillFigures> = names[..shown].iter().zip(&of_truth.tallies).map(|(name, tally)| tally.of_truth(name)).collect();
    let mut rows = Vec::new();
    for (contestant, sums) in contestants.iter().zip(sums) {
        let mut stills: Vec<StillFigures> = true_figures.iter().zip(&sums.tallies).map(|(truth, tally)| tally.against(truth)).collect();
        if plan.features.is_some() {
            let distance = frechet_distance(&sums.features, &of_truth.features).context("the Frechet distance of the features")?;
            if let Some(against) = &mut stills[0].against_truth {
                against.fid = Some(distance);
            }
        }
        let at_temperature = |(temperature, groups): (&f32, &Vec<CurveSums>)| -> Vec<StillQuality> {
            names[..shown].iter().zip(groups).map(|(name, sums)| sums.quality(name, *temperature)).collect()
        };
        let mut curve: Vec<StillQuality> = plan.temperatures.iter().zip(&sums.curve).flat_map(at_temperature).collect();
        curve.sort_by_key(|point| names.iter().position(|name| *name == point.source));
        rows.push(Row {
            name: contestant.name.clone(),
            kind: contestant.kind,
            temperature: contestant.colorist.temperature(),
            stills,
            curve,
            moving: None,
        });
    }
    let truth = Row { name: "truth".into(), kind: Kind::Truth, temperature: None, stills: true_figures, curve: Vec::new(), moving: None };
    Ok((truth, rows))
}

/// One colorist on one still, from a zero state.
fn still(
    contestant: &mut Contestant,
    sums: &mut Sums,
    picture: &TruePicture,
    group: usize,
    psnr_grey: f64,
    rarity: &RarityWeights,
    plan: &Plan,
) -> anyhow::Result<()> {
    let colorist = &mut contestant.colorist;
    colorist.begin();
    let found = colorist.color(&picture.grey)?;
    ensure!(
        (found.a.width, found.a.height) == picture.size() && found.a.data.len() == found.b.data.len(),
        "it gave ab of {}x{} for a picture of {}x{}",
        found.a.width,
        found.a.height,
        picture.size().0,
        picture.size().1
    );
    let rgb = picture.colored(&found);
    for at in [0, group] {
        sums.tallies[at].add(picture, &found, &rgb, psnr_grey, rarity);
    }
    if let Some(network) = &plan.perceptual {
        let distance = network.between(&rgb, &picture.rgb, picture.size())?;
        for at in [0, group] {
            sums.tallies[at].add_lpips(distance);
        }
    }
    if let Some(network) = &plan.features {
        sums.features.push(network.features(&rgb, picture.size())?);
    }
    for (&temperature, groups) in plan.temperatures.iter().zip(&mut sums.curve) {
        let Some(found) = colorist.at_temperature(&picture.grey, temperature) else { continue };
        let rgb = picture.colored(&found);
        let values = quality_values(&rgb, &picture.rgb, psnr_grey);
        for at in [0, group] {
            groups[at].pictures += 1;
            groups[at].values.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    Ok(())
}

impl CurveSums {
    fn quality(&self, source: &str, temperature: f32) -> StillQuality {
        StillQuality::mean(source, temperature, self.pictures, &self.values)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use autochrome_model::{Chroma, Plane};

    use super::super::perceptual::made_up::{channel_means, mean_difference};
    use super::super::{Colorist, Share, page};
    use super::*;
    use crate::data::shard::PackedSet;
    use crate::data::shard::test_sets::small_set;
    use crate::data::split::Split;

    /// Knows every picture of a split, and gives it a share of its own colors.
    struct Knowing {
        pictures: Vec<TruePicture>,
        share: f32,
        seen: Option<usize>,
    }

    impl Knowing {
        fn of(set: &PackedSet, share: f32) -> Self {
            let exhibits = Exhibits::choose(set, Share::Of(Split::Validation), 100).unwrap();
            Self { pictures: exhibits.stills().iter().map(|item| exhibits.still(item)).collect(), share, seen: None }
        }

        fn colors(&self, share: f32, grey: &Plane<u8>) -> Chroma {
            let Some(picture) = self.seen.map(|at| &self.pictures[at]) else {
                return Chroma { a: Plane::filled(grey.width, grey.height, 0.0), b: Plane::filled(grey.width, grey.height, 0.0) };
            };
            let scaled = |plane: &Plane<f32>| Plane::from_vec(plane.width, plane.height, plane.data.iter().map(|v| v * share).collect());
            Chroma { a: scaled(&picture.chroma.a), b: scaled(&picture.chroma.b) }
        }
    }

    impl Colorist for Knowing {
        fn begin(&mut self) {
            self.seen = None;
        }

        fn color(&mut self, grey: &Plane<u8>) -> anyhow::Result<Chroma> {
            self.seen = self.pictures.iter().position(|picture| picture.grey == *grey);
            Ok(self.colors(self.share, grey))
        }

        fn temperature(&self) -> Option<f32> {
            Some(1.0)
        }

        fn at_temperature(&mut self, grey: &Plane<u8>, temperature: f32) -> Option<Chroma> {
            Some(self.colors(temperature, grey))
        }
    }

    fn compared(set: &PackedSet, plan: &Plan) -> Comparison {
        let contestants = vec![
            Contestant::grey(),
            Contestant::new("half <b>&", Kind::Classical, Knowing::of(set, 0.5)),
            Contestant::new("knowing-int8", Kind::Int8, Knowing::of(set, 1.0)),
        ];
        let exhibits = Exhibits::choose(set, Share::Of(Split::Validation), 100).unwrap();
        let mut last = (0, 0);
        let found = evaluate(contestants, &exhibits, None, plan, &mut |done, total| last = (done, total)).unwrap();
        assert_eq!(last.0, last.1, "progress ends at the whole");
        found
    }

    #[test]
    fn who_knows_the_truth_has_nothing_to_wish_for() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let (features, distance) = (channel_means(), mean_difference());
        let plan = Plan {
            temperatures: vec![0.5, 1.0],
            features: Some(FeatureNetwork::load(features.path()).unwrap()),
            perceptual: Some(PerceptualDistance::load(distance.path()).unwrap()),
            ..Plan::default()
        };
        let found = compared(&set, &plan);
        let [grey, half, knowing] = [0, 1, 2].map(|i| found.rows[i].all().against_truth.clone().unwrap());
        assert_eq!((grey.gain, grey.colorfulness_share, grey.saturation_retention), (0.0, 0.0, 0.0));
        assert!(knowing.ab_distance == 0.0 && knowing.auc == 1.0 && knowing.auc_rebalanced == 1.0, "{knowing:?}");
        // Lab and back costs a rounding here and there.
        assert!(knowing.psnr > 50.0 && knowing.ssim > 0.999 && knowing.delta_colorfulness < 0.5, "{knowing:?}");
        assert!((half.saturation_retention - 0.5).abs() < 1e-6 && (knowing.saturation_retention - 1.0).abs() < 1e-6, "{half:?}");
        for (better, worse) in [(&knowing, &half), (&half, &grey)] {
            assert!(better.psnr > worse.psnr && better.auc > worse.auc && better.ab_distance < worse.ab_distance, "{better:?} {worse:?}");
            assert!(better.lpips < worse.lpips && better.fid < worse.fid, "{better:?} {worse:?}");
        }
        assert!(knowing.fid.unwrap() < 1e-4 && knowing.lpips.unwrap() < 0.01, "{knowing:?}");
        // The curve is measured at its temperatures, whatever the row's own is.
        let curve = &found.rows[2].curve;
        assert_eq!(curve.iter().map(|q| (q.temperature, q.pictures)).collect::<Vec<_>>(), [(0.5, 2), (1.0, 2)]);
        assert!((curve[0].psnr - half.psnr).abs() < 1e-9 && (curve[1].psnr - knowing.psnr).abs() < 1e-9, "{curve:?}");
        assert!(found.rows[0].curve.is_empty(), "grey has no temperature");
    }

    #[test]
    fn one_picture_is_too_few_for_fid_and_refused_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let exhibits = Exhibits::choose(&set, Share::Of(Split::Validation), 1).unwrap();
        let features = channel_means();
        let plan = Plan { features: Some(FeatureNetwork::load(features.path()).unwrap()), ..Plan::default() };
        let mut measured = 0;
        let found = evaluate(vec![Contestant::grey()], &exhibits, None, &plan, &mut |done, _| measured = done);
        let message = format!("{:#}", found.unwrap_err());
        assert!(message.contains("has 1 still;") && measured == 0, "{measured} {message}");
    }

    #[test]
    fn a_row_of_other_pictures_is_refused_though_they_are_as_many() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let mut found = compared(&set, &Plan::default());
        let row = found.rows[1].clone();
        found.add(row.clone(), Vec::new()).unwrap();
        let mut other = row;
        other.stills[0].against_truth.as_mut().unwrap().psnr += 0.01;
        let refused = format!("{:#}", found.add(other, Vec::new()).unwrap_err());
        assert!(refused.contains("other stills than the table"), "{refused}");
        assert_eq!(found.rows.len(), 4);
    }

    #[test]
    fn rows_measured_one_by_one_and_kept_in_files_make_the_same_table_and_page() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let plan = Plan { temperatures: vec![1.0], samples: 2, ..Plan::default() };
        let exhibits = Exhibits::choose(&set, Share::Of(Split::Validation), 100).unwrap();
        let together = compared(&set, &plan);
        let alone = |contestant: Contestant| evaluate(vec![contestant], &exhibits, None, &plan, &mut |_, _| ()).unwrap();
        let mut joined = alone(Contestant::grey());
        for (index, contestant) in [
            Contestant::new("half <b>&", Kind::Classical, Knowing::of(&set, 0.5)),
            Contestant::new("knowing-int8", Kind::Int8, Knowing::of(&set, 1.0)),
        ]
        .into_iter()
        .enumerate()
        {
            let filed = serde_json::to_string(&alone(contestant).last_row().unwrap()).unwrap();
            let (row, looks): (Row, Vec<Jpeg>) = serde_json::from_str(&filed).unwrap();
            let few = joined.clone().add(row.clone(), looks[1..].to_vec()).unwrap_err();
            assert!(format!("{few:#}").contains(&together.rows[index + 1].name), "{few:#}");
            joined.add(row, looks).unwrap();
        }
        // JSON may cost a number its last bit.
        assert_eq!(table::text(&joined), table::text(&together));
        assert_eq!(page::html(&joined), page::html(&together));
    }

    #[test]
    fn table_json_and_page_say_the_same_and_the_page_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let plan = Plan { temperatures: vec![1.0], moving: true, samples: 2, ..Plan::default() };
        let found = compared(&set, &plan);
        let psnr = format!("{:.2}", found.rows[1].all().against_truth.as_ref().unwrap().psnr);
        let warp = format!("{:.2}", found.rows[1].moving.as_ref().unwrap().films.warp_error);
        let text = table::text(&found);
        let line = text.lines().find(|line| line.starts_with("half")).unwrap();
        assert!(line.contains(&psnr) && line.contains(&warp), "{text}");
        assert!(text.contains("not measured: FID, LPIPS, CDC\n"), "no weights, and no clips in this split: {text}");
        let json = table::json_lines(&found).unwrap();
        let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows[0]["conditions"]["stills"], 2);
        let of_json = rows[3]["stills"][0]["against_truth"]["psnr"].as_f64().unwrap();
        assert_eq!((rows[3]["name"].as_str().unwrap(), format!("{of_json:.2}")), ("half <b>&", psnr.clone()));

        let page = page::html(&found);
        assert!(page.contains(&psnr) && page.contains(&warp));
        assert!(page.contains("half &lt;b&gt;&amp;") && !page.contains("<b>"), "names are text, not markup");
        assert!(!page.contains("http") && !page.contains("url("), "it refers to nothing outside");
        assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), page.matches("<img ").count());
        assert_eq!(page.matches("<img ").count(), 2 * 4, "two pictures as grey, two rows and the truth");
        assert!(page.contains("Not measured here."));
    }

    #[test]
    fn colors_of_another_size_are_an_error_that_names_the_row_and_the_picture() {
        struct Small;
        impl Colorist for Small {
            fn begin(&mut self) {}
            fn color(&mut self, _: &Plane<u8>) -> anyhow::Result<Chroma> {
                Ok(Chroma { a: Plane::filled(2, 2, 0.0), b: Plane::filled(2, 2, 0.0) })
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let set = small_set(folder.path());
        let exhibits = Exhibits::choose(&set, Share::Of(Split::Validation), 100).unwrap();
        let contestants = vec![Contestant::new("small", Kind::Network, Small)];
        let message = format!("{:#}", evaluate(contestants, &exhibits, None, &Plan::default(), &mut |_, _| {}).unwrap_err());
        assert!(message.contains("small") && message.contains("check_0.png") && message.contains("2x2"), "{message}");
    }
}
