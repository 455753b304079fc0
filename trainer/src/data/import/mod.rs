//! What can be packed: which files, records and pictures an input holds, under which names, and how to read one.
//!
//! Every collection becomes a list of [`Job`]s first, in an order that depends on its names alone. So several machines that see the same
//! files agree on what the 1,000th job is, and each can do its share.

mod coco;
mod folders;
mod picture;
mod records;
mod video;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use folders::{PICTURE_EXTENSIONS, VIDEO_EXTENSIONS, collect_pictures, is_video};
use records::RecordFile;

pub(super) use folders::name_of;
pub(crate) use folders::{is_picture, list};
pub(crate) use picture::open_picture;
pub(super) use picture::{ClipPictures, Frames, is_grey, mean_chroma, read_picture};
pub(super) use video::{Framing, Video};

/// What an input path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// A folder of photographs (JPEG or PNG), with any depth of sub-folders, or one photograph.
    Stills,
    /// A folder of folders, each with the consecutive frames of one clip in the order of their names.
    Clips,
    /// A folder of video files, or one video file. Needs the `ffmpeg` and `ffprobe` commands.
    Video,
    /// STL-10 as published in binary: `train_X.bin`, `test_X.bin`, `unlabeled_X.bin` (or one of them), with `*_y.bin` and
    /// `class_names.txt` beside them where there are classes.
    Stl10,
    /// CIFAR-10 as published in binary: `data_batch_1.bin` and so on (or one of them), with `batches.meta.txt` beside them.
    Cifar10,
    /// A folder of class folders, as ImageNet's; `train/` and `val/` above the classes and `images/` below them are passed through. Pictures in no class folder,
    /// such as ILSVRC's own `val/` has, are of none.
    ImageNet,
    /// Folders of photographs with COCO's annotations (`instances_*.json`) beside them or in `annotations/`. Pictures in `annotations/` and
    /// `stuffthingmaps/` are label maps and are passed over.
    Coco,
    /// A folder of photographs, or of folders for splits and classes, as the landscape collections on Kaggle.
    Landscapes,
}

impl InputKind {
    /// Every kind, with the word that names it in front of a path.
    pub const ALL: [(&'static str, InputKind); 8] = [
        ("stills", InputKind::Stills),
        ("clips", InputKind::Clips),
        ("video", InputKind::Video),
        ("stl10", InputKind::Stl10),
        ("cifar10", InputKind::Cifar10),
        ("imagenet", InputKind::ImageNet),
        ("coco", InputKind::Coco),
        ("landscapes", InputKind::Landscapes),
    ];

    /// Looks at a path and says what it holds: pictures directly inside mean stills, video files mean video, sub-folders with pictures mean
    /// clips. The published collections are not guessed at.
    ///
    /// # Errors
    /// When the path cannot be read or holds nothing of the three.
    pub fn detect(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).with_context(|| format!("look at the input {}", path.display()))?;
        let entries = if metadata.is_dir() { list(path)? } else { vec![path.to_path_buf()] };
        if entries.iter().any(|entry| is_picture(entry)) {
            return Ok(InputKind::Stills);
        }
        if entries.iter().any(|entry| is_video(entry)) {
            return Ok(InputKind::Video);
        }
        for folder in entries.iter().filter(|entry| entry.is_dir()) {
            if list(folder)?.iter().any(|entry| is_picture(entry)) {
                return Ok(InputKind::Clips);
            }
        }
        let words: Vec<&str> = Self::ALL.iter().map(|(word, _)| *word).collect();
        bail!(
            "the input {} holds no pictures ({}), no video files ({}) and no folders of pictures; say what it holds as KIND:PATH, where KIND \
             is one of {}",
            path.display(),
            PICTURE_EXTENSIONS.join(", "),
            VIDEO_EXTENSIONS.join(", "),
            words.join(", ")
        )
    }

