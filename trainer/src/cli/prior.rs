//! `prior`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use autochrome_model::bins::grids;
use autochrome_trainer::data::ab_chart::{heat_map, palette};
use autochrome_trainer::data::prior::{ColorCounts, prior};
use autochrome_trainer::data::shard::PackedSet;
use autochrome_trainer::data::split::Split;
use autochrome_trainer::files::write_atomically;
use image::{ImageFormat, RgbImage};

/// Counts the colors of a packed set: prior and class weights of each grid of bins, a heat map of the ab plane, and the grids' palettes.
#[derive(clap::Args)]
pub(crate) struct Prior {
    /// The packed set.
    data: PathBuf,
    /// The folder for `prior.json`, `heat-map.png` and `palette-*.png`.
    #[arg(long)]
    out: PathBuf,
}

impl Prior {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { data, out } = self;
        let set = PackedSet::open(&data)?;
        ensure!(
            !set.items(Split::Train).is_empty(),
            "the packed set {} has nothing in its training split, whose colors are counted; pack more photographs or clips",
            set.folder().display()
        );
        std::fs::create_dir_all(&out).with_context(|| format!("create the folder {}", out.display()))?;
        let counts = ColorCounts::of(&set, Split::Train);
        let found = prior(&counts, Split::Train, set.items(Split::Train).len());
        write_atomically(&out.join("prior.json"), &serde_json::to_vec_pretty(&found)?)?;
        let save = |name: String, picture: RgbImage| {
            let path = out.join(name);
            let mut png = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut png, ImageFormat::Png).with_context(|| format!("encode {}", path.display()))?;
            write_atomically(&path, png.get_ref())
        };
        save("heat-map.png".into(), heat_map(&counts))?;
        println!("{} pixels of {} training items", found.pixels, found.items);
        for (name, centers) in grids() {
            save(format!("palette-{name}.png"), palette(centers))?;
            let grid = &found.grids[name];
            let used = grid.prior.iter().filter(|share| **share > 0.0).count();
            let (low, high) = grid.weights.iter().fold((f32::MAX, 0.0_f32), |(low, high), &w| (low.min(w), high.max(w)));
            let largest = grid.prior.iter().copied().fold(0.0, f32::max);
            println!(
                "{name}: {used} of {} bins occur, the most frequent in {:.1} % of the pixels; weights {low:.3} to {high:.2}",
                centers.len(),
                100.0 * largest
            );
        }
        Ok(())
    }
}
