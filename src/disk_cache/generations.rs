//! Of which tables everything is to be read anew.
//!
//! Files of tables never change, unless what is in them was wrong: then the same names
//! get other bytes. Their pages cannot be found one by one, so they are left to be
//! overwritten in time: each file is looked up by the generation of its table as well,
//! and a table that is forgotten gets the next one.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::page::TableKey;

/// The file that has them: a line for each table that was ever forgotten.
const FILE: &str = "generations";

/// How often each table was forgotten. It is known again after a restart, since the
/// pages are there again too.
pub(super) struct Generations {
    folder: PathBuf,
    /// Those that were: all others have the generation 0.
    known: ArcSwap<HashMap<TableKey, u64>>,
    /// Held while the file is replaced.
    writing: Mutex<()>,
}

impl Generations {
    /// Those of a folder without pages.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        let generations = Self::of(folder, HashMap::new());
        generations.write(&HashMap::new())?;
        Ok(generations)
    }

    /// Those that were written in a folder; `None` where they are not there or
    /// cannot be understood.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(folder.join(FILE)) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let known = std::str::from_utf8(&text).ok().and_then(parsed);
        Ok(known.map(|known| Self::of(folder, known)))
    }

    fn of(folder: &Path, known: HashMap<TableKey, u64>) -> Self {
        Self {
            folder: folder.to_owned(),
            known: ArcSwap::from_pointee(known),
            writing: Mutex::default(),
        }
    }

    /// The generation of a table now.
    pub fn get(&self, table: TableKey) -> u64 {
        self.known.load().get(&table).copied().unwrap_or_default()
    }

    /// Gives a table the next generation, once that is on the disk: a restart must
    /// not bring back what was forgotten.
    pub fn next(&self, table: TableKey) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = HashMap::clone(&self.known.load());
        *known.entry(table).or_default() += 1;
        self.write(&known)?;
        self.known.store(Arc::new(known));
        Ok(())
    }

    fn write(&self, known: &HashMap<TableKey, u64>) -> io::Result<()> {
        let lines = known
            .iter()
            .map(|(table, generation)| format!("{table} {generation}\n"));
        let text: String = lines.collect();
        let file = self.folder.join(FILE);
        let new = file.with_extension("new");
        let mut written = File::create(&new)?;
        written.write_all(text.as_bytes())?;
        written.sync_all()?;
        fs::rename(&new, &file)?;
        // The rename too is to be there after the power was lost.
        #[cfg(unix)]
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

fn parsed(text: &str) -> Option<HashMap<TableKey, u64>> {
    let lines = text.lines().map(|line| {
        let (table, generation) = line.split_once(' ')?;
        Some((TableKey::parse(table)?, generation.parse().ok()?))
    });
    lines.collect()
}