    /// The plural for messages.
    pub(super) fn holds(self) -> &'static str {
        match self {
            InputKind::Stills | InputKind::ImageNet | InputKind::Coco | InputKind::Landscapes => "pictures (jpg, jpeg, png)",
            InputKind::Clips => "folders of pictures",
            InputKind::Video => "video files",
            InputKind::Stl10 => "STL-10 files (train_X.bin, test_X.bin, unlabeled_X.bin)",
            InputKind::Cifar10 => "CIFAR-10 files (data_batch_1.bin, test_batch.bin)",
        }
    }

    /// Whether every item is one photograph.
    pub(super) fn is_of_stills(self) -> bool {
        !matches!(self, InputKind::Clips | InputKind::Video)
    }

    /// Whether what is grey throughout is left out. Published collections hold a few percent that nobody has sorted out, and films have black frames
    /// and shots without color; in one's own folders there may be a reason.
    pub(super) fn leaves_out_grey(self) -> bool {
        !matches!(self, InputKind::Stills | InputKind::Clips)
    }
}

/// One folder or file to pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackInput {
    /// Folder, or a single file.
    pub path: PathBuf,
    /// What it holds.
    pub kind: InputKind,
    /// Name for this source in the packed set, by which training weighs it.
    pub source: String,
}

impl PackInput {
    /// Reads `KIND:PATH`, or a path alone, whose kind is then detected. The source is called like the folder (or the file).
    ///
    /// # Errors
    /// When the path does not exist, or is given alone and [`InputKind::detect`] makes nothing of it.
    pub fn parse(text: &str) -> Result<Self> {
        let given = InputKind::ALL.iter().find_map(|(word, kind)| Some((text.strip_prefix(word)?.strip_prefix(':')?, *kind)));
        match given {
            Some((path, kind)) => Self::named(Path::new(path), kind),
            None => Self::detect(Path::new(text)),
        }
    }

    /// An input whose kind is detected and whose source name is the folder's (or file's) own name.
    ///
    /// # Errors
    /// As [`InputKind::detect`].
    pub fn detect(path: &Path) -> Result<Self> {
        Self::named(path, InputKind::detect(path)?)
    }

    fn named(path: &Path, kind: InputKind) -> Result<Self> {
        // `.` and `photos/..` have no name of their own.
        let full = std::fs::canonicalize(path).with_context(|| format!("resolve the input {}", path.display()))?;
        // A dot in a folder's name begins no ending.
        let name = if full.is_dir() { full.file_name() } else { full.file_stem() };
        let source = name.map_or_else(|| "input".to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(Self { path: path.to_path_buf(), kind, source })
    }
}

/// One thing to decode.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// What the item will be called; decides its split.
    pub(super) name: String,
    /// The class, where the collection has classes; otherwise the name says the tag.
    pub(super) tag: Option<String>,
    /// Index of the [`PackInput`].
    pub(super) input: usize,
    /// What is to be decoded.
    pub(super) content: Content,
}

/// Where a job's pixels are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A file with one picture.
    Picture(PathBuf),
    /// A folder of frames.
    ClipFolder(PathBuf),
    /// A video file.
    Video(PathBuf),
    /// One of many pictures of one size in a file.
    Record {
        /// The file.
        file: Arc<RecordFile>,
        /// Counts from 0.
        index: u64,
    },
}

impl Content {
    /// The file or folder, for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Content::Picture(path) | Content::ClipFolder(path) | Content::Video(path) => path,
            Content::Record { file, .. } => file.path(),
        }
    }

    /// Decodes a still and shrinks it.
    pub(super) fn read_still(&self, short_side: u32) -> Result<Frames> {
        match self {
            Content::Record { file, index } => Ok(file.read(*index)?.shrunk(short_side)),
            _ => read_picture(self.path(), short_side),
        }
    }
}

