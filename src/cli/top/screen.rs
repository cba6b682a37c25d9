//! The terminal: another screen while it is used, and the old one after that.

use std::{
    io::{self, Read, Write},
    thread,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::Print,
    terminal::{
        Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
        enable_raw_mode, size,
    },
};
use tokio::sync::mpsc::{Receiver, channel};

use crate::cli::error::CliError;

/// Keys that end it: q and, in raw mode, Ctrl-C.
const QUIT: [u8; 3] = [b'q', b'Q', 3];

/// The terminal is this one's until it is dropped.
pub(super) struct Screen {
    keys: Receiver<()>,
}

impl Screen {
    pub(super) fn open() -> Result<Self, CliError> {
        enable_raw_mode().map_err(CliError::Output)?;
        let (send, keys) = channel(1);
        // Of its own: a read of the terminal cannot be cancelled, and the process is
        // not to wait for it.
        thread::spawn(move || {
            for key in io::stdin().lock().bytes() {
                if !key.is_ok_and(|key| !QUIT.contains(&key)) {
                    break;
                }
            }
            // Nobody waits for it any more: the screen is closed.
            let _ = send.blocking_send(());
        });
        let screen = Self { keys };
        execute!(io::stdout(), EnterAlternateScreen, Hide).map_err(CliError::Output)?;
        Ok(screen)
    }

    /// Waits until somebody wants it to end.
    pub(super) async fn quit(&mut self) {
        tokio::select! {
            _ = self.keys.recv() => {}
            // From elsewhere: in raw mode Ctrl-C is a key.
            _ = tokio::signal::ctrl_c() => {}
        }
    }

    /// Draws a text over the last one, as much of it as fits.
    pub(super) fn draw(&mut self, text: &str) -> Result<(), CliError> {
        draw(&mut io::stdout().lock(), text).map_err(CliError::Output)
    }
}

fn draw(out: &mut impl Write, text: &str) -> io::Result<()> {
    let (_, rows) = size()?;
    queue!(out, MoveTo(0, 0))?;
    for (row, line) in text.lines().take(usize::from(rows)).enumerate() {
        if row > 0 {
            queue!(out, Print("\r\n"))?;
        }
        queue!(out, Print(line), Clear(ClearType::UntilNewLine))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    out.flush()
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to be done when the terminal is gone.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
