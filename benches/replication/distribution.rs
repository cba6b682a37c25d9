//! All values of a measurement, and what they look like.

use serde_json::{Value, json};

/// Upper ends of the histogram's buckets, in milliseconds.
const BUCKETS_MS: [f64; 13] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0, 1_000.0, 5_000.0,
];

/// How wide the longest bar is.
const BAR: usize = 50;

/// Milliseconds, in order.
pub struct Distribution(Vec<f64>);

impl Distribution {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that this share of all values is not above. 0 where
    /// there are none.
    pub fn at(&self, quantile: f64) -> f64 {
        let rank = (quantile * self.0.len() as f64).ceil() as usize;
        let at = rank.saturating_sub(1).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn max(&self) -> f64 {
        self.at(1.0)
    }

    /// One line.
    pub fn line(&self) -> String {
        format!(
            "{} values: min {:.1}, p50 {:.1}, p90 {:.1}, p95 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms",
            self.len(),
            self.at(0.0),
            self.at(0.5),
            self.at(0.9),
            self.at(0.95),
            self.at(0.99),
            self.at(0.999),
            self.max()
        )
    }

    /// A bar for each bucket that is not beyond the largest value.
    pub fn print_histogram(&self) {
        let counts = self.counts();
        let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1);
        for (bucket, count) in counts {
            let bar = "#".repeat((count * BAR).div_ceil(most));
            println!("  {bucket:>12} {count:>6} {bar}");
        }
    }

    fn counts(&self) -> Vec<(String, usize)> {
        let mut counts = Vec::new();
        let mut below = f64::NEG_INFINITY;
        for end in BUCKETS_MS.into_iter().chain([f64::INFINITY]) {
            let fits = |value: &&f64| **value > below && **value <= end;
            let count = self.0.iter().filter(fits).count();
            let name = match end.is_finite() {
                true => format!("<= {end:.0} ms"),
                false => format!("> {below:.0} ms"),
            };
            counts.push((name, count));
            below = end;
            if self.max() <= end {
                break;
            }
        }
        counts
    }

    pub fn json(&self) -> Value {
        json!({
            "values": self.len(),
            "min_ms": self.at(0.0),
            "p50_ms": self.at(0.5),
            "p90_ms": self.at(0.9),
            "p95_ms": self.at(0.95),
            "p99_ms": self.at(0.99),
            "p99_9_ms": self.at(0.999),
            "max_ms": self.max(),
            "histogram": self.counts(),
        })
    }
}
