//! STL-10 and CIFAR-10 as their authors publish them: files of records of one size, without headers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::folders::{list, name_of};
use super::picture::Frames;

/// How records lie in their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// 96x96: a plane each of red, green and blue, of which each is stored column by column. Labels, from 1, are in a file of their own.
    Stl10,
    /// 32x32: one byte of label, from 0, then a plane each of red, green and blue, row by row.
    Cifar10,
}

impl Layout {
    fn side(self) -> usize {
        match self {
            Layout::Stl10 => 96,
            Layout::Cifar10 => 32,
        }
    }

    /// Bytes in front of the pixels.
    fn label_bytes(self) -> usize {
        match self {
            Layout::Stl10 => 0,
            Layout::Cifar10 => 1,
        }
    }

    /// Bytes of a record: 27,648 and 3,073.
    fn record_bytes(self) -> usize {
        self.label_bytes() + 3 * self.side() * self.side()
    }

    /// The file of class names, one a line, and the names that are published in it.
    fn class_names(self) -> (&'static str, [&'static str; 10]) {
        match self {
            Layout::Stl10 => ("class_names.txt", ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]),
            Layout::Cifar10 => {
                ("batches.meta.txt", ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"])
            }
        }
    }

    /// What the files' names end with.
    fn ending(self) -> &'static str {
        match self {
            Layout::Stl10 => "_X.bin",
            Layout::Cifar10 => ".bin",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Layout::Stl10 => "STL-10",
            Layout::Cifar10 => "CIFAR-10",
        }
    }
}

/// One file of records, checked.
#[derive(Debug)]
pub(in crate::data) struct RecordFile {
    path: PathBuf,
    layout: Layout,
    /// What the records' names begin with, such as `train` or `data_batch_1`.
    stem: String,
    count: u64,
    /// Index into `classes` of every record; empty where the file has no labels.
    labels: Vec<u8>,
    classes: Vec<String>,
}

/// Opens one file of records, or all in a folder, in the order of their names.
pub(super) fn open_all(path: &Path, layout: Layout) -> Result<Vec<RecordFile>> {
    let is_folder = std::fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.is_dir();
    if !is_folder {
        return Ok(vec![RecordFile::open(path, layout)?]);
    }
    let files = list(path)?.into_iter().filter(|file| name_of(file).ends_with(layout.ending()) && file.is_file());
    files.map(|file| RecordFile::open(&file, layout)).collect()
}

