//! Reads a second, from two counts and the time between them.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::proto::v1::GetTopologyResponse;

/// The counts that were seen last, and the rates up to then.
#[derive(Default)]
pub(super) struct Rates {
    counted: Option<Instant>,
    counts: HashMap<String, u64>,
    rates: HashMap<String, f64>,
}

impl Rates {
    /// Takes in an update that came now.
    pub(super) fn update(&mut self, topology: &GetTopologyResponse, now: Instant) {
        let seconds = self.counted.map(|at| (now - at).as_secs_f64());
        let counts = topology.connections.iter();
        let counts: HashMap<String, u64> =
            counts.map(|c| (c.name.clone(), c.reads_total)).collect();
        self.rates = match seconds.filter(|seconds| *seconds > 0.0) {
            Some(seconds) => counts
                .iter()
                .filter_map(|(name, count)| {
                    // Fewer than before: another server answers there now.
                    let more = count.checked_sub(*self.counts.get(name)?)?;
                    Some((name.clone(), more as f64 / seconds))
                })
                .collect(),
            None => HashMap::new(),
        };
        self.counts = counts;
        self.counted = Some(now);
    }

    /// The rate of a connection; `None` until it was seen twice.
    pub(super) fn of(&self, name: &str) -> Option<f64> {
        self.rates.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::v1::ConnectionStatus;

    #[test]
    fn a_rate_needs_two_counts() {
        let topology = |counts: &[(&str, u64)]| GetTopologyResponse {
            connections: counts
                .iter()
                .map(|(name, reads_total)| ConnectionStatus {
                    name: (*name).into(),
                    reads_total: *reads_total,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let (mut rates, began) = (Rates::default(), Instant::now());
        rates.update(&topology(&[("a", 10)]), began);
        assert_eq!(rates.of("a"), None);
        let later = began + Duration::from_millis(500);
        rates.update(&topology(&[("a", 20), ("b", 7)]), later);
        assert_eq!((rates.of("a"), rates.of("b")), (Some(20.0), None));
        rates.update(&topology(&[("a", 20)]), later);
        assert_eq!(rates.of("a"), None, "no time has passed");
        rates.update(&topology(&[("a", 3)]), later + Duration::from_secs(1));
        assert_eq!(rates.of("a"), None, "a restart");
    }
}
