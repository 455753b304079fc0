//! COCO's annotations: which category a photograph shows most of.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::folders::{list, name_of};

/// The tag of a photograph of which nothing is annotated.
const UNLABELED: &str = "unlabeled";

/// Folders of pictures whose colors are labels.
const LABEL_MAPS: [&str; 2] = ["annotations", "stuffthingmaps"];

/// How names of annotation files begin that are not read beside others.
const LESS: [&str; 5] = ["person_keypoints", "captions", "stuff", "panoptic", "lvis"];

/// Whether a picture below `top` is a label map and no photograph: COCO publishes them in folders of their own.
pub(super) fn is_label_map(top: &Path, picture: &Path) -> bool {
    let below = picture.strip_prefix(top).unwrap_or(picture);
    let folders = below.parent().into_iter().flat_map(Path::components);
    folders.into_iter().any(|folder| LABEL_MAPS.iter().any(|name| folder.as_os_str().eq_ignore_ascii_case(name)))
}

/// The parts of `instances_*.json` that are of use.
#[derive(Deserialize)]
struct Annotations {
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: Option<u64>,
    /// Pixels.
    area: Option<f64>,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// The category that covers most of each annotated photograph.
pub(super) struct MainCategories(HashMap<String, String>);

impl MainCategories {
    /// By the file's bare name.
    pub(super) fn of(&self, name: &str) -> &str {
        self.0.get(name).map_or(UNLABELED, String::as_str)
    }
}

/// Reads the annotation files in `folder` and in its `annotations`.
pub(super) fn main_categories(folder: &Path) -> Result<MainCategories> {
    let mut files = list(folder)?;
    let inner = folder.join("annotations");
    if inner.is_dir() {
        files.extend(list(&inner)?);
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")));
    ensure!(
        !files.is_empty(),
        "{} holds no annotations (instances_*.json, here or in annotations/); use stills:{} for pictures without",
        folder.display(),
        folder.display()
    );
    // What COCO publishes beside its instances says less of the same photographs: key points know people only.
    let says_more = |file: &PathBuf| !LESS.iter().any(|less| name_of(file).to_ascii_lowercase().starts_with(less));
    if files.iter().any(says_more) {
        files.retain(says_more);
    }
    let mut found = HashMap::new();
    for file in &files {
        add(read(file)?, &mut found);
    }
    Ok(MainCategories(found))
}

fn read(file: &Path) -> Result<Annotations> {
    let text = File::open(file).with_context(|| format!("open the annotations {}", file.display()))?;
    // As a stream: the published files have half a gigabyte.
    serde_json::from_reader(BufReader::with_capacity(1 << 20, text))
        .with_context(|| format!("{}: not annotations in COCO's format; it was truncated or is something else", file.display()))
}

fn add(annotations: Annotations, found: &mut HashMap<String, String>) {
    let names: HashMap<u64, &str> = annotations.categories.iter().map(|category| (category.id, category.name.as_str())).collect();
    let mut areas: HashMap<u64, HashMap<&str, f64>> = HashMap::new();
    for annotation in &annotations.annotations {
        // A caption has no category; a subset keeps annotations of images that it lacks.
        let Some(name) = annotation.category_id.and_then(|id| names.get(&id)) else { continue };
        let area = annotation.area.filter(|area| area.is_finite()).unwrap_or(0.0);
        *areas.entry(annotation.image_id).or_default().entry(name).or_default() += area;
    }
    for image in &annotations.images {
        let largest = areas.get(&image.id).and_then(|areas| {
            // By name where two are equal: the order of a map is not the same on every machine.
            areas.iter().max_by(|a, b| a.1.total_cmp(b.1).then_with(|| b.0.cmp(a.0)))
        });
        if let Some((name, _)) = largest {
            found.insert(name_of(Path::new(&image.file_name)), (*name).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCES: &str = r#"{
        "info": {"year": 2017},
        "images": [
            {"id": 9, "file_name": "000000000009.jpg", "width": 640, "height": 480, "license": 3},
            {"id": 25, "file_name": "000000000025.jpg", "width": 640, "height": 426},
            {"id": 30, "file_name": "000000000030.jpg", "width": 640, "height": 428}
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 51, "area": 120057.1, "iscrowd": 0, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2]]},
            {"id": 2, "image_id": 9, "category_id": 56, "area": 100000.0},
            {"id": 3, "image_id": 9, "category_id": 56, "area": 44434.7},
            {"id": 4, "image_id": 25, "category_id": 51, "area": 10},
            {"id": 5, "image_id": 777, "category_id": 51, "area": 10}
        ],
        "categories": [{"supercategory": "kitchen", "id": 51, "name": "bowl"}, {"id": 56, "name": "broccoli"}]
    }"#;

    #[test]
    fn the_largest_category_is_the_tag() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("annotations")).unwrap();
        std::fs::write(folder.path().join("annotations/instances_val2017.json"), INSTANCES).unwrap();
        let captions =
            r#"{"images": [{"id": 25, "file_name": "000000000025.jpg"}], "annotations": [{"image_id": 25, "caption": "two giraffes"}]}"#;
        std::fs::write(folder.path().join("annotations/captions_val2017.json"), captions).unwrap();
        // Of the same photographs, behind the others by name: a person, however small, is all that key points know.
        let key_points = r#"{"images": [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 30, "file_name": "000000000030.jpg"}],
            "annotations": [{"id": 7, "image_id": 9, "category_id": 1, "area": 5.0, "keypoints": [1, 2, 2]},
                            {"id": 8, "image_id": 30, "category_id": 1, "area": 5.0, "keypoints": [1, 2, 2]}],
            "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}]}"#;
        std::fs::write(folder.path().join("annotations/person_keypoints_val2017.json"), key_points).unwrap();
        let tags = main_categories(folder.path()).unwrap();
        // Two heads of broccoli are together larger than the bowl.
        assert_eq!(tags.of("000000000009.jpg"), "broccoli");
        assert_eq!(tags.of("000000000025.jpg"), "bowl");
        assert_eq!(tags.of("000000000030.jpg"), "unlabeled");
        // Annotations of one's own count, too, whatever they are called.
        let own = r#"{"images": [{"id": 1, "file_name": "mine.jpg"}], "annotations": [{"image_id": 1, "category_id": 7, "area": 1}],
            "categories": [{"id": 7, "name": "kite"}]}"#;
        std::fs::write(folder.path().join("own.json"), own).unwrap();
        assert_eq!(main_categories(folder.path()).unwrap().of("mine.jpg"), "kite");
        // Where nothing else is there, people will do.
        std::fs::remove_file(folder.path().join("own.json")).unwrap();
        std::fs::remove_file(folder.path().join("annotations/instances_val2017.json")).unwrap();
        assert_eq!(main_categories(folder.path()).unwrap().of("000000000030.jpg"), "person");
    }

    #[test]
    fn pictures_in_the_folders_of_labels_are_no_photographs() {
        let top = Path::new("annotations/coco");
        let is_label_map = |picture: &str| is_label_map(top, &top.join(picture));
        assert!(is_label_map("annotations/panoptic_val2017/000000000139.png") && is_label_map("stuffthingmaps/train2017/9.png"));
        // Only what lies in such a folder, not what is called like one or lies beside it.
        assert!(!is_label_map("val2017/000000000139.jpg") && !is_label_map("annotations.png"));
    }

    #[test]
    fn truncated_or_missing_annotations_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = format!("{:#}", main_categories(folder.path()).err().unwrap());
        assert!(message.contains("holds no annotations") && message.contains("stills:"), "{message}");
        std::fs::write(folder.path().join("instances_val2017.json"), &INSTANCES[..500]).unwrap();
        let message = format!("{:#}", main_categories(folder.path()).err().unwrap());
        assert!(message.contains("instances_val2017.json: not annotations"), "{message}");
    }
}
