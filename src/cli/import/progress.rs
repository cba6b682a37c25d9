//! How far an import is, for a terminal.

use std::{fmt, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Source;

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress(sources: &[Source]) -> ProgressBar {
    let total: Option<u64> = sources.iter().map(|source| source.rows).sum();
    let (bar, template) = match total {
        Some(rows) => (
            ProgressBar::new(rows),
            "{wide_bar} {human_pos}/{human_len} rows, {rate}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {human_pos} rows, {rate}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        // indicatif's own rate has four decimals.
        bar.set_style(
            style.with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
                // Nothing is left to be done when the bar cannot be written.
                let _ = write!(to, "{:.0} rows/s", state.per_sec());
            }),
        );
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
