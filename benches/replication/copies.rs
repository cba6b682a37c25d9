//! rclone, making a copy over and over.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use serde::Serialize;

use crate::Result;

/// rclone's own words about its version.
///
/// # Errors
/// It is not on the PATH.
pub fn version() -> Result<String> {
    let said = Command::new("rclone").arg("version").output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// How the copying went.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Copied {
    pub runs: usize,
    /// Runs that ended with an error, such as a file that was pruned meanwhile.
    pub failed: usize,
    pub seconds: f64,
}

/// `rclone sync`, the next one as soon as the last one has ended.
pub struct Loop {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Copied>>,
}

impl Loop {
    /// Copies once, and then goes on until it is told to stop.
    pub fn start(from: &Path, to: &Path) -> Result<Self> {
        if !sync(from, to)? {
            return Err("rclone failed while nothing was written".into());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, from, to) = (Arc::clone(&stop), from.to_owned(), to.to_owned());
        let thread = std::thread::spawn(move || again_and_again(&stopped, &from, &to));
        Ok(Self { stop, thread })
    }

    pub fn finish(self) -> Result<Copied> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "rclone's thread panicked")?
    }
}

fn again_and_again(stop: &AtomicBool, from: &Path, to: &Path) -> Result<Copied> {
    let mut copied = Copied::default();
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        copied.runs += 1;
        if !sync(from, to)? {
            copied.failed += 1;
        }
        copied.seconds = began.elapsed().as_secs_f64();
    }
    Ok(copied)
}

/// Makes `to` the same as `from`, as rclone's manual has it. Answers whether
/// rclone said that it did.
fn sync(from: &Path, to: &Path) -> Result<bool> {
    let mut command = Command::new("rclone");
    command
        .args(["sync", "--config", "/dev/null"])
        .args([from, to])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RCLONE_") {
            command.env_remove(&name);
        }
    }
    Ok(command.status()?.success())
}
