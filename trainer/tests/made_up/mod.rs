//! Made-up pictures to train on, and a made-up pretrained encoder: for tests of whole runs in small.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use autochrome_trainer::data::pack::{PackConfig, PackInput, pack};
use autochrome_trainer::data::split::{Split, split_of};
use autochrome_trainer::files;
use autochrome_trainer::nets::lite0_unet::Encoder;
use burn::module::Module;
use burn::tensor::Device;
use image::{Rgb, RgbImage};

/// Smooth colors, `moved` pixels to the left.
fn picture(hue: f32, moved: u32) -> RgbImage {
    RgbImage::from_fn(64, 48, |x, y| {
        let wave = |phase: f32| (127.0 + 100.0 * ((x + moved) as f32 / 20.0 + y as f32 / 15.0 * phase + hue * phase).sin()) as u8;
        Rgb([wave(1.0), wave(1.7), wave(2.3)])
    })
}

/// A packed set of three stills and a clip to train on, and two stills to validate on, made once for all tests of a process.
pub(crate) fn packed() -> &'static Path {
    static PACK: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = PACK.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("photos");
        std::fs::create_dir(&photos).unwrap();
        let mut wanted = [(Split::Train, 3), (Split::Validation, 2)];
        for index in 0_u32.. {
            let name = format!("picture_{index}.png");
            let Some((_, left)) = wanted.iter_mut().find(|(split, left)| *split == split_of(&name) && *left > 0) else { continue };
            *left -= 1;
            picture(index as f32, 0).save(photos.join(name)).unwrap();
            if wanted.iter().all(|(_, left)| *left == 0) {
                break;
            }
        }
        let inputs = [photos, clips(folder.path())].iter().map(|folder| PackInput::detect(folder).unwrap()).collect();
        pack(&PackConfig { inputs, out: folder.path().join("pack"), short_side: 48, ..PackConfig::default() }, &mut |_, _| {}).unwrap();
        folder
    });
    // The folder is left to the system: statics are not dropped.
    Box::leak(folder.path().join("pack").into_boxed_path())
}

/// A folder with a clip of the training split.
fn clips(folder: &Path) -> PathBuf {
    let name = (0..).map(|index| format!("clip_{index}")).find(|name| split_of(name) == Split::Train).unwrap();
    let clip = folder.join("clips").join(name);
    std::fs::create_dir_all(&clip).unwrap();
    for frame in 0..8 {
        picture(0.5, frame).save(clip.join(format!("{frame:03}.png"))).unwrap();
    }
    folder.join("clips")
}

/// All tests of a process draw their first weights from one source, which each run seeds: who draws does so alone, that its weights are the same each time.
pub(crate) fn drawing() -> MutexGuard<'static, ()> {
    static DRAWING: Mutex<()> = Mutex::new(());
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file such as `convert-encoder` writes; what it holds does not matter here. Draws.
pub(crate) fn encoder() -> &'static Path {
    static ENCODER: OnceLock<PathBuf> = OnceLock::new();
    ENCODER.get_or_init(|| {
        let _alone = drawing();
        Device::flex().seed(1);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!(env!("CARGO_CRATE_NAME"), "-encoder.bpk"));
        files::write_atomically(&file, &Encoder::new(&Device::flex()).into_record().into_bytes().unwrap()).unwrap();
        file
    })
}
