//! Files that appear whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Writes a file into a folder that is not in its place yet, so that a power cut cannot take it back.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let attempt = || -> std::io::Result<()> {
        let mut file = fs::File::create(path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    };
    attempt().with_context(|| format!("write {}", path.display()))
}

/// Writes a file so that it is there whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let attempt = || -> anyhow::Result<()> {
        let mut file = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).tempfile_in(folder)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("write {}", path.display()))?;
    sync_folder(folder)
}

/// Waits until what was created and renamed in `folder` is on the disk.
///
/// # Errors
/// If the system says no.
pub(crate) fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    fs::File::open(folder).and_then(|f| f.sync_all()).with_context(|| format!("sync {}", folder.display()))
}