/// Everything of an input that can become an item, in the order of names.
///
/// # Errors
/// When a file or folder cannot be listed, or a file of records, labels or annotations is not what its kind says; the message names it.
pub(super) fn jobs_of(given: &PackInput, input: usize) -> Result<Vec<Job>> {
    let path = &given.path;
    let is_folder = std::fs::metadata(path).with_context(|| format!("look at the input {}", path.display()))?.is_dir();
    let job = |content: Content, tag: Option<String>| Job { name: name_of(content.path()), tag, input, content };
    let untagged = |paths: Vec<PathBuf>, content: fn(PathBuf) -> Content| paths.into_iter().map(|path| job(content(path), None)).collect();
    Ok(match given.kind {
        InputKind::Stills => untagged(pictures_of(path)?, Content::Picture),
        InputKind::Clips => {
            let folders = if is_folder { list(path)? } else { Vec::new() };
            untagged(folders.into_iter().filter(|entry| entry.is_dir()).collect(), Content::ClipFolder)
        }
        InputKind::Video => {
            let files = if is_folder { list(path)?.into_iter().filter(|entry| is_video(entry)).collect() } else { vec![path.clone()] };
            untagged(files, Content::Video)
        }
        InputKind::Stl10 | InputKind::Cifar10 => {
            let layout = if given.kind == InputKind::Stl10 { records::Layout::Stl10 } else { records::Layout::Cifar10 };
            let files = records::open_all(path, layout)?.into_iter().map(Arc::new);
            let jobs = files.flat_map(|file| {
                (0..file.count()).map(move |index| {
                    let (name, tag) = (file.name(index), Some(file.class(index).to_owned()));
                    Job { name, tag, input, content: Content::Record { file: Arc::clone(&file), index } }
                })
            });
            jobs.collect()
        }
        InputKind::ImageNet | InputKind::Landscapes => {
            // ILSVRC's own `val` and `test` have no class folders, nor has a flat folder of landscapes: without a class, a name such as `ILSVRC2012_val_00000001`
            // would be cut at its `_`, and a number would be a class of its own.
            let class = |picture: &Path| Some(class_of(path, picture).unwrap_or_else(|| given.source.clone()));
            let tagged = |picture: PathBuf| (class(&picture), picture);
            pictures_of(path)?.into_iter().map(tagged).map(|(class, picture)| job(Content::Picture(picture), class)).collect()
        }
        InputKind::Coco => {
            ensure!(is_folder, "the input {} is a file; a COCO-style input is a folder of pictures and annotations", path.display());
            let classes = coco::main_categories(path)?;
            let tagged = |picture: PathBuf| (Some(classes.of(&name_of(&picture)).to_owned()), picture);
            let photographs = pictures_of(path)?.into_iter().filter(|picture| !coco::is_label_map(path, picture));
            photographs.map(tagged).map(|(class, picture)| job(Content::Picture(picture), class)).collect()
        }
    })
}

/// A single picture, or all below a folder.
fn pictures_of(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if path.is_dir() {
        collect_pictures(path, &mut found)?;
    } else if is_picture(path) {
        found.push(path.to_path_buf());
    }
    Ok(found)
}

/// Folders that say which part of a collection they hold, or nothing, and are no classes.
const NO_CLASSES: [&str; 12] = [
    "train",
    "training",
    "training data",
    "val",
    "valid",
    "validation",
    "validation data",
    "test",
    "testing",
    "testing data",
    "images",
    "data",
];

/// The name of the nearest folder above `picture`, and below `top`, that is a class.
fn class_of(top: &Path, picture: &Path) -> Option<String> {
    let between = picture.parent()?.strip_prefix(top).ok()?;
    let names = between.components().rev().map(|folder| folder.as_os_str().to_string_lossy().into_owned());
    names.into_iter().find(|name| !NO_CLASSES.contains(&name.to_lowercase().as_str()))
}

