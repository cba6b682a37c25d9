//! The folder of a cache: whose it is, and of which form what is in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::{OpenError, generations::Generations};

/// Says that a folder is a cache, and of which size and form.
const MARK: &str = "lancegate-cache";

/// The form of what is in a folder: another one is thrown away.
const FORM: u32 = 2;

/// What the root of a file system of its own has in it from the start.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

/// A folder that is this process's.
pub(super) struct Claimed {
    /// Locked for as long as it is open.
    pub mark: File,
    /// Where the pages are.
    pub blocks: PathBuf,
    pub generations: Generations,
}

/// Takes a folder for this process, and empties it where it has another size or form.
pub(super) fn claim(folder: &Path, bytes: u64) -> Result<Claimed, OpenError> {
    let unusable = |cause| OpenError::Folder {
        folder: folder.to_owned(),
        cause,
    };
    create_private(folder).map_err(unusable)?;
    let path = folder.join(MARK);
    if !path.exists() && has_something(folder).map_err(unusable)? {
        return Err(OpenError::NotACache(folder.to_owned()));
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut mark = options.open(&path).map_err(unusable)?;
    match mark.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
        Err(fs::TryLockError::Error(cause)) => return Err(unusable(cause)),
    }
    let blocks = folder.join("blocks");
    let generations = match kept(&mut mark, folder, bytes).map_err(unusable)? {
        Some(generations) => generations,
        None => begin(&mut mark, folder, &blocks, bytes).map_err(unusable)?,
    };
    create_private(&blocks).map_err(unusable)?;
    // The root of a mounted volume may be somebody else's: the blocks are below a
    // folder of our own all the same.
    let _ = make_private(folder);
    make_private(&blocks).map_err(unusable)?;
    Ok(Claimed {
        mark,
        blocks,
        generations,
    })
}

/// What is known of the tables whose pages are there; `None` where they are not of
/// this size and form, or nobody knows which of them count.
fn kept(mark: &mut File, folder: &Path, bytes: u64) -> io::Result<Option<Generations>> {
    let mut found = String::new();
    mark.read_to_string(&mut found)?;
    match found == form(bytes) {
        true => Generations::read(folder),
        false => Ok(None),
    }
}

/// Empties a folder, and marks it last: one that is half empty is emptied again.
fn begin(mark: &mut File, folder: &Path, blocks: &Path, bytes: u64) -> io::Result<Generations> {
    mark.set_len(0)?;
    mark.rewind()?;
    match fs::remove_dir_all(blocks) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let generations = Generations::begin(folder)?;
    mark.write_all(form(bytes).as_bytes())?;
    Ok(generations)
}

fn form(bytes: u64) -> String {
    format!("form {FORM}, {bytes} bytes\n")
}

fn has_something(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != OF_THE_FILE_SYSTEM {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a folder that only this user can enter: what was read of the tables is not
/// for everybody on the machine.
fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Takes the rights of everybody else off a folder that was there.
#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mut rights = fs::metadata(folder)?.permissions();
    if rights.mode() & 0o077 == 0 {
        return Ok(());
    }
    rights.set_mode(rights.mode() & !0o077);
    fs::set_permissions(folder, rights)
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}
