//! Compresses the model that the program carries: half a megabyte less on the device, for some milliseconds when it starts.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The file in `models/`, without its extension.
const BUNDLED: &str = "autochrome-lite0-224x160-int8";

fn main() -> io::Result<()> {
    let file = Path::new("../models").join(BUNDLED).with_extension("onnx");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo names no OUT_DIR"))?;
    let mut packed = GzEncoder::new(File::create(Path::new(&out).join("bundled-model.gz"))?, Compression::best());
    packed.write_all(&std::fs::read(&file)?)?;
    packed.finish()?;
    println!("cargo::rerun-if-changed={}", file.display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BUNDLED_MODEL={BUNDLED}");
    Ok(())
}
