//! What became of the configuration when it was read.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};

use super::{CONFIG_GOOD, CONFIG_RELOADS, CONFIG_TIME};

/// A configuration was read that can be used: at the start, or by a reload.
pub fn config_loaded() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    gauge!(CONFIG_GOOD).set(1.0);
    gauge!(CONFIG_TIME).set(now.unwrap_or_default().as_secs_f64());
}

/// The configuration was read again. `outcome` says what became of that: one of
/// the words in the description of the metric.
pub fn config_reloaded(outcome: &'static str, usable: bool) {
    counter!(CONFIG_RELOADS, "outcome" => outcome).increment(1);
    match usable {
        true => config_loaded(),
        false => gauge!(CONFIG_GOOD).set(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reloads_are_counted_by_outcome() {
        let recorder = super::super::install(4).unwrap();
        config_reloaded("of this test", true);
        let text = recorder.render();
        for line in [
            "lancegate_config_reloads_total{outcome=\"of this test\"} 1",
            "lancegate_config_last_reload_successful ",
            "lancegate_config_last_reload_success_timestamp_seconds ",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
