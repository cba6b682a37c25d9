//! Who is worse than the others: a pure comparison of what the members look like.

use std::time::Duration;

use super::{Why, health::Signs};
use crate::config::Outlier;

/// Slow answers in a row, or requests that hang, that eject.
const SLOW: u32 = 3;

/// What is too slow for a member whose others usually take `usual` nanoseconds;
/// nothing where nobody knows what is usual.
pub(super) fn limit(others: Option<f64>, settings: &Outlier) -> Duration {
    match others {
        Some(usual) => {
            let limit = usual * f64::from(settings.latency_factor);
            // Some years at most, which a duration holds.
            Duration::from_nanos(limit as u64).max(settings.min_latency)
        }
        None => Duration::MAX,
    }
}

/// Why a member is to be ejected. `failing` is the median of the others' shares of
/// failing reads, in percent.
pub(super) fn fault(own: &Signs, failing: f64, settings: &Outlier) -> Option<Why> {
    if own.faults_in_row >= settings.consecutive_failures {
        return Some(Why::ConsecutiveFailures);
    }
    let above = own.failing - failing;
    if own.requests >= settings.min_requests && above >= f64::from(settings.failure_percent) {
        return Some(Why::FailureRate);
    }
    (own.slow >= SLOW).then_some(Why::Latency)
}

/// How many of so many members may be ejected.
pub(super) fn most_ejected(members: usize, settings: &Outlier) -> usize {
    (members * settings.max_ejected_percent as usize / 100).max(1)
}

/// One number of each member, in order.
pub(super) struct Sorted(Vec<f64>);

impl Sorted {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// The median of the others: of all values but `own`, which is one of them. Of
    /// an even number of values the lower one of the two in the middle.
    pub(super) fn median_without(&self, own: Option<f64>) -> Option<f64> {
        let values = &self.0;
        let Some(own) = own else {
            return values.get(values.len().checked_sub(1)? / 2).copied();
        };
        let middle = values.len().checked_sub(2)? / 2;
        let at = values.partition_point(|v| v.total_cmp(&own).is_lt());
        values.get(middle + usize::from(at <= middle)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const WELL: Signs = Signs {
        faults_in_row: 0,
        slow: 0,
        requests: 100,
        failing: 0.0,
        usual: 1e6,
    };

    #[test]
    fn who_is_worse_than_the_others_is_ejected() {
        let settings = config::Pool::default().outlier;
        let with = |change: fn(&mut Signs)| {
            let mut signs = WELL;
            change(&mut signs);
            fault(&signs, 1.0, &settings)
        };
        assert_eq!(with(|_| {}), None);
        assert_eq!(
            with(|s| s.faults_in_row = 5),
            Some(Why::ConsecutiveFailures)
        );
        assert_eq!(with(|s| s.faults_in_row = 4), None);
        assert_eq!(with(|s| s.failing = 16.0), Some(Why::FailureRate));
        assert_eq!(with(|s| s.failing = 15.0), None, "the others fail, too");
        assert_eq!(with(|s| (s.failing, s.requests) = (90.0, 19)), None);
        assert_eq!(with(|s| s.slow = 3), Some(Why::Latency));
        assert_eq!(with(|s| s.slow = 2), None);
    }

    #[test]
    fn too_slow_is_several_times_what_is_usual() {
        let settings = config::Pool::default().outlier;
        assert_eq!(limit(None, &settings), Duration::MAX);
        assert_eq!(limit(Some(1e6), &settings), settings.min_latency);
        assert_eq!(limit(Some(2e9), &settings), Duration::from_secs(10));
        let sorted = Sorted::of(vec![3.0, 1.0, 2.0, 9.0]);
        assert_eq!(sorted.median_without(None), Some(2.0));
        assert_eq!(sorted.median_without(Some(9.0)), Some(2.0));
        assert_eq!(sorted.median_without(Some(1.0)), Some(3.0));
        assert_eq!(Sorted::of(vec![3.0]).median_without(Some(3.0)), None);
        assert_eq!(Sorted::of(Vec::new()).median_without(None), None);
        assert_eq!(most_ejected(1, &settings), 1);
        assert_eq!(most_ejected(3, &settings), 1);
        assert_eq!(most_ejected(4, &settings), 2);
    }
}