impl RecordFile {
    /// Checks the length and every label.
    fn open(path: &Path, layout: Layout) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("open the {} file {}", layout.name(), path.display()))?;
        let metadata = file.metadata().with_context(|| format!("read the size of {}", path.display()))?;
        ensure!(metadata.is_file(), "{} is not a file of {} records", path.display(), layout.name());
        let (bytes, record) = (metadata.len(), layout.record_bytes() as u64);
        ensure!(
            bytes > 0 && bytes.is_multiple_of(record),
            "the {} file {} has {bytes} bytes, which is {} records of {record} and {} bytes more; it was truncated or is of another format, \
             download it again",
            layout.name(),
            path.display(),
            bytes / record,
            bytes % record
        );
        let count = bytes / record;
        let name = name_of(path);
        let stem = name.strip_suffix(layout.ending()).unwrap_or(&name).to_owned();
        let classes = read_class_names(path, layout)?;
        let labels = match layout {
            Layout::Stl10 => read_stl10_labels(path, &stem, count, classes.len())?,
            Layout::Cifar10 => read_cifar10_labels(&mut file, path, count, classes.len())?,
        };
        Ok(Self { path: path.to_path_buf(), layout, stem, count, labels, classes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Records.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What the item is called.
    pub(super) fn name(&self, index: u64) -> String {
        format!("{}_{index:06}", self.stem)
    }

    /// The class of a record, or the file's name where it has none.
    pub(super) fn class(&self, index: u64) -> &str {
        self.labels.get(index as usize).map_or(&self.stem, |&label| &self.classes[usize::from(label)])
    }

    /// Reads one record as row-major RGB.
    pub(super) fn read(&self, index: u64) -> Result<Frames> {
        let side = self.layout.side();
        let pixels = side * side;
        let mut planes = vec![0; 3 * pixels];
        let begin = index * self.layout.record_bytes() as u64 + self.layout.label_bytes() as u64;
        File::open(&self.path)
            .and_then(|mut file| file.seek(SeekFrom::Start(begin)).and_then(|_| file.read_exact(&mut planes)))
            .with_context(|| format!("read record {index} of {}", self.path.display()))?;
        let mut rgb = Vec::with_capacity(3 * pixels);
        for y in 0..side {
            for x in 0..side {
                let at = match self.layout {
                    Layout::Stl10 => x * side + y,
                    Layout::Cifar10 => y * side + x,
                };
                rgb.extend([planes[at], planes[pixels + at], planes[2 * pixels + at]]);
            }
        }
        Ok(Frames { width: side as u32, height: side as u32, rgb })
    }
}

/// The names beside the file, or the published ones.
fn read_class_names(path: &Path, layout: Layout) -> Result<Vec<String>> {
    let (file, published) = layout.class_names();
    let file = path.with_file_name(file);
    if !file.exists() {
        return Ok(published.map(str::to_owned).to_vec());
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("read the class names {}", file.display()))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ensure!(
        names.len() == published.len(),
        "{} has {} class names, {} has {}; take the published file or remove it",
        file.display(),
        names.len(),
        layout.name(),
        published.len()
    );
    Ok(names)
}

/// From `train_y.bin` beside `train_X.bin`; none for `unlabeled_X.bin`.
fn read_stl10_labels(path: &Path, stem: &str, count: u64, classes: usize) -> Result<Vec<u8>> {
    let file = path.with_file_name(format!("{stem}_y.bin"));
    if !file.exists() {
        return Ok(Vec::new());
    }
    let labels = std::fs::read(&file).with_context(|| format!("read the labels {}", file.display()))?;
    ensure!(
        labels.len() as u64 == count,
        "{} has {} labels for the {count} records of {}; one of the two was truncated, download both again",
        file.display(),
        labels.len(),
        path.display()
    );
    // Counted from 1.
    labels.iter().enumerate().map(|(record, &label)| checked(label.wrapping_sub(1), label, record, classes, &file)).collect()
}

/// The first byte of every record.
fn read_cifar10_labels(file: &mut File, path: &Path, count: u64, classes: usize) -> Result<Vec<u8>> {
    let mut records = std::io::BufReader::with_capacity(1 << 16, file);
    let mut record = vec![0; Layout::Cifar10.record_bytes()];
    (0..count as usize)
        .map(|index| {
            records.read_exact(&mut record).with_context(|| format!("read record {index} of {}", path.display()))?;
            checked(record[0], record[0], index, classes, path)
        })
        .collect()
}

fn checked(class: u8, label: u8, record: usize, classes: usize, file: &Path) -> Result<u8> {
    if usize::from(class) < classes {
        return Ok(class);
    }
    bail!(
        "{}: record {record} has the label {label}, and there are {classes} classes; it was damaged or is of another format",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture in which every position and channel has a value of its own.
    fn value(side: usize, x: usize, y: usize, channel: usize) -> u8 {
        (channel * 80 + (x * 7 + y * 3) % side) as u8
    }

    /// A record in the published order of bytes: planes, each by columns or by rows.
    fn planes(side: usize, by_columns: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for channel in 0..3 {
            for outer in 0..side {
                for inner in 0..side {
                    let (x, y) = if by_columns { (outer, inner) } else { (inner, outer) };
                    bytes.push(value(side, x, y, channel));
                }
            }
        }
        bytes
    }

    fn assert_upright(frames: &Frames, side: usize) {
        assert_eq!((frames.width, frames.height), (side as u32, side as u32));
        for (i, pixel) in frames.rgb.chunks_exact(3).enumerate() {
            assert_eq!(pixel, [0, 1, 2].map(|channel| value(side, i % side, i / side, channel)), "pixel {i}");
        }
    }

    #[test]
    fn stl10_is_read_by_columns_with_labels_from_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("train_X.bin"), [vec![9; 27_648], planes(96, true)].concat()).unwrap();
        std::fs::write(file("train_y.bin"), [1, 10]).unwrap();
        std::fs::write(file("unlabeled_X.bin"), planes(96, true)).unwrap();
        let files = open_all(folder.path(), Layout::Stl10).unwrap();
        assert_eq!(files.iter().map(RecordFile::count).collect::<Vec<_>>(), [2, 1]);
        assert_upright(&files[0].read(1).unwrap(), 96);
        assert_eq!((files[0].class(0), files[0].class(1), files[1].class(0)), ("airplane", "truck", "unlabeled"));
        assert_eq!(files[0].name(1), "train_000001");
        std::fs::write(file("class_names.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n").unwrap();
        assert_eq!(open_all(&file("train_X.bin"), Layout::Stl10).unwrap()[0].class(1), "j");
    }

    #[test]
    fn cifar10_is_read_by_rows_with_the_label_in_front() {
        let folder = tempfile::tempdir().unwrap();
        let record = |label: u8| [vec![label], planes(32, false)].concat();
        std::fs::write(folder.path().join("data_batch_1.bin"), [record(0), record(9)].concat()).unwrap();
        let files = open_all(folder.path(), Layout::Cifar10).unwrap();
        assert_eq!((files.len(), files[0].count()), (1, 2));
        assert_upright(&files[0].read(1).unwrap(), 32);
        assert_eq!((files[0].class(0), files[0].class(1)), ("airplane", "truck"));
    }

    #[test]
    fn damaged_files_are_named() {
        struct Case {
            layout: Layout,
            files: Vec<(&'static str, Vec<u8>)>,
            says: [&'static str; 2],
        }
        let cifar100: Vec<u8> = [vec![3, 57], planes(32, false)].concat();
        let of_label_57: Vec<u8> = [vec![57], planes(32, false)].concat();
        let case = |layout, files: &[(&'static str, &[u8])], says| Case {
            layout,
            files: files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect(),
            says,
        };
        let record = [0; 27_648];
        let cases = [
            case(Layout::Stl10, &[("train_X.bin", &[0; 30_000])], ["train_X.bin has 30000 bytes", "2352 bytes more"]),
            case(Layout::Stl10, &[("train_X.bin", &[])], ["train_X.bin has 0 bytes", "truncated"]),
            case(Layout::Stl10, &[("test_X.bin", &record), ("test_y.bin", &[1, 2])], ["test_y.bin has 2 labels", "1 records"]),
            case(Layout::Stl10, &[("test_X.bin", &record), ("test_y.bin", &[0])], ["test_y.bin: record 0", "label 0"]),
            case(Layout::Cifar10, &[("train.bin", &cifar100)], ["train.bin has 3074 bytes", "another format"]),
            case(Layout::Cifar10, &[("test_batch.bin", &of_label_57)], ["test_batch.bin: record 0", "label 57"]),
        ];
        for Case { layout, files, says } in cases {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in &files {
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            let message = format!("{:#}", open_all(folder.path(), layout).unwrap_err());
            assert!(says.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