/// Pictures for the tests of this room.
#[cfg(test)]
pub(in crate::data) mod test_pictures {
    /// A gradient that no two pictures share.
    pub(in crate::data) fn picture(width: u32, height: u32, seed: u32) -> image::RgbImage {
        image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 3 + seed * 40) as u8, (y * 5 + seed * 17) as u8, ((x + y) * 2 + seed) as u8])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::test_pictures::picture;
    use super::*;

    fn names_and_tags(input: &PackInput) -> Vec<(String, Option<String>)> {
        jobs_of(input, 0).unwrap().into_iter().map(|job| (job.name, job.tag)).collect()
    }

    fn save(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture(8, 8, 1).save(path).unwrap();
    }

    #[test]
    fn kinds_are_told_apart_by_what_is_inside() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clips").join("one");
        std::fs::create_dir_all(&clip).unwrap();
        assert!(InputKind::detect(folder.path()).is_err());
        save(&clip.join("1.jpg"));
        assert_eq!(InputKind::detect(&clip).unwrap(), InputKind::Stills);
        assert_eq!(InputKind::detect(clip.parent().unwrap()).unwrap(), InputKind::Clips);
        std::fs::write(folder.path().join("film.MP4"), b"").unwrap();
        assert_eq!(InputKind::detect(folder.path()).unwrap(), InputKind::Video);
    }

    #[test]
    fn a_kind_can_stand_in_front_of_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("stills");
        std::fs::create_dir(&photos).unwrap();
        for (word, kind) in InputKind::ALL {
            let input = PackInput::parse(&format!("{word}:{}", photos.display())).unwrap();
            assert_eq!((input.kind, input.source.as_str(), &input.path), (kind, "stills", &photos));
        }
        save(&photos.join("1.jpg"));
        assert_eq!(PackInput::parse(photos.to_str().unwrap()).unwrap().kind, InputKind::Stills);
        let dotted = folder.path().join("coco.2017");
        std::fs::create_dir(&dotted).unwrap();
        assert_eq!(PackInput::parse(&format!("coco:{}", dotted.display())).unwrap().source, "coco.2017");
        let message = format!("{:#}", PackInput::parse("coco:nowhere").unwrap_err());
        assert!(message.contains("nowhere"), "{message}");
    }

    #[test]
    fn the_class_folder_of_an_imagenet_picture_is_its_tag() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("imagenet");
        save(&top.join("train/n01440764/n01440764_10026.jpeg"));
        save(&top.join("train/n01443537/images/n01443537_0.jpeg"));
        save(&top.join("val/n01440764/ILSVRC2012_val_00000293.jpeg"));
        let input = PackInput { path: top.clone(), kind: InputKind::ImageNet, source: "imagenet".into() };
        let found = names_and_tags(&input);
        let expected =
            [("n01440764_10026.jpeg", "n01440764"), ("n01443537_0.jpeg", "n01443537"), ("ILSVRC2012_val_00000293.jpeg", "n01440764")];
        assert_eq!(found, expected.map(|(name, tag)| (name.to_owned(), Some(tag.to_owned()))));
        // As ILSVRC itself has it: the training pictures in folders of their classes, all others in one.
        save(&top.join("val/ILSVRC2012_val_00000001.JPEG"));
        let expected = ("ILSVRC2012_val_00000001.JPEG".to_owned(), Some("imagenet".to_owned()));
        assert!(names_and_tags(&input).contains(&expected), "{:?}", names_and_tags(&input));
    }

    #[test]
    fn landscapes_have_the_class_of_their_folder_or_that_of_the_collection() {
        let folder = tempfile::tempdir().unwrap();
        let split = folder.path().join("recognition");
        save(&split.join("Training Data/Coast/Coast-Train (1).jpeg"));
        save(&split.join("Validation Data/Desert/Desert-Valid (2).jpeg"));
        save(&split.join("Testing Data/unsorted.jpeg"));
        let flat = folder.path().join("pictures");
        save(&flat.join("00000000.jpg"));
        save(&flat.join("00000000_(2).jpg"));
        let tags = |path: &Path| -> Vec<String> {
            let input = PackInput { path: path.to_path_buf(), kind: InputKind::Landscapes, source: "landscapes".into() };
            names_and_tags(&input).into_iter().filter_map(|(_, tag)| tag).collect()
        };
        assert_eq!(tags(&split), ["landscapes", "Coast", "Desert"]);
        assert_eq!(tags(&flat), ["landscapes", "landscapes"]);
    }
}
