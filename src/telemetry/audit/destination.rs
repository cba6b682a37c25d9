//! Where the lines go.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use tracing_appender::rolling::{RollingFileAppender, Rotation as Rolling};

use super::AuditError;
use crate::config::{Audit, AuditTo, Rotation};

/// First and last part of the names of the files.
const NAME: [&str; 2] = ["audit", "jsonl"];

/// Names the newest file, where there are several.
const NEWEST: &str = "audit.newest";

/// An open audit log.
pub(super) struct Destination {
    to: Box<dyn Write + Send>,
    sync: Option<Sync>,
    /// Whether a line may have been written in part.
    torn: bool,
}

/// What is needed to bring lines to the disk: the appender keeps its file to itself.
struct Sync {
    /// The file, or a link to the newest one.
    path: PathBuf,
    /// The file that the last lines went to.
    last: Option<PathBuf>,
}

impl Destination {
    pub(super) fn open(settings: &Audit) -> Result<Self, AuditError> {
        if settings.to == AuditTo::Stdout {
            return Ok(Self::to(Box::new(io::stdout())));
        }
        let [first, last] = NAME;
        let rotation = match settings.rotation {
            Rotation::Never => Rolling::NEVER,
            Rotation::Daily => Rolling::DAILY,
            Rotation::Hourly => Rolling::HOURLY,
        };
        let mut builder = RollingFileAppender::builder()
            .filename_prefix(first)
            .filename_suffix(last)
            .rotation(rotation);
        if settings.max_files > 0 {
            builder = builder.max_log_files(settings.max_files);
        }
        let path = match settings.rotation {
            Rotation::Never => settings.folder.join(NAME.join(".")),
            _ => {
                builder = builder.latest_symlink(NEWEST);
                settings.folder.join(NEWEST)
            }
        };
        let appender = builder.build(&settings.folder);
        let appender = appender.map_err(|e| AuditError::Folder(e.to_string()))?;
        Ok(Self {
            sync: settings.sync.then_some(Sync { path, last: None }),
            ..Self::to(Box::new(appender))
        })
    }

    fn to(to: Box<dyn Write + Send>) -> Self {
        Self {
            to,
            sync: None,
            torn: false,
        }
    }

    /// Writes a line, whole, or says that it could not. What is left of a line that
    /// could not be written stays a line of its own.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.to.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.to.write_all(line);
        self.torn = written.is_err();
        written
    }

    /// Brings what was written to where it is to be.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.to.flush()?;
        match &mut self.sync {
            Some(sync) => sync.all(),
            None => Ok(()),
        }
    }
}

impl Sync {
    fn all(&mut self) -> io::Result<()> {
        let now = self.path.canonicalize()?;
        // A new file may have begun among the lines.
        if let Some(last) = self.last.take_if(|last| *last != now)
            && last.exists()
        {
            File::open(last)?.sync_data()?;
        }
        // All that is dirty goes to the disk, whoever wrote it.
        File::open(&now)?.sync_data()?;
        self.last = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes so many bytes, and then none.
    struct Narrow(Arc<Mutex<Vec<u8>>>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock().unwrap();
            let room = self.1.saturating_sub(taken.len()).min(bytes.len());
            taken.extend(&bytes[..room]);
            match room {
                0 => Err(io::ErrorKind::StorageFull.into()),
                room => Ok(room),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_left_of_a_line_is_no_part_of_the_next() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let mut full = Destination::to(Box::new(Narrow(Arc::clone(&taken), 12)));
        full.write(b"{\"a\":1}\n").unwrap();
        assert!(full.write(b"{\"b\":2}\n").is_err());
        full.to = Box::new(Narrow(Arc::clone(&taken), 1_000));
        full.write(b"{\"c\":3}\n").unwrap();
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"b\"\n{\"c\":3}\n");
    }
}
